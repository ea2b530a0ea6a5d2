"""What the folders held at a moment of the past, read from the journal, and where those octets are now.

The facts are applied by the code that applied them the first time, to a catalog of their own. An archive forgets
nothing, so all of those octets are still there, though perhaps in another place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from archiver.catalog.port import Catalog
from archiver.errors import ConfigError, IntegrityError
from archiver.facts.archive import (
    ArchiveFact,
    EpochFact,
    Fact,
    FlagsFact,
    FolderFact,
    Segment,
    StateFact,
    StoredFact,
    VanishedFact,
)
from archiver.facts.replica import MessageKey, Outgoing
from archiver.journal.port import Journal
from archiver.mail.model import Digest, Placement

_OF_FOLDERS = ArchiveFact | FolderFact | EpochFact | StateFact
_OF_MESSAGES = StoredFact | FlagsFact | VanishedFact


def replay_past(
    journal: Journal, last: int, catalog: Catalog, moment: str | None, check_stop: Callable[[], None]
) -> None:
    """Apply to a new, empty catalog what the journal says, up to the segment `last`, of folders and messages up to
    and with `moment` (UTC, ISO 8601; None: all of it).

    Every fact goes by its own time and not by its place in the journal: connections record side by side, and what
    one of them saw earlier may stand behind what another one saw later. Nothing is known of destinations, of
    quarantine and of where octets lie afterwards.

    Raises:
        ConfigError: the archive began later.
        IntegrityError: the journal is damaged, or empty.
    """
    past = _Past(moment)
    for segment in journal.read((0, Digest(""))):
        if segment.number > last:
            break
        check_stop()
        catalog.apply(past.of(segment))
    if past.began is None:
        raise IntegrityError("the journal is empty", hint="restore it from a backup")
    if moment is not None and moment < past.began:
        problem = f"there was no archive yet at {moment}, it began at {past.began}"
        raise ConfigError("--as-of", [problem], hint="give a later date")


class _Past:
    """Takes out of segments what was recorded up to a moment. `began` is when anything was, for the first time."""

    def __init__(self, moment: str | None) -> None:
        self._moment = moment
        self._folders: set[int] = set()
        self._epochs: set[int] = set()
        self.began: str | None = None

    def of(self, segment: Segment) -> Segment:
        return replace(segment, facts=tuple(self._taken(segment.facts)))

    def _taken(self, facts: Sequence[Fact]) -> Iterator[Fact]:
        for fact in facts:
            if not isinstance(fact, _OF_FOLDERS | _OF_MESSAGES):
                continue
            self.began = fact.at if self.began is None else min(self.began, fact.at)
            if (self._moment is None or fact.at <= self._moment) and self._is_known(fact):
                # What search knows of a message is not asked of the past.
                yield replace(fact, headers=None) if isinstance(fact, StoredFact) else fact

    def _is_known(self, fact: Fact) -> bool:
        """Whether what the fact is about was there. NOTE: a clock that was put back makes an epoch younger than its
        messages."""
        match fact:
            case FolderFact():
                self._folders.add(fact.number)
            case EpochFact():
                if fact.folder not in self._folders:
                    return False
                self._epochs.add(fact.number)
            case StoredFact() | FlagsFact() | VanishedFact() | StateFact():
                return fact.epoch in self._epochs
        return True


def places_now(catalog: Catalog, messages: Sequence[Outgoing]) -> dict[MessageKey, Placement]:
    """Where the octets of these messages, as they were then, are now, according to the present `catalog`.

    The same message may have other flags, or be among the vanished. Under its UID there may even be other octets,
    where a placeholder was accepted for a message that could be had later: then any place of the same octets will
    do, or else the former one.
    """
    by_epoch: dict[int, set[int]] = {}
    for each in messages:
        by_epoch.setdefault(each.key[0], set()).add(each.key[1])
    now = {
        (epoch, place.uid): place
        for epoch, uids in by_epoch.items()
        for place in catalog.placements(epoch, uids=uids)
    }
    others = [each for each in messages if not _is_at(now.get(each.key), each)]
    equal = {digest: place for (digest, _), place in catalog.twins({m.placement.digest for m in others}).items()}
    return now | {each.key: equal.get(each.placement.digest, each.placement) for each in others}


def _is_at(place: Placement | None, message: Outgoing) -> bool:
    return place is not None and place.digest == message.placement.digest
