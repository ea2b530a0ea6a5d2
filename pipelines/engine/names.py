"""The names of runs: the given one, or one that neither an archive nor the ledger of its fleet knows yet.

A report counts what was done under its name. Several machines may run an account in a bucket, and two that begin in
the same second know nothing of each other yet, so the names of its runs end in letters that tell them apart.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping

from archiver.account.account import Account
from pipelines.attempts import Attempt, Remembered, new_run_id
from pipelines.events import Named, emit

_LETTERS = 4


class RunNames:
    """The names of the runs of one command. `given` is the name that the user chose, None if nobody did; of
    `remembered` accounts the ledgers know the last run."""

    def __init__(self, given: str | None, remembered: Mapping[str, Remembered]) -> None:
        self.given = given
        self._began = new_run_id()
        self._here = "".join(secrets.choice(string.ascii_lowercase) for _ in range(_LETTERS))
        self._remembered = remembered
        self._renamed: set[str] = set()

    def of(self, account: Account) -> str:
        """The name of an account's run. The archive of one that is remembered is not opened for that: if it is
        opened all the same, the run is named again."""
        name = account.settings.account
        return self._unused(account) if name not in self._remembered else self._by_ledger(account)

    def rename(self, attempt: Attempt) -> None:
        """Name the run of a remembered account again, which is going to be recorded in its archive; once."""
        if attempt.settings.account in self._renamed:
            return
        self._renamed.add(attempt.settings.account)
        name = self._unused(attempt.account)
        if name != attempt.run_id:
            attempt.run_id = name
            emit(attempt.settings.account, Named(name))

    def _usual(self, account: Account) -> str:
        if self.given is not None:
            return self.given
        return f"{self._began}-{self._here}" if account.medium.is_remote else self._began

    def _by_ledger(self, account: Account) -> str:
        usual, known = self._usual(account), self._remembered.get(account.settings.account)
        if self.given is not None or known is None or known.run is None:
            return usual
        base, dash, number = known.run.rpartition("-")
        if known.run == usual:
            return f"{usual}-2"
        return f"{base}-{int(number) + 1}" if dash and base == usual and number.isdecimal() else usual

    def _unused(self, account: Account) -> str:
        fresh = self._by_ledger(account)
        if self.given is not None:
            return fresh
        try:
            if not account.catalog.exists():
                return fresh
            with account.opened() as archive:
                taken = {row[0] for row in archive.catalog.ledger.runs()}
        except Exception:
            return fresh  # the same error is reported when the account begins
        number = 1
        while fresh in taken:
            number += 1
            fresh = f"{self._usual(account)}-{number}"
        return fresh
