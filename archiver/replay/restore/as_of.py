"""For a restore: what a destination is missing from the folders as they stood at some past moment.

Everything else of a replay is as always: replicas are recorded, nothing is sent twice, and what is there already is
recognised. But the messages are those that a folder held then, with the flags that they had then, and what is at
the destination is left as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.catalog.places import places_of
from archiver.catalog.port import Catalog
from archiver.catalog.replicas import PendingMessages
from archiver.facts.outgoing import Intent, Outgoing, Refused, Watch
from archiver.facts.replica import MessageKey, Replica
from archiver.mail.model import Digest

_BATCH = 500
_FIRST: MessageKey = (0, 0)

#: The past catalog knows of no destination, and a destination that holds nothing lacks all that a folder held.
_NOWHERE = 0


class PastPending(Struct):
    """Implements `PendingMessages` for the messages that were there `then`, a catalog of the past; what
    destinations hold is known to `catalog`, the present one. Both know folders and messages by the same numbers. A
    message is sent as the archive has it now, but with the flags that it had."""

    then: Catalog
    catalog: Catalog
    _covered: dict[tuple[int, tuple[int, ...]], set[MessageKey]] = field(default_factory=dict)

    @property
    def _now(self) -> PendingMessages:
        return self.catalog.replicas.pending

    def count(self, folder: int, folders: Collection[int], *, vanished: bool = False) -> tuple[int, int]:
        """How many messages `batch` would give in all, and their octets."""
        messages = octets = 0
        covered = self._find_covered(folder, folders)
        for batch in self._missing_from(_FIRST, folder, folders, _BATCH):
            sizes = [each.placement.size for each in batch if each.key not in covered]
            messages += len(sizes)
            octets += sum(sizes)
        return messages, octets

    def batch(
        self, folder: int, folders: Collection[int], *, after: MessageKey, limit: int, vanished: bool = False
    ) -> Sequence[Outgoing]:
        """The next messages after `after` that `folders` held then, for which the target has neither a replica
        nor a substitute for one. What vanished since then is among them, whatever `vanished` says."""
        asked = (folder, tuple(folders))
        if after == _FIRST or asked not in self._covered:
            self._covered[asked] = self._find_covered(folder, folders)
        covered = self._covered[asked]
        for batch in self._missing_from(after, folder, folders, limit):
            if left := [each for each in batch if each.key not in covered]:
                return left
        return []

    def without_equal(self, folders: Collection[int], among: Collection[int]) -> Mapping[int, int]:
        """How many messages that `folders` held then have octets that no message of the folders `among` had."""
        return self.then.replicas.pending.without_equal(folders, among)

    def intents(self, folder: int) -> Sequence[Intent]:
        """Messages whose APPEND has an unknown outcome."""
        return [
            replace(each, outgoing=replace(each.outgoing, followed=each.outgoing.placement.flags))
            for each in self._now.intents(folder)
        ]

    def watched(self, folder: int, watch: Watch) -> Watch:
        """Since when the folder is watched for what an earlier run was sending."""
        return self._now.watched(folder, watch)

    def refused(self, destination: int, *, vanished: bool = False) -> Sequence[Refused]:
        """Messages that were there then and were refused."""
        refused = self._now.refused(destination, vanished=True)
        of_then = self._there_then(each.key for each in refused)
        return [each for each in refused if each.key in of_then]

    def vanished(self, folder: int, *, gone: Collection[int] = ()) -> Sequence[Replica]:
        """Replicas of messages that were there then and vanished since: they stay."""
        replicas = self._now.vanished(folder, gone=gone)
        of_then = self._there_then(replica.key for replica in replicas)
        return [replica for replica in replicas if replica.key in of_then]

    def _missing_from(
        self, after: MessageKey, folder: int, folders: Collection[int], limit: int
    ) -> Iterator[list[Outgoing]]:
        """Messages that the folders held then and that have no replica of their own, ready to be sent."""
        then = self.then.replicas.pending
        while every := then.batch(_NOWHERE, folders, after=after, limit=limit):
            after = every[-1].key
            batch = [each for each in every if each.present]  # the folders held nothing that was pruned by then
            missing = self.catalog.replicas.messages.missing(folder, [each.key for each in batch])
            yield list(self._as_now([each for each in batch if each.key in missing]))

    def _as_now(self, batch: Sequence[Outgoing]) -> Iterator[Outgoing]:
        places = places_of(self.catalog.messages, (each.key for each in batch))
        for each in batch:
            place = places[each.key]
            yield replace(each, placement=place.with_flags(each.placement.flags), followed=place.flags)

    def _find_covered(self, folder: int, folders: Collection[int]) -> set[MessageKey]:
        """Messages covered by the replica of a different message that has the same octets and did not exist then:
        after a new UIDVALIDITY at the source, or when it was moved away and back. Each replica covers one
        message."""
        covered: set[MessageKey] = set()
        used: Counter[Digest] = Counter()
        for batch in self._missing_from(_FIRST, folder, folders, _BATCH):
            replicas = self.catalog.replicas.messages.equal(folder, {each.placement.digest for each in batch})
            of_then = self._there_then(replica.key for replica in replicas)
            free = Counter(replica.message.digest for replica in replicas if replica.key not in of_then)
            for each in batch:
                digest = each.placement.digest
                if used[digest] < free[digest]:
                    used[digest] += 1
                    covered.add(each.key)
        return covered

    def _there_then(self, keys: Iterable[MessageKey]) -> set[MessageKey]:
        return {key for key, place in places_of(self.then.messages, keys).items() if place.present}
