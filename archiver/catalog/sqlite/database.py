"""The SQLite file of a catalog: private, local, durable at every commit, and its troubles in our errors.

Everything that is specific to SQLite is here: how transactions begin, which file systems are safe, and what its
result codes mean for people.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from archiver.catalog.sqlite.migrations import MIGRATIONS, Migration, UnknownSchema, step_up, version_of
from archiver.errors import ArchiveNotWritable, ArchiverError, ConfigError, FactsContradict, IntegrityError, Locked
from archiver.mail.headers import folded
from archiver.storage.files import make_directories
from archiver.storage.mounts import MOUNTS, network_file_system_of

_BUSY_SECONDS = 60
_BUSY_PAUSE = 0.01
_OVERFLOW = "integer overflow"  # of sum(), sqlite.org/lang_aggfunc.html; it has no code of its own
_STATEMENTS = 512  # that each connection keeps prepared
_PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -8192",
)

_NOT_WRITABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_OCCUPIED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


class Database:
    """Transactions on one SQLite file, from any thread. Nothing is opened before the first one.

    Writers of one process wait for each other here, and for those of other processes up to a minute. Readers see
    the state at their beginning and block nothing. After `close`, or in a forked child, it is opened again. A file
    that is thrown away after its use need not be `durable`: nothing of it is synced.
    """

    def __init__(self, path: Path, migrations: Sequence[Migration] = MIGRATIONS, *, durable: bool = True) -> None:
        self.path = path
        self._durable = durable
        self._migrations = migrations
        self._forget()
        _ALL.add(self)

    def _forget(self) -> None:
        self._idle: list[sqlite3.Connection] | None = None
        self._opening = threading.Lock()
        self._writing = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that only reads.

        Raises:
            ConfigError, IntegrityError, ArchiveNotWritable, Locked: it cannot be opened or read.
        """
        with self._translating(), self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that may write. It is durable when the block ends, and rolled back if the block raises.

        Raises:
            ConfigError, IntegrityError, ArchiveNotWritable, Locked: nothing was written.
        """
        # A transaction that reads first and writes later would fail next to another writer.
        with self._translating(), self._writing, self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    def close(self) -> None:
        """Close the file; may be called twice. A reader that is still active keeps its own connection."""
        with self._opening:
            idle, self._idle = self._idle or [], None
            for connection in idle:
                connection.close()

    def vacuum(self) -> None:
        """Write the file again without what was deleted; nothing of that is left in it, nor in its `-wal`.

        Raises:
            Locked: another process keeps reading it. What was deleted may still be there.
            ArchiveNotWritable: there is no room: it takes as much as the file has.
        """
        self.close()
        with (
            self._translating(),
            self._writing,
            closing(_connected(self.path, durable=self._durable)) as connection,
        ):
            connection.execute("VACUUM")
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            hint = "end what reads this archive, and give the command again"
            raise Locked(f"{self.path}: another process keeps reading what was deleted", hint=hint)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        idle, connection = self._taken()
        try:
            with _all_or_nothing(connection, begin):
                yield connection
        finally:
            with self._opening:
                if idle is self._idle and not connection.in_transaction:
                    idle.append(connection)
                else:
                    connection.close()

    def _taken(self) -> tuple[list[sqlite3.Connection], sqlite3.Connection]:
        """A connection of this transaction's own, and the list that it goes back to."""
        with self._opening:
            if self._idle is None:
                refuse_network(self.path)
                _create_private(self.path)
                connection = _connected(self.path, durable=self._durable)
                try:
                    self._upgrade(connection)
                except BaseException:
                    connection.close()
                    raise
                self._idle = [connection]
            return self._idle, self._idle.pop() if self._idle else _connected(self.path, durable=self._durable)

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        with _all_or_nothing(connection, "BEGIN"):
            if version_of(connection) == 1 + len(self._migrations):
                return
        more = True
        while more:
            with _all_or_nothing(connection, "BEGIN IMMEDIATE"):
                more = step_up(connection, str(self.path), self._migrations)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if (translated := _translated(self.path, error)) is not None:
                raise translated from error
            raise
        except (json.JSONDecodeError, UnknownSchema) as error:
            told = f"{self.path}: it is damaged or forged ({error})"
            raise IntegrityError(told, hint="`archiver rebuild` recreates the catalog from the journal") from error


_ALL: weakref.WeakSet[Database] = weakref.WeakSet()


def _close_before_fork() -> None:
    # NOTE: SQLite's locks do not survive a fork, though its memory believes so: a file that is open in the parent
    # must not even be closed in the child.
    for database in list(_ALL):
        database.close()


def _forget_in_child() -> None:
    # Locks that other threads of the parent held would never be released here.
    for database in list(_ALL):
        database._forget()


os.register_at_fork(before=_close_before_fork, after_in_child=_forget_in_child)


@contextmanager
def _all_or_nothing(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # NOTE: after some errors SQLite has rolled back by itself (sqlite.org/lang_transaction.html).
        connection.rollback()
        raise


def _connected(path: Path, *, durable: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path.absolute(),
        timeout=_BUSY_SECONDS,
        isolation_level=None,  # the driver does not begin transactions; `_all_or_nothing` does
        check_same_thread=False,
        cached_statements=_STATEMENTS,
    )
    try:
        connection.create_function("folded", 1, folded, deterministic=True)
        _configure(connection)
        if not durable:
            connection.execute("PRAGMA synchronous = OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + _BUSY_SECONDS
    for pragma in _PRAGMAS:
        while True:
            try:
                connection.execute(pragma).close()
                break
            except sqlite3.OperationalError as error:
                # NOTE: SQLite does not wait for another process that is switching to WAL, whatever busy_timeout.
                if error.sqlite_errorcode not in _OCCUPIED or time.monotonic() > deadline:
                    raise
                time.sleep(_BUSY_PAUSE)


def _create_private(path: Path) -> None:
    """Create the file before SQLite does, readable only by its owner; `-wal` and `-shm` get the same mode."""
    try:
        make_directories(path.parent)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        # NOTE: never open an existing one: closing it would drop the locks that SQLite holds in this process.
        pass
    except OSError as error:
        raise ArchiveNotWritable(f"{path}: {error.strerror}", hint="fix the permissions or free space") from error


def refuse_network(path: Path, mounts: Path = MOUNTS) -> None:
    """SQLite's locks and shared memory do not work between hosts.

    Raises:
        ConfigError: `path` is on a network file system.
    """
    if (kind := network_file_system_of(path, mounts)) is not None:
        raise ConfigError(
            str(path),
            [f"is on a network file system ({kind}), where SQLite is not safe"],
            hint="set archive.path to a local directory",
        )


def _translated(path: Path, error: sqlite3.Error) -> ArchiverError | None:
    """What SQLite's result code (sqlite.org/rescode.html) means for people; None if it is not a known one."""
    extended: int | None = getattr(error, "sqlite_errorcode", None)
    if extended is None:
        return None
    code, what = extended & 0xFF, f"{path}: {error}"
    if code in _DAMAGED or extended in _UNREADABLE:
        return IntegrityError(what, hint="`archiver rebuild` recreates the catalog from the journal")
    if code in _NOT_WRITABLE or code == sqlite3.SQLITE_IOERR:
        return ArchiveNotWritable(what, hint="free space or fix the permissions, and run again")
    if code == sqlite3.SQLITE_CONSTRAINT:
        told = f"{what}: what was to be recorded contradicts what is recorded; the disk is not to blame"
        return FactsContradict(
            told, hint="`archiver rebuild` recreates the catalog; if it happens again, report it"
        )
    if str(error) == _OVERFLOW:
        told = f"{path}: the sizes in it are too large to be true: it was damaged or forged, or its journal was"
        return IntegrityError(told, hint="`archiver rebuild` recreates it; or restore the journal from a backup")
    if code in _OCCUPIED:
        return Locked(what, hint="another process has been writing to it for over a minute")
    return None
