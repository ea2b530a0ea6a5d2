"""What the folders held at a past moment, read from the journal, and where those octets are now.

The facts are applied by the same code as the first time, to a separate catalog. An archive deletes nothing, so all
those octets still exist, though perhaps in another place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from archiver.catalog.places import places_of
from archiver.catalog.port import Catalog, CatalogMessages
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
from archiver.facts.outgoing import Outgoing
from archiver.facts.replica import MessageKey
from archiver.journal.port import Journal
from archiver.journal.rebuild import forged_facts_as_damage
from archiver.mail.model import Digest, Placement

_OF_FOLDERS = ArchiveFact | FolderFact | EpochFact | StateFact
_OF_MESSAGES = StoredFact | FlagsFact | VanishedFact


def replay_past(
    journal: Journal, last: int, catalog: Catalog, moment: str | None, check_stop: Callable[[], None]
) -> None:
    """Apply the facts about folders and messages up to and including `moment` (UTC, ISO 8601; None: all of them) to
    a new, empty catalog, from the journal up to segment `last`.

    Each fact counts by its own time and not by its position in the journal: connections record concurrently, so an
    earlier observation may come after a later one. Facts about destinations, quarantine and the places of octets
    are not applied.

    Raises:
        ConfigError: the archive began later.
        IntegrityError: the journal is damaged or empty.
    """
    past = _Past(moment)
    for segment in journal.read((0, Digest(""))):
        if segment.number > last:
            break
        check_stop()
        with forged_facts_as_damage(segment):
            catalog.apply(past.of(segment))
    if past.began is None:
        raise IntegrityError("the journal is empty", hint="restore it from a backup")
    if moment is not None and moment < past.began:
        problem = f"there was no archive yet at {moment}; it began at {past.began}"
        raise ConfigError("--as-of", [problem], hint="use a later date")


class _Past:
    """Filters segments by time. `began` is the time of the earliest fact so far."""

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
                # Past states are not searched, so the headers are not needed.
                yield replace(fact, headers=None) if isinstance(fact, StoredFact) else fact

    def _is_known(self, fact: Fact) -> bool:
        """Whether the folder or epoch that the fact is about existed. NOTE: if a clock was set back, an epoch may
        be younger than its messages."""
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


def places_now(now: CatalogMessages, messages: Sequence[Outgoing]) -> dict[MessageKey, Placement]:
    """Where the octets of these past messages are now, according to the catalog of `now`.

    The same message may have other flags now, or have vanished. Its UID may even have other octets, if a
    placeholder was accepted for a message that could be fetched later: then any place of the same octets is used,
    or else the former one.
    """
    found = places_of(now, (each.key for each in messages))
    others = [each for each in messages if not _is_at(found.get(each.key), each)]
    equal = {digest: place for (digest, _), place in now.twins({m.placement.digest for m in others}).items()}
    return found | {each.key: equal.get(each.placement.digest, each.placement) for each in others}


def _is_at(place: Placement | None, message: Outgoing) -> bool:
    return place is not None and place.digest == message.placement.digest
