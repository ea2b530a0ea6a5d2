"""Bytes, then journal, then catalog: the one order in which everything is recorded.

A `Batch` collects messages and facts and makes them durable together; the `Recorder` is the only writer of journal
and catalog. An interruption in between leaves at worst bytes without facts, never facts without bytes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.catalog.port import Catalog, CatalogMessages
from archiver.errors import IntegrityError
from archiver.events import Progress, Received, Stored
from archiver.facts.archive import EpochFact, Fact, FolderFact, StoredFact
from archiver.facts.destination import DestinationFact, RestorePlaceFact, TargetFact
from archiver.journal.port import Journal
from archiver.journal.rebuild import forged_facts_as_damage
from archiver.mail.model import Body, Placement
from archiver.storage.port import MessageStore, StoreBatch

BATCH_MESSAGES = 1000
BATCH_OCTETS = 32 << 20
BATCH_SECONDS = 20.0
_HELD_MESSAGES = 64
_HELD_OCTETS = 4 << 20

_Numbered = TypeVar("_Numbered", DestinationFact, RestorePlaceFact)


class Recorder:
    """Writes facts to the journal and then to the catalog; may be called from several threads."""

    def __init__(self, journal: Journal, catalog: Catalog, run: str) -> None:
        self._journal = journal
        self._catalog = catalog
        self._run = run
        self._lock = threading.Lock()
        self._numbering = threading.Lock()  # of its own: a number need not wait for a disk
        self._last = catalog.last_segment()
        self._number()

    def _number(self) -> None:
        """Called before numbers are given."""
        numbers = self._catalog.account.next_numbers()
        self._next_folder, self._next_epoch = numbers.folder, numbers.epoch
        self._next_destination, self._next_target = numbers.destination, numbers.target
        self._generations = dict(numbers.generations)

    def catch_up(self, behind: Callable[[], None]) -> int:
        """Apply the segments that the catalog does not have; returns their number. It is one after a crash, several
        if the catalog is an older backup, all if it was lost. `behind` is called before the first is applied."""
        applied = 0
        with self._lock:
            for segment in self._journal.read(self._last):
                if applied == 0:
                    behind()
                with forged_facts_as_damage(segment):
                    self._catalog.apply(segment)
                self._last = (segment.number, segment.digest)
                applied += 1
            if applied:
                self._number()
            self._catalog.purge()
        return applied

    def write(self, facts: Sequence[Fact]) -> None:
        """Record facts, durable on return. Without facts nothing is written."""
        if not facts:
            return
        with self._lock:
            segment = self._journal.append(self._run, facts, self._last)
            self._last = (segment.number, segment.digest)
            self._catalog.apply(segment)

    def number_folder(self, fact: FolderFact) -> FolderFact:
        """Assign a new folder its number."""
        with self._numbering:
            fact = replace(fact, number=self._next_folder)
            self._next_folder += 1
        return fact

    def number_epoch(self, fact: EpochFact) -> EpochFact:
        """Assign a new epoch its number, and its generation among those of the same UIDVALIDITY."""
        with self._numbering:
            key = (fact.folder, fact.uidvalidity)
            self._generations[key] = self._generations.get(key, 0) + 1
            fact = replace(fact, number=self._next_epoch, generation=self._generations[key])
            self._next_epoch += 1
        return fact

    def number_destination(self, fact: _Numbered) -> _Numbered:
        """Assign a new destination, or a place to restore to, its number."""
        with self._numbering:
            fact = replace(fact, number=self._next_destination)
            self._next_destination += 1
        return fact

    def number_target(self, fact: TargetFact) -> TargetFact:
        """Assign a new epoch of a destination's folder its number."""
        with self._numbering:
            fact = replace(fact, number=self._next_target)
            self._next_target += 1
        return fact


class _Due(Struct, frozen=True):
    """What is to be made durable together."""

    octets: StoreBatch | None
    moves: Sequence[tuple[Placement, Placement]]
    facts: Sequence[Fact]
    then: Sequence[Callable[[], None]]
    received: Stored


class _Settling(Struct):
    """What another thread makes durable; `error` is why it could not."""

    due: _Due
    thread: threading.Thread
    error: BaseException | None = None


class Batch(Struct):
    """What one connection collects until it is made durable together. Belongs to one thread.

    Messages are held for a moment before they are written, so that octets that the archive already has are linked
    and not written again. A full batch is made durable by another thread, while the connection goes on; the next
    one waits until that is done.
    """

    recorder: Recorder
    store: MessageStore
    messages: CatalogMessages
    progress: Progress
    damage: IntegrityError | None = None
    _bytes: StoreBatch | None = None
    _held: list[tuple[Placement, Body]] = field(default_factory=list)
    _held_octets: int = 0
    _facts: list[Fact] = field(default_factory=list)
    _moves: list[tuple[Placement, Placement]] = field(default_factory=list)
    _then: list[Callable[[], None]] = field(default_factory=list)
    _messages: int = 0
    _octets: int = 0
    _began: float = 0.0
    _settling: _Settling | None = None

    def stored(self, fact: StoredFact, placement: Placement, body: Body) -> None:
        """Add a message whose octets were fetched."""
        self._held.append((placement, body))
        self._held_octets += body.size if body.octets is not None else 0
        self._messages += 1
        self._octets += body.size
        self.fact(fact)
        if self._settling is not None and not self._settling.thread.is_alive():
            self._settle()
        if len(self._held) >= _HELD_MESSAGES or self._held_octets >= _HELD_OCTETS:
            self._write_held()
        if (
            self._messages >= BATCH_MESSAGES
            or self._octets >= BATCH_OCTETS
            or time.monotonic() - self._began > BATCH_SECONDS
        ):
            self._flush_beside()

    def linked(self, fact: StoredFact, placement: Placement, twin: Placement) -> bool:
        """Add a message whose octets the archive has at `twin`. False if they turn out to be missing; then nothing
        is recorded."""
        try:
            self._open().link(placement, twin)
        except IntegrityError:
            return False
        self.fact(fact)
        self._flush_if_full()  # NOTE: outside the try: an error here concerns the whole batch
        return True

    def moved(self, fact: Fact, moves: Sequence[tuple[Placement, Placement]]) -> None:
        """Add messages whose files move because of `fact`."""
        self._moves.extend(moves)
        self.fact(fact)
        self._flush_if_full()

    def move(self, moves: Iterable[tuple[Placement, Placement]]) -> None:
        """Move immediately. A message that was removed from the archive must not block all others forever: it is
        kept as `damage` and reported when everything else is done."""
        try:
            self.store.move(moves)
        except IntegrityError as error:
            self.damage = self.damage or error

    def fact(self, fact: Fact) -> None:
        """Add a fact."""
        if not self._facts:
            self._began = time.monotonic()
        self._facts.append(fact)

    def then(self, callback: Callable[[], None]) -> None:
        """Call `callback` when everything added so far is durable."""
        self._then.append(callback)

    def hasten(self) -> None:
        """Let another thread make everything durable now, because somebody waits for it, unless one is at that."""
        if self._settling is not None:
            if self._settling.thread.is_alive():
                return
            self._settle()
        if self._messages:
            self._flush_beside()

    def flush(self) -> None:
        """Make everything durable. After an error nothing of it is recorded, and `abandon` must be called."""
        due = self._taken()
        try:
            self._record(due)
        except BaseException:
            self._bytes = due.octets  # to be abandoned
            raise
        for callback in due.then:
            callback()

    def _flush_beside(self) -> None:
        """Let another thread make everything durable. Its error is raised by what is flushed next."""
        due = self._taken()

        def record() -> None:
            try:
                self._record(due)
            except BaseException as error:  # NOTE: raised again by `_settle`, in the thread of this batch
                settling.error = error

        settling = _Settling(due, threading.Thread(target=record, name=threading.current_thread().name))
        try:
            settling.thread.start()
        except BaseException:
            self._bytes = due.octets  # to be abandoned
            raise
        self._settling = settling

    def _settle(self) -> None:
        """Wait for what another thread makes durable, and do what was to be done then."""
        settling = self._settling
        if settling is None:
            return
        settling.thread.join()
        if settling.error is not None:
            raise settling.error
        self._settling = None
        for callback in settling.due.then:
            callback()

    def _taken(self) -> _Due:
        """Everything that was added so far; what was taken before is durable."""
        self._write_held()
        self._settle()
        due = _Due(self._bytes, self._moves, self._facts, self._then, Stored(self._messages, self._octets))
        self._bytes, self._moves, self._facts, self._then = None, [], [], []
        self._messages = self._octets = 0
        return due

    def _record(self, due: _Due) -> None:
        placed: Sequence[Fact] = due.octets.commit() if due.octets is not None else ()
        if due.moves:
            self.move(due.moves)
        self.recorder.write([*placed, *due.facts])
        if due.received.messages:
            self.progress(due.received)

    def abandon(self) -> None:
        """Drop what is not durable; the next run fetches it again."""
        for _, body in self._held:
            if body.spool is not None:
                body.spool.unlink(missing_ok=True)
        self._held = []
        unfinished = [self._bytes]
        if self._settling is not None:
            self._settling.thread.join()
            unfinished.append(self._settling.due.octets)
            self._settling = None
        for each in unfinished:
            if each is not None:
                each.abandon()
        self._bytes = None
        self._facts, self._moves, self._then = [], [], []

    def _flush_if_full(self) -> None:
        """NOTE: all hundred thousand messages of a folder may change their flags in one night."""
        if max(len(self._facts), len(self._moves)) >= BATCH_MESSAGES:
            self.flush()

    def _open(self) -> StoreBatch:
        if self._bytes is None:
            self._bytes = self.store.batch()
        return self._bytes

    def _write_held(self) -> None:
        if not self._held:
            return
        twins = self.messages.twins({body.digest for _, body in self._held})
        batch = self._open()
        for placement, body in self._held:
            batch.put(placement, body, twins.get((body.digest, placement.arrived)))
        self.progress(Received(len(self._held), sum(body.size for _, body in self._held)))
        self._held = []
        self._held_octets = 0
