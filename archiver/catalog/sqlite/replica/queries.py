"""The queries about replicas and messages at a destination, and their rows as values.

They are over `MESSAGES`. The table `copy` holds the replicas, `target` the folders of destinations, and `mapped`
the destination folder that the account's rules map each folder to now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from archiver.catalog.sqlite.reading import (
    IS_PRESENT,
    IS_PRUNED,
    MESSAGES,
    PLACE,
    STORED_MESSAGE,
    FlagSets,
    any_of,
    folder_name,
    placement,
    stored_message,
)
from archiver.facts.outgoing import Outgoing, Refused
from archiver.facts.replica import Replica, ReplicaFolder, ReplicaFolderState
from archiver.mail.model import FolderStatus

IS_WANTED = f"({IS_PRESENT} OR copy.how = 'restored')"

OUTGOING = f"message.epoch, {PLACE}"

OF_MESSAGE = "copy.epoch = message.epoch AND copy.uid = message.uid"
"""The replica is one of the message."""

REPLICA = f"""copy.target_uid, copy.epoch, copy.how, copy.sent_digest, copy.size, copy.dated, copy.source_flags,
    copy.flags, copy.lost, copy.likeness, copy.repaired, copy.removed_at IS NOT NULL, copy.marked, folder.number,
    copy.accepted_at IS NOT NULL, copy.source_labels, copy.labels, copy.lost_labels, {STORED_MESSAGE}"""
REPLICAS = f"SELECT {REPLICA} FROM {MESSAGES} JOIN copy ON {OF_MESSAGE}"
REPLICA_COLUMNS = REPLICA.count(",") + 1

IS_DOUBTFUL = (
    """(copy.likeness IS NULL AND copy.repaired = '' AND copy.size NOT IN (message.size, message.crlf_size))"""
)
"""The replica's size is not that of the message, and its octets were not compared."""

IS_ALTERED = f"(copy.likeness IN ('cut', 'other') OR {IS_DOUBTFUL})"
"""The replica is not what was sent, beyond what known servers rewrite."""

IS_UNCOMPARED = "(copy.compared IS NULL OR message.flags != copy.source_flags)"
"""The replica was not compared since it was recorded, or its message's flags were not replayed."""

GOES_THERE = "mapped.destination = target.destination AND mapped.folder = folder.number AND mapped.raw = target.raw"
"""The message's folder is mapped to this destination folder now; the account's rules may have mapped it elsewhere
before."""


def was_removed(destination: str, raw: str) -> str:
    """The message has no replica, because the destination's user removed it before the folder's messages got other
    UIDs there. This includes a replica that was removed before the source gave the message another UID or renamed
    its folder.
    """
    removed = f"""
        SELECT 1 FROM copy AS former_copy
        JOIN target AS former ON former.number = former_copy.target
        {{join}}
        WHERE copy.target IS NULL AND former_copy.removed_at IS NOT NULL
        AND former.destination = {destination} AND former.raw = {raw} AND former.ended_at IS NOT NULL
        AND {{where}}
        """
    itself = removed.format(join="", where="former_copy.epoch = message.epoch AND former_copy.uid = message.uid")
    under_another = removed.format(
        join="""
        JOIN message AS old ON old.epoch = former_copy.epoch AND old.uid = former_copy.uid
        JOIN epoch AS its_epoch ON its_epoch.number = old.epoch
        JOIN folder AS its_folder ON its_folder.number = its_epoch.folder
        """,
        where="""
        old.digest = message.digest
        AND (its_epoch.folder = epoch.folder OR its_folder.gone_at IS NOT NULL)
        AND (old.vanished_at IS NOT NULL OR its_epoch.ended_at IS NOT NULL OR its_folder.gone_at IS NOT NULL)
        """,
    )
    return f"(EXISTS ({itself}) OR EXISTS ({under_another}))"


_REMOVED_THERE = was_removed(
    *(f"(SELECT {column} FROM target WHERE number = :target)" for column in ("destination", "raw"))
)
_UNCOPIED = f"{MESSAGES} LEFT JOIN copy ON copy.target = :target AND {OF_MESSAGE} WHERE copy.target IS NULL"
UNCOPIED = f"{_UNCOPIED} AND NOT {_REMOVED_THERE}"
"""Messages that have no replica in the destination folder and were not removed by its user."""


# A message that has no successor in its folder: a message with the same octets in a later epoch, or one that
# arrived in the folder after this one was gone. So a message that was moved away and back, or whose
# mailbox was restored, counts once; two that arrived together count as two.
_NOWHERE_ELSE = """NOT EXISTS (
    SELECT 1 FROM message AS later JOIN epoch AS later_epoch ON later_epoch.number = later.epoch
    WHERE later_epoch.folder = epoch.folder AND later.digest = message.digest AND (
        later.epoch > message.epoch OR (
            later.epoch = message.epoch AND later.uid > message.uid AND later.stored_run != message.stored_run
            AND (later.stored_at >= message.vanished_at OR later.stored_run = message.vanished_run)
        )
    )
)"""


_IS_HELD = f"({IS_PRESENT} AND folder.listed)"


def was_never_there(destination: str) -> str:
    """The message, which the source no longer has, has no successor, and no folder of this destination has, or
    had, a replica of it. Its folder may be gone, too, and may have been renamed there since."""
    return f"""(NOT {_IS_HELD} AND copy.target IS NULL AND NOT EXISTS (
        SELECT 1 FROM copy AS its_copy JOIN target AS its_target ON its_target.number = its_copy.target
        WHERE its_copy.epoch = message.epoch AND its_copy.uid = message.uid
        AND its_target.destination = {destination} AND its_target.ended_at IS NULL
    ) AND {_NOWHERE_ELSE})"""


_NEVER_THERE = was_never_there("(SELECT destination FROM target WHERE number = :target)")


def missing(*, vanished: bool) -> str:
    """The messages of `folders` that have no replica in the destination folder and were not removed by its user:
    those at the source, and those that we removed there; with `vanished` all that are no longer at the source."""
    # NOTE: what depends on `copy` is asked when it is known that there is none: it takes longer.
    ours = f"({_IS_HELD} OR {IS_PRUNED}) AND ({_IS_HELD} OR {_NEVER_THERE})"
    which = f"({IS_PRESENT} OR {_NOWHERE_ELSE})" if vanished else ours
    return f"{_UNCOPIED} AND epoch.folder IN {any_of('folders')} AND {which} AND NOT {_REMOVED_THERE}"


REPLICA_FOLDER = """target.number, target.raw, target.uidvalidity, target.uidnext, target.messages, target.renaming,
    target.compared_uidnext, target.compared_messages, target.compared_modseq, target.compared_size"""


def folder_of(
    number: int,
    raw: bytes,
    uidvalidity: int,
    uidnext: int | None,
    messages: int,
    renaming: bytes | None,
    *compared: Any,
) -> ReplicaFolder:
    """From the columns of `REPLICA_FOLDER`."""
    state = None if uidnext is None else ReplicaFolderState(uidnext, messages)
    status = None if compared[0] is None else FolderStatus(uidvalidity, *compared)
    return ReplicaFolder(number, raw, uidvalidity, state, renaming, status)


def outgoing_of(row: Sequence[Any], sets: FlagSets) -> Outgoing:
    """From the columns of `OUTGOING`."""
    return Outgoing(row[0], placement(row[1:], sets))


def replica_of(row: Sequence[Any], sets: FlagSets) -> Replica:
    """From the columns of `REPLICA`."""
    uid, epoch, how, sent_digest, size, dated, *rest = row
    source_flags, flags, lost, likeness, repaired, removed, marked, folder, accepted, *labels_and_message = rest
    source_labels, labels, lost_labels, *message = labels_and_message
    return Replica(
        uid=uid,
        epoch=epoch,
        message=stored_message(message, sets),
        how=how,
        sent_digest=sent_digest,
        size=size,
        dated=bool(dated),
        source_flags=sets[source_flags],
        flags=sets[flags],
        lost=sets[lost],
        likeness=likeness,
        repaired=_words(repaired),
        removed=bool(removed),
        marked=bool(marked),
        folder=folder,
        accepted=bool(accepted),
        source_labels=None if source_labels is None else sets[source_labels],
        labels=None if labels is None else sets[labels],
        lost_labels=frozenset() if lost_labels is None else sets[lost_labels],
    )


def replicas(rows: Iterable[Sequence[Any]]) -> Sequence[Replica]:
    """The replicas of rows of `REPLICAS`."""
    sets = FlagSets()
    return [replica_of(row, sets) for row in rows]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


REFUSED = """folder.path, refusal.target, refusal.epoch, refusal.uid, refusal.refusal, refusal.reason,
    refusal.server_reply, refusal.date, refusal.subject, refusal.tries, refusal.accepted"""


def refused_of(path: str, target: int, epoch: int, uid: int, refusal: str, *rest: Any) -> Refused:
    """From the columns of `REFUSED`."""
    reason, server_reply, date, subject, tries, accepted = rest
    return Refused(
        folder=folder_name(path),
        target=target,
        key=(epoch, uid),
        refusal=refusal,
        reason=reason,
        server_reply=server_reply,
        date=date,
        subject=subject,
        tries=tries,
        accepted=bool(accepted),
    )
