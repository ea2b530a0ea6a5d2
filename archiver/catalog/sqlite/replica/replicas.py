"""The adapter: what the catalog knows of a destination's targets, copies, intents and refusals."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import (
    IS_PRESENT,
    STREAM,
    FlagSets,
    of_messages,
    parts,
)
from archiver.catalog.sqlite.replica.counts import losses, tallies
from archiver.catalog.sqlite.replica.gone import OURS, is_needed, is_withdrawable, moved, stranded
from archiver.catalog.sqlite.replica.holding import holding
from archiver.catalog.sqlite.replica.queries import (
    COPIES,
    IS_WANTED,
    OUTGOING,
    OUTGOING_COLUMNS,
    copy_of,
    goes_there,
    lacking,
    outgoing_of,
    refused_of,
    target_of,
    uncopied,
)
from archiver.catalog.sqlite.replica.twins import attempts, twins
from archiver.catalog.sqlite.schema import COPY, EPOCH, FOLDER, INTENT, MAPPED, MESSAGE, REFUSAL, TARGET
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
)
from archiver.mail.model import Digest


class SqlCopies:
    """`archiver.catalog.port.Copies` over a catalog's database; each call is a transaction of its own."""

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
            return {row.raw: target_of(row) for row in connection.execute(current)}

    def holding(self, destination: int) -> Mapping[bytes, tuple[int, int]]:
        """UIDVALIDITY and number of our copies in each current target, by its raw name."""
        with self._database.reading() as connection:
            return holding(connection, destination)

    def pending(
        self, target: int, folders: Collection[int], *, after: MessageKey, limit: int, vanished: bool = False
    ) -> Sequence[Outgoing]:
        """The next `limit` messages of `folders` that have no copy in the target, in the order of epoch and UID."""
        rows = lacking(OUTGOING, target, folders, vanished=vanished).order_by(MESSAGE.c.uid)
        epochs = select(EPOCH.c.number).where(EPOCH.c.folder.in_(folders), EPOCH.c.number >= after[0])
        found: list[Outgoing] = []
        sets = FlagSets()
        with self._database.reading() as connection:
            # NOTE: asked for all epochs in one, SQLite looks through all messages for every part.
            for epoch in connection.scalars(epochs.order_by(EPOCH.c.number)).all():
                its = (MESSAGE.c.epoch == epoch, MESSAGE.c.uid > (after[1] if epoch == after[0] else 0))
                part = rows.where(*its).limit(limit - len(found))
                found += [outgoing_of(row, sets) for row in connection.execute(part)]
                if len(found) == limit:
                    break
        return found

    def work(self, target: int, folders: Collection[int], *, vanished: bool = False) -> tuple[int, int]:
        """How many messages of `folders` have no copy in the target, and their octets."""
        counted = of_messages(func.count(), func.coalesce(func.sum(MESSAGE.c.size), 0))
        rows = lacking(counted, target, folders, vanished=vanished)
        with self._database.reading() as connection:
            messages, octets = connection.execute(rows).one()
        return messages, octets

    def lacking(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        """Those of these messages, present or not, that have no copy in the target and that its user did not
        remove."""
        by_epoch: dict[int, list[int]] = {}
        for epoch, uid in keys:
            by_epoch.setdefault(epoch, []).append(uid)
        rows = uncopied(of_messages(MESSAGE.c.epoch, MESSAGE.c.uid), target)
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
        rows = COPIES.where(COPY.c.target + 0 == target)
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
        rows = COPIES.where(COPY.c.target == target, COPY.c.removed_at.is_(None))
        return self._copies([rows.order_by(None).order_by(COPY.c.target_uid.desc()).limit(limit)])

    def intents(self, target: int) -> Sequence[Intent]:
        """Messages whose APPEND has an unknown outcome, in the order of epoch and UID."""
        mine = and_(INTENT.c.target == target, INTENT.c.epoch == MESSAGE.c.epoch, INTENT.c.uid == MESSAGE.c.uid)
        rows = (
            of_messages(INTENT.c.uidnext, INTENT.c.at, *OUTGOING_COLUMNS)
            .join(INTENT, mine)
            .order_by(MESSAGE.c.epoch, MESSAGE.c.uid)
        )
        sets = FlagSets()
        with self._database.reading() as connection:
            return [Intent(outgoing_of(row[2:], sets), row[0], row[1]) for row in connection.execute(rows)]

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
        rows = COPIES.where(COPY.c.target + 0 == target, or_(~IS_PRESENT, FOLDER.c.gone_at.is_not(None)))
        return self._copies([rows.where(part) for part in parts(MESSAGE.c.digest, digests)])

    def reflagged(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Copy]:
        """The next `limit` copies after the UID `after` whose message's flags are no longer those that were
        replayed, or that are marked although their message is there."""
        changed = or_(MESSAGE.c.flags != COPY.c.source_flags, COPY.c.marked)
        # NOTE: not of a folder that the source no longer has: a mark of ours there is meant.
        wanted = or_(and_(IS_PRESENT, FOLDER.c.gone_at.is_(None)), COPY.c.how == "restored")
        rows = COPIES.where(COPY.c.target == target, COPY.c.removed_at.is_(None), wanted, changed)
        return self._copies([rows.where(COPY.c.target_uid > after).limit(limit)])

    def doubtful(self, target: int, *, after: int, limit: int) -> Sequence[tuple[Copy, Outgoing]]:
        """The next `limit` copies after the UID `after` that show another size than was sent and were not compared
        yet, with their messages, in UID order."""
        rows = (
            COPIES.add_columns(*OUTGOING_COLUMNS)
            .where(COPY.c.target == target, COPY.c.target_uid > after, COPY.c.removed_at.is_(None), IS_WANTED)
            .where(COPY.c.likeness.is_(None), COPY.c.repaired == "")
            .where(COPY.c.size.not_in((MESSAGE.c.size, MESSAGE.c.crlf_size)))
            .limit(limit)
        )
        sets, columns = FlagSets(), len(COPIES.selected_columns)
        with self._database.reading() as connection:
            return [
                (copy_of(row[:columns], sets), outgoing_of(row[columns:], sets)) for row in connection.execute(rows)
            ]

    def vanished(self, target: int, *, twice: bool = True, gone: Collection[int] = ()) -> Sequence[Copy]:
        """Copies that we appended whose message vanished, or was in one of the folders `gone` and these are no
        longer at the source. `twice`: those that may be withdrawn, being seen so by two complete archive steps, and
        without what the destination has of a message that is at the source."""
        rows = COPIES.where(COPY.c.target == target, OURS, EPOCH.c.ended_at.is_(None))
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
        rows = COPIES.where(COPY.c.target == target)
        if removed:
            rows = rows.where(COPY.c.removed_at.is_not(None))
        else:
            rows = rows.where(COPY.c.removed_at.is_(None), IS_WANTED)
        sets = FlagSets()
        with self._database.reading() as connection:
            for row in connection.execute(rows, execution_options=STREAM):
                yield copy_of(row, sets)

    def refused(self, destination: int, *, vanished: bool = False) -> Sequence[Refused]:
        """Messages that were refused where their folder goes now, present ones, or those that vanished too."""
        rows = (
            of_messages(*REFUSAL.c, FOLDER.c.path.label("folder"))
            .join(REFUSAL, and_(REFUSAL.c.epoch == MESSAGE.c.epoch, REFUSAL.c.uid == MESSAGE.c.uid))
            .join(TARGET, TARGET.c.number == REFUSAL.c.target)
            .join(MAPPED, goes_there())
            .where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None))
            .order_by(REFUSAL.c.epoch, REFUSAL.c.uid)
        )
        rows = rows if vanished else rows.where(IS_PRESENT)
        with self._database.reading() as connection:
            return [refused_of(row) for row in connection.execute(rows)]

    def tallies(self, destination: int, run: str | None) -> Sequence[CopyTally]:
        """What became of every mapped folder's present messages."""
        with self._database.reading() as connection:
            return tallies(connection, destination, run)

    def losses(self, destination: int) -> Sequence[Loss]:
        """What the destination altered or does not keep, of present messages, and what it stored twice; gathered by
        folder and kind."""
        with self._database.reading() as connection:
            return losses(connection, destination)

    def _copies(self, statements: Sequence[Select[*tuple[Any, ...]]]) -> Sequence[Copy]:
        sets = FlagSets()
        with self._database.reading() as connection:
            return [copy_of(row, sets) for statement in statements for row in connection.execute(statement)]
