"""Accounts of a wave beside each other, each in one process from its first step to its last.

Luigi would fork a process for each step, which begins with nothing: no connection, no module, no lock. So each of a
few processes, which live as long as the wave, builds one account after the other, as a run of one account does. One
that dies takes only its account with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from archiver.config.settings import Settings
from archiver.errors import Interrupted
from archiver.source.kept import keeping
from pipelines.attempts import Attempt, Options, RunScope
from pipelines.engine.locks import AccountLocks
from pipelines.engine.slots import Slots
from pipelines.events import AnyEvent, Channel, Freed, emit, failed
from pipelines.steps import end_failed
from pipelines.stop import STOP

_TICK_SECONDS = 0.2
_FIRST = "enumerate"


def build_apart(wave: Sequence[Attempt], options: Options, accounts: Sequence[Settings], channel: Channel) -> None:
    """Build these accounts, `options.workers` at a time; their events go through `channel`. `accounts` are those of
    the command. Never raises for an account's failure; what is not begun when a signal comes ends with its exit
    code."""
    _import_what_all_need(wave)
    waiting = deque(range(len(wave)))
    with Slots(min(options.workers, len(wave)), partial(_build_one, wave, options, accounts, channel)) as slots:
        while (waiting and STOP.signal is None) or slots.busy:
            while waiting and slots.free and STOP.signal is None:
                slots.begin(waiting.popleft())
            slots.ended(_TICK_SECONDS)
    channel.drain()
    for attempt in wave:
        if STOP.signal is not None and attempt.exit_code is None:
            _end_stopped(attempt, options, Interrupted(STOP.signal))


def _import_what_all_need(wave: Sequence[Attempt]) -> None:
    """What is imported before a fork, its workers share."""

    if any(each.account.medium.is_remote for each in wave):
        import archiver.storage.s3.open  # noqa: F401


def _end_stopped(attempt: Attempt, options: Options, error: Interrupted) -> None:
    """The account was not begun, and its report says why."""
    account = attempt.account
    try:
        account.make_archive(options.begin)
    except Exception:  # then there is no place for a report
        emit(account.settings.account, failed(error))
        return
    replays = options.steps == "replay" or (options.steps == "run" and account.settings.destination is not None)
    end_failed(account, attempt.run_id, error, RunScope(replays, options.include_vanished, options.as_of), _FIRST)


def _build_one(
    wave: Sequence[Attempt], options: Options, accounts: Sequence[Settings], outside: Channel, number: int
) -> None:
    """All steps of one account, in a worker, whose memory of the attempt is its own."""
    from pipelines.graph.build import build

    attempt = wave[number]
    name = attempt.settings.account
    locks = AccountLocks({name: attempt})

    def listen(account: str, event: AnyEvent) -> None:
        if account == name:
            attempt.hear(event)
            if isinstance(event, Freed):
                locks.give_back(account)
        outside.send(account, event)

    try:
        with Channel(listen) as channel, keeping(True):
            build([attempt], replace(options, workers=1), locks.take, accounts)
            channel.drain()
    except Exception as error:  # whatever it is, it ends only this account
        outside.send(name, failed(error, attempt.settings.file))
    finally:
        locks.give_back(name)
