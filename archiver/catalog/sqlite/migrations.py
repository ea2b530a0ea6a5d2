"""Migrates an older catalog, one version at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, insert, inspect, select, text, update

from archiver.catalog.sqlite.schema import (
    ADDRESS,
    ATTEMPT,
    COPY,
    DESTINATION,
    DISTINCT,
    FRAME,
    HEADER,
    INTENT,
    MAPPED,
    META,
    METADATA,
    PACK,
    REFUSAL,
    TARGET,
    TWIN,
)
from archiver.errors import ConfigError

Migration = Callable[[Connection], None]

_OF_DESTINATIONS = (DESTINATION, MAPPED, TARGET, COPY, INTENT, REFUSAL)


def _add_destinations(connection: Connection) -> None:
    METADATA.create_all(connection, tables=_OF_DESTINATIONS)
    connection.execute(text("ALTER TABLE step ADD COLUMN seconds FLOAT"))


def _add_headers_and_packs(connection: Connection) -> None:
    METADATA.create_all(connection, tables=(HEADER, PACK, FRAME))


def _add_what_harm_showed(connection: Connection) -> None:
    """Version 4: what distinguishes deleted mail from mail that is not shown; mail that a slow destination stored
    twice; and the addresses of destinations."""
    METADATA.create_all(connection, tables=(ATTEMPT, TWIN))
    connection.execute(text("ALTER TABLE pass ADD COLUMN shown BIGINT"))
    connection.execute(text("ALTER TABLE folder ADD COLUMN gone_at TEXT"))
    connection.execute(text("ALTER TABLE folder ADD COLUMN gone_run TEXT"))
    if "renaming" not in {column["name"] for column in inspect(connection).get_columns("target")}:
        # NOTE: a catalog of version 1 has just got the table in its present form.
        connection.execute(text("ALTER TABLE target ADD COLUMN renaming BLOB"))
    # The time is not known here, so it counts from the newest archive step, or from the beginning if there is none.
    newest = "(SELECT {} FROM step WHERE step = 'archive' ORDER BY at DESC, run DESC LIMIT 1)"
    moment = ", ".join(f"gone_{name} = coalesce({newest.format(name)}, '')" for name in ("at", "run"))
    gone = "NOT listed OR attributes LIKE '%noselect\"%' OR attributes LIKE '%nonexistent\"%'"
    connection.execute(text(f"UPDATE folder SET {moment} WHERE {gone}"))
    METADATA.create_all(connection, tables=(ADDRESS, DISTINCT))
    names = ("host", "user", "at")
    known = select(DESTINATION.c.number, *(DESTINATION.c[name] for name in names))
    connection.execute(insert(ADDRESS).from_select(("destination", *names), known.order_by(DESTINATION.c.number)))


def _add_followed_subscriptions(connection: Connection) -> None:
    """Version 5: which subscriptions of the source were followed at a destination."""
    if "subscribed" not in {column["name"] for column in inspect(connection).get_columns("mapped")}:
        # NOTE: a catalog of version 1 just got the table as it is today.
        connection.execute(text("ALTER TABLE mapped ADD COLUMN subscribed BOOLEAN"))


MIGRATIONS: Sequence[Migration] = (
    _add_destinations,
    _add_headers_and_packs,
    _add_what_harm_showed,
    _add_followed_subscriptions,
)
"""How version 1 becomes 2, 2 becomes 3, and so on. A new catalog is created directly with the present tables, so a
migration must result in exactly these."""


def version_of(connection: Connection) -> int:
    """The version of the existing schema; 0 for an empty database."""
    if not inspect(connection).has_table(META.name):
        return 0
    value = connection.execute(select(META.c.value).where(META.c.key == "schema_version")).scalar()
    return int(value or 0)


def step_up(connection: Connection, where: str, migrations: Sequence[Migration] = MIGRATIONS) -> bool:
    """Create the tables, or apply the next migration, in the caller's transaction; False if nothing is left to do.

    Each step is a separate transaction: call it until it returns False. After an interruption, call it again.

    Raises:
        ConfigError: the catalog was written by a newer version.
    """
    newest = 1 + len(migrations)
    version = version_of(connection)
    if version > newest:
        raise ConfigError(
            where,
            [f"the catalog has schema version {version}, this archiver knows versions up to {newest}"],
            hint=f"install a mail-archiver that knows schema version {version}",
        )
    if version == newest:
        return False
    if version == 0:
        METADATA.create_all(connection)
        connection.execute(insert(META).values(key="schema_version", value=str(newest)))
    else:
        migrations[version - 1](connection)
        connection.execute(update(META).where(META.c.key == "schema_version").values(value=str(version + 1)))
    return True
