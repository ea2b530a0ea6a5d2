"""The queries about replicas and messages at a destination, and their rows as values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, or_, select

from archiver.catalog.sqlite.reading import (
    IS_PRESENT,
    PLACE,
    STORED_MESSAGE,
    FlagSets,
    folder_name,
    of_messages,
    placement,
    stored_message,
)
from archiver.catalog.sqlite.schema import COPY, EPOCH, FOLDER, MAPPED, MESSAGE, TARGET
from archiver.facts.replica import Outgoing, Refused, Replica, ReplicaFolder, ReplicaFolderState

IS_WANTED = or_(IS_PRESENT, COPY.c.how == "restored")

OUTGOING_COLUMNS = (MESSAGE.c.epoch, *PLACE)
OUTGOING = of_messages(*OUTGOING_COLUMNS)

REPLICAS = (
    of_messages(
        COPY.c.target_uid,
        COPY.c.epoch,
        COPY.c.how,
        COPY.c.sent_digest,
        COPY.c.size,
        COPY.c.dated,
        COPY.c.source_flags,
        COPY.c.flags,
        COPY.c.lost,
        COPY.c.likeness,
        COPY.c.repaired,
        COPY.c.removed_at.is_not(None),
        COPY.c.marked,
        FOLDER.c.number,
        *STORED_MESSAGE,
    )
    .join(COPY, and_(COPY.c.epoch == MESSAGE.c.epoch, COPY.c.uid == MESSAGE.c.uid))
    .order_by(COPY.c.target_uid)
)


def is_current_target() -> ColumnElement[bool]:
    return and_(
        TARGET.c.destination == MAPPED.c.destination, TARGET.c.raw == MAPPED.c.raw, TARGET.c.ended_at.is_(None)
    )


def goes_there() -> ColumnElement[bool]:
    """The message's folder is mapped to this destination folder now; the account's rules may have mapped it
    elsewhere before."""
    return and_(
        MAPPED.c.destination == TARGET.c.destination,
        MAPPED.c.folder == FOLDER.c.number,
        MAPPED.c.raw == TARGET.c.raw,
    )


def missing(
    statement: Select[*tuple[Any, ...]], target: int, folders: Collection[int], *, vanished: bool
) -> Select[*tuple[Any, ...]]:
    """The messages of `folders` that have no replica in the destination folder and were not removed by its user."""
    rows = uncopied(statement, target).where(EPOCH.c.folder.in_(folders))
    return rows.where(or_(IS_PRESENT, _nowhere_else()) if vanished else IS_PRESENT)


def uncopied(statement: Select[*tuple[Any, ...]], target: int) -> Select[*tuple[Any, ...]]:
    """Which of the messages have no replica in the destination folder and were not removed by its user."""
    here = and_(COPY.c.target == target, COPY.c.epoch == MESSAGE.c.epoch, COPY.c.uid == MESSAGE.c.uid)
    where = (
        select(column).where(TARGET.c.number == target).scalar_subquery()
        for column in (TARGET.c.destination, TARGET.c.raw)
    )
    return statement.outerjoin(COPY, here).where(COPY.c.target.is_(None), ~was_removed(*where))


def was_removed(destination: ColumnElement[Any], raw: ColumnElement[Any]) -> ColumnElement[bool]:
    """The message has no replica, because the destination's user removed it before the folder's messages got other
    UIDs there. This includes a replica that was removed before the source gave the message another UID or renamed
    its folder.
    """
    former, replica = TARGET.alias("former"), COPY.alias("former_copy")
    old, its_epoch, its_folder = MESSAGE.alias("old"), EPOCH.alias("its_epoch"), FOLDER.alias("its_folder")
    is_gone = its_folder.c.gone_at.is_not(None)
    removed = (
        select(replica.c.target_uid)
        .join(former, former.c.number == replica.c.target)
        .where(
            COPY.c.target.is_(None),
            replica.c.removed_at.is_not(None),
            former.c.destination == destination,
            former.c.raw == raw,
            former.c.ended_at.is_not(None),
        )
    )
    itself = removed.where(replica.c.epoch == MESSAGE.c.epoch, replica.c.uid == MESSAGE.c.uid)
    under_another = (
        removed.join(old, and_(old.c.epoch == replica.c.epoch, old.c.uid == replica.c.uid))
        .join(its_epoch, its_epoch.c.number == old.c.epoch)
        .join(its_folder, its_folder.c.number == its_epoch.c.folder)
        .where(
            old.c.digest == MESSAGE.c.digest,
            or_(its_epoch.c.folder == EPOCH.c.folder, is_gone),
            or_(old.c.vanished_at.is_not(None), its_epoch.c.ended_at.is_not(None), is_gone),
        )
    )
    return or_(itself.exists(), under_another.exists())


def _nowhere_else() -> ColumnElement[bool]:
    """A message that is not present and has no successor in its folder: a message with the same octets in a later
    epoch, or one that arrived in the folder after this one was gone. So a message that was moved away and back, or
    whose mailbox was restored, counts once."""
    later_epoch, later = EPOCH.alias("later_epoch"), MESSAGE.alias("later")
    came_after = or_(
        later.c.epoch > MESSAGE.c.epoch,
        and_(
            later.c.epoch == MESSAGE.c.epoch,
            later.c.uid > MESSAGE.c.uid,
            later.c.stored_run != MESSAGE.c.stored_run,  # two that arrived together count as two
            or_(later.c.stored_at >= MESSAGE.c.vanished_at, later.c.stored_run == MESSAGE.c.vanished_run),
        ),
    )
    again = (
        select(later.c.uid)
        .join(later_epoch, later_epoch.c.number == later.c.epoch)
        .where(later_epoch.c.folder == EPOCH.c.folder, later.c.digest == MESSAGE.c.digest, came_after)
        .exists()
    )
    return ~again


def folder_of(row: Row[*tuple[Any, ...]]) -> ReplicaFolder:
    state = None if row.uidnext is None else ReplicaFolderState(row.uidnext, row.messages)
    return ReplicaFolder(row.number, row.raw, row.uidvalidity, state, row.renaming)


def outgoing_of(row: Sequence[Any], sets: FlagSets) -> Outgoing:
    return Outgoing(row[0], placement(row[1:], sets))


def replica_of(row: Sequence[Any], sets: FlagSets) -> Replica:
    uid, epoch, how, sent_digest, size, dated, *rest = row
    source_flags, flags, lost, likeness, repaired, removed, marked, folder, *message = rest
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
    )


def replicas(connection: Connection, *statements: Select[*tuple[Any, ...]]) -> Sequence[Replica]:
    """The replicas that statements over `REPLICAS` find, one after the other."""
    sets = FlagSets()
    return [replica_of(row, sets) for statement in statements for row in connection.execute(statement)]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def refused_of(row: Row[*tuple[Any, ...]]) -> Refused:
    return Refused(
        folder=folder_name(row.folder),
        target=row.target,
        key=(row.epoch, row.uid),
        refusal=row.refusal,
        reason=row.reason,
        server_reply=row.server_reply,
        date=row.date,
        subject=row.subject,
        tries=row.tries,
        accepted=row.accepted,
    )
