"""Which new messages of a folder are which of those that were sent, as far as that shows without their octets.

Pure decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archiver.facts.replica import MessageKey
from archiver.mail.model import Attributes
from archiver.replay.send.prepare import Parcel


def certain_uids(
    sent: Sequence[Parcel], told: Mapping[MessageKey, int], new: Mapping[int, Attributes], *, complete: bool
) -> dict[MessageKey, int]:
    """Which of the new messages must be which of those that were taken, as far as it needs no octets to tell: UIDs
    follow the order of sending, and the server told some. `complete`: nothing was sent beside these."""
    if complete and len(new) == len(sent):
        in_order = dict(zip((parcel.key for parcel in sent), sorted(new), strict=True))
        if told == in_order or (told.items() <= in_order.items() and _may_be(sent, new, in_order)):
            return in_order
    # NOTE: where one of the UIDs cannot be true, none is believed: others may fit by chance.
    ascending = list(told.values()) == sorted(set(told.values()))
    return dict(told) if ascending and _may_be(sent, new, told) else {}


def _may_be(sent: Sequence[Parcel], new: Mapping[int, Attributes], uids: Mapping[MessageKey, int]) -> bool:
    """Whether these UIDs show the sizes and dates that were sent. Mail that is delivered has the date of now."""
    return all(
        uid in new and parcel.fits(new[uid].size) and parcel.shows_its_date(new[uid].internaldate)
        for parcel in sent
        if (uid := uids.get(parcel.key)) is not None
    )


def rewritten(parcels: Sequence[Parcel], seen: Sequence[Attributes]) -> bool:
    """Whether these are the messages, rewritten beyond recognition: as many, in their order, each with its own
    date. Mail that somebody delivers meanwhile has the date of now."""
    return len(parcels) == len(seen) and all(
        each.internaldate is not None and parcel.shows_its_date(each.internaldate)
        for parcel, each in zip(parcels, seen, strict=True)
    )
