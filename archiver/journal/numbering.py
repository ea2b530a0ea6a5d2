"""The UIDs that the journal gives to messages which have names at their source."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count

from archiver.catalog.port import Catalog
from archiver.control.run import utc_now
from archiver.facts.archive import NumberedFact
from archiver.facts.known import FolderNumbering, KnownEpoch
from archiver.journal.recorder import Recorder
from archiver.mail.model import HIGHEST_UID, StoredMessage
from archiver.mail.uidset import UidSet
from archiver.source.numbering import KnownNumbers

_OF_A_LINE = 2_000  # names


class RecordedNumbers:
    """Implements `Numbering`. Without a recorder nothing is recorded: new names get the UIDs that they would get
    now, and keep them as long as this value exists.

    A folder's UIDVALIDITY is higher than any that it had at another source, so that no UID comes twice under one.
    It stays if a run is cut off before the folder's epoch is recorded.
    """

    def __init__(self, catalog: Catalog, recorder: Recorder | None = None) -> None:
        self._catalog = catalog
        self._recorder = recorder
        self._lock = threading.RLock()
        self._folders: dict[bytes, int] = {}
        self._tentative: dict[bytes, dict[str, int]] = {}

    def known(self, raw: bytes) -> KnownNumbers:
        with self._lock:
            uidvalidity, uidnext, epoch = self._numbering(raw)
            tentative = self._tentative.get(raw)
        if tentative:
            uidnext = max(uidnext, 1 + max(tentative.values()))
        if epoch is None:
            return KnownNumbers(uidvalidity, uidnext)
        held = self._catalog.messages.uids(epoch.number)
        held |= UidSet(each.uid for each in self._catalog.account.quarantined(epoch.number))
        held |= self._catalog.keeping.forgotten_uids(epoch.number)
        return KnownNumbers(uidvalidity, uidnext, epoch.state, held)

    def uids(self, raw: bytes, names: Sequence[str]) -> Mapping[str, int]:
        with self._lock:
            uidvalidity, _, _ = self._numbering(raw)
            folder, tentative = self._folder(raw), self._tentative.get(raw, {})
        found = {} if folder is None else dict(self._catalog.account.uids_of(folder, uidvalidity, names))
        return found | {name: tentative[name] for name in names if name in tentative}

    def number(self, raw: bytes, names: Sequence[str]) -> Mapping[str, int]:
        with self._lock:
            known = self.uids(raw, names)
            new = [name for name in dict.fromkeys(names) if name not in known]
            if not new:
                return known
            uidvalidity, uidnext, _ = self._numbering(raw)
            if self._recorder is None:
                tentative = self._tentative.setdefault(raw, {})
                uidnext = max(uidnext, 1 + max(tentative.values(), default=0))
                tentative |= zip(new, range(uidnext, uidnext + len(new)), strict=True)
            else:
                self._record(self._recorder, raw, uidvalidity, [(uidnext, new)])
            return self.uids(raw, names)

    def rename(self, raw: bytes, names: Mapping[str, int]) -> None:
        with self._lock:
            if self._recorder is None:
                self._tentative.setdefault(raw, {}).update(names)
            else:
                uidvalidity, _, _ = self._numbering(raw)
                self._record(self._recorder, raw, uidvalidity, _runs(names))

    def recorded(self, raw: bytes, uids: Collection[int]) -> Iterator[StoredMessage]:
        _, _, epoch = self._numbering(raw)
        if epoch is not None:
            yield from (each.message for each in self._catalog.messages.placements(epoch.number, uids=uids))

    def _record(
        self, recorder: Recorder, raw: bytes, uidvalidity: int, runs: Sequence[tuple[int, Sequence[str]]]
    ) -> None:
        folder, at = self._folder(raw), utc_now()
        if folder is None:
            raise ValueError(f"{raw!r} is not a recorded folder")
        recorder.write(
            [
                NumberedFact(folder, uidvalidity, first + i, tuple(names[i : i + _OF_A_LINE]), at)
                for first, names in runs
                for i in range(0, len(names), _OF_A_LINE)
            ]
        )

    def _numbering(self, raw: bytes) -> tuple[int, int, KnownEpoch | None]:
        """The folder's UIDVALIDITY, UIDNEXT, and its epoch, if it has one under this UIDVALIDITY."""
        folder = self._folder(raw)
        if folder is None:
            return 1, 1, None
        numbering = self._catalog.account.numbering(folder)
        uidvalidity = _uidvalidity(numbering)
        epoch = numbering.epoch
        is_present = epoch is not None and epoch.uidvalidity == uidvalidity and not epoch.other_source
        return uidvalidity, numbering.uidnexts.get(uidvalidity, 1), epoch if is_present else None

    def _folder(self, raw: bytes) -> int | None:
        """The folder's number, which never changes."""
        if raw not in self._folders and (self._recorder is not None or not self._folders):
            self._folders = {each: known.number for each, known in self._catalog.account.folders().items()}
        return self._folders.get(raw)


def _uidvalidity(numbering: FolderNumbering) -> int:
    """That of the present epoch, if its UIDs were given here for this source, or will be, as it never had any; that
    of an epoch which has not begun yet; or a new one."""
    epoch, uidnexts = numbering.epoch, numbering.uidnexts
    if epoch is not None and not epoch.other_source:
        never_any = epoch.uidvalidity and epoch.state is not None and epoch.state.uidnext == 1
        if epoch.uidvalidity in uidnexts or never_any:
            return epoch.uidvalidity
    used = numbering.uidvalidities
    highest, begun = max(used, default=0), max(uidnexts, default=0)
    if begun > highest:
        return begun
    return highest + 1 if highest < HIGHEST_UID else next(each for each in count(1) if each not in used)


def _runs(names: Mapping[str, int]) -> list[tuple[int, list[str]]]:
    """The names in runs of consecutive UIDs, with the first one of each."""
    runs: list[tuple[int, list[str]]] = []
    for name, uid in sorted(names.items(), key=lambda each: each[1]):
        if runs and uid == runs[-1][0] + len(runs[-1][1]):
            runs[-1][1].append(name)
        else:
            runs.append((uid, [name]))
    return runs
