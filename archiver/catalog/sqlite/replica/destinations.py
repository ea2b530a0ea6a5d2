"""The destinations that the catalog knows, and how they are recognised."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, and_, func, select

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import CURRENT_SOURCE, parts
from archiver.catalog.sqlite.schema import ADDRESS, DISTINCT, EPOCH, MESSAGE, TARGET
from archiver.facts.replica import Address, KnownDestination, UnknownMessage


class SqlDestinations:
    """Implements `Destinations` over a catalog's database; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def at(self, address: Address) -> KnownDestination | None:
        """The destination that was last reached at this address. An address without a recorded port counts only if
        no port is recorded for that host and user."""
        its = and_(ADDRESS.c.host == address.host, ADDRESS.c.user == address.user)
        with self._database.reading() as connection:
            rows = connection.execute(select(ADDRESS).where(its).order_by(ADDRESS.c.id.desc()))
            met = [_known(row) for row in rows]
        if any(each.address.port is not None for each in met):
            met = [each for each in met if each.address.port == address.port]
        return met[0] if met else None

    def with_history(self) -> Sequence[KnownDestination]:
        """The destinations whose folders were opened, each with its newest address, the most recently used
        first."""
        newest = select(func.max(ADDRESS.c.id)).group_by(ADDRESS.c.destination)
        opened = select(TARGET.c.destination)
        rows = select(ADDRESS).where(ADDRESS.c.id.in_(newest), ADDRESS.c.destination.in_(opened))
        with self._database.reading() as connection:
            return [_known(row) for row in connection.execute(rows.order_by(ADDRESS.c.id.desc()))]

    def is_distinct(self, destination: int) -> bool:
        """Whether the user confirmed that it is another mailbox than the present source."""
        said = and_(DISTINCT.c.destination == destination, DISTINCT.c.source == CURRENT_SOURCE)
        with self._database.reading() as connection:
            return connection.scalar(select(DISTINCT.c.destination).where(said)) is not None

    def known_before(self, destination: int) -> Collection[int]:
        """UIDVALIDITYs that the source had before a folder of the destination had the same one: then they are equal
        by chance, or another program made them equal. The folder's name does not matter, since a renamed folder
        keeps its UIDVALIDITY."""
        rows = (
            select(EPOCH.c.uidvalidity)
            .join(TARGET, TARGET.c.uidvalidity == EPOCH.c.uidvalidity)
            .where(TARGET.c.destination == destination, EPOCH.c.began_at <= TARGET.c.began_at)
        )
        with self._database.reading() as connection:
            return set(connection.scalars(rows))

    def count_known(self, strangers: Collection[UnknownMessage]) -> int:
        """How many of these messages are in the archive, by Message-ID, or by size and INTERNALDATE if they have
        none."""
        named = {each.message_id for each in strangers if each.message_id is not None}
        plain = {each for each in strangers if each.message_id is None and None not in (each.size, each.arrived)}
        rows = select(MESSAGE.c.message_id).distinct()
        with self._database.reading() as connection:
            ids = {
                row[0]
                for part in parts(MESSAGE.c.message_id, named)
                for row in connection.execute(rows.where(part))
            }
            sizes = {each.size for each in plain}
            sized = select(MESSAGE.c.size, MESSAGE.c.crlf_size, MESSAGE.c.arrived)
            shown = {
                (size, row[2])
                for column in (MESSAGE.c.size, MESSAGE.c.crlf_size)
                for part in parts(column, sizes)
                for row in connection.execute(sized.where(part))
                for size in row[:2]
            }
        return sum(
            each.message_id in ids if each.message_id is not None else (each.size, each.arrived) in shown
            for each in strangers
        )


def _known(row: Row[*tuple[Any, ...]]) -> KnownDestination:
    return KnownDestination(row.destination, Address(row.host, row.user, row.port))
