"""Messages that were sent along when their folder was opened, and are on their way."""

from __future__ import annotations

from collections import deque

from msgspec import Struct, field

from archiver.imap.answers import MessageRows
from archiver.imap.fetch_row import is_fetch
from archiver.imap.replies import not_imap
from archiver.imap.session import BodyReader, Session
from archiver.imap.tokens import Response
from archiver.mail.content import body_of
from archiver.mail.model import Body

_PIECE = 256 << 10
_EARLY_OCTETS = 8 << 20
_NOTHING = body_of(b"")


class Coming(Struct):
    """A FETCH with this `tag` that was sent along when its folder was opened: of all messages from the UID `first`
    on.

    `early` are rows that were read while something else was waited for, at the end perhaps with the reply to the
    FETCH; few are kept, the other messages are requested again. What comes before an OK with the tag `opens` is not
    about this folder.
    """

    tag: bytes
    opens: bytes
    first: int
    is_open: bool = False
    early: deque[Response] = field(default_factory=deque)
    ended: bool = False
    _octets: int = 0

    def takes(self, response: Response) -> bool:
        """Take a response, if it belongs to this FETCH."""
        if response.text.startswith(self.tag + b" "):
            self.early.append(response)
            self.ended = True
            return True
        if response.text.upper().startswith(self.opens + b" OK"):
            self.is_open = True
        if not (is_fetch(response.text) and (response.body is not None or b"BODY[" in response.text.upper())):
            return False
        self._octets += len(response.text) + (response.body.size if response.body else 0)
        if self.is_open and self._octets <= _EARLY_OCTETS:
            self.early.append(response)
        elif response.body is not None:
            response.body.discard()
        return True

    def read(self, session: Session, read_body: BodyReader, *, keep: bool) -> None:
        """Read to the end, and `keep` the messages or discard them."""
        news = MessageRows()
        while not self.ended:
            response = session.read_response(read_body)
            if not (response.text.startswith(b"* ") or response.text.startswith(self.tag + b" ")):
                raise not_imap(response.text, session.where)
            if news.is_news(response.text, session.exists):
                session.progressed()
            if self.takes(response) and not keep:
                self.discard()
        session.finished()

    def discard(self) -> None:
        """Nobody wants what was read."""
        for each in self.early:
            if each.body is not None:
                each.body.discard()
        self.early.clear()


def discard(size: int, session: Session) -> Body:
    """Read a literal of any size and keep nothing of it."""
    while size:
        size -= len(session.read_octets(min(size, _PIECE)))
    return _NOTHING
