"""What need not be read again, from what was recorded when the copies in a folder were last compared. Pure.

All of it follows from HIGHESTMODSEQ (RFC 7162), which rises with every change in a folder. The recorded one was
read before the copies: a change that came while they were compared shows the next time.
"""

from __future__ import annotations

from archiver.facts.mailbox import FolderStat
from archiver.facts.replica import ReplicaFolder
from archiver.mail.model import FolderStatus


def is_recordable(folder: ReplicaFolder, status: FolderStatus | None) -> bool:
    """Whether a later status that equals this one proves that nothing has changed in the folder."""
    return (
        status is not None
        and bool(status.highestmodseq and status.uidvalidity and status.uidnext)
        and status.uidvalidity == folder.uidvalidity
    )


def is_unchanged(folder: ReplicaFolder, status: FolderStatus | None) -> bool:
    """Whether a folder shows that nothing in it has changed since its copies were compared."""
    return is_recordable(folder, status) and status == folder.compared


def changes_since(folder: ReplicaFolder, status: FolderStatus | None) -> int | None:
    """The HIGHESTMODSEQ from which on the changes in a folder have to be read; None if all of it has to be read.

    A server that went back to an earlier state shows numbers below the recorded ones, or the recorded HIGHESTMODSEQ
    with other messages, or other octets in as many messages.
    """
    known = folder.compared
    if known is None or status is None or not is_recordable(folder, status):
        return None
    if (status.highestmodseq or 0) < (known.highestmodseq or 0) or (status.uidnext or 0) < (known.uidnext or 0):
        return None
    if status.highestmodseq == known.highestmodseq and status != known:
        return None
    if (status.uidnext, status.messages) == (known.uidnext, known.messages) and status.size != known.size:
        return None
    return known.highestmodseq


def all_are_there(known: FolderStatus, looked: FolderStat) -> bool:
    """Whether a folder still has every message that it had at that status. Which are gone is not among the changes
    that a server reports, so that follows from their number: `looked` has all messages that came since."""
    new = {row.uid for row in looked.seen if row.uid >= (known.uidnext or 0)}
    return looked.uidvalidity == known.uidvalidity and looked.messages == known.messages + len(new)
