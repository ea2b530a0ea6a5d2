"""How an account stands: a line of `status`, by the fleet's ledger or by the account's own archive. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

from archiver.control.run import moment
from archiver.errors import ConfigError, Incomplete, Locked, Throttled
from archiver.fleet.model import STATES, Account, Amounts, Run, State
from archiver.mail.counts import counted
from pipelines.failures import with_file
from pipelines.fleet.ages import age_words, at_words

Condition = Literal[
    "failed", "crashed", "incomplete", "overdue", "throttled", "stopped", "never", "running", "done"
]
"""How an account's last run ended, or that it has not; the worst first. `overdue`: nothing is wrong but that the
last success is too long ago; `never`: nothing has run yet."""

_WORST_FIRST: tuple[Condition, ...] = get_args(Condition)
_STOPPED = 128
_AGAIN = "run again; what was stored is not fetched again"


class Standing(Struct, frozen=True, kw_only=True):
    """`percent`: how much of what is known to be at the source is where it should be. Moments are UTC, ISO 8601;
    `age` is that of the last success, in seconds. `cause` and `next_step`: why `exit_code` is not 0, and what to do
    about it. None: nobody knows, or there is none."""

    account: str
    file: str
    condition: Condition
    exit_code: int
    state: State | None = None
    state_since: str | None = None
    state_by: str | None = None
    percent: float | None = None
    messages: int | None = None
    octets: int | None = None
    messages_to_go: int | None = None
    octets_to_go: int | None = None
    run: str | None = None
    began: str | None = None
    ended: str | None = None
    success: str | None = None
    age: float | None = None
    cause: str | None = None
    next_step: str | None = None
    again_at: str | None = None

    def to_json(self) -> dict[str, Any]:
        """What is added to an account in the JSON of `status`."""
        return {
            "condition": self.condition,
            "state": self.state,
            "state_since": self.state_since,
            "state_by": self.state_by,
            "percent": None if self.percent is None else round(self.percent, 2),
            "messages": self.messages,
            "bytes": self.octets,
            "messages_to_go": self.messages_to_go,
            "bytes_to_go": self.octets_to_go,
            "last_success": self.success,
            "age_seconds": None if self.age is None else round(self.age),
            "cause": self.cause,
            "next": self.next_step,
            "again_at": self.again_at,
        }


def by_ledger(name: str, file: str, known: Account, now: float, *, at_work: bool) -> Standing:
    """How an account stands by its row in the ledger, which has a run of it. `at_work`: somebody works on it."""
    last = known.last
    if (
        last is not None
        and last.exit_code == Locked.exit_code
        and (known.success or "") >= (last.ended or last.began)
    ):
        # Another run was at work when that one began, and has ended well since.
        last = Run(last.run, last.verb, last.began, last.ended, "complete", 0)
    amounts = known.amounts or _UNCOUNTED
    assert last is not None
    standing = Standing(
        account=name,
        file=file,
        condition="done",
        exit_code=last.exit_code or 0,
        state=known.state,
        state_since=known.state_since,
        state_by=known.state_by,
        messages=amounts.messages if known.amounts else None,
        octets=amounts.octets if known.amounts else None,
        messages_to_go=amounts.messages_to_go,
        octets_to_go=amounts.octets_to_go,
        run=last.run,
        began=last.began,
        ended=last.ended,
        success=known.success,
        cause=last.cause,
        next_step=last.next_step,
        again_at=None if known.due is None or known.due <= now else moment(known.due),
    )
    return judged(standing, now, at_work=at_work)


def judged(each: Standing, now: float, *, at_work: bool) -> Standing:
    """The standing with what follows from its last run and its amounts."""
    each = replace(each, percent=_percent(each), age=age_of(each.success, now))
    began = f"run {each.run} began {at_words(each.began)}"
    if each.began is None:
        return replace(each, condition="never" if not each.exit_code else "failed")
    if each.ended is None and at_work:
        return replace(each, condition="running", exit_code=_INCOMPLETE, cause=f"{began} and is at work")
    if each.ended is None:
        cause = f"{began} and did not end; nobody works on it now"
        return replace(each, condition="crashed", exit_code=_INCOMPLETE, cause=cause, next_step=_AGAIN)
    if each.exit_code > _STOPPED:
        cause = each.cause or f"{began} and was stopped"
        return replace(
            each, condition="stopped", exit_code=_INCOMPLETE, cause=cause, next_step=each.next_step or _AGAIN
        )
    if not each.exit_code and each.messages_to_go:
        waiting = counted(each.messages_to_go, "message waits", "messages wait")
        return replace(each, condition="incomplete", exit_code=_INCOMPLETE, cause=f"{waiting}", next_step=_AGAIN)
    conditions: dict[int, Condition] = {0: "done", _INCOMPLETE: "incomplete", Throttled.exit_code: "throttled"}
    return replace(each, condition=conditions.get(each.exit_code, "failed"))


_INCOMPLETE = Incomplete.exit_code
_UNCOUNTED = Amounts()


def aged(each: Standing, most: float | None) -> Standing:
    """The standing, if no success may be older than `most` seconds: then 0 is no exit code for it."""
    if most is None or each.exit_code or (each.age is not None and each.age <= most):
        return each
    last = "there was no success yet" if each.age is None else f"the last success was {age_words(each.age)} ago"
    return replace(
        each,
        condition="overdue",
        exit_code=_INCOMPLETE,
        cause=f"{last}; it should be less than {age_words(most)} ago",
        next_step=with_file("look why nothing ran: `archiver status --runs` lists all runs", Path(each.file)),
    )


def age_of(moment: str | None, now: float) -> float | None:
    """How many seconds ago that was; not less than 0: clocks differ."""
    return None if moment is None else max(0.0, now - datetime.fromisoformat(moment).timestamp())


def _percent(each: Standing) -> float | None:
    """The last percent is reached only by all of it, and not before a run was complete: nobody has counted all."""
    if each.messages is None or each.messages_to_go is None:
        return None
    if not each.messages_to_go:
        return None if each.success is None else 100.0
    whole = max(each.messages, each.messages_to_go)
    return min(99.9, 100 * (whole - each.messages_to_go) / whole)


_Key = Callable[[Standing], Any]
#: What `--sort` takes. Equal ones are in order of their names.
SORTS: Mapping[str, _Key] = {
    "problem": lambda each: _WORST_FIRST.index(each.condition),
    "account": lambda each: 0,
    "state": lambda each: -1 if each.state is None else STATES.index(each.state),
    "percent": lambda each: -1.0 if each.percent is None else each.percent,
    "messages": lambda each: -(each.messages or 0),
    "bytes": lambda each: -(each.octets or 0),
    "to-go": lambda each: -(each.messages_to_go or 0),
    "age": lambda each: float("-inf") if each.age is None else -each.age,
}


def in_order(standings: Iterable[Standing], key: str) -> Sequence[Standing]:
    """Sorted by one of `SORTS`."""
    return sorted(standings, key=lambda each: (SORTS[key](each), each.account))


def seconds_of(text: str, option: str) -> float:
    """An age such as 26h, 90m or 3d.

    Raises:
        ConfigError: it is none.
    """
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not (number.isascii() and number.isdigit()) or not 0 < int(number) < 10**6:
        raise ConfigError(option, [f'"{text}" is no age'], hint="write it like 26h, 90m or 3d")
    return float(int(number) * units[unit])
