"""Messages and headers, streamed: TOP and RETR, several in flight where the server allows it.

RETR marks a message as read on many servers, and on some it is deleted then. TOP with more lines than any message
has gives the same octets and changes nothing. Since it is broken on some servers, what it gives is believed only if
it is as long as LIST says; else RETR has the last word.

Answers come in the order of the commands, so it is always known which message is being read. A refused message
counts as bad only if the server delivers another one. Memory holds one message at a time, and a large one goes to a
spool file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from archiver.errors import (
    AllRefused,
    ArchiveNotWritable,
    MessageRefused,
    TemporaryError,
)
from archiver.imap.replies import printable
from archiver.mail.content import (
    HEADER_OCTETS,
    PLACEHOLDER_GIVEN,
    REFUSED,
    BodyBuilder,
    Spool,
    body_of,
    header_block,
    is_placeholder,
)
from archiver.mail.model import Attributes, Body, Digest, Fetched, Undelivered
from archiver.source.pop3.replies import error_of, is_ok
from archiver.source.pop3.session import Session

T = TypeVar("T")

SPOOL_OCTETS = 1 << 20  # a larger message goes to a spool file
_IN_FLIGHT = 100  # commands
_OCTETS_IN_FLIGHT = 4 << 20
_ALL = b"TOP %d 99999999"  # lines
_FAILURES = 3  # of TOP in a row, after which it is not tried any more in this session


class Wanted(Struct, frozen=True):
    """A message of the session: its UID, its number, and the size that LIST gave."""

    uid: int
    number: int
    size: int | None


class Retriever(Struct):
    """Reads the messages of a session. `others` are the numbers of all of them. `delivered`: this connection has
    delivered a message."""

    session: Session
    spool: Spool
    accept: bool = False
    others: Sequence[int] = ()
    delivered: bool = False
    has_top: bool = True
    _failures: int = 0

    def messages(self, wanted: Sequence[Wanted]) -> Iterator[Fetched | Undelivered]:
        """One outcome for each of `wanted`.

        Raises:
            AllRefused: the server delivers no message.
            TemporaryError: messages without an outcome may be requested again on a new connection.
        """
        refused: dict[Wanted, bytes] = {}
        for each, status, body in self._whole(wanted, self._body):
            if body is not None:
                yield _outcome(each, body, accept=self.accept)
                continue
            refused[each] = status
            if not self.delivered and len(refused) % _FAILURES == 0:  # the end of a few: nothing is in flight
                self._require_another(refused)
        if refused and not self.delivered:
            self._require_another(refused)
        for each, status in refused.items():
            yield Undelivered(each.uid, REFUSED, printable(status))

    def _whole(
        self, wanted: Sequence[Wanted], read: Callable[[], Body]
    ) -> Iterator[tuple[Wanted, bytes, Body | None]]:
        """The status line for each message, and the message; None: it was refused."""
        left = deque(wanted)
        while left:
            # A few first: they show whether TOP is of any use here.
            some = [left.popleft() for _ in range(len(left) if self.delivered else min(len(left), _FAILURES))]
            rest = some
            if self.has_top and self._failures < _FAILURES:
                rest = []
                for each, status, body in self._stream(_ALL, some, read):
                    if body is not None and _is_whole(each, body):
                        self._failures, self.delivered = 0, True
                        yield each, status, body
                        continue
                    if body is not None:
                        body.discard()
                    rest.append(each)
                    self._failures += 1
            for each, status, body in self._stream(b"RETR %d", rest, read):
                self.delivered = self.delivered or body is not None
                yield each, status, body

    def headers(self, wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, bytes]]:
        """The header blocks. What the server does not give is left out."""
        rest = list(wanted)
        if self.has_top:
            rest = []
            for each, _, header in self._stream(b"TOP %d 0", wanted, self._header):
                if header is None:
                    rest.append(each)
                else:
                    yield each, header
            # Servers need not have TOP (RFC 1939 section 7); or it fails for one message.
            self.has_top = not rest or len(rest) < len(wanted)
        for each, _, header in self._stream(b"RETR %d", rest, self._header):
            if header is not None:
                yield each, header

    def digests(self, wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, Digest]]:
        """The digests of the octets, which are not kept. What the server does not give is left out."""
        for each, _, body in self._whole(wanted, self._counted):
            if body is not None:
                yield each, body.digest

    def gives(self, wanted: Wanted) -> bool:
        """Whether the server delivers anything of this message."""
        return any(self.headers([wanted]))

    # One command for each message

    def _stream(
        self, command: bytes, wanted: Sequence[Wanted], read: Callable[[], T]
    ) -> Iterator[tuple[Wanted, bytes, T | None]]:
        """The status line of the command for each message, and what was read of its answer; None: it was refused.

        Raises:
            TemporaryError: with the UID of the message that was being read.
        """
        left, flying = deque(wanted), deque[Wanted]()
        octets = 0
        try:
            while left or flying:
                ahead = []
                while left and (not flying or self._may_send(len(flying), octets)):
                    flying.append(left.popleft())
                    octets += flying[-1].size or 0
                    ahead.append(command % flying[-1].number)
                if ahead:
                    self.session.send(*ahead)
                status = self.session.status()
                answer = read() if is_ok(status) else None
                if answer is None:
                    self._raise_if_passing(status)
                each = flying.popleft()
                octets -= each.size or 0
                yield each, status, answer
        except TemporaryError as error:
            if flying and error.where is not None:
                error.where = replace(error.where, uid=flying[0].uid, operation="fetch")
            raise

    def _may_send(self, flying: int, octets: int) -> bool:
        return self.session.pipelines and flying < _IN_FLIGHT and octets < _OCTETS_IN_FLIGHT

    def _raise_if_passing(self, status: bytes) -> None:
        """Raise what is about the server, and not about a message."""
        error = error_of(status, self.session.where, MessageRefused)
        if isinstance(error, TemporaryError):
            raise error

    def _body(self) -> Body:
        pieces, size = [], 0
        stream = self.session.octets()
        for piece in stream:
            pieces.append(piece)
            size += len(piece)
            if size > SPOOL_OCTETS:
                return self._spooled(pieces, stream)
        return body_of(b"".join(pieces))

    def _spooled(self, pieces: list[bytes], stream: Iterator[bytes]) -> Body:
        builder = BodyBuilder()
        with self.spool() as file:
            path = Path(file.name)
            try:
                _write_all(file, builder, pieces, stream)
            except BaseException as error:
                path.unlink()
                if isinstance(error, OSError):
                    raise ArchiveNotWritable(
                        f"{path.parent}: {error.strerror}", hint="free some space and run again; nothing is lost"
                    ) from error
                raise
        return builder.body(spool=path)

    def _header(self) -> bytes:
        header = b""
        for piece in self.session.octets():
            if len(header) < HEADER_OCTETS:
                header += piece
        return header_block(header)

    def _counted(self) -> Body:
        builder = BodyBuilder()
        for piece in self.session.octets():
            builder.feed(piece)
        return builder.body()

    def _require_another(self, refused: dict[Wanted, bytes]) -> None:
        """Ask for the beginning of another message: if one comes, the refused ones are bad. So they are if there is
        none, and they are few.

        Raises:
            AllRefused: none does.
        """
        numbers = {each.number for each in refused}
        others = [number for number in self.others if number not in numbers]
        some = dict.fromkeys(others[place] for place in (0, -1, len(others) // 2) if others)
        self.delivered = any(self.gives(Wanted(0, number, None)) for number in some)
        if self.delivered or (not some and len(refused) <= _FAILURES):
            return
        said = printable(next(iter(refused.values())))
        error = AllRefused(f"the server delivers no message: {said}", where=self.session.where, server_reply=said)
        error.refused = frozenset(each.uid for each in refused)
        raise error


def _write_all(file: BinaryIO, builder: BodyBuilder, pieces: list[bytes], stream: Iterator[bytes]) -> None:
    while pieces:
        piece = pieces.pop(0)
        builder.feed(piece)
        file.write(piece)
    for piece in stream:
        builder.feed(piece)
        file.write(piece)
    file.flush()


def _is_whole(wanted: Wanted, body: Body) -> bool:
    """Whether what TOP gave is the whole message. NOTE: POP3 ends the last line, and LIST may not count that."""
    return wanted.size is not None and body.size > 0 and body.size in (wanted.size, wanted.size + 2)


def _outcome(wanted: Wanted, body: Body, *, accept: bool) -> Fetched | Undelivered:
    if body.size == 0 and wanted.size:
        return Undelivered(wanted.uid, f"the server gave 0 of the message's {wanted.size} bytes")
    if is_placeholder(body.header) and not accept:
        body.discard()
        return Undelivered(wanted.uid, PLACEHOLDER_GIVEN)
    return Fetched(Attributes(wanted.uid, size=wanted.size), body)
