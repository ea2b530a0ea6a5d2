"""The destinations that the catalog knows, and how they are recognised."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import CURRENT_SOURCE, any_of, json_list
from archiver.facts.replica import Address, KnownDestination, UnknownMessage

_AT = "SELECT destination, host, user, port FROM address WHERE host = ? AND user = ? ORDER BY id DESC"
_WITH_HISTORY = """
SELECT destination, host, user, port FROM address
WHERE id IN (SELECT max(id) FROM address GROUP BY destination)
AND destination IN (SELECT destination FROM target)
ORDER BY id DESC
"""
_IS_DISTINCT = f"SELECT 1 FROM distinct_source WHERE destination = ? AND source = {CURRENT_SOURCE}"
_KNOWN_BEFORE = """
SELECT epoch.uidvalidity FROM epoch JOIN target ON target.uidvalidity = epoch.uidvalidity
WHERE target.destination = ? AND epoch.began_at <= target.began_at
"""
_NAMED = f"SELECT DISTINCT message_id FROM message WHERE message_id IN {any_of('ids')}"
_OF_SIZE = f"""
SELECT size, crlf_size, arrived FROM message
WHERE size IN {any_of("sizes")} OR crlf_size IN {any_of("sizes")}
"""


class SqlDestinations:
    """Implements `Destinations` over a catalog's database; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def at(self, address: Address) -> KnownDestination | None:
        """The destination that was last reached at this address. An address without a recorded port counts only if
        no port is recorded for that host and user."""
        with self._database.reading() as connection:
            met = [_known(*row) for row in connection.execute(_AT, (address.host, address.user))]
        if any(each.address.port is not None for each in met):
            met = [each for each in met if each.address.port == address.port]
        return met[0] if met else None

    def with_history(self) -> Sequence[KnownDestination]:
        """The destinations whose folders were opened, each with its newest address, the most recently used
        first."""
        with self._database.reading() as connection:
            return [_known(*row) for row in connection.execute(_WITH_HISTORY)]

    def is_distinct(self, destination: int) -> bool:
        """Whether the user confirmed that it is another mailbox than the present source."""
        with self._database.reading() as connection:
            return connection.execute(_IS_DISTINCT, (destination,)).fetchone() is not None

    def known_before(self, destination: int) -> Collection[int]:
        """UIDVALIDITYs that the source had before a folder of the destination had the same one: then they are equal
        by chance, or another program made them equal. The folder's name does not matter, since a renamed folder
        keeps its UIDVALIDITY."""
        with self._database.reading() as connection:
            return {uidvalidity for (uidvalidity,) in connection.execute(_KNOWN_BEFORE, (destination,))}

    def count_known(self, strangers: Collection[UnknownMessage]) -> int:
        """How many of these messages are in the archive, by Message-ID, or by size and INTERNALDATE if they have
        none."""
        named = {each.message_id for each in strangers if each.message_id is not None}
        plain = {each for each in strangers if each.message_id is None and None not in (each.size, each.arrived)}
        sizes = json_list(each.size for each in plain)
        with self._database.reading() as connection:
            ids = {row[0] for row in connection.execute(_NAMED, {"ids": json_list(named)})} if named else set()
            found = connection.execute(_OF_SIZE, {"sizes": sizes}).fetchall() if plain else []
        shown = {(size, arrived) for *both, arrived in found for size in both}
        return sum(
            each.message_id in ids if each.message_id is not None else (each.size, each.arrived) in shown
            for each in strangers
        )


def _known(destination: int, host: str, user: str, port: int | None) -> KnownDestination:
    return KnownDestination(destination, Address(host, user, port))
