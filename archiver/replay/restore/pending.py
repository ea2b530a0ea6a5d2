"""The messages that were chosen, as what is missing in a folder: with this a replay sends them and no others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from archiver.catalog.replicas import PendingMessages, Restores
from archiver.facts.outgoing import Intent, Outgoing, Refused, Watch
from archiver.facts.replica import MessageKey, Replica


class ChosenPending:
    """Implements `PendingMessages` for `chosen` messages, each with the number of the archive's folder that it was
    in. They are missing where no copy of theirs exists, whatever the folder's user removed before. Outcomes that
    are unknown are known to `now`."""

    def __init__(self, chosen: Iterable[tuple[int, Outgoing]], restores: Restores, now: PendingMessages) -> None:
        self._chosen = sorted(chosen, key=lambda each: each[1].key)
        self._keys = [outgoing.key for _, outgoing in self._chosen]
        self._by_key = dict(zip(self._keys, (outgoing for _, outgoing in self._chosen), strict=True))
        self._restores = restores
        self._now = now

    def count(self, target: int, folders: Collection[int], *, vanished: bool = False) -> tuple[int, int]:
        """How many messages `batch` would return in all, and their octets."""
        left = self._left(target, [each for folder, each in self._chosen if folder in folders])
        return len(left), sum(each.placement.size for each in left)

    def batch(
        self, target: int, folders: Collection[int], *, after: MessageKey, limit: int, vanished: bool = False
    ) -> Sequence[Outgoing]:
        """The next messages of `folders` after `after` that have no copy in the folder."""
        start = bisect_right(self._keys, after)
        while start < len(self._chosen):
            part = self._chosen[start : start + limit]
            start += limit
            if left := self._left(target, [each for folder, each in part if folder in folders]):
                return left
        return []

    def without_equal(self, folders: Collection[int], among: Collection[int]) -> Mapping[int, int]:
        """How many messages of each of `folders` have octets that no message of the folders `among` has."""
        return self._now.without_equal(folders, among)

    def intents(self, target: int) -> Sequence[Intent]:
        """Messages whose APPEND has an unknown outcome; those that were chosen as they were sent."""
        return [
            replace(each, outgoing=self._by_key.get(each.outgoing.key) or _asked_before(each.outgoing))
            for each in self._now.intents(target)
        ]

    def watched(self, target: int, watch: Watch) -> Watch:
        """Since when the folder is watched for what an earlier run was sending."""
        return self._now.watched(target, watch)

    def refused(self, destination: int, *, vanished: bool = False) -> Sequence[Refused]:
        """Chosen messages that were refused."""
        return [each for each in self._now.refused(destination, vanished=True) if each.key in self._by_key]

    def vanished(self, target: int, *, gone: Collection[int] = ()) -> Sequence[Replica]:
        """None: what is there stays as it is."""
        return []

    def _left(self, target: int, messages: Sequence[Outgoing]) -> list[Outgoing]:
        live = self._restores.live(target, [each.key for each in messages])
        return [each for each in messages if each.key not in live]


def _asked_before(outgoing: Outgoing) -> Outgoing:
    return replace(outgoing, followed=outgoing.placement.flags, restored=True)
