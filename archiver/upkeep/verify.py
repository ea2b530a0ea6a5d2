"""The verify step: every row has its bytes, every digest matches, no file is a stranger, the journal is whole.

It trusts nothing it can look at: octets are read and hashed again, places are compared with what lies in the
store, and the catalog with one that was made anew from the journal. It changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice, zip_longest

from archiver.catalog.port import Catalog
from archiver.control import RunControl
from archiver.errors import IntegrityError
from archiver.journal.port import Journal
from archiver.mail.model import Digest, Placement
from archiver.storage.audit import Damage, Looked, Stray
from archiver.storage.port import MessageStore
from archiver.upkeep.auditing import look_through

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """A share of the messages, 0 < `share` <= 1: equal octets together. The same `seed` chooses the same ones."""

    share: float
    seed: str

    def takes(self, placement: Placement) -> bool:
        """Whether this message is one of them."""
        drawn = hashlib.blake2b(f"{self.seed}\n{placement.digest}".encode(), digest_size=8).digest()
        return int.from_bytes(drawn) < self.share * 2**64


def every(_: Placement) -> bool:
    """Reads all octets."""
    return True


def none(_: Placement) -> bool:
    """Reads no octets: that all are there, with their sizes, is looked at all the same."""
    return False


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. `folder` is the true name; what is no message of the archive has only
    its path and the reason."""

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
    `reads` chooses whose octets are read, the same for equal ones. `check_stop` raises when the run is to end.
    """

    store: MessageStore
    journal: Journal
    catalog: Catalog
    rebuilt: Catalog | None
    reads: Callable[[Placement], bool]
    control: RunControl
    _names: Mapping[str, str] = field(default_factory=dict)
    _missing: list[Finding] = field(default_factory=list)
    _damaged: list[Finding] = field(default_factory=list)
    _strays: list[Finding] = field(default_factory=list)

    def run(self) -> VerifyResult:
        """Look at everything, whatever is found on the way.

        Raises:
            IntegrityError: the catalog cannot be read.
        """
        self._names = {each.directory: each.folder.name for each in self.catalog.account.folders().values()}
        journal = self._journal_problem()
        messages, checked, octets = self._audit()
        return VerifyResult(
            messages=messages,
            checked=checked,
            octets=octets,
            missing=tuple(sorted(self._missing, key=_by_folder)),
            damaged=tuple(sorted(self._damaged, key=_by_folder)),
            strays=tuple(self._strays),
            journal=journal,
            catalog=None if self.rebuilt is None or journal else difference(self.catalog, self.rebuilt),
        )

    def _journal_problem(self) -> str | None:
        """Whether the chain reads through from the first segment, by way of the last one the catalog applied. What
        comes after that one another machine wrote meanwhile."""
        number, digest = self.catalog.last_segment()
        last, found = (0, Digest("")), Digest("")
        if self.rebuilt is not None:  # made by reading it through
            last = self.rebuilt.last_segment()
            found = last[1] if last[0] == number else found
        else:
            try:
                for segment in self.journal.read(last):
                    self.control.check_stop()
                    last = (segment.number, segment.digest)
                    found = segment.digest if segment.number == number else found
            except IntegrityError as error:
                return str(error)
        if found == digest:
            return None
        return f"the journal ends at segment {last[0]}, the catalog at segment {number}" + (
            " of another journal" if last[0] >= number else ""
        )

    def _audit(self) -> tuple[int, int, int]:
        """How many messages were looked at, how many of them read, and their octets."""
        messages = checked = octets = 0
        for each in look_through(self.store, self.catalog.messages, self.reads, self.control):
            if not isinstance(each, Looked):
                self._found_beside(each)
                continue
            self._found(each)
            messages += 1
            if each.read:
                checked += 1
                octets += each.placement.size
        return messages, checked, octets

    def _found(self, looked: Looked) -> None:
        if (fault := looked.fault) is None or fault.kind == "endangered":
            return
        place = looked.placement
        folder = self._names.get(place.directory)
        findings = self._missing if fault.kind == "missing" else self._damaged
        findings.append(Finding(self.store.display_path(place), fault.reason, folder, place.uid, place.digest))

    def _found_beside(self, found: Stray | Damage) -> None:
        findings = self._strays if isinstance(found, Stray) else self._damaged
        findings.append(Finding(found.path, found.reason))


def _by_folder(finding: Finding) -> tuple[bool, bool, str, int]:
    """A bucket is looked through by digest; people look by folder."""
    folder = finding.folder
    return folder is None, folder != "INBOX", folder or "", finding.uid or 0


def difference(catalog: Catalog, rebuilt: Catalog) -> str | None:
    """Where a catalog is not what its journal says, by the first thing that differs; None if it is."""
    asked: tuple[tuple[str, Callable[[Catalog], object]], ...] = (
        ("whose archive it is", lambda each: each.account.identity()),
        ("the folders", lambda each: each.account.folders()),
        ("the epochs", lambda each: each.account.epochs()),
        ("the quarantine", lambda each: each.account.quarantined()),
        ("the packs", lambda each: list(each.messages.packs())),
    )
    for what, ask in asked:
        if ask(catalog) != ask(rebuilt):
            return f"the catalog does not say of {what} what the journal says"
    pairs = zip_longest(catalog.messages.placements(), rebuilt.messages.placements())
    differing = [one or other for one, other in pairs if one != other][:1]
    if differing and (first := differing[0]):
        return f"the catalog does not say of {first.directory or 'INBOX'}, uid {first.uid} what the journal says"
    digests = (placement.digest for placement in rebuilt.messages.by_digest())
    while some := set(islice(digests, _AT_ONCE)):
        if catalog.index.headers(some) != rebuilt.index.headers(some):
            return "the catalog does not say of the headers of messages what the journal says"
        if catalog.messages.frames(some) != rebuilt.messages.frames(some):
            return "the catalog does not say of the places in packs what the journal says"
    return None
