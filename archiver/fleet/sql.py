"""The ledger's statements, in the SQL that SQLite and PostgreSQL share.

What differs between the two is a `Dialect`. A list of names is one parameter, so that a statement stays the same
for any number of accounts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from msgspec import Struct

from archiver.errors import ConfigError
from archiver.fleet.model import (
    Account,
    Amounts,
    Claim,
    Enrolled,
    Run,
    RunBegun,
    RunEnded,
    State,
)

VERSION = 1

SCHEMA = (
    """
    CREATE TABLE account (
      fleet TEXT NOT NULL, account TEXT NOT NULL,
      written TEXT NOT NULL, source TEXT NOT NULL, server TEXT NOT NULL, destination TEXT,
      state TEXT NOT NULL DEFAULT 'new', state_since TEXT, state_by TEXT,
      fingerprint TEXT, due DOUBLE PRECISION, success TEXT, last_run TEXT, seconds DOUBLE PRECISION,
      messages BIGINT, octets BIGINT, messages_to_go BIGINT, octets_to_go BIGINT,
      owner TEXT, claimed_until DOUBLE PRECISION,
      PRIMARY KEY (fleet, account))""",
    """
    CREATE TABLE run (
      fleet TEXT NOT NULL, account TEXT NOT NULL, run TEXT NOT NULL, verb TEXT NOT NULL,
      began TEXT NOT NULL, ended TEXT, status TEXT, exit_code INTEGER, cause TEXT, next_step TEXT, owner TEXT,
      seconds DOUBLE PRECISION,
      PRIMARY KEY (fleet, account, run))""",
    """
    CREATE TABLE seat (
      fleet TEXT NOT NULL, server TEXT NOT NULL, seat INTEGER NOT NULL,
      owner TEXT NOT NULL, until DOUBLE PRECISION NOT NULL,
      PRIMARY KEY (fleet, server, seat))""",
    """
    CREATE TABLE pace (
      fleet TEXT NOT NULL, server TEXT NOT NULL, held DOUBLE PRECISION NOT NULL, at DOUBLE PRECISION NOT NULL,
      PRIMARY KEY (fleet, server))""",
)

_KNOWN = """
    SELECT account.account, written, source, server, destination, state, state_since, state_by, fingerprint, due,
           success, messages, octets, messages_to_go, octets_to_go, account.owner, claimed_until,
           run.run, verb, began, ended, status, exit_code, cause, next_step, run.owner, run.seconds
    FROM account LEFT JOIN run
      ON run.fleet = account.fleet AND run.account = account.account AND run.run = account.last_run
    WHERE account.fleet = ? {these} ORDER BY account.account"""
_ENROL = """
    INSERT INTO account (fleet, account, written, source, server, destination) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (fleet, account) DO UPDATE SET written = excluded.written, source = excluded.source,
      server = excluded.server, destination = excluded.destination"""
_BEGUN = """
    INSERT INTO run (fleet, account, run, verb, began, owner) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (fleet, account, run) DO UPDATE SET verb = excluded.verb, began = excluded.began,
      owner = excluded.owner, ended = NULL, status = NULL, exit_code = NULL, cause = NULL, next_step = NULL,
      seconds = NULL"""
_ENDED = """
    UPDATE run SET ended = ?, status = ?, exit_code = ?, cause = ?, next_step = ?, seconds = ?
    WHERE fleet = ? AND account = ? AND run = ?"""
_AFTER_RUN = """
    UPDATE account SET due = ?, seconds = ?, fingerprint = ?,
      success = CASE WHEN ? = 0 AND coalesce(success, '') < ? THEN ? ELSE success END
    WHERE fleet = ? AND account = ?"""
_COUNTED = """
    UPDATE account SET messages = ?, octets = ?, messages_to_go = coalesce(?, messages_to_go),
      octets_to_go = coalesce(?, octets_to_go)
    WHERE fleet = ? AND account = ?"""
_RUNS = """
    SELECT run, verb, began, ended, status, exit_code, cause, next_step, owner, seconds
    FROM run WHERE fleet = ? AND account = ? ORDER BY began DESC, run DESC LIMIT ?"""
_FORGET = """
    DELETE FROM run WHERE fleet = ? AND began < ? AND NOT EXISTS (
      SELECT 1 FROM account WHERE account.fleet = run.fleet AND account.account = run.account
        AND account.last_run = run.run)"""
_FREE = "(owner IS NULL OR owner = ? OR claimed_until IS NULL OR claimed_until <= ?)"
_TAKE = """
    UPDATE account SET owner = ?, claimed_until = ?
    WHERE fleet = ? AND account {among} AND {free} RETURNING account"""
_DUE = """
    SELECT account FROM account
    WHERE fleet = ? AND account {among} AND (owner IS NULL OR claimed_until IS NULL OR claimed_until <= ?)
      AND (due IS NULL OR due <= ?)
      AND (CAST(? AS TEXT) IS NULL OR NOT EXISTS (SELECT 1 FROM run WHERE run.fleet = account.fleet
        AND run.account = account.account AND run.run = account.last_run AND run.ended >= ?))
    ORDER BY coalesce(due, 0), coalesce(seconds, 0) DESC, account LIMIT ?"""
_GIVE_BACK = """
    UPDATE account SET owner = NULL, claimed_until = NULL {due}
    WHERE fleet = ? AND owner = ? AND account {among}"""


_TAKEN = "SELECT seat FROM seat WHERE fleet = ? AND server = ? AND until > ?"
_SIT = """
    INSERT INTO seat (fleet, server, seat, owner, until) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (fleet, server, seat) DO UPDATE SET owner = excluded.owner, until = excluded.until
    WHERE seat.until <= ?"""
_KEEP = "UPDATE seat SET until = ? WHERE fleet = ? AND owner = ?"
_LEAVE = "DELETE FROM seat WHERE fleet = ? AND server = ? AND seat = ? AND owner = ?"
# What is done once has a row among the seats; no server is called so.
_ONCE = """
    INSERT INTO seat (fleet, server, seat, owner, until) VALUES (?, ?, 0, ?, ?)
    ON CONFLICT (fleet, server, seat) DO UPDATE SET until = excluded.until WHERE seat.owner = excluded.owner"""
_FORGET_ONCE = "DELETE FROM seat WHERE fleet = ? AND server LIKE 'once %' AND until <= ?"
_FIRST_PACE = (
    "INSERT INTO pace (fleet, server, held, at) VALUES (?, ?, ?, ?) ON CONFLICT (fleet, server) DO NOTHING"
)
# What a second gives is the most that is held, and a clock that was set back gives nothing.
_PASS = """
    UPDATE pace SET at = ?,
      held = CASE WHEN at >= ? THEN held WHEN held + ? * (? - at) < ? THEN held + ? * (? - at) ELSE ? END - ?
    WHERE fleet = ? AND server = ? RETURNING held"""


class Dialect(Struct, frozen=True):
    """`among`: what follows a column that must have one of the names in a parameter, and `listed` makes that
    parameter; `skip_locked`: what makes a query lock its rows and leave out those that others have locked."""

    among: str
    listed: Callable[[Collection[str]], Any]
    skip_locked: str = ""


class Cursor(Protocol):
    """Executes statements within a transaction; parameters are `?`."""

    def rows(self, statement: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """The rows that a statement returns; none if it returns none."""

    def change(self, statement: str, values: Sequence[Any]) -> int:
        """Execute a statement; returns how many rows it changed."""

    def change_each(self, statement: str, each: Sequence[Sequence[Any]]) -> None:
        """Execute a statement once for each of these values."""


class Transactions(Protocol):
    """A database."""

    def transaction(self) -> AbstractContextManager[Cursor]:
        """A transaction that may write, complete when the block ends, and rolled back if it raises.

        Raises:
            LedgerUnavailable: nothing was changed, as far as one can know.
        """

    def now(self, cursor: Cursor) -> float:
        """The database's clock, in seconds of the Unix epoch."""


class SqlAccounts:
    """What is known of each account of the fleet `name`. The `Accounts` of the port."""

    def __init__(self, database: Transactions, dialect: Dialect, name: str, place: str) -> None:
        self._database, self._dialect, self._fleet, self._place = database, dialect, name, place

    def enrol(self, accounts: Collection[Enrolled]) -> None:
        names = [each.account for each in accounts]
        with self._database.transaction() as cursor:
            known = self._known(cursor, names)
            changed = [
                each for each in accounts if (before := known.get(each.account)) is None or before.enrolled != each
            ]
            strangers = [each for each in changed if each.account in known and _is_another(each, known)]
            if strangers:
                first = strangers[0]
                there = known[first.account].enrolled.source
                problem = f'has "{first.account}" as {there}, and its account file says {first.source}'
                hint = (
                    "is it the ledger of another fleet? Give this one a [fleet] name of its own; if the account "
                    "has really become another one, say so with `archiver mark new`"
                )
                raise ConfigError(self._place, [problem], hint=hint)
            if changed:
                cursor.change_each(
                    _ENROL,
                    [
                        (self._fleet, each.account, each.written, each.source, each.server, each.destination)
                        for each in changed
                    ],
                )

    def known(self, names: Collection[str] | None = None) -> Mapping[str, Account]:
        with self._database.transaction() as cursor:
            return self._known(cursor, names)

    def begun(self, runs: Collection[RunBegun]) -> None:
        with self._database.transaction() as cursor:
            cursor.change_each(
                _BEGUN, [(self._fleet, each.account, each.run, each.verb, each.at, each.owner) for each in runs]
            )
            cursor.change_each(
                "UPDATE account SET last_run = ? WHERE fleet = ? AND account = ?",
                [(each.run, self._fleet, each.account) for each in runs],
            )

    def ended(self, runs: Collection[RunEnded]) -> None:
        fleet = self._fleet
        with self._database.transaction() as cursor:
            cursor.change_each(
                _ENDED,
                [
                    (
                        *(each.at, each.status, each.exit_code, each.cause, each.next_step, each.seconds),
                        *(fleet, each.account, each.run),
                    )
                    for each in runs
                ],
            )
            cursor.change_each(
                _AFTER_RUN,
                [
                    (
                        *(each.due, each.seconds, each.fingerprint, each.exit_code, each.at, each.at),
                        *(fleet, each.account),
                    )
                    for each in runs
                ],
            )
            cursor.change_each(
                _COUNTED,
                [(*_amounts_row(each.amounts), fleet, each.account) for each in runs if each.amounts is not None],
            )

    def set_state(self, names: Collection[str], state: State, at: str, by: str) -> None:
        statement = "UPDATE account SET state = ?, state_since = ?, state_by = ? WHERE fleet = ? AND account = ?"
        with self._database.transaction() as cursor:
            cursor.change_each(statement, [(state, at, by, self._fleet, name) for name in names])

    def forget(self, names: Collection[str]) -> None:
        with self._database.transaction() as cursor:
            for table in ("run", "account"):
                statement = f"DELETE FROM {table} WHERE fleet = ? AND account {self._dialect.among}"
                cursor.change(statement, (self._fleet, self._dialect.listed(names)))

    def runs(self, account: str, limit: int) -> Sequence[Run]:
        with self._database.transaction() as cursor:
            return [Run(*row) for row in cursor.rows(_RUNS, (self._fleet, account, limit))]

    def forget_runs(self, before: str) -> int:
        with self._database.transaction() as cursor:
            return cursor.change(_FORGET, (self._fleet, before))

    def _known(self, cursor: Cursor, names: Collection[str] | None) -> dict[str, Account]:
        now = self._database.now(cursor)
        if names is None:
            rows = cursor.rows(_KNOWN.format(these=""), (self._fleet,))
        else:
            these = f"AND account.account {self._dialect.among}"
            rows = cursor.rows(_KNOWN.format(these=these), (self._fleet, self._dialect.listed(names)))
        return {row[0]: _account(row, now) for row in rows}


class SqlClaims:
    """Who works on which account of the fleet `name`. The `Claims` of the port."""

    def __init__(self, database: Transactions, dialect: Dialect, name: str) -> None:
        self._database, self._dialect, self._fleet = database, dialect, name

    def take(self, owner: str, names: Collection[str], seconds: float) -> Collection[str]:
        with self._database.transaction() as cursor:
            return self._take(cursor, owner, names, seconds)

    def take_due(
        self, owner: str, names: Collection[str], limit: int, seconds: float, *, not_since: str | None = None
    ) -> Sequence[str]:
        with self._database.transaction() as cursor:
            now = self._database.now(cursor)
            statement = _DUE.format(among=self._dialect.among) + self._dialect.skip_locked
            found = [
                str(name)
                for (name,) in cursor.rows(
                    statement, (self._fleet, self._dialect.listed(names), now, now, not_since, not_since, limit)
                )
            ]
            taken = self._take(cursor, owner, found, seconds)
            return [name for name in found if name in taken]

    def renew(self, owner: str, names: Collection[str], seconds: float) -> Collection[str]:
        with self._database.transaction() as cursor:
            until = self._database.now(cursor) + seconds
            statement = (
                "UPDATE account SET claimed_until = ? "
                f"WHERE fleet = ? AND owner = ? AND account {self._dialect.among} RETURNING account"
            )
            rows = cursor.rows(statement, (until, self._fleet, owner, self._dialect.listed(names)))
            return frozenset(str(name) for (name,) in rows)

    def give_back(self, owner: str, names: Collection[str], due: float | None = None) -> None:
        statement = _GIVE_BACK.format(among=self._dialect.among, due="" if due is None else ", due = ?")
        with self._database.transaction() as cursor:
            cursor.change(
                statement, (*([] if due is None else [due]), self._fleet, owner, self._dialect.listed(names))
            )

    def first(self, what: str, owner: str, seconds: float) -> bool:
        with self._database.transaction() as cursor:
            now = self._database.now(cursor)
            cursor.change(_FORGET_ONCE, (self._fleet, now))
            return cursor.change(_ONCE, (self._fleet, f"once {what}", owner, now + seconds)) > 0

    def _take(self, cursor: Cursor, owner: str, names: Collection[str], seconds: float) -> Collection[str]:
        now = self._database.now(cursor)
        statement = _TAKE.format(among=self._dialect.among, free=_FREE)
        rows = cursor.rows(statement, (owner, now + seconds, self._fleet, self._dialect.listed(names), owner, now))
        return frozenset(str(name) for (name,) in rows)


def _is_another(each: Enrolled, known: Mapping[str, Account]) -> bool:
    """Whether both the user and the server are others: one of them may change in the life of an account."""
    before = known[each.account].enrolled
    user, _, host = each.source.partition(" at ")
    user_before, _, host_before = before.source.partition(" at ")
    return user != user_before and host != host_before


def _amounts_row(amounts: Amounts) -> tuple[int | None, ...]:
    return amounts.messages, amounts.octets, amounts.messages_to_go, amounts.octets_to_go


def _account(row: Sequence[Any], now: float) -> Account:
    name, written, source, server, destination = row[:5]
    state, state_since, state_by, fingerprint, due, success = row[5:11]
    amounts, (owner, until), run = row[11:15], row[15:17], row[17:]
    return Account(
        Enrolled(name, written, source, server, destination),
        state,
        state_since,
        state_by,
        fingerprint,
        due,
        None if run[0] is None else Run(*run),
        success,
        None if amounts[0] is None else Amounts(*amounts),
        Claim(owner, until - now) if owner is not None and until is not None and until > now else None,
    )


class SqlServers:
    """What the accounts of the fleet `name` share at servers. The `Servers` of the port."""

    def __init__(self, database: Transactions, name: str) -> None:
        self._database, self._fleet = database, name

    def take_seat(self, server: str, seats: int, owner: str, seconds: float) -> int | None:
        with self._database.transaction() as cursor:
            now = self._database.now(cursor)
            taken = {row[0] for row in cursor.rows(_TAKEN, (self._fleet, server, now))}
            for seat in range(seats):
                values = (self._fleet, server, seat, owner, now + seconds, now)
                if seat not in taken and cursor.change(_SIT, values):  # nobody else was quicker
                    return seat
        return None

    def keep_seats(self, owner: str, seconds: float) -> None:
        with self._database.transaction() as cursor:
            cursor.change(_KEEP, (self._database.now(cursor) + seconds, self._fleet, owner))

    def leave_seat(self, server: str, seat: int, owner: str) -> None:
        with self._database.transaction() as cursor:
            cursor.change(_LEAVE, (self._fleet, server, seat, owner))

    def pass_octets(self, server: str, octets: int, rate: float) -> float:
        with self._database.transaction() as cursor:
            now = self._database.now(cursor)
            cursor.change(_FIRST_PACE, (self._fleet, server, rate, now))
            filled = (now, now, rate, now, rate, rate, now, rate, octets)
            ((held,),) = cursor.rows(_PASS, (*filled, self._fleet, server))
        return max(0.0, -float(held) / rate)
