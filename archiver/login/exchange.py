"""The client's side of one AUTHENTICATE (IMAP) or AUTH (POP3): base64, rounds, the server's proof (RFC 4422)."""

from __future__ import annotations

import base64
import binascii
from abc import ABC, abstractmethod

from archiver.config.secrecy import redacted
from archiver.errors import AuthenticationFailed
from archiver.mail import folder_names

_SHOWN = 200


def words_of(said: str) -> str:
    """A server's words for people, from within an exchange: short, without our secrets and control characters."""
    return folder_names.printable(redacted(said).strip())[:_SHOWN]


class Exchange(ABC):
    """One exchange of messages with a server; used once, by one thread.

    `untested` tells whether a refusal says nothing about the secret, because the server has not seen anything yet
    that depends on it; `user_name` is who logs in then. `complaint` is what the server found wrong, in words for
    people, if it said so within the exchange.
    """

    mechanism: str
    user_name = ""
    untested = False
    complaint = ""

    def __init__(self) -> None:
        self._began = False  # whether our first message went with the command
        self._asked = False  # whether the server asked for it

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.mechanism})"  # all else may be a secret

    @abstractmethod
    def first(self) -> bytes | None:
        """Our first message; None if the server says the first word."""

    def answer(self, challenge: bytes) -> bytes:
        """Our answer to the server's next message.

        Raises:
            AuthenticationFailed: there is none. The exchange has to be cancelled.
        """
        raise AuthenticationFailed(f"the server wants more than {self.mechanism} has")

    def finish(self) -> None:  # noqa: B027 (most mechanisms have nothing to check)
        """The server has accepted the login.

        Raises:
            AuthenticationFailed: it has not proved that it knows the password, as it must; hang up.
        """

    def initial(self) -> bytes | None:
        """What to send with the command itself, in base64 (RFC 4959), where the server allows that; None if the
        server says the first word."""
        message = self.first()
        if message is None:
            return None
        self._began = True
        return base64.b64encode(message) or b"="

    def reply(self, text: bytes) -> bytes:
        """The line that answers the server's `+ text`, in base64.

        NOTE: some servers ask for the first message although they have it, so it may be sent twice. Some write
        words for people where nothing is expected.

        Raises:
            AuthenticationFailed: there is no answer. Send `*`, which cancels (RFC 3501 section 6.2.2).
        """
        text = text.strip()
        message = self.first()
        if message is not None and not self._asked and (not self._began or self._asks_again(text)):
            self._asked = True
            return base64.b64encode(message)
        return base64.b64encode(self.answer(self._decoded(text)))

    def _asks_again(self, text: bytes) -> bool:
        return not text

    def _decoded(self, text: bytes) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass
        raise AuthenticationFailed("the server's answer to the login is not base64")
