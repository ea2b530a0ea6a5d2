"""What a destination lacks of the folders as they were at a past moment: a restore.

It answers like the present archive, so the rest of a replay works as always: copies are recorded, nothing is sent
twice, messages that are there are matched. But the messages are those that a folder held then, with the flags they
had then, and nothing at the destination is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from archiver.catalog.port import Catalog, Copies
from archiver.facts.replica import (
    Attempt,
    Copy,
    CopyTally,
    Intent,
    KnownTarget,
    LateTwin,
    Loss,
    MessageKey,
    Moved,
    Outgoing,
    Refused,
)
from archiver.mail.model import Digest

_BATCH = 500
_FIRST: MessageKey = (0, 0)

#: The past catalog has no destination of this number, so to it, everything that a folder held is pending.
_NOWHERE = 0


@dataclass(slots=True)
class PastCopies:
    """A `Copies` over those of `catalog`, the archive's of now, for the messages that `then` tells. Both know
    folders and messages by the same numbers. A message is sent as the archive has it now, but for its flags."""

    then: Catalog
    catalog: Catalog
    _covered: dict[tuple[int, tuple[int, ...]], set[MessageKey]] = field(default_factory=dict)

    @property
    def _now(self) -> Copies:
        return self.catalog.copies

    # -- what is to be sent ----------------------------------------------------------------------------------

    def work(self, target: int, folders: Collection[int], *, vanished: bool = False) -> tuple[int, int]:
        """How many messages `pending` would give, and their octets."""
        messages = octets = 0
        covered = self._find_covered(target, folders)
        for batch in self._lacking_from(_FIRST, target, folders, _BATCH):
            sizes = [each.placement.size for each in batch if each.key not in covered]
            messages += len(sizes)
            octets += sum(sizes)
        return messages, octets

    def pending(
        self, target: int, folders: Collection[int], *, after: MessageKey, limit: int, vanished: bool = False
    ) -> Sequence[Outgoing]:
        """The next messages after `after` that `folders` held then, of which the target has neither a copy nor one
        that stands for it."""
        asked = (target, tuple(folders))
        if after == _FIRST or asked not in self._covered:
            self._covered[asked] = self._find_covered(target, folders)
        covered = self._covered[asked]
        for batch in self._lacking_from(after, target, folders, limit):
            if left := [each for each in batch if each.key not in covered]:
                return left
        return []

    def _lacking_from(
        self, after: MessageKey, target: int, folders: Collection[int], limit: int
    ) -> Iterator[list[Outgoing]]:
        """What the folders held then and has no copy of its own, ready to be sent."""
        then = self.then.copies
        while batch := then.pending(_NOWHERE, folders, after=after, limit=limit):
            after = batch[-1].key
            lacking = self._now.lacking(target, [each.key for each in batch])
            yield list(self._of_now([each for each in batch if each.key in lacking]))

    def _of_now(self, batch: Sequence[Outgoing]) -> Iterator[Outgoing]:
        places = {
            (epoch, place.uid): place
            for epoch, uids in _by_epoch(each.key for each in batch).items()
            for place in self.catalog.messages.placements(epoch, uids=uids)
        }
        for each in batch:
            place = places[each.key]
            yield replace(each, placement=place.with_flags(each.placement.flags), followed=place.flags)

    def _find_covered(self, target: int, folders: Collection[int]) -> set[MessageKey]:
        """Messages for which the copy of another one with the same octets stands, that was not there then: after a
        new UIDVALIDITY at the source, or when it was moved away and back. Each copy stands for one message."""
        covered: set[MessageKey] = set()
        used: Counter[Digest] = Counter()
        for batch in self._lacking_from(_FIRST, target, folders, _BATCH):
            copies = self._now.equal(target, {each.placement.digest for each in batch})
            of_then = self._there_then(copy.key for copy in copies)
            free = Counter(copy.message.digest for copy in copies if copy.key not in of_then)
            for each in batch:
                digest = each.placement.digest
                if used[digest] < free[digest]:
                    used[digest] += 1
                    covered.add(each.key)
        return covered

    def _there_then(self, keys: Iterable[MessageKey]) -> set[MessageKey]:
        return {
            (epoch, place.uid)
            for epoch, uids in _by_epoch(keys).items()
            for place in self.then.messages.placements(epoch, uids=uids)
            if place.present
        }

    def intents(self, target: int) -> Sequence[Intent]:
        """Messages whose APPEND has an unknown outcome."""
        return [
            replace(each, outgoing=replace(each.outgoing, followed=each.outgoing.placement.flags))
            for each in self._now.intents(target)
        ]

    def refused(self, destination: int, *, vanished: bool = False) -> Sequence[Refused]:
        """Messages that were there then and were refused."""
        refused = self._now.refused(destination, vanished=True)
        of_then = self._there_then(each.key for each in refused)
        return [each for each in refused if each.key in of_then]

    # -- what is there already, and stays as it is -----------------------------------------------------------

    def attempts(self, target: int) -> Sequence[Attempt]:
        return self._now.attempts(target)

    def twins(self, target: int) -> Sequence[LateTwin]:
        return self._now.twins(target)

    def left_over(self, target: int, digests: Collection[Digest]) -> Sequence[Copy]:
        """None: which copy stands for which message was decided when the whole folder was looked at."""
        return ()

    def reflagged(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Copy]:
        """None: flags are left alone."""
        return ()

    def vanished(self, target: int, *, twice: bool = True, gone: Collection[int] = ()) -> Sequence[Copy]:
        """Copies of messages that were there then and vanished since: they are to stay."""
        copies = self._now.vanished(target, twice=twice, gone=gone)
        of_then = self._there_then(copy.key for copy in copies)
        return [copy for copy in copies if copy.key in of_then]

    # -- as the archive of now knows it ----------------------------------------------------------------------

    def mapped(self, destination: int) -> Mapping[int, tuple[bytes, tuple[str, ...], str]]:
        return self._now.mapped(destination)

    def targets(self, destination: int) -> Mapping[bytes, KnownTarget]:
        return self._now.targets(destination)

    def holding(self, destination: int) -> Mapping[bytes, tuple[int, int]]:
        return self._now.holding(destination)

    def lacking(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        return self._now.lacking(target, keys)

    def equal(self, target: int, digests: Collection[Digest]) -> Sequence[Copy]:
        return self._now.equal(target, digests)

    def moved(self, destination: int) -> Sequence[Moved]:
        return self._now.moved(destination)

    def stranded(self, destination: int) -> Mapping[int, int]:
        return self._now.stranded(destination)

    def removed(self, destination: int) -> Mapping[int, Collection[int]]:
        return self._now.removed(destination)

    def claimed(self, target: int) -> dict[int, bool]:
        return self._now.claimed(target)

    def newest(self, target: int, limit: int) -> Sequence[Copy]:
        return self._now.newest(target, limit)

    def doubtful(self, target: int, *, after: int, limit: int) -> Sequence[tuple[Copy, Outgoing]]:
        return self._now.doubtful(target, after=after, limit=limit)

    def copies(self, target: int, *, removed: bool = False) -> Iterator[Copy]:
        return self._now.copies(target, removed=removed)

    def tallies(self, destination: int, run: str | None) -> Sequence[CopyTally]:
        return self._now.tallies(destination, run)

    def losses(self, destination: int) -> Sequence[Loss]:
        return self._now.losses(destination)


def _by_epoch(keys: Iterable[MessageKey]) -> dict[int, set[int]]:
    by_epoch: dict[int, set[int]] = {}
    for epoch, uid in keys:
        by_epoch.setdefault(epoch, set()).add(uid)
    return by_epoch
