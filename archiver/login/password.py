"""A user with a password, or an admin with theirs who logs in to the user's mailbox."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from archiver.config.secrecy import keep_secret
from archiver.config.secrets import Secret
from archiver.errors import AuthenticationFailed, Where
from archiver.login.exchange import words_of
from archiver.login.mechanisms import CramMd5, Plain
from archiver.login.port import Command, Offer, Way

Choice = Literal["auto", "login", "plain", "scram", "cram-md5"]

#: The strongest first, and their hashes.
_SCRAMS = (("SCRAM-SHA-256", "sha256"), ("SCRAM-SHA-1", "sha1"))


class PasswordAuthenticator:
    """What `choice` allows: "auto" is the strongest that is offered of SCRAM, PLAIN, the protocol's own command and
    CRAM-MD5. PLAIN and the command may be sent although they are not offered, if they were chosen.

    With a `login_user` the password is theirs, and the mailbox is `user`'s. The mechanisms have a place for both;
    where there is none, the name is `user`, `separator`, `login_user`.
    """

    def __init__(
        self,
        user: str,
        look_up: Callable[[], Secret],
        choice: Choice = "auto",
        login_user: str | None = None,
        separator: str = "*",
    ) -> None:
        self._name, self._mailbox = (user, "") if login_user is None else (login_user, user)
        self._joined = user if login_user is None else f"{user}{separator}{login_user}"
        self._look_up = look_up
        self._choice = choice
        self._secret: Secret | None = None
        self._looking_up = threading.Lock()

    def secret(self, refused: Secret | None = None) -> Secret:
        with self._looking_up:
            # After a refusal another connection may have looked it up again already.
            if self._secret is None or self._secret is refused:
                self._secret = self._look_up()
            secret = self._secret
        keep_secret(secret.reveal(), self._joined)
        if self._mailbox:
            keep_secret(secret.reveal(), self._name, self._mailbox)
        return secret

    def ways(self, secret: Secret, offer: Offer, where: Where) -> Sequence[Way]:
        if ways := list(self._ways(secret.reveal(), offer)):
            return ways
        raise _no_way(self._choice, offer, where)

    def _ways(self, password: str, offer: Offer) -> Iterator[Way]:
        choice, offered = self._choice, offer.mechanisms
        # NOTE: PLAIN need not be offered if it was chosen, but a server that takes no passwords here gets none.
        weaker: list[Way] = []
        if choice in ("auto", "plain") and ("PLAIN" in offered or (choice == "plain" and offer.takes_command)):
            weaker.append(Plain(self._name, password, self._mailbox))
        elif choice in ("auto", "login") and offer.takes_command:
            weaker.append(Command(self._joined.encode(), password.encode()))
        # NOTE: Dovecot compares the proof of an admin's SCRAM with the user's own password, if its passdb of admins
        # has `result_success = continue`. So an admin uses SCRAM only if it is chosen, or nothing else is offered.
        if choice == "scram" or (choice == "auto" and not (weaker and self._mailbox)):
            scrams = self._scrams(password, offer)
            # Each way that fails is a failed login in the log of the server, and takes seconds.
            yield from next(scrams, ()) if weaker else itertools.chain.from_iterable(scrams)
        yield from weaker
        if not weaker and choice in ("auto", "cram-md5") and "CRAM-MD5" in offered:
            yield CramMd5(self._joined, password)

    def _scrams(self, password: str, offer: Offer) -> Iterator[Sequence[Way]]:
        """For each hash, the strongest first: bound to the connection, and not bound."""
        offered = offer.mechanisms
        if not any(name in offered or f"{name}-PLUS" in offered for name, _ in _SCRAMS):
            return
        from archiver.login.scram import Scram

        channel = offer.channel() if offer.encrypted else None
        binds = channel is not None and not any(f"{name}-PLUS" in offered for name, _ in _SCRAMS)
        for name, hash_name in _SCRAMS:
            ways: list[Way] = []
            if channel is not None and f"{name}-PLUS" in offered:
                ways.append(Scram(hash_name, self._name, password, self._mailbox, channel=channel))
            if name in offered:
                ways.append(Scram(hash_name, self._name, password, self._mailbox, binds=binds))
            if ways:
                yield ways


def _no_way(choice: Choice, offer: Offer, where: Where) -> AuthenticationFailed:
    if not offer.takes_command and not offer.encrypted and choice != "scram":
        return AuthenticationFailed(
            "the server does not accept passwords on this connection (LOGINDISABLED)",
            where=where,
            hint='set tls = "implicit" or "starttls"',
        )
    offered = words_of(", ".join(sorted(offer.mechanisms))) or "no mechanism"
    wanted = "no password" if choice == "auto" else f"no login = {choice!r}".replace("'", '"')
    hint = "see docs/providers.md for what it wants" if choice == "auto" else 'set login = "auto", or another way'
    if choice == "auto" and offer.mechanisms & {"XOAUTH2", "OAUTHBEARER"}:
        hint = 'it takes tokens: set auth = "oauth2", which docs/providers.md shows'
    problem = f"the server takes {wanted} here: it offers {offered}"
    return AuthenticationFailed(problem, where=where, hint=hint)
