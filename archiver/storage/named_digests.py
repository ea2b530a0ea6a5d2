"""The digests that a journal ever named, in a scratch file: millions of them, sorted, with little memory."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from archiver.errors import ArchiveNotWritable
from archiver.mail.model import Digest
from archiver.storage.files import Writing, create_file

_CACHE_KIB = 32 << 10


class NamedDigests:
    """A set of digests. Belongs to one thread; lost with its file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, digests: Iterable[Digest]) -> None:
        """Add digests; they may already be in the set."""
        rows = ((bytes.fromhex(digest),) for digest in digests)
        self._connection.executemany("INSERT OR IGNORE INTO named VALUES (?)", rows)

    def __iter__(self) -> Iterator[Digest]:
        """All of them, in their order."""
        for (raw,) in self._connection.execute("SELECT digest FROM named ORDER BY digest"):
            yield Digest(raw.hex())


@contextmanager
def named_digests(path: Path) -> Iterator[NamedDigests]:
    """An empty set in a new file at `path`, which is removed at the end.

    Raises:
        ArchiveNotWritable: the file cannot be written.
    """
    with Writing(str(path)):
        path.unlink(missing_ok=True)
        os.close(create_file(str(path)))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("CREATE TABLE named (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        yield NamedDigests(connection)
    except sqlite3.Error as error:
        raise ArchiveNotWritable(
            f"{path}: {error}", hint="free space and run again; nothing was removed"
        ) from error
    finally:
        connection.close()
        path.unlink(missing_ok=True)
