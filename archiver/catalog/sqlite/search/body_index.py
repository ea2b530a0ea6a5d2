"""The file of what messages say, next to the catalog: read, made, changed by one process at a time, and removed."""

from __future__ import annotations

import os
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from archiver.catalog.sqlite.search.bodies import MAKE, Bodies, Unusable
from archiver.catalog.sqlite.search.file import connected
from archiver.catalog.sqlite.search.texts import Covered
from archiver.errors import ArchiveNotWritable, Locked
from archiver.mail.model import Digest
from archiver.storage.files import create_file
from archiver.storage.scratch_lock import in_use

_MADE = f"SELECT name, sql FROM sqlite_master WHERE name IN ({', '.join(map(repr, MAKE))})"
_BUSY_SECONDS = 10
_HASHED = 32 << 20  # octets of the index that are gathered in memory: fewer, larger pieces to be merged
_CACHE = 32 << 10  # KiB


class BodyIndex:
    """The index in `file`, which need not be there. `may_change`: whether it may be made, changed and removed."""

    def __init__(self, file: Path, *, may_change: bool = True) -> None:
        self.file = file
        self.may_change = may_change

    @contextmanager
    def reading(self) -> Iterator[Bodies | None]:
        """The index as it is at this moment; None: there is none that can be read."""
        connection = connected(self.file, "ro", _BUSY_SECONDS)
        if connection is None:
            yield None
            return
        with closing(connection):
            yield _opened(connection)

    def remove(self) -> None:
        """Remove what is damaged."""
        with self._alone() as alone:
            if alone:
                with suppress(OSError):
                    self._remove()

    def purge(self, digests: Sequence[Digest], header: int) -> None:
        """Leave nothing of these messages in the file, and say that it covers no header after that one. A file for
        which this fails is removed.

        Raises:
            ArchiveNotWritable: another process is writing to it, or this user may not; it still has them.
        """
        if not (self.may_change and self.file.exists()):
            return
        with self._alone() as alone:
            if not alone:
                hint = "wait until it is done, and give the command again"
                raise ArchiveNotWritable(f"{self.file}: another process is changing it", hint=hint)
            bodies = self._open_to_write(None)
            try:
                if bodies is not None:
                    with closing(bodies):
                        bodies.purge(digests, header)
                    return
            except Unusable:
                pass
            self._remove()

    @contextmanager
    def writing(self, *, documents: bool | None = None) -> Iterator[Bodies | None]:
        """The index, to be changed, and made if there is none; one that is damaged, in another form, or otherwise
        than asked with or without the text of documents is made again. None: this user cannot, or another process
        is just doing it."""
        with self._alone() as alone:
            bodies = self._open_to_write(documents) if alone else None
            if bodies is None:
                yield None
                return
            with closing(bodies):
                yield bodies

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this process may change it, and no other one does so meanwhile."""
        with ExitStack() as stack:
            is_alone = self.may_change
            try:
                if is_alone:
                    stack.enter_context(in_use(self.file))
            except (Locked, ArchiveNotWritable):
                is_alone = False
            yield is_alone

    def _open_to_write(self, documents: bool | None) -> Bodies | None:
        connection = connected(self.file, "rw", _BUSY_SECONDS)
        if connection is not None:
            _prepare(connection)
            bodies = _opened(connection)
            if bodies is not None and documents in (None, bodies.has_documents):
                connection.rollback()
                return bodies
            connection.close()
        try:
            self._remove()
            os.close(create_file(os.fspath(self.file)))
            connection = connected(self.file, "rw", _BUSY_SECONDS)
            if connection is None:
                return None
            connection.execute("PRAGMA page_size = 8192")
            for statement in MAKE.values():
                connection.execute(statement)
            connection.execute("INSERT INTO texts (texts, rank) VALUES ('hashsize', ?)", (_HASHED,))
            connection.execute(f"PRAGMA user_version = {int(bool(documents))}")
            _prepare(connection)
        except (OSError, sqlite3.Error):
            if connection is not None:
                connection.close()
            return None
        return Bodies(connection, None, has_documents=bool(documents))

    def _remove(self) -> None:
        # NOTE: in this order: without its journal, an index whose writing was interrupted would pass for whole.
        for each in (self.file, self.file.with_name(f"{self.file.name}-journal")):
            each.unlink(missing_ok=True)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE}")


def _opened(connection: sqlite3.Connection) -> Bodies | None:
    """The index, from here on as it is now; None if it is not in the form that is made here."""
    try:
        connection.execute("BEGIN")
        if dict(connection.execute(_MADE).fetchall()) != MAKE:
            return None
        row = connection.execute("SELECT * FROM covered").fetchone()
        has_documents = bool(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error:
        return None
    if row is None:
        return Bodies(connection, None, has_documents=has_documents)
    if row[4] != unicodedata.unidata_version or not isinstance(row[3], int):
        return None
    return Bodies(connection, Covered(*row[:4]), has_documents=has_documents)
