"""Each account's lock in a run of several: taken when the account's first task begins, given back after its last.

The process that schedules tasks takes it before it forks the worker of the first one, so that all workers of the
account share it and no other process gets in between them. An account that has not begun is free for other
commands, and so is one that has ended or failed while the run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from pipelines.attempts import Attempt


class AccountLocks:
    """The locks that this process holds, for the runs of these accounts. They are taken by one thread, and may be
    given back by another."""

    def __init__(self, attempts: Mapping[str, Attempt]) -> None:
        self._attempts = {str(each.settings.file): each for each in attempts.values()}
        self._held: dict[str, ExitStack] = {}

    def take(self, file: str) -> None:
        """Take the lock of the account of this file, unless it is held. If that is impossible, nothing happens: the
        task meets the same obstacle, and reports it."""
        attempt = self._attempts[file]
        if attempt.settings.account in self._held:
            return
        lock = ExitStack()
        try:
            lock.enter_context(attempt.account.locked(attempt.run_id))
        except Exception:  # whatever it is, it ends only this account
            return
        self._held[attempt.settings.account] = lock

    def give_back(self, account: str) -> None:
        """Give back the lock of the account of this name; fine if it is not held."""
        # NOTE: two threads may get here; only one of them closes the lock.
        if (lock := self._held.pop(account, None)) is not None:
            lock.close()
