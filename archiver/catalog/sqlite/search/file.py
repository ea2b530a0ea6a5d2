"""The file of an index next to a catalog: opened only if it is an ordinary file that can be read."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from urllib.parse import quote

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_BUSY_SECONDS = 1


def connected(file: Path, mode: str, busy_seconds: float = _BUSY_SECONDS) -> sqlite3.Connection | None:
    """The database, open; None if there is none, or it cannot be opened."""
    try:
        if not stat.S_ISREG(os.lstat(file).st_mode):
            return None
        uri = f"file:{quote(os.fspath(file.absolute()))}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=busy_seconds, isolation_level=None)
    except (OSError, sqlite3.Error):
        return None
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA journal_mode")  # opens it
    except sqlite3.Error:
        connection.close()
        return None
    return connection
