"""The tables of a catalog, and how an older catalog becomes a newer one.

All of it but `run` and `step` follows from the journal. Names are the words of the facts; times are the facts'
ISO texts; sets of flags and paths are JSON, so that any text a server sends survives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
    update,
)

from archiver.errors import ConfigError

METADATA = MetaData()


def _given(name: str) -> Column[int]:
    """A primary key of numbers that the facts bring along."""
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


META = Table("meta", METADATA, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

SEGMENT = Table(
    "segment",
    METADATA,
    _given("number"),
    Column("run", Text, nullable=False),
    Column("digest", Text, nullable=False),
)

ARCHIVE = Table(
    "archive",
    METADATA,
    Column("id", Integer, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("archive_id", "account", "protocol", "host", "user", "at")),
)

FOLDER = Table(
    "folder",
    METADATA,
    _given("number"),
    Column("raw", LargeBinary, nullable=False, unique=True),
    Column("path", Text, nullable=False),
    Column("delimiter", Text),
    Column("directory", Text, nullable=False, unique=True),
    Column("attributes", Text, nullable=False),
    Column("subscribed", Boolean, nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("first_seen", Text, nullable=False),
    # Since when it holds no mail at the source, because it is no longer listed or cannot be opened; NULL: it does.
    Column("gone_at", Text),
    Column("gone_run", Text),
)

EPOCH = Table(
    "epoch",
    METADATA,
    _given("number"),
    Column("folder", ForeignKey("folder.number"), nullable=False, index=True),
    # The first row of `archive` that names the source it is of; 0 for none.
    Column("source", Integer, nullable=False),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("began_at", Text, nullable=False),
    Column("ended_at", Text),
    Column("uidnext", BigInteger),
    Column("highestmodseq", BigInteger),
    Column("messages", BigInteger),
    Column("filter", Text),
    Column("status_size", BigInteger),
    Column("completed_run", Text),
)

MESSAGE = Table(
    "message",
    METADATA,
    Column("epoch", ForeignKey("epoch.number"), primary_key=True),
    _given("uid"),
    Column("digest", Text, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("crlf_size", BigInteger, nullable=False),
    Column("server_size", BigInteger, index=True),
    Column("internaldate", Text),
    Column("arrived", BigInteger, nullable=False),
    Column("flags", Text, nullable=False),
    Column("message_id", Text),
    Column("header_digest", Text),
    Column("emailid", Text),
    Column("matched", Text),
    Column("stored_run", Text, nullable=False),
    Column("stored_at", Text, nullable=False),
    Column("vanished_run", Text),
    Column("vanished_at", Text),
    # One B-tree in the order in which folders are read.
    sqlite_with_rowid=False,
)


def _history(name: str, *columns: Column[str] | Column[bool]) -> Table:
    """What happened to messages, in the order in which it did."""
    return Table(
        name,
        METADATA,
        Column("id", Integer, primary_key=True),
        Column("epoch", Integer, nullable=False),
        Column("uid", BigInteger, nullable=False),
        Column("at", Text, nullable=False),
        Column("run", Text, nullable=False, index=True),
        *columns,
        Index(f"ix_{name}_message", "epoch", "uid"),
    )


FLAG_CHANGE = _history(
    "flag_change", Column("flags_before", Text, nullable=False), Column("flags_after", Text, nullable=False)
)
PRESENCE_CHANGE = _history("presence_change", Column("present", Boolean, nullable=False))

HEADER = Table(
    "header",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("sender", Text, nullable=False),
    Column("recipients", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("sent", Text),
    # One B-tree that a search reads through.
    sqlite_with_rowid=False,
)

PACK = Table(
    "pack",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
)

FRAME = Table(
    "frame",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("pack", ForeignKey("pack.digest"), nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

QUARANTINE = Table(
    "quarantine",
    METADATA,
    Column("epoch", ForeignKey("epoch.number"), primary_key=True),
    _given("uid"),
    Column("step", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("server_reply", Text),
    Column("tries", Integer, nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("since", Text, nullable=False),
    Column("last_run", Text),
)

PASS = Table(
    "pass",
    METADATA,
    Column("run", Text, primary_key=True),
    Column("epoch", ForeignKey("epoch.number"), primary_key=True),
    Column("segment", Integer, nullable=False),
    Column("on_server", BigInteger, nullable=False),
    Column("excluded", BigInteger, nullable=False),
    Column("error", Text),
    Column("at", Text, nullable=False),
    Column("shown", BigInteger),
    Index("ix_pass_newest", "epoch", "segment"),
)

DESTINATION = Table(
    "destination",
    METADATA,
    _given("number"),
    Column("host", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("at", Text, nullable=False),
)

ADDRESS = Table(
    "address",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("destination", ForeignKey("destination.number"), nullable=False),
    Column("host", Text, nullable=False),
    Column("user", Text, nullable=False),
    # None where it was not recorded: in journals from before 0.4.0.
    Column("port", Integer),
    Column("at", Text, nullable=False),
)

DISTINCT = Table(
    "distinct_source",
    METADATA,
    Column("destination", ForeignKey("destination.number"), primary_key=True),
    # As in `epoch`.
    Column("source", Integer, primary_key=True, autoincrement=False),
)

MAPPED = Table(
    "mapped",
    METADATA,
    Column("destination", ForeignKey("destination.number"), primary_key=True),
    Column("folder", ForeignKey("folder.number"), primary_key=True),
    Column("raw", LargeBinary, nullable=False),
    Column("path", Text, nullable=False),
    Column("rules", Text, nullable=False),
)

TARGET = Table(
    "target",
    METADATA,
    _given("number"),
    Column("destination", ForeignKey("destination.number"), nullable=False, index=True),
    Column("raw", LargeBinary, nullable=False),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("began_at", Text, nullable=False),
    Column("ended_at", Text),
    Column("uidnext", BigInteger),
    Column("messages", BigInteger),
    # The name that it is about to get; NULL: it stays as it is.
    Column("renaming", LargeBinary),
)

COPY = Table(
    "copy",
    METADATA,
    Column("target", ForeignKey("target.number"), primary_key=True),
    _given("target_uid"),
    Column("epoch", BigInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("how", Text, nullable=False),
    Column("source_flags", Text, nullable=False),
    Column("flags", Text, nullable=False),
    Column("lost", Text, nullable=False),
    Column("size", BigInteger),
    Column("repaired", Text, nullable=False),
    Column("sent_digest", Text),
    Column("dated", Boolean, nullable=False),
    Column("likeness", Text),
    Column("run", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("removed_at", Text),
    Column("removed_by", Text),
    Column("marked", Boolean, nullable=False),
    Index("ix_copy_message", "epoch", "uid", "target", unique=True),
    sqlite_with_rowid=False,
)

INTENT = Table(
    "intent",
    METADATA,
    Column("target", ForeignKey("target.number"), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    _given("uid"),
    Column("uidnext", BigInteger, nullable=False),
    Column("at", Text, nullable=False),
)

REFUSAL = Table(
    "refusal",
    METADATA,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    _given("uid"),
    Column("target", ForeignKey("target.number"), primary_key=True),
    Column("refusal", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("server_reply", Text),
    Column("date", Text),
    Column("subject", Text),
    Column("tries", Integer, nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("last_run", Text),
)

ATTEMPT = Table(
    "attempt",
    METADATA,
    Column("target", ForeignKey("target.number"), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    _given("uid"),
    Column("uidnext", BigInteger, nullable=False),
    Column("times", Integer, nullable=False),
    Column("at", Text, nullable=False),
    Column("silent", Boolean, nullable=False),
)

TWIN = Table(
    "twin",
    METADATA,
    Column("target", ForeignKey("target.number"), primary_key=True),
    _given("target_uid"),
    Column("epoch", BigInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("flags", Text, nullable=False),
    Column("certain", Boolean, nullable=False),
    Column("at", Text, nullable=False),
)

RUN = Table(
    "run",
    METADATA,
    Column("run", Text, primary_key=True),
    Column("started", Text, nullable=False),
    Column("finished", Text),
    Column("status", Text),
    Column("exit_code", Integer),
)

STEP = Table(
    "step",
    METADATA,
    Column("run", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("result", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("seconds", Float),
)

Migration = Callable[[Connection], None]

_OF_DESTINATIONS = (DESTINATION, MAPPED, TARGET, COPY, INTENT, REFUSAL)


def _add_destinations(connection: Connection) -> None:
    METADATA.create_all(connection, tables=_OF_DESTINATIONS)
    connection.execute(text("ALTER TABLE step ADD COLUMN seconds FLOAT"))


def _add_headers_and_packs(connection: Connection) -> None:
    METADATA.create_all(connection, tables=(HEADER, PACK, FRAME))


def _add_what_harm_showed(connection: Connection) -> None:
    """Version 4: what is needed to tell mail that was deleted from mail that is not shown, and mail that a slow
    destination stored twice; and where destinations were reached."""
    METADATA.create_all(connection, tables=(ATTEMPT, TWIN))
    connection.execute(text("ALTER TABLE pass ADD COLUMN shown BIGINT"))
    connection.execute(text("ALTER TABLE folder ADD COLUMN gone_at TEXT"))
    connection.execute(text("ALTER TABLE folder ADD COLUMN gone_run TEXT"))
    if "renaming" not in {column["name"] for column in inspect(connection).get_columns("target")}:
        # NOTE: a catalog of version 1 just got the table as it is today.
        connection.execute(text("ALTER TABLE target ADD COLUMN renaming BLOB"))
    # Since when is not known here, so it counts from the newest archive step; without one, from ever.
    newest = "(SELECT {} FROM step WHERE step = 'archive' ORDER BY at DESC, run DESC LIMIT 1)"
    moment = ", ".join(f"gone_{name} = coalesce({newest.format(name)}, '')" for name in ("at", "run"))
    gone = "NOT listed OR attributes LIKE '%noselect\"%' OR attributes LIKE '%nonexistent\"%'"
    connection.execute(text(f"UPDATE folder SET {moment} WHERE {gone}"))
    METADATA.create_all(connection, tables=(ADDRESS, DISTINCT))
    names = ("host", "user", "at")
    known = select(DESTINATION.c.number, *(DESTINATION.c[name] for name in names))
    connection.execute(insert(ADDRESS).from_select(("destination", *names), known.order_by(DESTINATION.c.number)))


MIGRATIONS: Sequence[Migration] = (_add_destinations, _add_headers_and_packs, _add_what_harm_showed)
"""How version 1 becomes 2, 2 becomes 3, and so on. A new catalog is made from the tables above at once, so a
migration has to leave an older one just like them."""


def version_of(connection: Connection) -> int:
    """The version of the schema that is there; 0 for an empty database."""
    if not inspect(connection).has_table(META.name):
        return 0
    value = connection.execute(select(META.c.value).where(META.c.key == "schema_version")).scalar()
    return int(value or 0)


def step_up(connection: Connection, where: str, migrations: Sequence[Migration] = MIGRATIONS) -> bool:
    """Create the tables, or apply the next migration, in the caller's transaction; False if nothing is left to do.

    Each step is a transaction of its own: call it until it returns False. Interrupted, it is called again.

    Raises:
        ConfigError: the catalog is newer than this program.
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
