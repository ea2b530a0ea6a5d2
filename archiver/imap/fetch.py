"""The fetch stream: downloads messages, with several windows of UIDs in flight.

The result is one outcome for each UID, whatever the server does: rows in any order, rows that were not requested,
an OK without the message, a NO for a whole range because of one message in it. A refused message counts as bad
only if the server delivers another one; otherwise the server delivers none. Memory holds one message at a time,
and a large message goes to a spool file.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.errors import AllRefused, ArchiveNotWritable, ConnectionLost, ServerUnavailable, Throttled
from archiver.imap.coming import Coming
from archiver.imap.fetch_row import is_fetch, parse_fetch
from archiver.imap.replies import error_of, is_of_session, printable, response_code
from archiver.imap.session import BodyReader, Session
from archiver.imap.tokens import Response, is_ok, number, tagged, uid_sets
from archiver.mail.content import PLACEHOLDER_GIVEN, REFUSED, BodyBuilder, Spool, body_of, is_placeholder
from archiver.mail.model import Attributes, Body, Fetched, Undelivered

WINDOW = 100  # UIDs in one command; a refusal costs log2 of it in commands
IN_FLIGHT = 4  # commands in flight, once the connection has delivered a message
SPOOL_OCTETS = 1 << 20  # a larger message goes to a spool file
_PIECE = 256 << 10
# After so many refused single messages, or refused commands, another message is requested to see whether the server
# still delivers any.
_REFUSED_IN_A_ROW = 3
_COMMANDS_REFUSED = 6
_LIMITS_SAID = 3  # other messages that the server must refuse in words about a limit, until a limit is believed
_NEXT = re.compile(rb"\A\* OK \[(?:CLOSED|UIDVALIDITY)\b", re.IGNORECASE)
_UID = re.compile(rb"[( ]UID (\d+)", re.IGNORECASE)


def body_reader(spool: Spool) -> BodyReader:
    """A reader that takes a literal into memory, or piece by piece into a spool file if it is large."""

    def read(size: int, session: Session) -> Body:
        return body_of(session.read_octets(size)) if size <= SPOOL_OCTETS else _spooled(size, session, spool)

    return read


def read_header(size: int, session: Session) -> Body:
    """Read a header literal of any size and keep only the body's `header`."""
    builder = BodyBuilder()
    while size:
        piece = session.read_octets(min(size, _PIECE))
        builder.feed(piece)
        size -= len(piece)
    return builder.body()


def _spooled(size: int, session: Session, spool: Spool) -> Body:
    builder = BodyBuilder()
    with spool() as file:
        path = Path(file.name)
        try:
            left = size
            while left:
                piece = session.read_octets(min(left, _PIECE))
                builder.feed(piece)
                file.write(piece)
                left -= len(piece)
            file.flush()
        except BaseException as error:
            path.unlink()
            if isinstance(error, OSError):
                raise ArchiveNotWritable(
                    f"{path.parent}: {error.strerror}", hint="free some space and run again; nothing is lost"
                ) from error
            raise
    return builder.body(spool=path)


class _Window(Struct):
    """A FETCH in flight: the UIDs that have no outcome yet, with the attributes known so far. `last_chance`: a
    single message that was requested before."""

    pending: dict[int, Attributes | None]
    last_chance: bool = False
    tag: bytes = b""


class FetchStream(Struct):
    """One fetch of many UIDs on an open folder.

    `current` is the UID at whose row the connection broke, as far as that is known: if it breaks there more than
    once, that message is the cause. `accept` stores a server's placeholder as the message, as the user requested.
    `delivered`: this connection has delivered messages; until then one command is sent at a time. `behind` is
    called once, when nothing else has to be sent as far as can be known: what is sent then is answered behind these
    messages.
    """

    session: Session
    items: bytes
    spool: Spool
    accept: bool = False
    delivered: bool = False
    current: int | None = None
    behind: Callable[[], None] | None = None
    _early: deque[Response] = field(default_factory=deque)
    _refused: dict[int, Undelivered] = field(default_factory=dict)
    _commands_refused: int = 0
    _said_limit: bool = False
    _newest_delivered: int | None = None
    _queue: deque[_Window] = field(default_factory=deque)
    _flying: deque[_Window] = field(default_factory=deque)

    def messages(self, uids: Sequence[int], coming: Coming | None = None) -> Iterator[Fetched | Undelivered]:
        """One outcome for each of `uids`. Those that are `coming` are not requested again.

        Raises:
            AllRefused: the server delivers no message of this folder.
            TemporaryError: UIDs without an outcome may be requested again on a new connection.
        """
        ordered = sorted(uids)
        if coming is not None:
            self._flying.append(
                _Window(dict.fromkeys(uid for uid in ordered if uid >= coming.first), tag=coming.tag)
            )
            self._early = coming.early
            ordered = [uid for uid in ordered if uid < coming.first]
        self._queue.extend(
            _Window(dict.fromkeys(ordered[start : start + WINDOW])) for start in range(0, len(ordered), WINDOW)
        )
        read_body = body_reader(self.spool)
        while self._queue or self._flying or self._refused:
            if not self._flying and (self._in_doubt or not self._queue):
                self._require_another()
                yield from self._refusals()
                continue
            self._send_ahead()
            self.current = None
            response = self._response(read_body)
            if self.session.before_sending is not None and _NEXT.match(response.text):
                self._lost("the server opens the next folder before it has delivered this one's messages")
            if (outcome := self._outcome_of(response)) is not None:
                self.session.progressed()
                if isinstance(outcome, Fetched):
                    self.delivered, self._newest_delivered = True, outcome.attributes.uid
                    if self._refused or self._commands_refused or self._said_limit:
                        yield from self._refusals()
                yield outcome
            if response.text.startswith(b"* "):
                continue
            tag, text = tagged(response.text)
            # Not always the oldest: servers may work on several at once (RFC 3501 section 5.5).
            window = next((each for each in self._flying if each.tag == tag), None)
            if window is not None:
                self.session.finished()
                self._flying.remove(window)
                yield from self._finished(window, text)
            elif tag != b"*":
                self._lost(printable(response.text, 80))

    def _response(self, read_body: BodyReader) -> Response:
        if self._early:
            return self._early.popleft()
        try:
            return self.session.read_response(read_body)
        except BaseException as error:
            self._find_suspect()
            if isinstance(error, ConnectionLost | ServerUnavailable):  # a server may say why it hangs up
                error.where = replace(self.session.where, uid=self.current, operation="fetch")
            raise

    def _find_suspect(self) -> None:
        """Set `current` to the message whose octets were being read, if the server sent its UID before them. Rows
        may come in any order."""
        said = _UID.search(self.session.reading)
        uid = number(said[1]) if said else None
        is_asked_for = any(uid in window.pending for window in self._flying)
        self.current = uid if is_asked_for else self._next_uid()

    def _next_uid(self) -> int | None:
        return next((uid for window in self._flying for uid in window.pending), None)

    @property
    def _in_doubt(self) -> bool:
        """Whether so much was refused since the last delivery that the server may deliver nothing any more."""
        alone = len(self._refused) >= (_REFUSED_IN_A_ROW if self.delivered else 1)
        return alone or self._commands_refused >= _COMMANDS_REFUSED or self._said_limit

    def _refusals(self) -> Iterator[Undelivered]:
        """Another message was delivered, so the refused ones are bad."""
        refused, self._refused, self._commands_refused, self._said_limit = self._refused, {}, 0, False
        yield from refused.values()

    def _require_another(self) -> None:
        """Request one octet of another message of the folder. Nothing is in flight.

        Raises:
            AllRefused: the server refuses those too.
            Throttled: it refuses them because of a limit.
        """
        places = [b"UID FETCH %d" % self._newest_delivered] if self._newest_delivered else []
        last = self.session.exists
        numbers = (1, last, (last + 1) // 2, (last + 3) // 4, (3 * last + 3) // 4)
        places += [b"FETCH %d" % number for number in dict.fromkeys(numbers) if number]
        refusal: bytes | None = None
        limits = 0
        for place in places:
            (reply,) = self.session.flight(place + b" (UID BODY.PEEK[]<0.1>)")
            rows = [parse_fetch(each) for each in reply.untagged if is_fetch(each.text)]
            named = {row.attributes.uid for row in rows if row.attributes}
            if any(b"BODY[" in each.text.upper() for each in reply.untagged) and not named & self._refused.keys():
                self.delivered = True
                return
            if not reply.ok:
                refusal = reply.status + b" " + reply.text
                if isinstance(error := error_of(refusal, self.session.where), Throttled):
                    limits += 1
                    # Words alone may be about one message, but not about one that is known to be good.
                    if error.certain or limits >= min(_LIMITS_SAID, len(places)) or place.startswith(b"UID"):
                        raise error
        if refusal is None or (self._alone_in_folder() and response_code(refusal) != b"UNAVAILABLE"):
            return  # the folder has no other message
        said = printable(refusal)
        none = AllRefused(f"the server delivers no message: {said}", where=self.session.where, server_reply=said)
        none.refused = frozenset(self._refused)
        raise none

    def _alone_in_folder(self) -> bool:
        return self.session.exists <= len(self._refused)

    def _send_ahead(self) -> None:
        if self._in_doubt or (self._flying and self.session.before_sending is not None):
            return  # what is in flight has to be read before
        while self._queue and len(self._flying) < (IN_FLIGHT if self.delivered else 1):
            window = self._queue.popleft()
            chunks = list(uid_sets(window.pending))
            if len(chunks) > 1:  # the line for a scattered set would be too long
                uids = list(window.pending)
                middle = len(uids) // 2
                for part in (uids[middle:], uids[:middle]):
                    self._queue.appendleft(_Window(dict.fromkeys(part), window.last_chance))
                continue
            (window.tag,) = self.session.send(b"UID FETCH %s %s" % (chunks[0], self.items))
            self._flying.append(window)
        doubts = self._queue or self._refused or self._commands_refused
        if self.behind is not None and self.delivered and not doubts:
            behind, self.behind = self.behind, None
            behind()

    def _outcome_of(self, response: Response) -> Fetched | Undelivered | None:
        """The outcome in a response, if it has one. A body that is not handed on is discarded."""
        outcome: Fetched | Undelivered | None = None
        try:
            if is_fetch(response.text):
                outcome = self._row(response)
        finally:
            if response.body and not (isinstance(outcome, Fetched) and outcome.body is response.body):
                response.body.discard()
        return outcome

    def _row(self, response: Response) -> Fetched | Undelivered | None:
        """A row is a message, or attributes to keep until the message comes, or was not requested."""
        row = parse_fetch(response)
        uid = row.attributes.uid if row.attributes else None
        if (row.has_body or response.body is not None) and not row.clean:
            self.current = uid
            self._lost("a message's length does not match what follows it")
        window = next((w for w in self._flying if uid in w.pending), None)
        if window is None or uid is None or row.attributes is None:
            return None
        attributes = _merged(window.pending[uid], row.attributes)
        if not row.has_body or row.section:  # a part of the message is not the message
            window.pending[uid] = attributes
            return None
        del window.pending[uid]
        return self._outcome(uid, attributes, row.body)

    def _outcome(self, uid: int, attributes: Attributes, body: Body | bytes | None) -> Fetched | Undelivered:
        if body is None and attributes.size != 0:
            return Undelivered(uid, "the server gave NIL instead of the message")
        if not isinstance(body, Body):
            body = body_of(body or b"")
        if body.size == 0 and attributes.size:
            return Undelivered(uid, f"the server gave 0 of the message's {attributes.size} bytes")
        if is_placeholder(body.header) and not self.accept:
            return Undelivered(uid, PLACEHOLDER_GIVEN)
        return Fetched(attributes, body)

    def _finished(self, window: _Window, text: bytes) -> Iterator[Undelivered]:
        """After an OK without some of the messages, or a refusal, request smaller parts, down to single
        messages."""
        left = list(window.pending)
        if not left:
            return
        ok = is_ok(text)
        if not ok:
            self._commands_refused += 1
            error = error_of(text, self.session.where)
            if is_of_session(error) or (isinstance(error, Throttled) and error.certain):
                raise error
            self._said_limit = self._said_limit or (isinstance(error, Throttled) and len(left) > 1)
        if len(left) > 1:
            # Nothing was delivered yet, and perhaps nothing will be; a single message shows that at once.
            middle = len(left) // 2 if self.delivered else 1
            parts = [left[:middle], left[middle:]] if not ok else [[uid] for uid in left]
            self._queue.extendleft(_Window(dict.fromkeys(part)) for part in reversed(parts))
        elif not window.last_chance:
            self._queue.appendleft(_Window(dict.fromkeys(left), last_chance=True))
        elif ok:
            yield self._undelivered(left[0], ok, printable(text))
        else:
            self._refused[left[0]] = self._undelivered(left[0], ok, printable(text))

    def _undelivered(self, uid: int, ok: bool, reply: str) -> Undelivered:
        # NOTE: servers answer for an expunged message as for an unreadable one. Other windows are in flight, so it
        # cannot be checked here: the caller checks afterwards which of them the folder still has.
        reason = "the server answered OK without the message" if ok else REFUSED
        return Undelivered(uid, reason, server_reply=reply)

    def _lost(self, why: str) -> None:
        uid = self._next_uid() if self.current is None else self.current
        where = replace(self.session.where, uid=uid, operation="fetch")
        raise ConnectionLost(f"this is not IMAP: {why}", where=where)


def _merged(known: Attributes | None, new: Attributes) -> Attributes:
    """Two rows about one message. The later one wins; what it leaves out is kept."""
    if known is None:
        return new
    said = {
        name: getattr(new, name)
        for name in ("flags", "internaldate", "size", "modseq", "emailid", "thrid", "labels")
        if getattr(new, name) is not None
    }
    return replace(known, **said)
