"""What the catalog knows of a destination: targets, copies, intents, refusals."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, case, func, or_, select

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.gone import OURS, is_needed, is_withdrawable, moved, stranded
from archiver.catalog.sqlite.holding import holding
from archiver.catalog.sqlite.reading import (
    IS_PRESENT,
    PLACE,
    STORED_MESSAGE,
    STREAM,
    FlagSets,
    of_messages,
    parts,
    placement,
    stored_message,
)
from archiver.catalog.sqlite.schema import COPY, EPOCH, FOLDER, INTENT, MAPPED, MESSAGE, REFUSAL, TARGET
from archiver.catalog.sqlite.twins import attempts, twins, twins_listed
from archiver.facts.replica import (
    Attempt,
    Copy,
    CopyTally,
    Intent,
    KnownTarget,
    LateTwin,
    Loss,
    MessageKey,
    Moved,
    Outgoing,
    Refused,
    TargetState,
)
from archiver.mail.model import Digest


class SqlCopies:
    """Implements `ports.Copies` over a catalog's database; each call is a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mapped(self, destination: int) -> Mapping[int, tuple[bytes, tuple[str, ...], str]]:
        """(raw, path, rules) of the folder's place at the destination, by the folder's number."""
        mine = select(MAPPED).where(MAPPED.c.destination == destination)
        with self._database.reading() as connection:
            return {
                row.folder: (row.raw, tuple(json.loads(row.path)), row.rules) for row in connection.execute(mine)
            }

    def targets(self, destination: int) -> Mapping[bytes, KnownTarget]:
        """The current targets by their raw names; ended ones are not among them."""
        current = select(TARGET).where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None))
        with self._database.reading() as connection:
            return {row.raw: _target(row) for row in connection.execute(current)}

    def holding(self, destination: int) -> Mapping[bytes, tuple[int, int]]:
        """UIDVALIDITY and number of our copies in each current target, by its raw name."""
        with self._database.reading() as connection:
            return holding(connection, destination)

    def pending(
        self, target: int, folders: Collection[int], *, after: MessageKey, limit: int, vanished: bool = False
    ) -> Sequence[Outgoing]:
        """The next `limit` messages of `folders` that have no copy in the target, in the order of epoch and UID."""
        rows = _lacking(_OUTGOING, target, folders, vanished=vanished).order_by(MESSAGE.c.uid)
        epochs = select(EPOCH.c.number).where(EPOCH.c.folder.in_(folders), EPOCH.c.number >= after[0])
        found: list[Outgoing] = []
        sets = FlagSets()
        with self._database.reading() as connection:
            # NOTE: asked for all epochs in one, SQLite looks through all messages for every part.
            for epoch in connection.scalars(epochs.order_by(EPOCH.c.number)).all():
                its = (MESSAGE.c.epoch == epoch, MESSAGE.c.uid > (after[1] if epoch == after[0] else 0))
                part = rows.where(*its).limit(limit - len(found))
                found += [_outgoing(row, sets) for row in connection.execute(part)]
                if len(found) == limit:
                    break
        return found

    def work(self, target: int, folders: Collection[int], *, vanished: bool = False) -> tuple[int, int]:
        """How many messages of `folders` have no copy in the target, and their octets."""
        counted = of_messages(func.count(), func.coalesce(func.sum(MESSAGE.c.size), 0))
        rows = _lacking(counted, target, folders, vanished=vanished)
        with self._database.reading() as connection:
            messages, octets = connection.execute(rows).one()
        return messages, octets

    def lacking(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        """Those of these messages, present or not, that have no copy in the target and that its user did not
        remove."""
        by_epoch: dict[int, list[int]] = {}
        for epoch, uid in keys:
            by_epoch.setdefault(epoch, []).append(uid)
        rows = _uncopied(of_messages(MESSAGE.c.epoch, MESSAGE.c.uid), target)
        with self._database.reading() as connection:
            return {
                (row[0], row[1])
                for epoch, uids in by_epoch.items()
                for part in parts(MESSAGE.c.uid, uids)
                for row in connection.execute(rows.where(MESSAGE.c.epoch == epoch, part))
            }

    def equal(self, target: int, digests: Collection[Digest]) -> Sequence[Copy]:
        """Copies with one of these digests, also those that were seen to be gone."""
        # NOTE: + 0, so that SQLite looks the digests up and not at all copies of the target.
        rows = _COPIES.where(COPY.c.target + 0 == target)
        return self._copies([rows.where(part) for part in parts(MESSAGE.c.digest, digests)])

    def removed(self, destination: int) -> Mapping[int, Collection[int]]:
        """The UIDs of copies that were seen to be gone, by target, ended ones too."""
        rows = (
            select(COPY.c.target, COPY.c.target_uid)
            .join(TARGET, TARGET.c.number == COPY.c.target)
            .where(TARGET.c.destination == destination, COPY.c.removed_at.is_not(None))
        )
        found: dict[int, list[int]] = {}
        with self._database.reading() as connection:
            for target, uid in connection.execute(rows):
                found.setdefault(target, []).append(uid)
        return found

    def claimed(self, target: int) -> dict[int, bool]:
        """The UIDs of all copies, true for those that were not seen to be gone."""
        rows = select(COPY.c.target_uid, COPY.c.removed_at.is_(None)).where(COPY.c.target == target)
        with self._database.reading() as connection:
            return {row[0]: bool(row[1]) for row in connection.execute(rows, execution_options=STREAM)}

    def newest(self, target: int, limit: int) -> Sequence[Copy]:
        """The `limit` copies with the highest UIDs that were not seen to be gone."""
        rows = _COPIES.where(COPY.c.target == target, COPY.c.removed_at.is_(None))
        return self._copies([rows.order_by(None).order_by(COPY.c.target_uid.desc()).limit(limit)])

    def intents(self, target: int) -> Sequence[Intent]:
        """Messages whose APPEND has an unknown outcome, in the order of epoch and UID."""
        mine = and_(INTENT.c.target == target, INTENT.c.epoch == MESSAGE.c.epoch, INTENT.c.uid == MESSAGE.c.uid)
        rows = (
            of_messages(INTENT.c.uidnext, INTENT.c.at, *_OUTGOING_COLUMNS)
            .join(INTENT, mine)
            .order_by(MESSAGE.c.epoch, MESSAGE.c.uid)
        )
        sets = FlagSets()
        with self._database.reading() as connection:
            return [Intent(_outgoing(row[2:], sets), row[0], row[1]) for row in connection.execute(rows)]

    def attempts(self, target: int) -> Sequence[Attempt]:
        """Messages that have a copy and may be stored once more."""
        with self._database.reading() as connection:
            return attempts(connection, target)

    def twins(self, target: int) -> Sequence[LateTwin]:
        """Messages that were stored once more and that were not seen to be gone, in UID order."""
        with self._database.reading() as connection:
            return twins(connection, target)

    def left_over(self, target: int, digests: Collection[Digest]) -> Sequence[Copy]:
        """Copies with one of these digests whose message the source no longer has under that UID, or in that
        folder: it vanished, its epoch ended, or the folder is gone. The same octets under another UID are then
        known to be there."""
        # NOTE: + 0, so that SQLite looks the digests up and not at all copies of the target.
        rows = _COPIES.where(COPY.c.target + 0 == target, or_(~IS_PRESENT, FOLDER.c.gone_at.is_not(None)))
        return self._copies([rows.where(part) for part in parts(MESSAGE.c.digest, digests)])

    def reflagged(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Copy]:
        """The next `limit` copies after the UID `after` whose message's flags are no longer those that were
        replayed, or that are marked although their message is there."""
        changed = or_(MESSAGE.c.flags != COPY.c.source_flags, COPY.c.marked)
        # NOTE: not of a folder that the source no longer has: a mark of ours there is meant.
        wanted = or_(and_(IS_PRESENT, FOLDER.c.gone_at.is_(None)), COPY.c.how == "restored")
        rows = _COPIES.where(COPY.c.target == target, COPY.c.removed_at.is_(None), wanted, changed)
        return self._copies([rows.where(COPY.c.target_uid > after).limit(limit)])

    def doubtful(self, target: int, *, after: int, limit: int) -> Sequence[tuple[Copy, Outgoing]]:
        """The next `limit` copies after the UID `after` that show another size than was sent and were not compared
        yet, with their messages, in UID order."""
        rows = (
            _COPIES.add_columns(*_OUTGOING_COLUMNS)
            .where(COPY.c.target == target, COPY.c.target_uid > after, COPY.c.removed_at.is_(None), _IS_WANTED)
            .where(COPY.c.likeness.is_(None), COPY.c.repaired == "")
            .where(COPY.c.size.not_in((MESSAGE.c.size, MESSAGE.c.crlf_size)))
            .limit(limit)
        )
        sets, columns = FlagSets(), len(_COPIES.selected_columns)
        with self._database.reading() as connection:
            return [
                (_copy(row[:columns], sets), _outgoing(row[columns:], sets)) for row in connection.execute(rows)
            ]

    def vanished(self, target: int, *, twice: bool = True, gone: Collection[int] = ()) -> Sequence[Copy]:
        """Copies that we appended whose message vanished, or was in one of the folders `gone` and these are no
        longer at the source. `twice`: those that may be withdrawn, being seen so by two complete archive steps, and
        without what the destination has of a message that is at the source."""
        rows = _COPIES.where(COPY.c.target == target, OURS, EPOCH.c.ended_at.is_(None))
        rows = rows.where(is_withdrawable(gone, twice=twice))
        return self._copies([rows.where(~is_needed(target)) if twice else rows])

    def moved(self, destination: int) -> Sequence[Moved]:
        """Targets that are not where the folders that have their mail now go, by what was recorded."""
        with self._database.reading() as connection:
            return moved(connection, destination)

    def stranded(self, destination: int) -> Mapping[int, int]:
        """How many copies that we appended are there of folders that the source no longer has, by their numbers;
        without those that a person had brought back."""
        with self._database.reading() as connection:
            return stranded(connection, destination)

    def copies(self, target: int, *, removed: bool = False) -> Iterator[Copy]:
        """All copies of present messages, and of those that were brought back, that were not seen to be gone, in
        UID order; or all that were."""
        rows = _COPIES.where(COPY.c.target == target)
        if removed:
            rows = rows.where(COPY.c.removed_at.is_not(None))
        else:
            rows = rows.where(COPY.c.removed_at.is_(None), _IS_WANTED)
        sets = FlagSets()
        with self._database.reading() as connection:
            for row in connection.execute(rows, execution_options=STREAM):
                yield _copy(row, sets)

    def refused(self, destination: int, *, vanished: bool = False) -> Sequence[Refused]:
        """Messages that were refused where their folder goes now, present ones, or those that vanished too."""
        rows = (
            of_messages(*REFUSAL.c, FOLDER.c.path.label("folder"))
            .join(REFUSAL, and_(REFUSAL.c.epoch == MESSAGE.c.epoch, REFUSAL.c.uid == MESSAGE.c.uid))
            .join(TARGET, TARGET.c.number == REFUSAL.c.target)
            .join(MAPPED, _goes_there())
            .where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None))
            .order_by(REFUSAL.c.epoch, REFUSAL.c.uid)
        )
        rows = rows if vanished else rows.where(IS_PRESENT)
        with self._database.reading() as connection:
            return [_refused(row) for row in connection.execute(rows)]

    def tallies(self, destination: int, run: str | None) -> Sequence[CopyTally]:
        """What became of every mapped folder's present messages."""
        live = COPY.c.removed_at.is_(None)
        new = and_(COPY.c.run == run, COPY.c.how.in_(("appended", "found", "restored")))
        copied = COPY.c.target.is_not(None)
        gone = or_(and_(copied, ~live), and_(~copied, _was_removed(TARGET.c.destination, TARGET.c.raw)))

        def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
            return func.coalesce(func.sum(case((and_(MESSAGE.c.uid.is_not(None), condition), 1), else_=0)), 0)

        rows = (
            select(
                MAPPED.c.folder,
                FOLDER.c.path,
                MAPPED.c.path,
                count(and_(copied, live, new)),
                count(and_(copied, live, ~func.coalesce(new, False))),
                count(and_(~copied, ~gone, REFUSAL.c.uid.is_not(None))),
                count(gone),
                count(and_(~copied, ~gone, REFUSAL.c.uid.is_(None))),
            )
            .select_from(MAPPED)
            .join(FOLDER, FOLDER.c.number == MAPPED.c.folder)
            .outerjoin(EPOCH, and_(EPOCH.c.folder == FOLDER.c.number, EPOCH.c.ended_at.is_(None)))
            .outerjoin(MESSAGE, and_(MESSAGE.c.epoch == EPOCH.c.number, MESSAGE.c.vanished_at.is_(None)))
            .outerjoin(TARGET, _current_target())
            .outerjoin(
                COPY,
                and_(
                    COPY.c.target == TARGET.c.number,
                    COPY.c.epoch == MESSAGE.c.epoch,
                    COPY.c.uid == MESSAGE.c.uid,
                ),
            )
            .outerjoin(
                REFUSAL,
                and_(
                    REFUSAL.c.target == TARGET.c.number,
                    REFUSAL.c.epoch == MESSAGE.c.epoch,
                    REFUSAL.c.uid == MESSAGE.c.uid,
                ),
            )
            .where(MAPPED.c.destination == destination)
            .group_by(MAPPED.c.folder)
            .order_by(MAPPED.c.folder)
        )
        restored = (
            select(EPOCH.c.folder, func.count())
            .select_from(COPY)
            .join(MESSAGE, and_(MESSAGE.c.epoch == COPY.c.epoch, MESSAGE.c.uid == COPY.c.uid))
            .join(EPOCH, EPOCH.c.number == MESSAGE.c.epoch)
            .join(FOLDER, FOLDER.c.number == EPOCH.c.folder)
            .join(TARGET, TARGET.c.number == COPY.c.target)
            .join(MAPPED, _goes_there())
            .where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None), live)
            .where(COPY.c.run == run, COPY.c.how == "restored", ~IS_PRESENT)
            .group_by(EPOCH.c.folder)
        )
        with self._database.reading() as connection:
            brought_back: dict[int, int] = {row[0]: row[1] for row in connection.execute(restored)}
            return [
                replace(
                    CopyTally("/".join(json.loads(row[1])), "/".join(json.loads(row[2])), *row[3:]),
                    restored=brought_back.get(row[0], 0),
                )
                for row in connection.execute(rows)
            ]

    def losses(self, destination: int) -> Sequence[Loss]:
        """What the destination altered or does not keep, of present messages, and what it stored twice; gathered by
        folder and kind."""
        odd = or_(COPY.c.lost != "[]", COPY.c.repaired != "", ~COPY.c.dated, COPY.c.likeness.in_(_REWRITTEN))
        rows = (
            of_messages(FOLDER.c.path, COPY.c.uid, COPY.c.lost, COPY.c.repaired, COPY.c.dated, COPY.c.likeness)
            .join(COPY, and_(COPY.c.epoch == MESSAGE.c.epoch, COPY.c.uid == MESSAGE.c.uid))
            .join(TARGET, TARGET.c.number == COPY.c.target)
            .join(MAPPED, _goes_there())
            .where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None), _IS_WANTED)
            .where(COPY.c.removed_at.is_(None), odd)
            .order_by(FOLDER.c.number, COPY.c.uid)
        )
        found: dict[tuple[str, str, str], list[int]] = {}
        with self._database.reading() as connection:
            for path, uid, lost, repaired, dated, likeness in connection.execute(rows):
                folder = "/".join(json.loads(path))
                for kind, detail in _losses_of(lost, repaired, dated, likeness):
                    found.setdefault((folder, kind, detail), []).append(uid)
            twice = twins_listed(connection, destination)
        return [*twice, *(Loss(*what, tuple(uids)) for what, uids in found.items())]

    def _copies(self, statements: Sequence[Select[*tuple[Any, ...]]]) -> Sequence[Copy]:
        sets = FlagSets()
        with self._database.reading() as connection:
            return [_copy(row, sets) for statement in statements for row in connection.execute(statement)]


_IS_WANTED = or_(IS_PRESENT, COPY.c.how == "restored")

_OUTGOING_COLUMNS = (MESSAGE.c.epoch, *PLACE)
_OUTGOING = of_messages(*_OUTGOING_COLUMNS)

_COPIES = (
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


def _current_target() -> ColumnElement[bool]:
    return and_(
        TARGET.c.destination == MAPPED.c.destination, TARGET.c.raw == MAPPED.c.raw, TARGET.c.ended_at.is_(None)
    )


def _goes_there() -> ColumnElement[bool]:
    """The target is where the message's folder goes now: the account's rules may have sent it elsewhere before."""
    return and_(
        MAPPED.c.destination == TARGET.c.destination,
        MAPPED.c.folder == FOLDER.c.number,
        MAPPED.c.raw == TARGET.c.raw,
    )


def _lacking(
    statement: Select[*tuple[Any, ...]], target: int, folders: Collection[int], *, vanished: bool
) -> Select[*tuple[Any, ...]]:
    """Of the messages of `folders` those that have no copy in the target, and that its user did not remove."""
    rows = _uncopied(statement, target).where(EPOCH.c.folder.in_(folders))
    return rows.where(or_(IS_PRESENT, _nowhere_else()) if vanished else IS_PRESENT)


def _uncopied(statement: Select[*tuple[Any, ...]], target: int) -> Select[*tuple[Any, ...]]:
    """Those of the messages that have no copy in the target, and that its user did not remove."""
    here = and_(COPY.c.target == target, COPY.c.epoch == MESSAGE.c.epoch, COPY.c.uid == MESSAGE.c.uid)
    where = (
        select(column).where(TARGET.c.number == target).scalar_subquery()
        for column in (TARGET.c.destination, TARGET.c.raw)
    )
    return statement.outerjoin(COPY, here).where(COPY.c.target.is_(None), ~_was_removed(*where))


def _was_removed(destination: ColumnElement[Any], raw: ColumnElement[Any]) -> ColumnElement[bool]:
    """The message, which has no copy, was removed by the destination's user before the folder's messages got other
    UIDs there; it itself, or the one that it was before the source gave it another UID or its folder another name.
    """
    former, copy = TARGET.alias("former"), COPY.alias("former_copy")
    old, its_epoch, its_folder = MESSAGE.alias("old"), EPOCH.alias("its_epoch"), FOLDER.alias("its_folder")
    is_gone = its_folder.c.gone_at.is_not(None)
    removed = (
        select(copy.c.target_uid)
        .join(former, former.c.number == copy.c.target)
        .where(
            COPY.c.target.is_(None),
            copy.c.removed_at.is_not(None),
            former.c.destination == destination,
            former.c.raw == raw,
            former.c.ended_at.is_not(None),
        )
    )
    itself = removed.where(copy.c.epoch == MESSAGE.c.epoch, copy.c.uid == MESSAGE.c.uid)
    under_another = (
        removed.join(old, and_(old.c.epoch == copy.c.epoch, old.c.uid == copy.c.uid))
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
    """A message that is not present, and that no later message of its folder stands for: one of the same octets in
    a later epoch, or one that came to the folder when this one was gone. A message that was moved away and back, or
    whose mailbox was restored, is one message."""
    later_epoch, later = EPOCH.alias("later_epoch"), MESSAGE.alias("later")
    came_after = or_(
        later.c.epoch > MESSAGE.c.epoch,
        and_(
            later.c.epoch == MESSAGE.c.epoch,
            later.c.uid > MESSAGE.c.uid,
            later.c.stored_run != MESSAGE.c.stored_run,  # two that came together are two
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


def _target(row: Row[*tuple[Any, ...]]) -> KnownTarget:
    state = None if row.uidnext is None else TargetState(row.uidnext, row.messages)
    return KnownTarget(row.number, row.raw, row.uidvalidity, state, row.renaming)


def _outgoing(row: Sequence[Any], sets: FlagSets) -> Outgoing:
    return Outgoing(row[0], placement(row[1:], sets))


def _copy(row: Sequence[Any], sets: FlagSets) -> Copy:
    uid, epoch, how, sent_digest, size, dated, *rest = row
    source_flags, flags, lost, likeness, repaired, removed, marked, folder, *message = rest
    return Copy(
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


_REWRITTEN = {
    "line-ends": "line ends",
    "headers": "headers",
    "other": "the octets",
}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _losses_of(lost: str, repaired: str, dated: bool, likeness: str | None) -> Iterator[tuple[str, str]]:
    if lost != "[]":
        yield "flags", " ".join(json.loads(lost))
    if repaired:
        yield "repaired", repaired.replace(",", ", ")
    if not dated:
        yield "internaldate", "the destination does not keep it"
    if likeness in _REWRITTEN:
        yield "rewritten", _REWRITTEN[likeness]


def _refused(row: Row[*tuple[Any, ...]]) -> Refused:
    return Refused(
        folder="/".join(json.loads(row.folder)),
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
