"""Which new messages of a folder are the ones that were sent, as far as this shows without their octets.

Pure decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archiver.facts.replica import MessageKey
from archiver.mail.model import Attributes
from archiver.replay.send.prepare import PreparedMessage


def certain_uids(
    sent: Sequence[PreparedMessage],
    reported: Mapping[MessageKey, int],
    new: Mapping[int, Attributes],
    *,
    complete: bool,
) -> dict[MessageKey, int]:
    """Match new messages with those that were accepted, as far as no octets are needed: UIDs follow the order of
    sending, and the server reported some. `complete`: nothing else was sent."""
    if complete and len(new) == len(sent):
        in_order = dict(zip((message.key for message in sent), sorted(new), strict=True))
        if reported == in_order or (reported.items() <= in_order.items() and _may_be(sent, new, in_order)):
            return in_order
    # NOTE: if one of the UIDs cannot be right, none is used: others may fit by chance.
    ascending = list(reported.values()) == sorted(set(reported.values()))
    return dict(reported) if ascending and _may_be(sent, new, reported) else {}


def _may_be(sent: Sequence[PreparedMessage], new: Mapping[int, Attributes], uids: Mapping[MessageKey, int]) -> bool:
    """Whether these UIDs show the sizes and dates that were sent. Newly delivered mail has the current date."""
    return all(
        uid in new and message.fits(new[uid].size) and message.shows_its_date(new[uid].internaldate)
        for message in sent
        if (uid := uids.get(message.key)) is not None
    )


def rewritten(messages: Sequence[PreparedMessage], seen: Sequence[Attributes]) -> bool:
    """Whether these are the messages, rewritten beyond recognition: the same number, in the same order, each with
    its own date. Mail that is delivered in the meantime has the current date."""
    return len(messages) == len(seen) and all(
        each.internaldate is not None and message.shows_its_date(each.internaldate)
        for message, each in zip(messages, seen, strict=True)
    )
