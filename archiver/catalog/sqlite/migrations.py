"""Migrates an older catalog, one version at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from archiver.errors import ConfigError

Migration = Callable[[sqlite3.Connection], None]

_OF_DESTINATIONS = ("destination", "mapped", "target", "copy", "intent", "refusal")


def _add_destinations(connection: sqlite3.Connection) -> None:
    _create(connection, *_OF_DESTINATIONS)
    connection.execute("ALTER TABLE step ADD COLUMN seconds FLOAT")


def _add_headers_and_packs(connection: sqlite3.Connection) -> None:
    _create(connection, "header", "pack", "frame")


def _add_what_harm_showed(connection: sqlite3.Connection) -> None:
    """Version 4: what distinguishes deleted mail from mail that is not shown; mail that a slow destination stored
    twice; and the addresses of destinations."""
    _create(connection, "attempt", "twin")
    connection.execute("ALTER TABLE pass ADD COLUMN shown BIGINT")
    connection.execute("ALTER TABLE folder ADD COLUMN gone_at TEXT")
    connection.execute("ALTER TABLE folder ADD COLUMN gone_run TEXT")
    if "renaming" not in _columns(connection, "target"):
        # NOTE: a catalog of version 1 has just got the table in its present form.
        connection.execute("ALTER TABLE target ADD COLUMN renaming BLOB")
    # The time is not known here, so it counts from the newest archive step, or from the beginning if there is none.
    newest = "(SELECT {} FROM step WHERE step = 'archive' ORDER BY at DESC, run DESC LIMIT 1)"
    moment = ", ".join(f"gone_{name} = coalesce({newest.format(name)}, '')" for name in ("at", "run"))
    gone = "NOT listed OR attributes LIKE '%noselect\"%' OR attributes LIKE '%nonexistent\"%'"
    connection.execute(f"UPDATE folder SET {moment} WHERE {gone}")
    _create(connection, "address", "distinct_source")
    connection.execute(
        """
        INSERT INTO address (destination, host, user, at)
        SELECT number, host, user, at FROM destination ORDER BY number
        """
    )


def _add_followed_subscriptions(connection: sqlite3.Connection) -> None:
    """Version 5: which subscriptions of the source were followed at a destination."""
    if "subscribed" not in _columns(connection, "mapped"):
        # NOTE: a catalog of version 1 has just got the table in its present form.
        connection.execute("ALTER TABLE mapped ADD COLUMN subscribed BOOLEAN")


def _add_accepted_copies_and_identities(connection: sqlite3.Connection) -> None:
    """Version 6: which copies the user accepted as the destination shows them; messages by their EMAILID."""
    if "accepted_at" not in _columns(connection, "copy"):
        connection.execute("ALTER TABLE copy ADD COLUMN accepted_at TEXT")
    connection.execute("CREATE INDEX ix_message_emailid ON message (emailid) WHERE emailid IS NOT NULL")


def _add_compared(connection: sqlite3.Connection) -> None:
    """Version 7: which copies were compared with the destination, and the status of their folders before."""
    if "compared" not in _columns(connection, "copy"):
        connection.execute("ALTER TABLE copy ADD COLUMN compared BOOLEAN")
        for name in ("uidnext", "messages", "modseq", "size"):
            connection.execute(f"ALTER TABLE target ADD COLUMN compared_{name} BIGINT")


def _add_order_of_search(connection: sqlite3.Connection) -> None:
    """Version 8: messages by their arrival, headers in the order in which they came, and a name of the catalog."""
    connection.execute("CREATE INDEX ix_message_arrived ON message (arrived DESC, epoch, uid DESC)")
    if "id" not in _columns(connection, "header"):
        # NOTE: a catalog of version 1 or 2 has just got the table in its present form.
        connection.execute("ALTER TABLE header RENAME TO former_header")
        _create(connection, "header")
        columns = "digest, sender, recipients, subject, sent"
        connection.execute(f"INSERT INTO header ({columns}) SELECT {columns} FROM former_header")
        connection.execute("DROP TABLE former_header")
    _name(connection)


def _add_names_of_messages(connection: sqlite3.Connection) -> None:
    """Version 9: the UIDs of messages that have names at the source."""
    _create(connection, "numbering", "name")


def _add_labels(connection: sqlite3.Connection) -> None:
    """Version 10: Gmail's threads and labels, and which labels were replayed."""
    for name in ("thrid", "labels"):
        connection.execute(f"ALTER TABLE message ADD COLUMN {name} TEXT")
    for statement in _creating("message"):
        if "ix_message_unlabelled" in statement:
            connection.execute(statement)
    _create(connection, "label_change")
    if "labels" not in _columns(connection, "copy"):
        for name in ("source_labels", "labels", "lost_labels"):
            connection.execute(f"ALTER TABLE copy ADD COLUMN {name} TEXT")


def _add_access(connection: sqlite3.Connection) -> None:
    """Version 11: access rights and annotations of folders."""
    _create(connection, "rights", "annotations", "granted")


def _add_restores(connection: sqlite3.Connection) -> None:
    """Version 12: what was given back, and where."""
    _create(connection, "restore_place", "restore")


def _add_watches(connection: sqlite3.Connection) -> None:
    """Version 13: since when folders are watched for what a killed run was sending."""
    _create(connection, "watch")


def _add_holds(connection: sqlite3.Connection) -> None:
    """Version 14: what must be kept."""
    _create(connection, "hold")


def _add_marks(connection: sqlite3.Connection) -> None:
    """Version 15: how far people said that the migration is."""
    _create(connection, "mark")


def _add_forgotten(connection: sqlite3.Connection) -> None:
    """Version 16: what was forgotten, and must not come back."""
    _create(connection, "forget", "forgotten", "forgotten_place")


def _add_prunes(connection: sqlite3.Connection) -> None:
    """Version 17: what we removed from the source."""
    _create(connection, "prune")


def _add_forgotten_copies(connection: sqlite3.Connection) -> None:
    """Version 18: copies of forgotten messages at destinations."""
    _create(connection, "forgotten_copy")


def _name(connection: sqlite3.Connection) -> None:
    """Give the catalog a name of its own: what is derived from it knows it by that."""
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('catalog', lower(hex(randomblob(16))))")


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def _creating(*tables: str) -> list[str]:
    """The statements that create these tables, or all of them. The opener of a catalog of the newest version does
    not wait for them."""
    from archiver.catalog.sqlite.schema.tables import creating

    return creating(*tables)


def _create(connection: sqlite3.Connection, *tables: str) -> None:
    for statement in _creating(*tables):
        connection.execute(statement)


MIGRATIONS: Sequence[Migration] = (
    _add_destinations,
    _add_headers_and_packs,
    _add_what_harm_showed,
    _add_followed_subscriptions,
    _add_accepted_copies_and_identities,
    _add_compared,
    _add_order_of_search,
    _add_names_of_messages,
    _add_labels,
    _add_access,
    _add_restores,
    _add_watches,
    _add_holds,
    _add_marks,
    _add_forgotten,
    _add_prunes,
    _add_forgotten_copies,
)
"""How version 1 becomes 2, 2 becomes 3, and so on. A new catalog is made from the tables of `schema` at
once, so a migration has to leave an older one just like them."""


class UnknownSchema(Exception):
    """The catalog does not say which version its schema has."""


def version_of(connection: sqlite3.Connection) -> int:
    """The version of the existing schema; 0 for an empty database.

    Raises:
        UnknownSchema: there are tables of a catalog, but no version.
    """
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
        return 0
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    said = str(row[0]) if row else ""
    if not (said.isascii() and said.isdigit() and len(said) < 10):
        raise UnknownSchema("it does not say which version it has")
    return int(said)


def step_up(connection: sqlite3.Connection, where: str, migrations: Sequence[Migration] = MIGRATIONS) -> bool:
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
        for statement in _creating():
            connection.execute(statement)
        connection.execute("INSERT INTO meta (key, value) VALUES ('schema_version', ?)", (str(newest),))
        _name(connection)
    else:
        migrations[version - 1](connection)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(version + 1),))
    return True
