"""The list of runs and their completed steps. It is in the catalog's database, not in the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import literal_column, select
from sqlalchemy.dialects.sqlite import insert as upsert

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.schema import RUN, SEGMENT, STEP


class SqlRunLedger:
    """The runs in a catalog's database; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begun_by(self) -> str | None:
        """The run that began the archive; None if it is new."""
        with self._database.reading() as connection:
            return connection.scalar(select(SEGMENT.c.run).where(SEGMENT.c.number == 1))

    def begin(self, run: str, at: str) -> None:
        """Record that a run begins; what is already recorded about it stays."""
        with self._database.writing() as connection:
            connection.execute(upsert(RUN).values(run=run, started=at).on_conflict_do_nothing())

    def finish(self, run: str, status: str, exit_code: int, at: str) -> None:
        """Record that a run ended; a later call for the same run replaces this."""
        end = {"finished": at, "status": status, "exit_code": exit_code}
        statement = upsert(RUN).values(run=run, started=at, **end)
        with self._database.writing() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=[RUN.c.run], set_=end))

    def runs(self) -> Sequence[tuple[str, str, str | None, str | None, int | None]]:
        """(run, started, finished, status, exit_code) of all runs, in the order in which they were recorded: the
        clock may have been wrong."""
        columns = (RUN.c.run, RUN.c.started, RUN.c.finished, RUN.c.status, RUN.c.exit_code)
        with self._database.reading() as connection:
            rows = connection.execute(select(*columns).order_by(literal_column("run.rowid")))
            return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]

    def complete_step(self, run: str, step: str, result: str, at: str, seconds: float | None = None) -> None:
        """Record that a step is done and how many seconds it took; `result` is JSON for later steps. If the step is
        done again, the later result counts."""
        done = {"result": result, "at": at, "seconds": seconds}
        statement = upsert(STEP).values(run=run, step=step, **done)
        with self._database.writing() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=[STEP.c.run, STEP.c.step], set_=done))

    def timings(self, run: str) -> Mapping[str, float]:
        """How many seconds each step of a run took."""
        rows = select(STEP.c.step, STEP.c.seconds).where(STEP.c.run == run, STEP.c.seconds.is_not(None))
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(rows)}

    def step_result(self, run: str, step: str) -> str | None:
        """The result of a step; None if it is not done."""
        with self._database.reading() as connection:
            return connection.scalar(select(STEP.c.result).where(STEP.c.run == run, STEP.c.step == step))
