"""Runs accounts in waves: those in which nothing is new in threads, the others by Luigi; our own exit codes, one
failure stopping only its account.

Luigi's scheduling is quadratic in the tasks of a graph, so a fleet of hundreds of accounts is built in waves. Luigi
is imported when there is something to do for it.
"""

from __future__ import annotations

import gc
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType

from archiver.account.account import Account
from archiver.account.sharing import sharing_among
from archiver.config.settings import Settings
from archiver.errors import Interrupted
from archiver.events import Noted
from archiver.login.reach import learning
from archiver.source.kept import keeping
from pipelines.attempts import Attempt, Options, Remembered, Run
from pipelines.engine.light import Looking, look_over
from pipelines.engine.locks import AccountLocks
from pipelines.engine.names import RunNames
from pipelines.engine.quiet import has_catalog_here, is_done
from pipelines.events import AnyEvent, Channel, Failed, Freed, Listener, Named, emit, failed
from pipelines.outcome import AccountOutcome
from pipelines.steps import forget_listings
from pipelines.stop import STOP

_WAVE = 100

#: For a postponed account, when nothing else is left to do: the next run is the better time for a longer one.
_LONGEST_WAIT_SECONDS = 60.0


def run_accounts(
    accounts: Sequence[Settings],
    options: Options,
    listener: Listener,
    remembered: Mapping[str, Remembered] = MappingProxyType({}),
    of: Sequence[Settings] | None = None,
) -> list[AccountOutcome[Run]]:
    """Run accounts, `options.workers` at the same time, and return how each ended. Never raises for an account's
    failure; after a signal, accounts that have not begun end with its exit code. `remembered` are accounts that may
    show what they did before: they are looked at first, many at a time. `of`: all accounts of the command, if
    others of them run elsewhere."""
    _tune_collector()
    attempts: dict[str, Attempt] = {}
    remembered = remembered if may_be_quiet(options) else {}
    names = RunNames(options.run_id, remembered)
    for each in accounts:
        account = Account(each)
        attempts[each.account] = Attempt(account, names.of(account))
        listener(each.account, Named(attempts[each.account].run_id))
    locks = AccountLocks(attempts)
    put_back: dict[str, tuple[float, Settings]] = {}

    def listen(account: str, event: AnyEvent) -> None:
        if account in attempts:
            attempts[account].hear(event)
        if isinstance(event, Freed):
            locks.give_back(account)  # other processes may use this account before the wave ends
        else:
            listener(account, event)

    def before_task(file: str) -> None:
        channel.drain()  # that an earlier try freed the account must not be heard later
        locks.take(file)

    with learning(), Channel(listen) as channel:
        kept = kept_apart(accounts, options)
        looked_at = [attempts[each.account] for each in kept if each.account in remembered]
        looked_at = [each for each in looked_at if asks_for_news(each, options)]
        look_over(looked_at, Looking(remembered, partial(is_replayed, options), names), len(looked_at))
        channel.drain()
        for attempt in (attempts[each.account] for each in kept if each.account in remembered):
            if attempt.exit_code is None:
                names.rename(attempt)
            else:
                _put_back(attempt, options, put_back)
        waves = deque(_waves([each for each in kept if attempts[each.account].exit_code is None]))
        while wave := _next(waves, put_back):
            begun = [attempts[each.account] for each in wave]
            for attempt in begun:
                attempt.begin()
            with keeping(len(begun) == 1 or options.workers == 1):
                if left := _left_by_quiet(begun, options):
                    _build(left, options, before_task, accounts if of is None else of, channel)
            channel.drain()
            for attempt in begun:
                locks.give_back(attempt.settings.account)
                _put_back(attempt, options, put_back)
    return [_ended(each, listener) for each in attempts.values()]


def _build(
    wave: Sequence[Attempt],
    options: Options,
    before_task: Callable[[str], None],
    accounts: Sequence[Settings],
    channel: Channel,
) -> None:
    """Let Luigi do the steps of these accounts. Where somebody gave it limits for servers, which it counts among
    the tasks of one graph, it gets all accounts in one."""
    if len(wave) == 1 or options.workers == 1 or _is_luigi_configured():
        from pipelines.graph.build import build

        build(wave, options, before_task, accounts)
    else:
        from pipelines.engine.apart import build_apart

        build_apart(wave, options, accounts, channel)


def _is_luigi_configured() -> bool:
    return "LUIGI_CONFIG_PATH" in os.environ or Path("/etc/luigi").exists()


def is_replayed(options: Options, attempt: Attempt) -> bool:
    """Whether the run is about the account's destination, too."""
    return options.steps == "run" and attempt.settings.destination is not None


def _put_back(attempt: Attempt, options: Options, put_back: dict[str, tuple[float, Settings]]) -> None:
    """Postpone an account that may be tried again."""
    if options.waits and attempt.again is not None and attempt.tries < attempt.settings.source.attempts:
        put_back[attempt.settings.account] = (time.monotonic() + attempt.again, attempt.settings)


def _left_by_quiet(wave: Sequence[Attempt], options: Options) -> list[Attempt]:
    """Run those accounts of the wave in which nothing is new; returns the others, for Luigi, in their order."""
    forget_listings()
    if not may_be_quiet(options):
        return list(wave)

    def is_left(attempt: Attempt) -> bool:
        account, replays = attempt.account, is_replayed(options, attempt)
        if not asks_for_news(attempt, options) or not has_catalog_here(account):
            return True
        return not is_done(account, attempt.run_id, replays=replays)

    if len(wave) == 1 or options.workers == 1:
        return [each for each in wave if is_left(each)]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(options.workers, thread_name_prefix="quiet") as threads:
        return [each for each, left in zip(wave, threads.map(is_left, wave), strict=True) if left]


def may_be_quiet(options: Options) -> bool:
    """Whether the command asks for no more than what is new; and Luigi alone decides, if somebody configured it,
    how many connections a server gets from [resources]."""
    asked = options.steps == "replay" or options.retry != "due" or options.new_source or options.new_archive
    asked = asked or options.confirm_deletions
    return not (asked or _is_luigi_configured())


def asks_for_news(attempt: Attempt, options: Options) -> bool:
    """Whether the command asks for no more at the account's destination than what is new."""
    if not is_replayed(options, attempt):
        return True
    asked = options.include_vanished or options.include_removed or options.confirm_deletions
    return not (asked or options.after_cutover) and options.destination_is == "ask" and options.as_of is None


def _ended(attempt: Attempt, listener: Listener) -> AccountOutcome[Run]:
    """How an account's run ended. If nothing is known, it was killed together with its worker."""
    if attempt.exit_code is not None:
        return attempt.outcome(attempt.exit_code)
    attempt.message = "the worker process died unexpectedly; run again to resume"
    listener(attempt.settings.account, Failed(attempt.message, 1))
    return attempt.outcome(1)


@cache  # garbage that is frozen is never collected, so freeze only once, while there is little
def _tune_collector() -> None:
    """A batch holds thousands of small values: collecting all modules each time would cost a tenth of a run."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def kept_apart(accounts: Sequence[Settings], options: Options) -> Sequence[Settings]:
    """The accounts without those that would fill the same mailbox without the user's consent. Those fail here,
    before anything is changed."""
    if options.steps == "archive":
        return accounts
    sharing = sharing_among(accounts)
    for each in accounts:
        if (refusal := sharing[each.file].refusal) is not None:
            emit(each.account, failed(refusal, each.file))
    return [each for each in accounts if sharing[each.file].refusal is None]


def _next(
    waves: deque[Sequence[Settings]], put_back: dict[str, tuple[float, Settings]]
) -> Sequence[Settings] | None:
    """The next wave, with the postponed accounts that are due; None if none is worth waiting for."""
    while waves or put_back:
        now = time.monotonic()
        due = [settings for when, settings in put_back.values() if when <= now]
        for each in due:
            del put_back[each.account]
        if waves or due:
            return [*(waves.popleft() if waves else ()), *due]
        waited_for = _waited_for(put_back, now)
        if not waited_for:
            return None
        for account, when in waited_for:
            emit(account, Noted(f"postponed: next attempt in {when - now:.0f} seconds"))
        try:
            STOP.pause(waited_for[0][1] - now)
        except Interrupted as error:
            for account, _ in waited_for:
                emit(account, failed(error))
            return None
    return None


def _waited_for(put_back: Mapping[str, tuple[float, Settings]], now: float) -> list[tuple[str, float]]:
    """The postponed accounts that are worth waiting for when nothing else is left to do, in order of time."""
    found: list[tuple[str, float]] = []
    before = now
    for account, (when, _) in sorted(put_back.items(), key=lambda each: each[1][0]):
        if when - before > _LONGEST_WAIT_SECONDS:
            break
        found.append((account, when))
        before = when
    return found


def _waves(accounts: Sequence[Settings]) -> Iterator[Sequence[Settings]]:
    for start in range(0, len(accounts), _WAVE):
        yield accounts[start : start + _WAVE]
