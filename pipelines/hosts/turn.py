"""An account's turn in a command that shares its accounts with other hosts: pure decisions about what the ledger
says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from archiver.errors import Locked
from archiver.fleet.model import Account
from archiver.fleet.model import Run as Known
from pipelines.attempts import Attempt, Run
from pipelines.outcome import AccountOutcome

#: How long a command waits for an account that is to be tried again later, as within one host.
LONGEST_WAIT = 300.0


class Turn(Struct):
    """`name` is the account's name in the fleet, `number` its place among the command's accounts. `before` is its
    last run when the command began; `not_before` (of the monotonic clock): another host works on it, or it is to be
    tried again later. `outcome` is None until it has ended, here or elsewhere."""

    name: str
    number: int
    attempt: Attempt
    before: tuple[str, str | None] | None = None
    is_running: bool = False
    not_before: float = 0.0
    outcome: AccountOutcome[Run] | None = None

    @property
    def is_waiting(self) -> bool:
        return self.outcome is None and not self.is_running


Seen = Literal["free", "elsewhere", "done", "later"]


def seen(turn: Turn, account: Account | None, verb: str, owner: str, now: float) -> Seen:
    """What the ledger says of an account that waits for its turn: nobody has worked on it since the command `verb`
    began, another host does just now, another has done it, or it is to be tried again later. `owner` are we, as
    runs name us, and `now` is the ledger's time."""
    if account is None:
        return "free"
    last = account.last
    is_anothers = last is not None and last.owner != owner and mark_of(last) != turn.before
    if is_anothers and last is not None and last.verb == verb and _is_done(last):
        if account.due is None or account.due - now > LONGEST_WAIT:
            return "done"
        return "later" if account.due > now else "free"
    return "free" if account.claim is None else "elsewhere"


def _is_done(last: Known) -> bool:
    """Whether there is nothing left to do of it: it ended by itself, and not because another had the account."""
    return last.ended is not None and last.status != "stopped" and last.exit_code != Locked.exit_code


def mark_of(last: Known | None) -> tuple[str, str | None] | None:
    """What tells an account's last run from every other."""
    return None if last is None else (last.run, last.ended)


def in_order(turns: Iterable[Turn], known: dict[str, Account]) -> list[Turn]:
    """Those first that have waited longest for their time, then those that take longest: of an account without a
    run nobody knows, and its first run takes longer than any other."""

    def urgency(turn: Turn) -> tuple[float, float, int]:
        account = known.get(turn.name)
        last = None if account is None else account.last
        seconds = float("inf") if last is None or last.seconds is None else last.seconds
        due = 0.0 if account is None or account.due is None else account.due
        return due, -seconds, turn.number

    return sorted(turns, key=urgency)


def host_of(last: Known) -> str:
    """Which host did a run, for people."""
    return (last.owner or "another host").partition(":")[0]


def words_about(last: Known) -> str:
    """How a run of another host ended, for people."""
    host = host_of(last)
    if not last.exit_code:
        return f"done by {host}: {last.status or 'complete'}"
    told = "; ".join(filter(None, (last.cause, last.next_step))) or "its report is on that host"
    return f"done by {host}: {last.status or 'failed'}, exit code {last.exit_code}: {told}"
