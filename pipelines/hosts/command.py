"""A command's accounts of one fleet, each done by the host that claims it first; all hosts learn how it ended.

The claim in the ledger decides, by the database's clock. The lock and the lease of each archive stay the last word.
An account with news is done by one process from its first step to its last.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from archiver.account.account import Account
from archiver.config.settings import Settings
from archiver.control.run import utc_now
from archiver.errors import ArchiverError, Interrupted, LedgerUnavailable, Locked, stopped_code
from archiver.events import Noted
from archiver.fleet.model import Account as KnownAccount
from archiver.fleet.model import Run as Known
from archiver.fleet.port import FleetLedger
from archiver.login.reach import learning
from archiver.mail.counts import counted
from pipelines.attempts import Attempt, Options, Remembered, Run, new_run_id
from pipelines.engine.light import Looking
from pipelines.engine.names import RunNames
from pipelines.engine.run import asks_for_news, is_replayed, kept_apart, may_be_quiet, run_accounts
from pipelines.engine.slots import Slots
from pipelines.events import (
    AnyEvent,
    Channel,
    Failed,
    Freed,
    Listener,
    Named,
    all_heard,
    emit,
    failed,
)
from pipelines.fleet.ledgers import owner_of_claims
from pipelines.hosts.claims import Claims
from pipelines.hosts.glance import Glance
from pipelines.hosts.turn import LONGEST_WAIT, Turn, host_of, in_order, mark_of, seen, words_about
from pipelines.outcome import AccountOutcome
from pipelines.stop import STOP

_LOOK_SECONDS = 2.0  # between two looks at what other hosts do
_TICK_SECONDS = 0.2
_NOT_AT_ONCE = 3600.0  # until what is refused is looked at again
_NEXT = 200  # accounts whose turn comes soon, which are looked at


class Sharing(Struct, frozen=True):
    """How accounts are shared. `verb`: what another host must have done for an account to be done. `only_due`:
    those that are to wait are left. `every`: an account that was done is due again in so many seconds; None:
    whenever somebody asks for it."""

    ledger: FleetLedger
    verb: str
    remembered: Mapping[str, Remembered]
    only_due: bool = False
    every: float | None = None


def run_shared(
    accounts: Sequence[Settings],
    options: Options,
    listener: Listener,
    sharing: Sharing,
    of: Sequence[Settings] | None = None,
) -> list[AccountOutcome[Run]]:
    """Run accounts, `options.workers` at the same time on this host, and return how each ended, wherever it was
    done; with `only_due` only those that were done here. All must belong to the fleet of the ledger, and be known
    in it. `of`: all accounts of the command.

    Raises:
        LedgerUnavailable: it cannot be reached at the beginning.
    """
    return _Command(accounts, options, listener, sharing, of or accounts).run()


class _Command:
    def __init__(
        self,
        accounts: Sequence[Settings],
        options: Options,
        listener: Listener,
        sharing: Sharing,
        of: Sequence[Settings],
    ) -> None:
        self._of = of
        self._accounts, self._options, self._listener, self._sharing = accounts, options, listener, sharing
        self._ledger = sharing.ledger
        self._turns = {
            each.account: Turn(_name(each), number, Attempt(Account(each), options.run_id or new_run_id()))
            for number, each in enumerate(accounts)
        }
        # Two hosts that are told at the same time to do once what is due do each account once together.
        self._not_since = utc_now() if sharing.only_due and sharing.every is None else None
        self._looked = 0.0
        self._looked_at: set[str] = set()
        self._trouble: ArchiverError | None = None

    def run(self) -> list[AccountOutcome[Run]]:
        known = dict(self._ledger.accounts.known([each.name for each in self._turns.values()]))
        for turn in self._turns.values():
            account = known.get(turn.name)
            turn.before = mark_of(account.last if account is not None else None)
            if self._was_done_before(account):
                turn.before = None
        if self._sharing.only_due and not _is_any_due(known.values(), self._ledger.now()):
            return []
        order = in_order(self._turns.values(), known)
        with learning(), Channel(self._listen) as channel:
            for name, turn in self._turns.items():
                self._listener(name, Named(turn.attempt.run_id))
            together = {each.account for each in kept_apart(self._of, self._options)}
            channel.drain()
            refused = [turn for name, turn in self._turns.items() if name not in together]
            for turn in refused:
                self._end(turn)
            self._leave_done([each for each in order if each.is_waiting], known)
            names = [each.name for each in order]
            with (
                Claims(self._ledger, names) as claims,
                Slots(self._options.workers, partial(self._work, channel, claims)) as slots,
            ):
                # NOTE: before a worker is forked, which must know what was looked at.
                self._looked_at = self._glance([each for each in order if each.is_waiting], claims)
                for turn in refused if self._sharing.only_due else ():
                    if claims.take([turn.name], limit=1, only_due=False):
                        claims.give_back([turn.name], self._ledger_time(self._sharing.every or _NOT_AT_ONCE))
                self._go_on(order, claims, slots, channel)
        for turn in order:
            if turn.outcome is None and not self._sharing.only_due:
                turn.outcome = self._not_begun(turn)
        return [each.outcome for each in self._turns.values() if each.outcome is not None]

    def _was_done_before(self, account: KnownAccount | None) -> bool:
        """Whether a run of the name that this one was given ended well: then it is not done again."""
        last = None if account is None else account.last
        name = self._options.run_id
        return last is not None and name is not None and last.run == name and last.exit_code == 0

    def _glance(self, turns: Sequence[Turn], claims: Claims) -> set[str]:
        """Look at accounts in which nothing was left to do; returns those that were looked at."""
        options, remembered = self._options, self._sharing.remembered
        turns = [each for each in turns if each.attempt.settings.account in remembered]
        if not may_be_quiet(options):
            return set()
        names = RunNames(options.run_id, remembered)
        turns = [each for each in turns if asks_for_news(each.attempt, options)]
        for each in turns:
            each.attempt.run_id = names.of(each.attempt.account)

        def may_go_on(attempt: Attempt) -> None:
            claims.check(_name(attempt.settings))

        looking = Looking(remembered, partial(is_replayed, options), names, may_go_on)

        def leave(turn: Turn) -> None:
            claims.give_back([turn.name])

        return Glance(turns, looking, partial(self._claim, claims), partial(self._settle, claims), leave).take()

    def _claim(self, claims: Claims, turns: Sequence[Turn]) -> Sequence[Turn]:
        """Claim these; returns those of them that nobody else has or has done meanwhile."""
        by_name, only_due = {each.name: each for each in turns}, self._sharing.only_due
        try:
            names = claims.take(list(by_name), limit=len(turns), only_due=only_due, not_since=self._not_since)
            taken = [by_name[name] for name in names]
            if taken and not only_due:
                self._look(taken, is_ours=True)
        except LedgerUnavailable as error:
            self._trouble = error
            return ()
        now = time.monotonic()
        is_ours = {each.name: each.is_waiting and each.not_before <= now for each in taken}
        claims.give_back([name for name, ours in is_ours.items() if not ours])
        return [each for each in taken if is_ours[each.name]]

    def _settle(self, claims: Claims, over: Sequence[Turn]) -> None:
        """These were looked at, and are over."""
        quiet = [each for each in over if each.attempt.exit_code == 0]
        for turn in quiet:
            self._end(turn)
        claims.give_back([each.name for each in quiet], self._ledger_time(self._sharing.every) if quiet else None)
        for turn in over:
            if turn.attempt.exit_code != 0:
                self._came_back(turn, claims)

    def _leave_done(self, turns: Sequence[Turn], known: Mapping[str, KnownAccount]) -> None:
        """What was done under the name that the run was given is not done again. However many accounts that are, it
        is one line."""
        hosts: set[str] = set()
        for turn in turns:
            account = known.get(turn.name)
            if account is None or account.last is None or not self._was_done_before(account):
                continue
            if seen(turn, account, self._sharing.verb, owner_of_claims(), self._ledger.now()) == "done":
                self._end_elsewhere(turn, account.last)
                hosts.add(host_of(account.last))
        if hosts:
            done = counted(sum(not each.is_waiting for each in turns), "account was", "accounts were")
            text = f"run {self._options.run_id}: {done} done before, by {' and '.join(sorted(hosts))}"
            self._listener("", Noted(text))

    def _end_elsewhere(self, turn: Turn, last: Known) -> str:
        """How another command ended with an account is how this one ends; returns the words about that."""
        code, words = last.exit_code or 0, words_about(last)
        run = Run(last.run, None, turn.attempt.tries)
        turn.outcome = AccountOutcome(turn.attempt.settings.account, code, words if code else None, run)
        return words

    def _go_on(self, order: Sequence[Turn], claims: Claims, slots: Slots, channel: Channel) -> None:
        while True:
            is_open = STOP.signal is None and self._trouble is None
            waiting = [each for each in order if each.is_waiting] if is_open else []
            if not (waiting or slots.busy):
                return
            begun = self._begin(waiting, claims, slots) if waiting and slots.free else 0
            if not begun and self._sharing.only_due and not slots.busy:
                return
            for number in slots.ended(0 if begun else _TICK_SECONDS) if slots.busy else _nothing(begun):
                channel.drain()
                self._came_back(self._turns[self._accounts[number].account], claims)

    def _begin(self, waiting: Sequence[Turn], claims: Claims, slots: Slots) -> int:
        """Claim accounts for the free workers, and let them begin; returns how many began."""
        now = time.monotonic()
        ready = [each for each in waiting if each.not_before <= now]
        try:
            if now - self._looked > _LOOK_SECONDS and not self._sharing.only_due:
                self._look([*ready[:_NEXT], *(each for each in waiting if each.not_before > now)][:_NEXT])
                self._looked = time.monotonic()
                ready = [each for each in ready if each.is_waiting and each.not_before <= now]
            if not ready:
                return 0
            by_name = {each.name: each for each in ready}
            taken = claims.take(
                list(by_name), limit=slots.free, only_due=self._sharing.only_due, not_since=self._not_since
            )
        except LedgerUnavailable as error:
            self._trouble = error
            return 0
        for turn in self._put_off([each for each in ready if each.name not in taken], len(taken), slots.free):
            turn.not_before = now + _LOOK_SECONDS
        return sum(self._begin_one(by_name[name], claims, slots) for name in taken)

    def _put_off(self, left: Sequence[Turn], taken: int, free: int) -> Sequence[Turn]:
        """Those that others work on, or that are not due, so that they are asked for again only after a while.

        By name, the first that were not taken are at work elsewhere. What is due the ledger chooses among all: as
        long as there was enough for the free workers, there may be more.
        """
        if not self._sharing.only_due:
            return left[:free]
        return left if taken < free else ()

    def _begin_one(self, turn: Turn, claims: Claims, slots: Slots) -> bool:
        if not self._sharing.only_due:
            try:
                self._look([turn], is_ours=True)
            except LedgerUnavailable:
                turn.not_before = time.monotonic() + _LOOK_SECONDS
            if not turn.is_waiting or turn.not_before > time.monotonic():
                claims.give_back([turn.name])
                return False
        turn.is_running = True
        turn.attempt.begin()
        slots.begin(turn.number)
        return True

    def _look(self, turns: Sequence[Turn], *, is_ours: bool = False) -> None:
        """See what others have done of these meanwhile. `is_ours`: we have claimed them."""
        known = self._ledger.accounts.known([each.name for each in turns])
        now, here = self._ledger.now(), time.monotonic()
        for turn in turns:
            account = known.get(turn.name)
            match seen(turn, account, self._sharing.verb, owner_of_claims(), now):
                case "done":
                    assert account is not None
                    assert account.last is not None
                    words = self._end_elsewhere(turn, account.last)
                    self._listener(turn.attempt.settings.account, Noted(words))
                case "later":
                    assert account is not None
                    assert account.due is not None
                    turn.not_before = here + account.due - now
                case "elsewhere" if not is_ours:
                    turn.not_before = here + _LOOK_SECONDS
                case _:
                    pass

    def _came_back(self, turn: Turn, claims: Claims) -> None:
        """A worker has ended with an account, or died with it."""
        attempt, again = turn.attempt, turn.attempt.again
        account = attempt.settings.account
        turn.is_running = False
        emit(account, Freed())  # the ledger gets how it ended before anybody else may claim it
        all_heard()
        if attempt.exit_code is None:
            self._listener(account, Failed("the worker process died unexpectedly; run again to resume", 1))
            attempt.exit_code, attempt.message = 1, "the worker process died unexpectedly; run again to resume"
        if attempt.exit_code == Locked.exit_code and claims.is_lost(turn.name):
            turn.not_before = time.monotonic() + _LOOK_SECONDS  # how it ends, the ledger will know
            claims.give_back([turn.name])
            return
        is_stopped = STOP.signal is not None and attempt.exit_code == stopped_code(STOP.signal)
        done = again is None and not is_stopped
        due = self._ledger_time(self._sharing.every) if done else None
        claims.give_back([turn.name], due)
        may_wait = again is not None and again <= LONGEST_WAIT and attempt.tries < attempt.settings.source.attempts
        if may_wait and not self._sharing.only_due:
            turn.not_before = time.monotonic() + (again or 0.0)
        else:
            self._end(turn)

    def _ledger_time(self, seconds: float | None) -> float | None:
        if seconds is None:
            return None
        try:
            return self._ledger.now() + seconds
        except ArchiverError:
            return time.time() + seconds

    def _end(self, turn: Turn) -> None:
        turn.outcome = turn.attempt.outcome(turn.attempt.exit_code if turn.attempt.exit_code is not None else 1)

    def _not_begun(self, turn: Turn) -> AccountOutcome[Run]:
        error = self._trouble or Interrupted(STOP.signal or 15)
        if turn.attempt.exit_code is not None:
            return turn.attempt.outcome(turn.attempt.exit_code)
        return AccountOutcome.of_error(turn.attempt.settings.account, error)

    # -- in the worker, and in the thread that hears it --------------------------------------------------------

    def _work(self, channel: Channel, claims: Claims, number: int) -> None:
        settings = self._accounts[number]
        STOP.also = partial(claims.check, _name(settings))
        alone = replace(self._options, workers=1, scheduler_url=None, max_seconds=None, waits=False)
        try:
            run_accounts([settings], alone, channel.send, self._remembered(settings), self._of)
        except Exception as error:  # whatever it is, it ends only this account
            channel.send(settings.account, failed(error, settings.file))
        finally:
            STOP.also = None

    def _remembered(self, settings: Settings) -> Mapping[str, Remembered]:
        """What was looked at before has to be opened."""
        known = self._sharing.remembered.get(settings.account)
        return {} if known is None or settings.account in self._looked_at else {settings.account: known}

    def _listen(self, account: str, event: AnyEvent) -> None:
        attempt = self._turns[account].attempt if account in self._turns else None
        if attempt is not None:
            attempt.hear(event)
        self._listener(account, event)


def _is_any_due(known: Iterable[KnownAccount], now: float) -> bool:
    """Whether there is an account that nobody works on and that need not wait."""
    return any(each.claim is None and (each.due is None or each.due <= now) for each in known)


def _name(settings: Settings) -> str:
    return settings.fleet.account if settings.fleet is not None else settings.account


def _nothing(begun: int) -> Iterable[int]:
    """Wait a little: other hosts have all the accounts that are left."""
    if not begun:
        time.sleep(_TICK_SECONDS)
    return ()
