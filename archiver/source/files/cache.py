"""Where the cache of files that were read lies: an SQLite file, its tables, and what may be done with it.

It is only a cache: one that is damaged, or of another version, is made again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path

_VERSION = 1
_TABLES = """
CREATE TABLE file (
    id INTEGER PRIMARY KEY, device INTEGER, inode INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, base BLOB,
    kind TEXT);
CREATE INDEX file_stamp ON file (inode, size, mtime);
CREATE TABLE message (
    file INTEGER, number INTEGER, at INTEGER, length INTEGER, member BLOB, quoting TEXT, exact INTEGER,
    identity BLOB, octets INTEGER, flags TEXT, internaldate TEXT, doubt TEXT, labels TEXT, uid INTEGER,
    PRIMARY KEY (file, number)) WITHOUT ROWID;
CREATE TABLE part (
    file INTEGER, number INTEGER, levels TEXT, use TEXT, PRIMARY KEY (file, number, levels)) WITHOUT ROWID;
CREATE TABLE folder (
    raw BLOB PRIMARY KEY, fingerprint BLOB, uidnext INTEGER, messages INTEGER, highestmodseq INTEGER, doubts TEXT);
"""
_TEMPORARY = """
CREATE TEMP TABLE listed (
    id INTEGER PRIMARY KEY, path BLOB, base BLOB, kind TEXT, device INTEGER, inode INTEGER, size INTEGER,
    mtime INTEGER, ctime INTEGER, flags TEXT, part TEXT, file INTEGER, problem TEXT, lasting INTEGER,
    UNIQUE (base, device, inode));
CREATE TEMP TABLE shown (uid INTEGER PRIMARY KEY, name TEXT, listed INTEGER, number INTEGER, doubt TEXT);
CREATE TEMP TABLE claimed (name TEXT PRIMARY KEY, raw BLOB) WITHOUT ROWID;
CREATE TEMP TABLE seen (file INTEGER PRIMARY KEY);
"""


def kept_doubts(path: Path) -> dict[bytes, dict[str, tuple[int, str]]]:
    """How many messages of each folder could be read in another way, and their UIDs, by the folder's raw name and
    by what is doubtful; empty if the cache cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT raw, doubts FROM folder WHERE doubts <> '{}'").fetchall()
    except sqlite3.Error:
        return {}
    return {raw: {doubt: (count, uids) for doubt, (count, uids) in json.loads(text).items()} for raw, text in rows}


def open_cache(path: Path | None, *, writable: bool) -> sqlite3.Connection:
    """The cache at `path`, with temporary tables; without `writable` a copy of it, which is gone when it is closed.

    Raises:
        sqlite3.Error: it cannot be made there.
    """
    database = _opened(path, writable=writable)
    database.executescript(_TEMPORARY)
    return database


def _opened(path: Path | None, *, writable: bool) -> sqlite3.Connection:
    if path is not None and writable:
        for _ in range(2):
            database = sqlite3.connect(path, check_same_thread=False, isolation_level="DEFERRED")
            try:
                _prepare(database)
                os.chmod(path, 0o600)
                return database
            except sqlite3.DatabaseError:
                # NOTE: it is a cache; a damaged one, or one of another version, is made again.
                database.close()
                path.unlink(missing_ok=True)
        raise sqlite3.DatabaseError(f"{path} cannot be made")
    database = sqlite3.connect("", check_same_thread=False)
    if path is not None and path.is_file():
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as known,
        ):
            known.backup(database)
    try:
        _prepare(database)
    except sqlite3.DatabaseError:
        database.close()
        database = sqlite3.connect("", check_same_thread=False)
        _prepare(database)
    return database


def _prepare(database: sqlite3.Connection) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0 and database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
    elif version != _VERSION:
        raise sqlite3.DatabaseError("another version")
    database.execute("PRAGMA cache_size = -4000")
    database.execute("PRAGMA temp_store = FILE")
