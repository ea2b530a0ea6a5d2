"""The ledger of a fleet in a SQLite file, for one host.

Nothing is synced at a commit: after a power cut the newest rows may be missing, and the next run writes them again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from archiver.control.waiting import lock_free_after_fork
from archiver.errors import ConfigError, LedgerUnavailable
from archiver.fleet.sql import SCHEMA, VERSION, Cursor, Dialect, SqlAccounts, SqlClaims, SqlServers
from archiver.storage.mounts import network_file_system_of

_BUSY_SECONDS = 60
_DIALECT = Dialect("IN (SELECT value FROM json_each(?))", lambda names: json.dumps(list(names)))
_DELETE_IT = "move it away; runs and marks in the archives make it again"


class SqliteLedger:
    """The ledger in the file `path`, which is created where it is missing, readable by its owner alone. Threads
    take turns. After a fork it is opened again."""

    def __init__(self, path: Path, fleet: str) -> None:
        self.place = str(path)
        self._database = _File(path)
        self.accounts = SqlAccounts(self._database, _DIALECT, fleet, self.place)
        self.claims = SqlClaims(self._database, _DIALECT, fleet)
        self.servers = SqlServers(self._database, fleet)

    def now(self) -> float:
        return time.time()

    def close(self) -> None:
        self._database.close()


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = lock_free_after_fork()
        self._opened: tuple[int, sqlite3.Connection] | None = None

    def now(self, cursor: Cursor) -> float:
        return time.time()

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        with self._lock:
            try:
                connection = self._connection()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield _Cursor(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    connection.rollback()
                    raise
            except sqlite3.DatabaseError as error:
                self._close()
                code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
                damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
                hint = _DELETE_IT if damaged else None
                raise LedgerUnavailable(f"{self._path}: the fleet's ledger: {error}", hint=hint) from error

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None and opened[0] == os.getpid():
            opened[1].close()

    def _connection(self) -> sqlite3.Connection:
        # NOTE: a connection that was opened before a fork must be left alone in the child, not even closed.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), _connected(self._path))
        return self._opened[1]


class _Cursor:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, values: Sequence[Any]) -> int:
        return self._connection.execute(statement, values).rowcount

    def change_each(self, statement: str, each: Sequence[Sequence[Any]]) -> None:
        self._connection.executemany(statement, each)


def _connected(path: Path) -> sqlite3.Connection:
    """
    Raises:
        LedgerUnavailable: it cannot be created.
        ConfigError: it is on a network file system, or of a newer version.
    """
    if (kind := network_file_system_of(path)) is not None:
        problem = f"the fleet's ledger is on a network file system ({kind}), where SQLite is not safe"
        hint = "set [fleet] ledger to a local file, or to a PostgreSQL database if several hosts share the accounts"
        raise ConfigError(str(path), [problem], hint=hint)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass  # NOTE: never open an existing one: closing it would drop the locks that SQLite holds in this process
    except OSError as error:
        told = f"{path}: the fleet's ledger cannot be written: {error.strerror}"
        raise LedgerUnavailable(
            told, hint="give this user the right to write there, or set [fleet] ledger"
        ) from error
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        _make(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: Path, connection: sqlite3.Connection) -> None:
    if _version(path, connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(path, connection) == 0:  # nobody else was quicker
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _version(path: Path, connection: sqlite3.Connection) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        problem = f"is the ledger of a newer archiver (version {version}; this one knows {VERSION})"
        raise ConfigError(str(path), [problem], hint="install the newer archiver, or set [fleet] ledger")
    return version
