"""The ledger of a fleet in a PostgreSQL database, for several hosts.

libpq finds the credentials, as it does for psql: ~/.pgpass, PGPASSFILE, a service file, a certificate. The tables
are in the schema "archiver", which is made once. A connection that breaks is opened again; while the database is
away, a call waits for it, and says so once.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from archiver.config.secrecy import redacted
from archiver.control.waiting import lock_free_after_fork
from archiver.errors import ConfigError, LedgerUnavailable
from archiver.fleet.port import Accounts, Claims, Servers
from archiver.fleet.sql import SCHEMA, VERSION, Cursor, Dialect, SqlAccounts, SqlClaims, SqlServers
from archiver.mail.folder_names import printable

try:
    import psycopg
    from psycopg import errors
except ImportError:
    raise ConfigError(
        "[fleet] ledger",
        ["names a PostgreSQL database, and psycopg is not installed"],
        hint="install the extra: pipx install 'mail-archiver[postgres]'",
    ) from None

log = logging.getLogger("archiver")

T = TypeVar("T")

# NOTE: an array that the planner sees. It might read the rows of a query again for each account, as long as the
# table has no statistics: 32 seconds among 10,000 accounts.
_DIALECT = Dialect("= ANY(?::text[])", list, " FOR UPDATE OF account SKIP LOCKED")
_MAKING = 0x61726368  # "arch": who holds this advisory lock makes or changes the tables
_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0  # for a database that was there before: a restart takes seconds, a failover longer

# A host that is gone without a word is noticed within half a minute, and a frozen process keeps no row locked.
_CONNECTING = {
    "application_name": "archiver",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
_SESSION = (
    "SELECT set_config('search_path', 'archiver', false),"
    " set_config('idle_in_transaction_session_timeout', '20s', false), set_config('lock_timeout', '30s', false)"
)
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError)
_AGAIN = (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable)
_REFUSED = (errors.InvalidPassword, errors.InvalidAuthorizationSpecification, errors.InvalidCatalogName)


class PostgresqlLedger:
    """The ledger at `url`. Threads take turns. After a fork it is opened again. `pause` waits so many seconds, and
    raises if the process is to end."""

    def __init__(self, url: str, fleet: str, pause: Callable[[float], None] = time.sleep) -> None:
        self.place = _shown(url)
        self._database = _Database(url, self.place, pause)
        accounts = SqlAccounts(self._database, _DIALECT, fleet, self.place)
        claims = SqlClaims(self._database, _DIALECT, fleet)
        self.accounts = cast(Accounts, _Repeated(self._database, accounts))
        self.claims = cast(Claims, _Repeated(self._database, claims))
        self.servers = cast(Servers, _Repeated(self._database, SqlServers(self._database, fleet)))

    def now(self) -> float:
        def ask() -> float:
            with self._database.transaction() as cursor:
                return self._database.now(cursor)

        return self._database.persist(ask)

    def close(self) -> None:
        self._database.close()


class _Away(LedgerUnavailable):
    """The connection broke, or cannot be made; nothing was changed, as far as one can know."""


class _Database:
    def __init__(self, url: str, place: str, pause: Callable[[float], None]) -> None:
        self._url, self._place, self._pause = url, place, pause
        self._lock = lock_free_after_fork()
        self._opened: tuple[int, psycopg.Connection[Any]] | None = None
        self._was_there = False
        self._away_since: float | None = None

    def persist(self, work: Callable[[], T]) -> T:
        """Do `work`, which is one transaction, until it succeeds, or the database has been away for too long. What
        was written although the answer is missing is written again.

        Raises:
            LedgerUnavailable: the database cannot be reached, or refuses something.
        """
        began, tries = time.monotonic(), 0
        while True:
            try:
                done = work()
            except _Away as error:
                tries += 1
                if not self._was_there or time.monotonic() - began > _PATIENCE_SECONDS:
                    raise
                if tries == 1:
                    continue  # a connection that was idle for long may have been closed by somebody in between
                if self._away_since is None:
                    self._away_since = began
                    log.warning("%s; waiting for it", error.message)
                self._pause(_PAUSE_SECONDS)
            else:
                if (since := self._away_since) is not None:
                    self._away_since = None
                    log.warning(
                        "%s: the fleet's ledger is back after %.0f s", self._place, time.monotonic() - since
                    )
                return done

    def now(self, cursor: Cursor) -> float:
        return float(cursor.rows("SELECT extract(epoch FROM clock_timestamp())::double precision", ())[0][0])

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        with self._lock:
            try:
                connection = self._connection()
                with connection.transaction(), connection.cursor() as cursor:
                    yield _Cursor(cursor)
            except _AGAIN as error:
                raise _Away(self._told(error)) from error
            except _AWAY as error:
                self._close()
                raise _Away(self._told(error), hint=_advice(error)) from error
            except psycopg.Error as error:
                self._close()
                raise LedgerUnavailable(self._told(error), hint=_advice(error)) from error

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None and opened[0] == os.getpid():
            opened[1].close()

    def _connection(self) -> psycopg.Connection[Any]:
        # NOTE: a connection that was opened before a fork must be left alone in the child: closing it would end the
        # session of the parent.
        if self._opened is not None and self._opened[0] != os.getpid():
            _inherited.append(self._opened[1])
            self._opened = None
        if self._opened is None:
            connection = psycopg.connect(self._url, autocommit=True, prepare_threshold=None, **self._defaults())
            try:
                self._make(connection)
            except BaseException:
                connection.close()
                raise
            self._opened = (os.getpid(), connection)
            self._was_there = True
        return self._opened[1]

    def _defaults(self) -> Any:
        asked = psycopg.conninfo.conninfo_to_dict(self._url)
        return {name: value for name, value in _CONNECTING.items() if name not in asked}

    def _make(self, connection: psycopg.Connection[Any]) -> None:
        """Make the tables if they are missing."""
        connection.execute(_SESSION)
        if self._version(connection) == VERSION:
            return
        # NOTE: the lock is taken before the transaction begins. A transaction that waited for it might not see what
        # was made meanwhile: names of tables come from a cache that is renewed when a transaction begins.
        connection.execute("SELECT pg_advisory_lock(%s)", (_MAKING,))
        with connection.transaction():
            if self._version(connection) == 0:
                if connection.execute("SELECT to_regnamespace('archiver')").fetchone() == (None,):
                    connection.execute("CREATE SCHEMA archiver")
                for statement in (*SCHEMA, f"CREATE TABLE ledger AS SELECT {VERSION} AS version"):
                    connection.execute(statement)
        connection.execute("SELECT pg_advisory_unlock(%s)", (_MAKING,))

    def _version(self, connection: psycopg.Connection[Any]) -> int:
        if connection.execute("SELECT to_regclass('archiver.ledger')").fetchone() == (None,):
            return 0
        row = connection.execute("SELECT version FROM ledger").fetchone()
        version = 0 if row is None else int(row[0])
        if version > VERSION:
            problem = f"is the ledger of a newer archiver (version {version}; this one knows {VERSION})"
            raise ConfigError(self._place, [problem], hint="install the newer archiver, or set [fleet] ledger")
        return version

    def _told(self, error: psycopg.Error) -> str:
        """NOTE: a message may have several lines; the first says what happened."""
        lines = [line for line in str(error).splitlines() if line.strip()]
        why = lines[0].strip() if lines else type(error).__name__
        return f"{self._place}: the fleet's ledger: {printable(redacted(why))}"


#: Connections of the parent, kept so that they are not closed.
_inherited: list[psycopg.Connection[Any]] = []


class _Cursor:
    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._cursor = cursor

    def rows(self, statement: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        self._cursor.execute(_own(statement), _sendable(values))
        return self._cursor.fetchall() if self._cursor.description else []

    def change(self, statement: str, values: Sequence[Any]) -> int:
        return self._cursor.execute(_own(statement), _sendable(values)).rowcount

    def change_each(self, statement: str, each: Sequence[Sequence[Any]]) -> None:
        self._cursor.executemany(_own(statement), [_sendable(values) for values in each])


class _Repeated:
    """Calls the methods of `once`, each of which is a transaction, until they succeed."""

    def __init__(self, database: _Database, once: object) -> None:
        self._database, self._once = database, once

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._once, name)
        return lambda *given, **named: self._database.persist(lambda: method(*given, **named))


def _own(statement: str) -> Any:
    """A statement of `sql` as psycopg takes it."""
    return statement.replace("%", "%%").replace("?", "%s")


def _sendable(values: Sequence[Any]) -> list[Any]:
    """Values as PostgreSQL can keep them: its texts have no NUL, and are UTF-8."""
    return [_text(value) if isinstance(value, str) else value for value in values]


def _text(value: str) -> str:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _shown(url: str) -> str:
    """The address without what only libpq needs."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return printable(f"postgresql://{user}{parts.hostname or ''}{port}{parts.path}")


def _advice(error: psycopg.Error) -> str:
    text = str(error)
    if "password" in text or isinstance(error, _REFUSED):
        return "put the password into ~/.pgpass (mode 0600), or correct [fleet] ledger"
    if isinstance(error, errors.InsufficientPrivilege):
        return "let this user own the database, or create the schema: CREATE SCHEMA archiver AUTHORIZATION USER"
    return "start the database, or correct [fleet] ledger; no mail was touched, so run again"
