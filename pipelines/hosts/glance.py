"""Accounts that show what they did before, claimed many at a time and looked at before any of them is opened.

A look takes moments. So the accounts that may end with one are claimed a few dozen at a time while looks go on, and
given back soon after: what has ended as soon as the ledger knows it, many with one request; what has to be opened
without waiting for other looks, so that any host may take it while a server is slow. An account whose last report
is on another host is not looked at here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from pipelines.attempts import Attempt
from pipelines.engine.light import Looking, look_over
from pipelines.events import Freed, Named, all_heard, emit
from pipelines.hosts.turn import Turn
from pipelines.stop import STOP

_AT_ONCE = 64  # claimed with one request: more than are looked at side by side, so that few wait for a claim
_TOGETHER = 32  # that are over, given back with one request


class Glance:
    """A look at those of `turns` that are worth one. `claim` claims turns, and returns those that are ours to do;
    `settle` gives back turns that are over, and `leave` one that has to be opened. All are called in any thread."""

    def __init__(
        self,
        turns: Sequence[Turn],
        looking: Looking,
        claim: Callable[[Sequence[Turn]], Sequence[Turn]],
        settle: Callable[[Sequence[Turn]], None],
        leave: Callable[[Turn], None],
    ) -> None:
        self._looking, self._claim, self._settle, self._leave = looking, claim, settle, leave
        self._turns = {each.attempt.settings.account: each for each in turns}
        self._over: list[Turn] = []
        self._changing = threading.Lock()

    def take(self) -> set[str]:
        """Look at them; returns the accounts that were looked at. What is left of them has to be opened."""
        worth = [each for each in self._turns.values() if self._looking.is_worth(each.attempt)]
        seen: set[str] = set()
        looking = Looking(
            self._looking.remembered,
            self._looking.replays,
            self._looking.names,
            self._looking.may_go_on,
            self._looked,
        )
        look_over(self._claimed(worth, seen), looking, len(worth))
        with self._changing:
            self._give_back_over()
        return seen

    def _claimed(self, turns: Sequence[Turn], seen: set[str]) -> Iterator[Attempt]:
        for start in range(0, len(turns), _AT_ONCE):
            if STOP.signal is not None:
                return
            for turn in self._claim(turns[start : start + _AT_ONCE]):
                seen.add(turn.attempt.settings.account)
                emit(turn.attempt.settings.account, Named(turn.attempt.run_id))
                yield turn.attempt

    def _looked(self, attempt: Attempt, *, is_over: bool) -> None:
        turn = self._turns[attempt.settings.account]
        if not is_over:
            self._leave(turn)
            return
        with self._changing:
            self._over.append(turn)
            if len(self._over) >= _TOGETHER:
                self._give_back_over()

    def _give_back_over(self) -> None:
        over, self._over = self._over, []
        if over:
            emit(over[-1].attempt.settings.account, Freed())  # the ledger gets what it has not yet
            all_heard()
            self._settle(over)
