"""The messages of an archive: where they are, what is recorded about them, and the packs that contain them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import select

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import (
    IS_PRESENT,
    PLACE,
    STORED_MESSAGE,
    STREAM,
    FlagSets,
    of_messages,
    parts,
    placed,
    placement,
    stored_message,
    uid_parts,
)
from archiver.catalog.sqlite.schema import EPOCH, FOLDER, FRAME, MESSAGE, PACK
from archiver.mail.model import Digest, Flags, Frame, Placement
from archiver.mail.uidset import UidSet

_PLACED = of_messages(*PLACE)
_EPOCHS = (
    select(EPOCH.c.number, FOLDER.c.directory, EPOCH.c.uidvalidity, EPOCH.c.generation, EPOCH.c.ended_at.is_(None))
    .join(FOLDER, FOLDER.c.number == EPOCH.c.folder)
    .order_by(EPOCH.c.number)
)
_OF_AN_EPOCH = select(MESSAGE.c.vanished_at.is_(None), *STORED_MESSAGE)
_BY_DIGEST = _PLACED.order_by(MESSAGE.c.digest, MESSAGE.c.epoch, MESSAGE.c.uid)


class SqlMessages:
    """Implements `archiver.catalog.port.CatalogMessages`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def uids(self, epoch: int) -> UidSet:
        """The UIDs of an epoch's present messages."""
        present = of_messages(MESSAGE.c.uid).where(MESSAGE.c.epoch == epoch, IS_PRESENT).order_by(MESSAGE.c.uid)
        with self._database.reading() as connection:
            return UidSet(connection.execute(present, execution_options=STREAM).scalars())

    def known(self, epoch: int, uids: UidSet | None = None) -> dict[int, Flags]:
        """The present messages of an epoch: uid → flags; those among `uids`, or all. Equal sets of flags are one
        object."""
        sets = FlagSets()
        present = of_messages(MESSAGE.c.uid, MESSAGE.c.flags).where(MESSAGE.c.epoch == epoch, IS_PRESENT)
        asked = [present] if uids is None else [present.where(part) for part in uid_parts(MESSAGE.c.uid, uids)]
        with self._database.reading() as connection:
            return {
                uid: sets[flags]
                for statement in asked
                for uid, flags in connection.execute(statement, execution_options=STREAM)
            }

    def placements(self, epoch: int | None = None, *, uids: Collection[int] | None = None) -> Iterator[Placement]:
        """Where messages are: of one epoch (present and vanished) or of all, in UID order within an epoch.

        `uids` limits the result to those UIDs. The result is a snapshot at the first item, whatever is applied in
        the meantime.
        """
        sets = FlagSets()
        epochs = _EPOCHS if epoch is None else _EPOCHS.where(EPOCH.c.number == epoch)
        with self._database.reading() as connection:
            for number, directory, uidvalidity, generation, is_current in connection.execute(epochs).all():
                rows = _OF_AN_EPOCH.where(MESSAGE.c.epoch == number).order_by(MESSAGE.c.uid)
                asked = [rows] if uids is None else [rows.where(part) for part in uid_parts(MESSAGE.c.uid, uids)]
                for statement in asked:
                    for present, *message in connection.execute(statement, execution_options=STREAM):
                        its = stored_message(message, sets)
                        yield placed(directory, uidvalidity, generation, its, present and is_current)

    def by_digest(self) -> Iterator[Placement]:
        """All messages of all epochs, present and vanished, by digest; a snapshot, as in `placements`."""
        sets = FlagSets()
        with self._database.reading() as connection:
            for row in connection.execute(_BY_DIGEST, execution_options=STREAM):
                yield placement(row, sets)

    def twins(self, digests: Collection[Digest]) -> dict[tuple[Digest, int], Placement]:
        """Committed places of the same octets that arrived in the same second, by (digest, arrived). Present ones
        are preferred."""
        sets = FlagSets()
        found: dict[tuple[Digest, int], Placement] = {}
        with self._database.reading() as connection:
            for part in parts(MESSAGE.c.digest, digests):
                for row in connection.execute(_PLACED.where(part)):
                    twin = placement(row, sets)
                    key = (twin.digest, twin.arrived)
                    if key not in found or (twin.present and not found[key].present):
                        found[key] = twin
        return found

    def candidates(self, sizes: Collection[int]) -> Sequence[Placement]:
        """Messages with one of these RFC822.SIZEs in the whole account, for re-matching in a new epoch."""
        sets = FlagSets()
        with self._database.reading() as connection:
            return [
                placement(row, sets)
                for part in parts(MESSAGE.c.server_size, sizes)
                for row in connection.execute(_PLACED.where(part))
            ]

    def frames(self, digests: Collection[Digest]) -> Mapping[Digest, Frame]:
        """Where these messages are in packs; those that are not in a pack are left out."""
        columns = (FRAME.c.digest, FRAME.c.pack, FRAME.c.offset, FRAME.c.length)
        with self._database.reading() as connection:
            return {
                digest: Frame(pack, offset, length)
                for part in parts(FRAME.c.digest, digests)
                for digest, pack, offset, length in connection.execute(select(*columns).where(part))
            }

    def packs(self) -> Iterator[tuple[Digest, int]]:
        """Digest and size of every pack, by digest; a snapshot, as in `placements`."""
        every = select(PACK.c.digest, PACK.c.size).order_by(PACK.c.digest)
        with self._database.reading() as connection:
            yield from map(tuple, connection.execute(every, execution_options=STREAM))
