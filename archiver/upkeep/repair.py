"""The repair step: missing or damaged messages are fetched again from wherever they still exist.

Octets are accepted only if their digest is the recorded one, and what was written is read back before it counts.
Intact messages are never touched, nor are files and objects that belong to no message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

from archiver.catalog.port import Catalog
from archiver.control.run import RunControl
from archiver.errors import BackendError, ConfigError, IntegrityError
from archiver.events import Planned, Received
from archiver.journal.recorder import Recorder
from archiver.mail.model import Body, Digest, Headers, Placement
from archiver.storage.audit import Damage, Fault, Looked, fault_in
from archiver.storage.port import MessageStore
from archiver.upkeep.auditing import look_through
from archiver.upkeep.repair_sources import Origin, read_body

_HELD_MESSAGES, _HELD_OCTETS = 200, 32 << 20


class Repaired(Struct, frozen=True):
    """A message that is intact again, or would be in a dry run. `origin` is where its octets came from."""

    path: str
    folder: str | None
    uid: int
    digest: Digest
    origin: str


class Lost(Struct, frozen=True):
    """A message that could not be repaired. `arrived` is its INTERNALDATE in seconds since 1970."""

    path: str
    folder: str | None
    uid: int
    digest: Digest
    size: int
    arrived: int
    subject: str | None
    reason: str


class RepairResult(Struct, frozen=True):
    """How many messages were checked, and the results. `unreachable` are the origins that could not be used, with
    the reason. `damage` lists damaged packs and the like; their messages are among those that are repaired or
    lost."""

    messages: int
    repaired: tuple[Repaired, ...] = ()
    lost: tuple[Lost, ...] = ()
    unreachable: tuple[str, ...] = ()
    damage: tuple[Damage, ...] = ()

    @property
    def exit_code(self) -> int:
        """6 if something is still missing or damaged, otherwise 0."""
        return 6 if self.lost else 0


class RepairStep(Struct):
    """Repairs one archive.

    `origins` are tried in this order. `reads` selects the messages whose octets are read to find damage, the same
    for equal octets. `begin` is called before the store is changed. With `dry_run` octets are fetched but nothing
    is written.
    """

    store: MessageStore
    catalog: Catalog
    recorder: Recorder
    origins: Sequence[Origin]
    reads: Callable[[Placement], bool]
    begin: Callable[[], None]
    control: RunControl
    dry_run: bool = False
    _names: Mapping[str, str] = field(default_factory=dict)
    _wanted: dict[Digest, list[Placement]] = field(default_factory=dict)
    _faults: dict[Digest, Fault] = field(default_factory=dict)
    _held: list[tuple[Body, Sequence[Placement], str]] = field(default_factory=list)
    _held_octets: int = 0
    _repaired: list[Repaired] = field(default_factory=list)
    _lost: list[Lost] = field(default_factory=list)

    def run(self) -> RepairResult:
        """Check everything and repair what can be repaired. If interrupted, run it again for the rest.

        Raises:
            ArchiverError: the catalog cannot be read, or the store cannot be written.
        """
        self._names = {each.directory: each.folder.name for each in self.catalog.account.folders().values()}
        messages, damage = self._look()
        unreachable: list[str] = []
        try:
            self._take_out()
            for origin in self.origins:
                if self._wanted:
                    unreachable += self._search(origin)
        finally:
            self._drop_held()
        for digest, places in self._wanted.items():
            reason = f"{self._faults[digest].reason}; no other copy was found"
            self._lose(places, reason)
        return RepairResult(messages, tuple(self._repaired), tuple(self._lost), tuple(unreachable), tuple(damage))

    def _look(self) -> tuple[int, list[Damage]]:
        messages = 0
        damage: list[Damage] = []
        for each in look_through(self.store, self.catalog.messages, self.reads, self.control):
            if isinstance(each, Damage):
                damage.append(each)
            if not isinstance(each, Looked):
                continue
            messages += 1
            if each.fault is not None:
                self._wanted.setdefault(each.placement.digest, []).append(each.placement)
                self._faults[each.placement.digest] = each.fault
        broken = list(self._wanted.values())
        self.control.progress(Planned(sum(map(len, broken)), sum(places[0].size for places in broken)))
        return messages, damage

    def _take_out(self) -> None:
        """Store intact messages of a damaged pack again, elsewhere."""
        for digest, places in list(self._wanted.items()):
            if self._faults[digest].kind == "endangered":
                try:
                    with self.store.open(places[0]) as file:
                        body = read_body(file, places[0].size, self.store.spool)
                except IntegrityError:
                    continue
                self._deliver(body, "the archive itself")
        self._write_held()

    def _search(self, origin: Origin) -> list[str]:
        """Search one origin; returns why it could not be used, if so. What it delivered before counts."""
        unreachable: list[str] = []
        try:
            origin.search(self._wanted, lambda body: self._deliver(body, origin.name))
        except (BackendError, ConfigError) as error:
            unreachable.append(f"{origin.name}: {error}")
        self._write_held()
        return unreachable

    def _deliver(self, body: Body, origin: str) -> None:
        self.control.check_stop()
        places = self._wanted.pop(body.digest, None)
        if places is None:
            _drop(body)
            return
        self._held.append((body, places, origin))
        self._held_octets += body.size
        self.control.progress(Received(len(places), body.size))
        if len(self._held) >= _HELD_MESSAGES or self._held_octets >= _HELD_OCTETS:
            self._write_held()

    def _write_held(self) -> None:
        held = self._held
        if not self.dry_run and held:
            self.begin()
            self._write([(body, places[0]) for body, places, _ in held])
        for body, places, origin in held:
            for place in places:
                self._end(place, places[0], origin)
            if self.dry_run:
                _drop(body)
        self._held, self._held_octets = [], 0

    def _write(self, messages: Sequence[tuple[Body, Placement]]) -> None:
        batch = self.store.rewrite_batch([place for _, place in messages])
        for body, place in messages:
            batch.put(place, body)
        self.recorder.write(batch.commit())

    def _end(self, place: Placement, first: Placement, origin: str) -> None:
        """Record whether a message is intact now. If its octets were written for another message and the store has
        a place for each, it gets its own copy."""
        fault = None if self.dry_run else self._fault(place)
        if fault is not None and place != first and self._fault(first) is None:
            with self.store.open(first) as file:
                body = read_body(file, first.size, self.store.spool)
            self._write([(body, place)])
            fault = self._fault(place)
        if fault is None:
            name = self._names.get(place.directory)
            self._repaired.append(Repaired(self.store.display_path(place), name, place.uid, place.digest, origin))
        else:
            self._lose([place], f"was written again from {origin}, but {fault.reason}")

    def _fault(self, place: Placement) -> Fault | None:
        try:
            with self.store.open(place) as file:
                return fault_in(file, place)
        except IntegrityError as error:
            return Fault("missing", error.message)
        except OSError as error:
            return Fault("damaged", f"cannot be read: {error.strerror or error}")

    def _lose(self, places: Sequence[Placement], reason: str) -> None:
        known: Mapping[Digest, Headers] = self.catalog.index.headers({each.digest for each in places})
        for place in places:
            headers = known.get(place.digest)
            self._lost.append(
                Lost(
                    path=self.store.display_path(place),
                    folder=self._names.get(place.directory),
                    uid=place.uid,
                    digest=place.digest,
                    size=place.size,
                    arrived=place.arrived,
                    subject=headers.subject if headers else None,
                    reason=reason,
                )
            )

    def _drop_held(self) -> None:
        for body, _, _ in self._held:
            _drop(body)
        self._held = []


def _drop(body: Body) -> None:
    if body.spool is not None:
        body.spool.unlink(missing_ok=True)
