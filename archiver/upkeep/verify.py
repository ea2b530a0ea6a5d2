"""The verify step: every row has its bytes, every digest matches, no file is unexpected, the journal is complete.

It trusts nothing that it can check: octets are read and hashed again, placements are compared with the store, and
the catalog with one that is rebuilt from the journal. It changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from itertools import islice, zip_longest

from msgspec import Struct, field

from archiver.catalog.port import Catalog
from archiver.control.run import RunControl
from archiver.errors import IntegrityError
from archiver.journal.port import Journal
from archiver.mail.model import Digest, Placement
from archiver.storage.audit import Damage, Looked, Stray
from archiver.storage.port import MessageStore
from archiver.upkeep.auditing import look_through

_AT_ONCE = 1000


class Sample(Struct, frozen=True):
    """A random share of the messages, 0 < `share` <= 1; equal octets are selected together. The same `seed` selects
    the same messages."""

    share: float
    seed: str

    def takes(self, placement: Placement) -> bool:
        """Whether this message is one of them."""
        drawn = hashlib.blake2b(f"{self.seed}\n{placement.digest}".encode(), digest_size=8).digest()
        return int.from_bytes(drawn) < self.share * 2**64


def every(_: Placement) -> bool:
    """Read all octets."""
    return True


def none(_: Placement) -> bool:
    """Read no octets; existence and sizes are checked anyway."""
    return False


class Finding(Struct, frozen=True):
    """Something that is wrong. `folder` is the folder's real name; a finding that is not about a message has only
    its path and the reason."""

    path: str
    reason: str
    folder: str | None = None
    uid: int | None = None
    digest: Digest | None = None


class VerifyResult(Struct, frozen=True):
    """What was checked and what was found.

    `messages` rows must have their bytes; `checked` of them were read, `octets` octets. `journal` says what is
    wrong with the journal, and `catalog` where the catalog differs from it.
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
        """6 if the archive lost something, 4 if it only has unexpected files, otherwise 0."""
        if self.missing or self.damaged or self.journal or self.catalog:
            return 6
        return 4 if self.strays else 0


class VerifyStep(Struct):
    """Verifies one archive.

    `rebuilt` is a catalog that was rebuilt from the journal, to compare with; None: the journal is only read.
    `reads` selects the messages whose octets are read, the same for equal octets.
    """

    store: MessageStore
    journal: Journal
    catalog: Catalog
    rebuilt: Catalog | None
    reads: Callable[[Placement], bool]
    control: RunControl
    _names: Mapping[str, str] = field(default_factory=dict)
    _kept: set[str] = field(default_factory=set)
    _missing: list[Finding] = field(default_factory=list)
    _damaged: list[Finding] = field(default_factory=list)
    _strays: list[Finding] = field(default_factory=list)

    def run(self) -> VerifyResult:
        """Check everything; a finding does not stop it.

        Raises:
            IntegrityError: the catalog cannot be read.
        """
        self._kept = {what for each in self.catalog.keeping.forgets() for what, _ in each.kept}
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
        """What is wrong with the chain of segments, which must include the last one that the catalog applied. Later
        segments were written by another machine in the meantime."""
        number, digest = self.catalog.last_segment()
        last, found = (0, Digest("")), Digest("")
        if self.rebuilt is not None:  # the rebuild read all of the journal
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
        """How many messages were checked, how many of them read, and their octets."""
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
        if found.path in self._kept:
            return  # it was forgotten, and something keeps it
        findings = self._strays if isinstance(found, Stray) else self._damaged
        findings.append(Finding(found.path, found.reason))


def _by_folder(finding: Finding) -> tuple[bool, bool, str, int]:
    """The sort key for people: by folder. A bucket is walked by digest."""
    folder = finding.folder
    return folder is None, folder != "INBOX", folder or "", finding.uid or 0


def difference(catalog: Catalog, rebuilt: Catalog) -> str | None:
    """The first difference between a catalog and one rebuilt from its journal; None if they are equal."""
    parts: tuple[tuple[str, Callable[[Catalog], object]], ...] = (
        ("the archive's identity", lambda each: each.account.identity()),
        ("the folders", lambda each: each.account.folders()),
        ("the epochs", lambda each: each.account.epochs()),
        ("the quarantine", lambda each: each.account.quarantined()),
        ("the packs", lambda each: list(each.messages.packs())),
        ("what must be kept", lambda each: each.keeping.holds()),
        ("what was forgotten", lambda each: (each.keeping.forgets(), each.keeping.forgotten())),
        ("what was pruned", lambda each: each.prunes.tally()),
    )
    for what, read in parts:
        if read(catalog) != read(rebuilt):
            return f"the catalog and the journal disagree about {what}"
    pairs = zip_longest(catalog.messages.placements(), rebuilt.messages.placements())
    differing = [one or other for one, other in pairs if one != other][:1]
    if differing and (first := differing[0]):
        return f"the catalog and the journal disagree about {first.directory or 'INBOX'}, uid {first.uid}"
    digests = (placement.digest for placement in rebuilt.messages.by_digest())
    while some := set(islice(digests, _AT_ONCE)):
        if catalog.index.headers(some) != rebuilt.index.headers(some):
            return "the catalog and the journal disagree about the headers of messages"
        if catalog.messages.frames(some) != rebuilt.messages.frames(some):
            return "the catalog and the journal disagree about the places in packs"
    return None
