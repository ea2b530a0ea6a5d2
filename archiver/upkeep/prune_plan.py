"""Which messages `prune` may remove from the source, as far as the archive knows, and how many at most. Pure
decisions over a catalog; no server is contacted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from archiver.catalog.port import Catalog
from archiver.destination.folder_map.names import VIEWS
from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.facts.replica import MessageKey
from archiver.mail.dates import internaldate_seconds
from archiver.mail.folder_names import matches
from archiver.mail.model import Attributes, StoredMessage
from archiver.mail.uidset import UidSet
from archiver.upkeep.holds import held

FLAGGED = "\\Flagged"

_AT_ONCE = 1000

Standing = Literal["same", "gone", "flagged", "other"]
"""What the source shows of a message of the archive: just that message, none under its UID, one that is flagged and
therefore kept, or perhaps another one."""


class PruneRules(Struct, frozen=True):
    """What the user wants to be removed: what arrived `before` that moment (seconds since 1970), in folders that
    one of `folders` matches and none of `but`. `confirm_deletions`: also beyond the deletion limit."""

    before: int
    folders: tuple[str, ...] = ("*",)
    but: tuple[str, ...] = ()
    keep_flagged: bool = False
    confirm_deletions: bool = False


class FolderPlan(Struct, frozen=True):
    """A folder of which `uids` may be removed, so many `octets`; `flagged` of them are flagged. Of its other old
    messages some are kept because they are flagged, `held`, or not at the destination yet (`unsent`). The archive
    has `present` messages of it. `beyond_limit`: nothing is removed before that is confirmed."""

    known: KnownFolder
    epoch: KnownEpoch
    present: int
    uids: UidSet = UidSet()
    octets: int = 0
    flagged: int = 0
    kept_flagged: int = 0
    held: int = 0
    unsent: int = 0
    beyond_limit: bool = False


IsThere = Callable[[Collection[MessageKey]], Collection[MessageKey]]
"""Which of these messages are at the account's destination."""


def plan_prune(
    catalog: Catalog, folders: Iterable[KnownFolder], rules: PruneRules, is_there: IsThere | None
) -> list[FolderPlan]:
    """The folders with something to remove, or of which it is not known what became of an earlier attempt.
    `is_there` is None if the account has no destination."""
    epochs, unsettled = catalog.account.epochs(), catalog.prunes.unsettled()
    plans = []
    for known in folders:
        epoch = epochs.get(known.number)
        if epoch is None or epoch.other_source or not epoch.uidvalidity or known.folder.is_imported:
            continue
        if known.folder.attributes & VIEWS:  # what is removed there goes in another folder, unseen
            continue
        plan = FolderPlan(known, epoch, len(left_at_source(catalog, epoch.number)))
        is_asked = matches(known.folder.path, rules.folders) and not matches(known.folder.path, rules.but)
        if is_asked:
            plan = _of_folder(catalog, plan, rules, is_there)
        if plan.uids or plan.kept_flagged or plan.held or plan.unsent or epoch.number in unsettled:
            plans.append(plan)
    return plans


def left_at_source(catalog: Catalog, epoch: int) -> UidSet:
    """The messages of an epoch that are at the source, as far as known."""
    return catalog.messages.uids(epoch) - catalog.prunes.done(epoch)


def _of_folder(catalog: Catalog, plan: FolderPlan, rules: PruneRules, is_there: IsThere | None) -> FolderPlan:
    number = plan.epoch.number
    done = catalog.prunes.done(number)
    octets = flagged = kept_flagged = of_hold = unsent = 0
    chosen: list[int] = []
    old = (
        each
        for each in catalog.messages.placements(number)
        if each.present and each.arrived < rules.before and each.uid not in done
    )
    while some := list(islice(old, _AT_ONCE)):
        keys = [(number, each.uid) for each in some]
        holds = held(catalog.keeping, keys)
        there = None if is_there is None else is_there(keys)
        for key, each in zip(keys, some, strict=True):
            is_flagged = FLAGGED in each.flags
            if key in holds:
                of_hold += 1
            elif there is not None and key not in there:
                unsent += 1
            elif is_flagged and rules.keep_flagged:
                kept_flagged += 1
            else:
                chosen.append(each.uid)
                octets += each.size
                flagged += is_flagged
    return FolderPlan(
        known=plan.known,
        epoch=plan.epoch,
        present=plan.present,
        uids=UidSet(chosen),
        octets=octets,
        flagged=flagged,
        kept_flagged=kept_flagged,
        held=of_hold,
        unsent=unsent,
    )


def limited(
    plans: Sequence[FolderPlan], present: int, exceeds: Callable[[int, int], bool], *, confirmed: bool
) -> list[FolderPlan]:
    """The plans, with those marked that are beyond the deletion limit. `present` messages are in all folders of the
    account, and `exceeds` says whether so many of so many are too many."""
    if confirmed:
        return list(plans)
    all_stay = exceeds(sum(len(each.uids) for each in plans), present)
    return [
        replace(each, beyond_limit=True)
        if each.uids and (all_stay or exceeds(len(each.uids), each.present))
        else each
        for each in plans
    ]


def standing_of(message: StoredMessage, shown: Attributes | None, *, keep_flagged: bool) -> Standing:
    """What the source shows of a message. What cannot be compared does not count as the same."""
    if shown is None:
        return "gone"
    dates = internaldate_seconds(message.internaldate), internaldate_seconds(shown.internaldate)
    is_same = (
        message.server_size is not None
        and shown.size == message.server_size
        and dates[0] is not None
        and dates[0] == dates[1]
        and (message.emailid is None or shown.emailid is None or message.emailid == shown.emailid)
    )
    if not is_same or shown.flags is None:
        return "other"
    return "flagged" if keep_flagged and FLAGGED in shown.flags else "same"
