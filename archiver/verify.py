"""The verify step: every row has its bytes, every digest matches, no file is a stranger, the journal is whole.

It trusts nothing it can look at: octets are read and hashed again, places are compared with what lies in the
store, and the catalog with one that was made anew from the journal. It changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest

from archiver.errors import IntegrityError
from archiver.model import Digest, Placement
from archiver.ports import Catalog, Journal, MessageStore
from archiver.progress import Planned, Progress, Verified

_READ_OCTETS = 1 << 20
_TELL_MESSAGES, _TELL_OCTETS = 500, 64 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """A share of the messages, 0 < `share` <= 1. The same `seed` chooses the same messages."""

    share: float
    seed: str

    def takes(self, placement: Placement) -> bool:
        """Whether this message is one of them."""
        name = (
            f"{self.seed}\n{placement.directory}\n{placement.uidvalidity}\n{placement.generation}\n{placement.uid}"
        )
        drawn = hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8).digest()
        return int.from_bytes(drawn) < self.share * 2**64


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. `folder` is the true name; a file that no row expects has only its
    path and the reason."""

    path: str
    reason: str
    folder: str | None = None
    uid: int | None = None
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What was looked at and what was found.

    `messages` rows had to have their bytes, those of `checked` were read (`octets` of them). `journal` and
    `catalog` say what is wrong with the journal, and where the catalog is not what the journal says.
    """

    messages: int
    checked: int
    octets: int
    missing: tuple[Finding, ...] = ()
    damaged: tuple[Finding, ...] = ()
    strays: tuple[Finding, ...] = ()
    journal: str | None = None
    catalog: str | None = None

    @property
    def exit_code(self) -> int:
        """6 for an archive that lost something, 4 for one that only has something too much, else 0."""
        if self.missing or self.damaged or self.journal or self.catalog:
            return 6
        return 4 if self.strays else 0


@dataclass(slots=True)
class VerifyStep:
    """What the step needs.

    `rebuilt` is a catalog made from the journal alone, to compare with; None: the journal is only read through.
    `sample` chooses whose octets are read; that all are there, with their size, is always looked at.
    `check_stop` raises when the run is to end.
    """

    store: MessageStore
    journal: Journal
    catalog: Catalog
    rebuilt: Catalog | None
    sample: Sample | None
    progress: Progress
    check_stop: Callable[[], None]
    _names: Mapping[str, str] = field(default_factory=dict)
    _missing: list[Finding] = field(default_factory=list)
    _damaged: list[Finding] = field(default_factory=list)

    def run(self) -> VerifyResult:
        """Look at everything, whatever is found on the way.

        Raises:
            IntegrityError: the catalog cannot be read.
        """
        self._names = {each.directory: each.folder.name for each in self.catalog.folders().values()}
        journal = self._journal_problem()
        strays = tuple(Finding(path, reason) for path, reason in self.store.strays(self._counted()))
        messages, checked, octets = self._read_all()
        return VerifyResult(
            messages=messages,
            checked=checked,
            octets=octets,
            missing=tuple(self._missing),
            damaged=tuple(self._damaged),
            strays=strays,
            journal=journal,
            catalog=None if self.rebuilt is None or journal else difference(self.catalog, self.rebuilt),
        )

    def _journal_problem(self) -> str | None:
        """Whether the chain reads through from the first segment to the last one the catalog applied."""
        last = (0, Digest(""))
        if self.rebuilt is not None:  # made by reading it through
            last = self.rebuilt.last_segment()
        else:
            try:
                for segment in self.journal.read(last):
                    self.check_stop()
                    last = (segment.number, segment.digest)
            except IntegrityError as error:
                return str(error)
        known = self.catalog.last_segment()
        if last == known:
            return None
        return f"the journal ends at segment {last[0]}, the catalog at segment {known[0]}" + (
            " of another journal" if last[0] == known[0] else ""
        )

    def _counted(self) -> Iterator[Placement]:
        """All rows; what there is to do is told when they were all given."""
        messages = octets = 0
        for placement in self.catalog.placements():
            if self.sample is None or self.sample.takes(placement):
                messages += 1
                octets += placement.size
            yield placement
        self.progress(Planned(messages, octets))

    def _read_all(self) -> tuple[int, int, int]:
        messages = checked = octets = 0
        told = (0, 0)
        for placement in self.catalog.placements():
            self.check_stop()
            messages += 1
            read = self.sample is None or self.sample.takes(placement)
            self._look_at(placement, read=read)
            if read:
                checked += 1
                octets += placement.size
                if checked - told[0] >= _TELL_MESSAGES or octets - told[1] >= _TELL_OCTETS:
                    self.progress(Verified(checked - told[0], octets - told[1]))
                    told = (checked, octets)
        self.progress(Verified(checked - told[0], octets - told[1]))
        return messages, checked, octets

    def _look_at(self, placement: Placement, *, read: bool) -> None:
        try:
            with self.store.open(placement) as file:
                size = file.seek(0, 2)
                if size != placement.size:
                    self._found(self._damaged, placement, f"has {size} octets, was stored with {placement.size}")
                elif read:
                    file.seek(0)
                    sha256 = hashlib.sha256()
                    while octets := file.read(_READ_OCTETS):
                        sha256.update(octets)
                    if sha256.hexdigest() != placement.digest:
                        self._found(self._damaged, placement, f"its octets have the digest {sha256.hexdigest()}")
        except IntegrityError:
            self._found(self._missing, placement, "its octets are not in the store")
        except OSError as error:
            self._found(self._damaged, placement, f"cannot be read: {error.strerror or error}")

    def _found(self, findings: list[Finding], placement: Placement, reason: str) -> None:
        folder = self._names.get(placement.directory)
        findings.append(Finding(self.store.place(placement), reason, folder, placement.uid, placement.digest))


def difference(catalog: Catalog, rebuilt: Catalog) -> str | None:
    """Where a catalog is not what its journal says, by the first thing that differs; None if it is."""
    asked: tuple[tuple[str, Callable[[Catalog], object]], ...] = (
        ("whose archive it is", lambda each: each.identity()),
        ("the folders", lambda each: each.folders()),
        ("the epochs", lambda each: each.epochs()),
        ("the quarantine", lambda each: each.quarantined()),
        ("the packs", lambda each: list(each.packs())),
    )
    for what, ask in asked:
        if ask(catalog) != ask(rebuilt):
            return f"the catalog does not say of {what} what the journal says"
    pairs = zip_longest(catalog.placements(), rebuilt.placements())
    differing = [one or other for one, other in pairs if one != other][:1]
    if differing and (first := differing[0]):
        return f"the catalog does not say of {first.directory or 'INBOX'}, uid {first.uid} what the journal says"
    return None
