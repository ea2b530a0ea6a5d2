"""Opens folders over one connection, and asks for the next ones behind what is in flight.

A server answers an EXAMINE and what was sent before it in this order, since that would be about another folder
afterwards (RFC 3501 section 5.5); so the answer is read when its folder is opened. If something else is requested
of the present folder instead, which nobody expected, what was asked ahead is read and dropped, and that folder
is opened again first.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence

from msgspec.structs import replace

from archiver.errors import ConnectionLost, FolderNotFound, ServerUnavailable, Where
from archiver.imap.coming import discard
from archiver.imap.fetch import body_reader
from archiver.imap.folder import FolderReader
from archiver.imap.listing import ID, Abilities
from archiver.imap.replies import Reply
from archiver.imap.session import Session
from archiver.mail import folder_names
from archiver.mail.model import Attributes, Folder, Opened
from archiver.mail.unnumbered import require_same_uids
from archiver.source.opening import Flight, flight_for, opened_by
from archiver.source.port import Opening

_MOST_AHEAD = 8


class Opener:
    """Belongs to one connection. `alone`: nothing is asked ahead."""

    def __init__(self, session: Session, abilities: Abilities, reader: FolderReader, *, alone: bool) -> None:
        self._session = session
        self._abilities = abilities
        self._reader = reader
        self._alone = alone
        self._reader.behind = self._behind
        self._announced: list[Opening] = []  # and not sent
        self._ahead: deque[Flight] = deque()
        self._open: tuple[Folder, Opened] | None = None
        self._is_whole = False  # nothing else will be requested of the open folder
        self._asked_to_enable = False
        self._enabled: bool | None = None

    def note_enabled(self, *, enabled: bool) -> None:
        """ENABLE was sent by somebody else."""
        self._asked_to_enable, self._enabled = True, enabled

    @property
    def is_in_flight(self) -> bool:
        """Whether answers come that nobody waits for."""
        return bool(self._ahead) or self._reader.coming is not None

    def prepare(self, openings: Sequence[Opening]) -> None:
        """As in the port."""
        sent = [each.opening for each in self._ahead]
        is_continued = sent == [*openings[: len(sent)]] and not self._alone
        self._announced = [*openings[len(sent) : _MOST_AHEAD]] if is_continued else []

    def open(self, opening: Opening) -> Opened:
        """As in the port."""
        was_ahead = bool(self._ahead)
        try:
            return self._opened(opening)
        except ConnectionLost as error:
            # NOTE: a server that hangs up at a message may take its earlier answers along (RST).
            is_at_messages = self._reader.coming is not None and self._reader.coming.is_open
            error.asked_ahead = was_ahead or bool(self._ahead) or is_at_messages
            raise

    def _opened(self, opening: Opening) -> Opened:
        self._session.where = Where(self._session.where.server, folder_names.printable(opening.folder.name))
        self._reader.read_coming(keep=False)
        self._reader.prefetched = self._open = None
        flight = self._flight_of(opening)
        reply, seen = self._answer_to(flight)
        self._guard()
        wants_name = self._abilities.wants_name(reply)
        if (reply.status == b"BAD" and flight.how) or wants_name:
            self._alone = True
            self._drop_ahead()
            self._is_whole = flight.resynchronises = False
            if wants_name:
                self._session.flight(ID)
            reply = self._session.command_with_name(b"EXAMINE", opening.folder.wire)
        other = None if reply.status != b"NO" else folder_names.other_spelling(opening.folder.wire)
        # A server may have changed how it spells names since the folder was listed.
        if other is not None and (again := self._session.command_with_name(b"EXAMINE", other)).ok:
            reply, seen, flight.resynchronises = again, (), False
        opened = self._require_open(opening.folder, reply, resynchronises=flight.resynchronises)
        return replace(opened, identifies=self._reader.identifies, labels=self._reader.labels, seen=seen)

    def abandon(self) -> None:
        """The connection is about to be closed."""
        self._ahead.clear()
        self._session.before_sending = None
        if self._reader.coming is not None:
            self._reader.coming.discard()

    def _require_open(self, folder: Folder, reply: Reply, *, resynchronises: bool) -> Opened:
        responses = self._session.required(reply, FolderNotFound)
        condstore = self._abilities.condstore
        opened = opened_by(responses, self._session.exists, condstore=condstore, resynchronises=resynchronises)
        self._open = folder, opened
        if not opened.status.uidvalidity:
            shown = {each.uid: (each.size, each.internaldate) for each in self._reader.scan(None)}
            opened = replace(opened, shown=shown)
            self._open = folder, opened
        return opened

    def _flight_of(self, opening: Opening) -> Flight:
        """The flight that opens a folder: the one that was sent ahead, if it is this one. The next ones are behind
        it."""
        is_sent = bool(self._ahead) and self._ahead[0].opening == opening
        if is_sent:
            flight = self._ahead.popleft()
        else:
            self._drop_ahead()
            flight = self._new_flight(opening)
            self._announced = self._announced[1:] if self._announced[:1] == [opening] else []
        self._is_whole = flight.is_whole
        self._go_ahead(*([] if is_sent or flight.examine is None else [flight]))
        return flight

    def _new_flight(self, opening: Opening) -> Flight:
        # NOTE: QRESYNC may be asked for if ENABLE, which perhaps goes first in the same flight, is accepted. A
        # server that does not accept it refuses EXAMINE, which is then sent without.
        enable = self._abilities.enable
        may_resynchronise = "QRESYNC" in self._abilities and enable is not None and self._enabled is not False
        enable = None if self._asked_to_enable else enable
        self._asked_to_enable = True
        return flight_for(
            opening, self._reader, self._abilities, enable=enable, may_resynchronise=may_resynchronise
        )

    def _behind(self) -> None:
        """All messages of the open folder that are wanted are in flight."""
        self._is_whole = True
        self._go_ahead()

    def _go_ahead(self, *flights: Flight) -> None:
        """Send these, and what opens the announced folders, as far as nothing else will be sent in between."""
        is_whole, more = self._ahead[-1].is_whole if self._ahead else self._is_whole, [*flights]
        while is_whole and self._announced:
            flight = self._new_flight(self._announced.pop(0))
            if flight.examine is None:
                self._announced.clear()
                break
            more.append(flight)
            self._ahead.append(flight)
            is_whole = flight.is_whole
        self._send(more)
        self._guard()

    def _send(self, flights: Sequence[Flight]) -> None:
        """Send them in one piece."""
        self._session.before_sending = None
        if not flights:
            return
        tags = iter(self._session.send(*itertools.chain.from_iterable(each.commands for each in flights)))
        for each in flights:
            each.tags = [*itertools.islice(tags, len(each.commands))]

    def _guard(self) -> None:
        self._session.before_sending = self._settle if self.is_in_flight else None

    def _settle(self) -> None:
        """Read what is in flight, and be in the open folder: something else is about to be requested of it."""
        self._reader.read_coming(keep=True)
        if not self._ahead:
            return
        self._drop_ahead()
        self._is_whole = False
        if self._open is None:
            raise ServerUnavailable("no folder is open", where=self._session.where)
        folder, before = self._open
        self._session.exists = 0
        reply = self._session.command_with_name(b"EXAMINE", folder.wire)
        require_same_uids(folder, before, self._require_open(folder, reply, resynchronises=False))
        self._open = folder, before

    def _drop_ahead(self) -> None:
        self._announced = [] if self._ahead else self._announced
        while self._ahead:
            flight = self._ahead.popleft()
            self._session.expect(flight.commands)
            replies = self._session.collect(flight.tags, b" ".join(flight.commands), body_reader=discard)
            self._note_enabled(flight, replies)
        self._session.before_sending = None

    def _answer_to(self, flight: Flight) -> tuple[Reply, tuple[Attributes, ...]]:
        """The reply to EXAMINE, and the attributes that were asked for with it. The search and the messages are
        left to the reader."""
        self._session.exists = 0
        if flight.examine is None:
            if flight.enable is not None:
                self._enabled = self._session.flight(flight.enable)[0].ok
            return self._session.command_with_name(b"EXAMINE", flight.opening.folder.wire, flight.how), ()
        coming = flight.coming
        tags = flight.tags if coming is None else flight.tags[:-1]
        self._session.expect(flight.commands)
        self._reader.coming = coming
        replies = self._session.collect(
            tags,
            b" ".join(flight.commands),
            body_reader=None if coming is None else body_reader(self._reader.spool),
            aside=coming.takes if coming is not None else lambda _: False,
        )
        self._note_enabled(flight, replies)
        reply, *others = replies[flight.enable is not None :]
        # NOTE: after a BAD the previous folder is still open, and what follows was about that one.
        if not reply.ok:
            self._reader.read_coming(keep=False)
            return reply, ()
        if others and flight.search is not None:
            self._reader.prefetched = (flight.search, others[0]) if others[0].ok else None
        return reply, self._reader.attributes_of(others) if flight.attributes is not None else ()

    def _note_enabled(self, flight: Flight, replies: Sequence[Reply]) -> None:
        if flight.enable is not None:
            self._enabled = replies[0].ok
