"""The tables of a catalog.

All tables except `run` and `step` can be derived from the journal. Names are those of the facts; times are the
facts' ISO texts; sets of flags and paths are JSON, so that any text from a server is kept exactly.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

METADATA = MetaData()


def _given(name: str) -> Column[int]:
    """A primary key whose numbers come from the facts."""
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
    # Since when it has no mail at the source, because it is no longer listed or cannot be opened; NULL: it has.
    Column("gone_at", Text),
    Column("gone_run", Text),
)

EPOCH = Table(
    "epoch",
    METADATA,
    _given("number"),
    Column("folder", ForeignKey("folder.number"), nullable=False, index=True),
    # The first row of `archive` that names its source; 0 if there is none.
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
    """What happened to messages, in order."""
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
    Column("subscribed", Boolean),
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
    # The name that it is about to get; NULL: it keeps its name.
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
