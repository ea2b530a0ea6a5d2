"""Whether a message is held: then nothing may be done that would lose it.

Every verb and rule that takes messages away asks `held` first, whatever it takes them from. A message whose headers
are not recorded, or perhaps not to their end, counts as one of everybody's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice

from archiver.catalog.keeping import Holdable, Keeping
from archiver.facts.keeping import HoldFact
from archiver.facts.replica import MessageKey
from archiver.mail.folder_names import matches
from archiver.mail.headers import folded

_AT_ONCE = 5000


def held(keeping: Keeping, keys: Collection[MessageKey]) -> Mapping[MessageKey, HoldFact]:
    """Those of these messages, by epoch and UID, that are held, each with the first hold that does it. The same
    octets in other folders are other messages."""
    holds = active_holds(keeping)
    if not holds:
        return {}
    whole = next((each for each in holds if not (each.folders or each.addresses)), None)
    found: dict[MessageKey, HoldFact] = {}
    rest = iter(keys)
    while some := list(islice(rest, _AT_ONCE)):
        if whole is not None:
            found.update(dict.fromkeys(some, whole))
            continue
        for each in keeping.holdable(some):
            if (hold := hold_of(holds, each)) is not None:
                found[each.key] = hold
    return found


def active_holds(keeping: Keeping) -> Sequence[HoldFact]:
    """The holds that have not ended, by number."""
    return [each.hold for each in keeping.holds() if each.ended is None]


def hold_of(holds: Iterable[HoldFact], message: Holdable) -> HoldFact | None:
    """The first of these holds that forbids to lose the message."""
    people = None if message.people is None else folded(message.people)
    return next((each for each in holds if _holds(each, message.path, people)), None)


def _holds(hold: HoldFact, path: Sequence[str], people: str | None) -> bool:
    in_folder = not hold.folders or matches(path, hold.folders)
    of_address = not hold.addresses or people is None or any(folded(each) in people for each in hold.addresses)
    return in_folder and of_address
