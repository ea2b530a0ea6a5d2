"""Which headers may hold a text: an index of every three characters, in a file of its own next to the catalog.

It only saves reading: a search compares the headers that it names, and also those that it does not cover
yet. A file that is missing, damaged, in another form, or of another catalog or history is made again, so it may be
removed at any time. The index is SQLite's FTS5 (sqlite.org/fts5.html#the_trigram_tokenizer); where SQLite has none,
there is no file.
"""

from __future__ import annotations

import os
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from archiver.catalog.sqlite.search.file import DAMAGED, connected
from archiver.catalog.sqlite.search.parts import END, asked_of
from archiver.errors import ArchiveNotWritable, Locked
from archiver.mail.headers import folded
from archiver.mail.model import Digest
from archiver.storage.files import create_file
from archiver.storage.scratch_lock import in_use

_MAKE = {
    "texts": "CREATE VIRTUAL TABLE texts USING fts5(sender, recipients, subject, content='', columnsize=0, "
    "detail=none, tokenize='trigram case_sensitive 1')",
    "covered": "CREATE TABLE covered (/* texts end with two line ends */ catalog TEXT, segment BIGINT, "
    "digest TEXT, header BIGINT, unicode TEXT)",
}
_MADE = "SELECT name, sql FROM sqlite_master WHERE name IN ('texts', 'covered')"
_ADD = "INSERT INTO texts (rowid, sender, recipients, subject) VALUES (?, ?, ?, ?)"
_HOLDING = "SELECT rowid FROM texts WHERE texts MATCH ? LIMIT ?"


class Covered(Struct, frozen=True):
    """What an index covers: the headers of a catalog up to a number, as they were after that segment."""

    catalog: str
    segment: int
    digest: Digest
    header: int


class TextIndex:
    """The index in `file`, which need not be there. If it cannot be read or written, for whatever reason, there is
    none: nothing is raised. `may_change`: whether the file may be made, changed and removed."""

    def __init__(self, file: Path, *, may_change: bool = True) -> None:
        self._file = file
        self.may_change = may_change

    @contextmanager
    def reading(self) -> Iterator[IndexedTexts | None]:
        """The index as it is at this moment; None: there is none that can be read."""
        connection = connected(self._file, "ro")
        if connection is None:
            yield None
            return
        with closing(connection):
            yield _opened(connection)

    @contextmanager
    def extending(self) -> Iterator[Extension | None]:
        """The index, to be extended; None: this user cannot, or another process is just doing it."""
        if not self.may_change:
            yield None
            return
        with ExitStack() as lock:
            try:
                lock.enter_context(in_use(self._file))
            except (Locked, ArchiveNotWritable):
                yield None
                return
            with closing(Extension(self)) as extension:
                yield extension

    def purge(self) -> None:
        """Remove the index; the next search makes another one.

        Raises:
            ArchiveNotWritable: another process is extending it, or this user may not change it; it is still there.
        """
        self.discard()
        if self.may_change and self._file.exists():
            hint = "wait until it is done, and give the command again"
            raise ArchiveNotWritable(f"{self._file}: another process is changing it", hint=hint)

    def discard(self) -> None:
        """Remove what is damaged; the next search makes another one."""
        with self.extending() as extension:
            if extension is not None:
                with suppress(OSError):
                    extension.remove()


class IndexedTexts:
    """An index that is open, as it was when it was opened. Once it turns out to be damaged, it names nothing."""

    def __init__(self, connection: sqlite3.Connection, covered: Covered) -> None:
        self._connection = connection
        self.covered = covered
        self.is_damaged = False

    def holding(self, texts: Sequence[str], limit: int) -> Sequence[int] | None:
        """The numbers of the headers that may hold all of these texts (`folded`), in whichever field; None: there
        are more than `limit`, or the index cannot tell."""
        try:
            asked = asked_of(texts, self._rows, self.covered.header, "texts")
            if asked is None:
                return None
            rows = self._rows(_HOLDING, (asked, limit + 1)) if asked else []
        except (sqlite3.Error, UnicodeEncodeError) as error:
            self.is_damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED
            return None
        return None if len(rows) > limit else [number for (number,) in rows]

    def _rows(self, statement: str, values: Sequence[Any]) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()


class Extension:
    """An index that is being extended; no other process does so meanwhile. If it is interrupted, what was added is
    in it."""

    def __init__(self, index: TextIndex) -> None:
        self._index = index
        self._connection: sqlite3.Connection | None = None

    @property
    def covered(self) -> Covered | None:
        """What it covers; None: nothing, or there is none that can be read."""
        self.close()
        connection = self._connection = connected(self._index._file, "rw")
        if connection is None:
            return None
        opened = _opened(connection)
        connection.rollback()
        return None if opened is None else opened.covered

    def make(self) -> bool:
        """Make another one, empty; returns whether that was possible."""
        try:
            self.remove()
            os.close(create_file(os.fspath(self._index._file)))
            connection = self._connection = connected(self._index._file, "rw")
            if connection is None:
                return False
            for statement in _MAKE.values():
                connection.execute(statement)
        except (OSError, sqlite3.Error):
            return False
        return True

    def add(self, headers: Sequence[tuple[int, str, str, str]], covered: Covered) -> bool:
        """Add the texts of headers, all those up to `covered`; durable on return. Returns whether that was
        possible."""
        connection = self._connection
        assert connection is not None
        rows = [(number, *(folded(text).replace("\0", " ") + END for text in texts)) for number, *texts in headers]
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_ADD, rows)
            connection.execute("DELETE FROM covered")
            its = (covered.catalog, covered.segment, covered.digest, covered.header, unicodedata.unidata_version)
            connection.execute("INSERT INTO covered VALUES (?, ?, ?, ?, ?)", its)
            connection.execute("COMMIT")
        except sqlite3.Error:
            return False
        return True

    def remove(self) -> None:
        """Remove it; fine if there is none.

        Raises:
            OSError: it cannot be removed, or not completely: then no other one may be made.
        """
        self.close()
        file = self._index._file
        # NOTE: in this order: without its journal, an index whose writing was interrupted would pass for whole.
        for each in (file, file.with_name(f"{file.name}-journal")):
            each.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; what was not added completely is not in it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _opened(connection: sqlite3.Connection) -> IndexedTexts | None:
    """The index, from here on as it is now; None if it is not in the form that is made here."""
    try:
        connection.execute("BEGIN")
        if dict(connection.execute(_MADE).fetchall()) != _MAKE:
            return None
        row = connection.execute("SELECT * FROM covered").fetchone()
    except sqlite3.Error:
        return None
    if row is None or row[4] != unicodedata.unidata_version or not isinstance(row[3], int):
        return None
    return IndexedTexts(connection, Covered(*row[:4]))
