"""The messages of an archive: where they are, what is recorded about them, and the packs that contain them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import (
    CURRENT_SOURCE,
    IN_UID_RANGE,
    MESSAGES,
    PLACE,
    STORED_MESSAGE,
    UID_RANGES,
    FlagSets,
    any_of,
    json_list,
    placement,
    stored_message,
    uid_ranges,
)
from archiver.mail.model import Digest, Flags, Frame, Placement
from archiver.mail.uidset import UidSet

# NOTE: asked once for all messages of the epoch; a join looks it up for each of them.
_STILL_THERE = "vanished_at IS NULL AND (SELECT ended_at FROM epoch WHERE number = :epoch) IS NULL"
_UIDS = f"SELECT uid FROM message WHERE epoch = :epoch AND {_STILL_THERE} ORDER BY uid"
_PRESENT = f"SELECT uid, flags FROM message WHERE epoch = :epoch AND {_STILL_THERE}"
_PRESENT_AMONG = f"SELECT uid, flags FROM {UID_RANGES} CROSS JOIN message WHERE {IN_UID_RANGE} AND {_STILL_THERE}"
_PLACES_OF_EPOCHS = """
SELECT epoch.number, folder.directory, uidvalidity, generation, ended_at IS NULL
FROM epoch JOIN folder ON folder.number = epoch.folder
WHERE :epoch IS NULL OR epoch.number = :epoch
ORDER BY epoch.number
"""
_ROW = f"SELECT vanished_at IS NULL, {STORED_MESSAGE} FROM"
_OF_AN_EPOCH = f"{_ROW} message WHERE epoch = :epoch ORDER BY uid"
# NOTE: in UID order, since the ranges are; to sort would take memory for all of them.
_AMONG = f"{_ROW} {UID_RANGES} CROSS JOIN message WHERE {IN_UID_RANGE}"
_BY_DIGEST = f"SELECT {PLACE} FROM {MESSAGES} ORDER BY message.digest, message.epoch, message.uid"
_TWINS = f"SELECT {PLACE} FROM {MESSAGES} WHERE message.digest IN {any_of('digests')}"
_EQUAL = f"{_TWINS} ORDER BY message.epoch DESC, message.uid"
_CANDIDATES = f"SELECT {PLACE} FROM {MESSAGES} WHERE message.server_size IN {any_of('sizes')}"
# NOTE: what is no identity is left out here, since a server may give a million messages the same.
_IDENTIFIED = f"""
WITH identity AS MATERIALIZED (
    SELECT message.emailid FROM message JOIN epoch ON epoch.number = message.epoch
    WHERE message.emailid IN {any_of("emailids")} AND epoch.source = {CURRENT_SOURCE}
    GROUP BY message.emailid
    HAVING min(message.digest) = max(message.digest) AND min(message.server_size) = max(message.server_size)
)
SELECT {PLACE} FROM {MESSAGES}
WHERE message.emailid IN (SELECT emailid FROM identity) AND epoch.source = {CURRENT_SOURCE}
"""
_FRAMES = f'SELECT digest, pack, "offset", length FROM frame WHERE digest IN {any_of("digests")}'


class SqlMessages:
    """Implements `archiver.catalog.port.CatalogMessages`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def uids(self, epoch: int) -> UidSet:
        """The UIDs of an epoch's present messages."""
        with self._database.reading() as connection:
            return UidSet(chain.from_iterable(connection.execute(_UIDS, {"epoch": epoch})))

    def known(self, epoch: int, uids: UidSet | None = None) -> dict[int, Flags]:
        """The present messages of an epoch: uid → flags; those among `uids`, or all. Equal sets of flags are one
        object."""
        statement = _PRESENT if uids is None else _PRESENT_AMONG
        texts: dict[int, str] = {}
        with self._database.reading() as connection:
            for part in uid_ranges(uids):
                texts.update(connection.execute(statement, {"epoch": epoch, "ranges": part}))
        return dict(zip(texts, map(FlagSets().__getitem__, texts.values()), strict=True))

    def placements(self, epoch: int | None = None, *, uids: Collection[int] | None = None) -> Iterator[Placement]:
        """Where messages are: of one epoch (present and vanished) or of all, in UID order within an epoch.

        `uids` limits the result to those UIDs. The result is a snapshot at the first item, whatever is applied in
        the meantime.
        """
        sets = FlagSets()
        statement = _OF_AN_EPOCH if uids is None else _AMONG
        with self._database.reading() as connection:
            for number, directory, uidvalidity, generation, is_current in connection.execute(
                _PLACES_OF_EPOCHS, {"epoch": epoch}
            ).fetchall():
                for part in uid_ranges(uids):
                    for present, *message in connection.execute(statement, {"epoch": number, "ranges": part}):
                        shown = bool(present and is_current)
                        its = stored_message(message, sets)
                        yield Placement(directory, uidvalidity, generation, its, shown)

    def by_digest(self) -> Iterator[Placement]:
        """All messages of all epochs, present and vanished, by digest; a snapshot, as in `placements`."""
        sets = FlagSets()
        with self._database.reading() as connection:
            for row in connection.execute(_BY_DIGEST):
                yield placement(row, sets)

    def twins(self, digests: Collection[Digest]) -> dict[tuple[Digest, int], Placement]:
        """Committed places of the same octets that arrived in the same second, by (digest, arrived). Present ones
        are preferred."""
        sets = FlagSets()
        found: dict[tuple[Digest, int], Placement] = {}
        with self._database.reading() as connection:
            for row in connection.execute(_TWINS, {"digests": json_list(digests)}):
                twin = placement(row, sets)
                key = (twin.digest, twin.arrived)
                if key not in found or (twin.present and not found[key].present):
                    found[key] = twin
        return found

    def candidates(
        self, sizes: Collection[int] = (), *, emailids: Collection[str] = (), digests: Collection[Digest] = ()
    ) -> Sequence[Placement]:
        """Messages that may be the same as others; see the port."""
        sets = FlagSets()
        statement, values = (_IDENTIFIED, {"emailids": json_list(emailids)})
        if digests:
            statement, values = _EQUAL, {"digests": json_list(digests)}
        elif not emailids:
            statement, values = (_CANDIDATES, {"sizes": json_list(sizes)})
        with self._database.reading() as connection:
            return [placement(row, sets) for row in connection.execute(statement, values)]

    def frames(self, digests: Collection[Digest]) -> Mapping[Digest, Frame]:
        """Where these messages are in packs; those that are not in a pack are left out."""
        with self._database.reading() as connection:
            return {
                digest: Frame(*where)
                for digest, *where in connection.execute(_FRAMES, {"digests": json_list(digests)})
            }

    def packs(self) -> Iterator[tuple[Digest, int]]:
        """Digest and size of every pack, by digest; a snapshot, as in `placements`."""
        with self._database.reading() as connection:
            yield from connection.execute("SELECT digest, size FROM pack ORDER BY digest")
