"""Whether UIDs still name the messages that they named when they were recorded."""

from __future__ import annotations

from typing import Literal

from archiver.facts.known import KnownEpoch
from archiver.mail.dates import internaldate_seconds
from archiver.mail.model import Attributes, FolderStatus, Placement

#: How many of the newest known messages are checked to notice a server that went back to an earlier state.
PROBED = 20

Doubt = Literal["same", "doubtful", "other"]
EpochVerdict = Literal["same", "first", "uidvalidity", "rewound", "source", "renumbered"]


def judge_epoch(epoch: KnownEpoch | None, status: FolderStatus) -> EpochVerdict:
    """Whether UIDs still name the same messages. A UIDNEXT or HIGHESTMODSEQ below the recorded one shows that the
    server was restored from a backup: it will assign known UIDs to other mail. Without UIDVALIDITY these numbers
    prove nothing, so "same" is only an assumption: the messages have to be compared."""
    if epoch is None:
        return "first"
    if epoch.other_source:
        return "source"
    if not status.uidvalidity:
        return "same"
    if epoch.uidvalidity != status.uidvalidity:
        return "uidvalidity"
    state = epoch.state
    if state is not None:
        if status.uidnext is not None and state.uidnext is not None and status.uidnext < state.uidnext:
            return "rewound"
        if (
            status.highestmodseq is not None
            and state.highestmodseq is not None
            and status.highestmodseq < state.highestmodseq
        ):
            return "rewound"
    return "same"


def compare_known(recorded: Attributes, seen: Attributes) -> Doubt:
    """Whether a known UID still has the same message: another size or another INTERNALDATE is a doubt, both
    together mean another message. Dates are compared as instants, since a server may change the time zone."""
    sized = recorded.size is None or seen.size is None or recorded.size == seen.size
    dated = recorded.internaldate is None or seen.internaldate is None
    dated = dated or internaldate_seconds(recorded.internaldate) == internaldate_seconds(seen.internaldate)
    return _doubt(sized, dated)


def compare_unrecorded(left: Placement, seen: Attributes) -> Doubt:
    """The same for a message that a crashed run left unrecorded, of which only the file name is known. NOTE: a
    server's sizes may be wrong (RFC822.SIZE is a hint)."""
    sized = seen.size in (None, left.size, left.crlf_size)
    return _doubt(sized, internaldate_seconds(seen.internaldate) in (None, left.arrived))


def _doubt(sized: bool, dated: bool) -> Doubt:
    if sized and dated:
        return "same"
    return "doubtful" if sized or dated else "other"
