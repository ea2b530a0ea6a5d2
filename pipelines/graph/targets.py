"""A step is complete if the run has a row for it in the account's catalog.

A run with the same id finds its rows and resumes, or does nothing. A run with a new id does the increment.
"""

from __future__ import annotations

from archiver.account.account import Account
from pipelines.graph.apart import luigi


class StepTarget(luigi.Target):  # type: ignore[misc]
    """Exists when the step of that run is done. Opens the catalog only for the check, so that forks are safe."""

    def __init__(self, account: Account, run_id: str, step: str) -> None:
        self._account = account
        self._run_id = run_id
        self._step = step

    def exists(self) -> bool:
        if not self._account.catalog.exists():
            return False
        with self._account.opened() as archive:
            return archive.catalog.ledger.step_result(self._run_id, self._step) is not None
