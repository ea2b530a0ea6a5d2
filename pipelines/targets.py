"""A step is complete if the run has a row for it in the account's catalog.

A run with the same id finds its rows and resumes, or does nothing. A run with a new id does the increment.
"""

from __future__ import annotations

from archiver.account.catalog import catalog_place
from archiver.account.opening import open_archive
from archiver.config.load import Settings
from pipelines.apart import luigi


class StepTarget(luigi.Target):  # type: ignore[misc]
    """Exists when the step of that run is done. Opens the catalog only for the check, so that forks are safe."""

    def __init__(self, settings: Settings, run_id: str, step: str) -> None:
        self._settings = settings
        self._run_id = run_id
        self._step = step

    def exists(self) -> bool:
        if not catalog_place(self._settings).exists():
            return False
        with open_archive(self._settings) as archive:
            return archive.catalog.ledger.step_result(self._run_id, self._step) is not None
