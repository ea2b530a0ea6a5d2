"""The list of runs and their completed steps. It is in the catalog's database, not in the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archiver.catalog.sqlite.database import Database


class SqlRunLedger:
    """The runs in a catalog's database; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begun_by(self) -> str | None:
        """The run that began the archive; None if it is new."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT run FROM segment WHERE number = 1").fetchone()
        return None if row is None else row[0]

    def begin(self, run: str, at: str) -> None:
        """Record that a run begins; what is already recorded about it stays."""
        with self._database.writing() as connection:
            connection.execute("INSERT INTO run (run, started) VALUES (?, ?) ON CONFLICT DO NOTHING", (run, at))

    def finish(self, run: str, status: str, exit_code: int, at: str) -> None:
        """Record that a run ended, and has a report; a later call for the same run replaces this."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM step WHERE run = ? AND step = ?", (run, _PRUNED))
            connection.execute(_FINISH, {"run": run, "status": status, "exit_code": exit_code, "at": at})

    def runs(self) -> Sequence[tuple[str, str, str | None, str | None, int | None]]:
        """(run, started, finished, status, exit_code) of all runs, in the order in which they were recorded: the
        clock may have been wrong."""
        every = "SELECT run, started, finished, status, exit_code FROM run ORDER BY run.rowid"
        with self._database.reading() as connection:
            return connection.execute(every).fetchall()

    def complete_step(self, run: str, step: str, result: str, at: str, seconds: float | None = None) -> None:
        """Record that a step is done and how many seconds it took; `result` is JSON for later steps. If the step is
        done again, the later result counts."""
        with self._database.writing() as connection:
            connection.execute(_COMPLETE, (run, step, result, at, seconds))

    def timings(self, run: str) -> Mapping[str, float]:
        """How many seconds each step of a run took."""
        timed = "SELECT step, seconds FROM step WHERE run = ? AND seconds IS NOT NULL"
        with self._database.reading() as connection:
            return dict(connection.execute(timed, (run,)))

    def step_result(self, run: str, step: str) -> str | None:
        """The result of a step; None if it is not done."""
        done = "SELECT result FROM step WHERE run = ? AND step = ?"
        with self._database.reading() as connection:
            row = connection.execute(done, (run, step)).fetchone()
        return None if row is None else row[0]

    def old_reports(self, before: str) -> Sequence[str]:
        """The runs that ended well before that moment and whose reports are not known to be gone, in the order in
        which they were recorded; without the last one that ended well, whatever its clock said."""
        with self._database.reading() as connection:
            return [run for (run,) in connection.execute(_OLD_REPORTS, (before, _PRUNED))]

    def forget_reports(self, runs: Sequence[str], at: str) -> None:
        """Record that the reports of these runs are gone."""
        with self._database.writing() as connection:
            connection.executemany(_COMPLETE, [(run, _PRUNED, "", at, None) for run in runs])


_PRUNED = "report removed"

_WELL = "status = 'complete' AND exit_code = 0"
_OLD_REPORTS = f"""
SELECT run FROM run
WHERE {_WELL} AND finished < ?
  AND rowid < (SELECT max(rowid) FROM run WHERE {_WELL})
  AND NOT EXISTS (SELECT 1 FROM step WHERE step.run = run.run AND step.step = ?)
ORDER BY run.rowid
"""

_FINISH = """
INSERT INTO run (run, started, finished, status, exit_code) VALUES (:run, :at, :at, :status, :exit_code)
ON CONFLICT (run) DO UPDATE SET
    finished = excluded.finished, status = excluded.status, exit_code = excluded.exit_code
"""
_COMPLETE = """
INSERT INTO step (run, step, result, at, seconds) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (run, step) DO UPDATE SET
    result = excluded.result, at = excluded.at, seconds = excluded.seconds
"""
