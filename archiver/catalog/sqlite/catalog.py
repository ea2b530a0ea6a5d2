"""The catalog in an SQL database.

It keeps nothing in memory between calls and returns only what was committed. Rows are streamed, so a million
messages take no more memory than a thousand.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from archiver.catalog.sqlite.account import SqlAccount
from archiver.catalog.sqlite.apply.archive import apply_facts
from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.keeping import SqlKeeping
from archiver.catalog.sqlite.messages import SqlMessages
from archiver.catalog.sqlite.migrations import MIGRATIONS, Migration
from archiver.catalog.sqlite.replica.pruned import SqlPrunes
from archiver.catalog.sqlite.replica.replicas import SqlReplicas
from archiver.catalog.sqlite.runs import SqlRunLedger
from archiver.catalog.sqlite.search.body_index import BodyIndex
from archiver.catalog.sqlite.search.messages import SqlMessageIndex
from archiver.catalog.sqlite.search.texts import TextIndex
from archiver.errors import IntegrityError
from archiver.facts.archive import Segment
from archiver.mail.model import Digest


class SqlCatalog:
    """The catalog of one archive in an SQLite file; `texts` is the index of its headers' texts, if it may have one,
    `bodies` that of what messages say.
    One that is thrown away after its use need not be `durable`.

    Opened by the first call, in whichever thread or forked child makes it, and again after `close`. Any call raises
    ConfigError if the database was written by a newer version or is on a network file system, IntegrityError if it
    is damaged, ArchiveNotWritable if its disk is full or read-only, Locked if another process keeps writing to it.
    """

    def __init__(
        self,
        file: Path,
        migrations: Sequence[Migration] = MIGRATIONS,
        texts: TextIndex | None = None,
        bodies: BodyIndex | None = None,
        *,
        durable: bool = True,
    ) -> None:
        self._database = Database(file, migrations, durable=durable)
        self._texts, self._bodies = texts, bodies
        self.account = SqlAccount(self._database)
        self.messages = SqlMessages(self._database)
        self.index = SqlMessageIndex(self._database, texts, bodies)
        self.ledger = SqlRunLedger(self._database)
        self.replicas = SqlReplicas(self._database)
        self.keeping = SqlKeeping(self._database)
        self.prunes = SqlPrunes(self._database)

    def close(self) -> None:
        """Close the database; may be called twice."""
        self._database.close()

    def purge(self) -> None:
        """Leave nothing of what was forgotten in files of the catalog."""
        with self._database.reading() as connection:
            if connection.execute("SELECT 1 FROM meta WHERE \"key\" = 'unclean'").fetchone() is None:
                return
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM header").fetchone()
        if self._texts is not None:
            self._texts.purge()
        if self._bodies is not None:
            self._bodies.purge(list(self.keeping.forgotten()), last)
        self._database.vacuum()
        with self._database.writing() as connection:
            connection.execute("DELETE FROM meta WHERE \"key\" = 'unclean'")

    def last_segment(self) -> tuple[int, Digest]:
        """Number and digest of the newest applied segment; (0, "") if there is none."""
        with self._database.reading() as connection:
            return _last_segment(connection)

    def has_segment(self, number: int, digest: str) -> bool:
        """Whether the segment of this number that was applied had this digest when it was written."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT digest FROM segment WHERE number = ?", (number,)).fetchone()
        return found is not None and found[0] == digest

    def apply(self, segment: Segment) -> None:
        """Apply a segment's facts and record its number, in one transaction. A segment that was already applied is
        refused.

        Raises:
            IntegrityError: it is not the next one, or its facts do not fit the earlier ones.
        """
        with self._database.writing() as connection:
            number, digest = _last_segment(connection)
            if (segment.number, segment.previous) != (number + 1, digest):
                raise IntegrityError(
                    f"{segment.name}: does not follow segment {number}, the last one in {self._database.path}",
                    hint="`archiver rebuild` recreates the catalog from the journal",
                )
            apply_facts(connection, segment)
            row = (segment.number, segment.run, segment.digest)
            connection.execute("INSERT INTO segment (number, run, digest) VALUES (?, ?, ?)", row)


def _last_segment(connection: sqlite3.Connection) -> tuple[int, Digest]:
    newest = "SELECT number, digest FROM segment ORDER BY number DESC LIMIT 1"
    return connection.execute(newest).fetchone() or (0, Digest(""))
