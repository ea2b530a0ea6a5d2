"""What the ledger of a fleet holds, as values. Moments are UTC, ISO 8601; `due` is seconds of the Unix epoch."""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

State = Literal["new", "checked", "presynced", "delta", "frozen", "final", "verified", "cutover"]
"""How far the migration of an account is."""

STATES: tuple[State, ...] = get_args(State)


class Enrolled(Struct, frozen=True):
    """An account of the fleet as its file says. `account` is the file's path below the fleet's folder, without
    ".toml"; `written` a digest of what the file and its defaults say; `source` whose mail it is and where, for
    people; `destination` where it goes."""

    account: str
    written: str
    source: str
    server: str
    destination: str | None = None


class RunBegun(Struct, frozen=True):
    """A run of an account begins."""

    account: str
    run: str
    verb: str
    at: str
    owner: str


class Amounts(Struct, frozen=True):
    """What an archive holds, and how much waits for the destination, or, without one, for the archive; None: nobody
    counted. The octets that wait are estimated."""

    messages: int = 0
    octets: int = 0
    messages_to_go: int | None = None
    octets_to_go: int | None = None


class RunEnded(Struct, frozen=True):
    """A run of an account ended. `cause` and `next_step` are for people, None if all is well. `due`: it is not
    worth trying again before. `amounts`: None if nobody counted. `fingerprint`: what the source showed before the
    run, if the archive has all of that."""

    account: str
    run: str
    status: str
    exit_code: int
    at: str
    seconds: float
    cause: str | None = None
    next_step: str | None = None
    due: float | None = None
    amounts: Amounts | None = None
    fingerprint: str | None = None


class Run(Struct, frozen=True):
    """A run as the ledger has it; `ended` and what follows are None until it ends."""

    run: str
    verb: str
    began: str
    ended: str | None = None
    status: str | None = None
    exit_code: int | None = None
    cause: str | None = None
    next_step: str | None = None
    owner: str | None = None
    seconds: float | None = None


class Claim(Struct, frozen=True):
    """`owner` alone works on the account, until so many seconds from now, unless it renews the claim."""

    owner: str
    seconds_left: float


class Account(Struct, frozen=True):
    """What is known of an account. `last` is its last run, `success` the moment at which the last good one ended.
    `claim` is None if it has run out."""

    enrolled: Enrolled
    state: State = "new"
    state_since: str | None = None
    state_by: str | None = None
    fingerprint: str | None = None
    due: float | None = None
    last: Run | None = None
    success: str | None = None
    amounts: Amounts | None = None
    claim: Claim | None = None
