"""Whether an index belongs to a catalog as it is: which headers of it are covered.

A header's row has a number that grows, so what is new has a higher one.
"""

from __future__ import annotations

import sqlite3

from archiver.catalog.sqlite.search.texts import Covered
from archiver.mail.model import Digest


def belongs(connection: sqlite3.Connection, covered: Covered) -> bool:
    """Whether the index is of this catalog, and of what happened in it. NOTE: another catalog of the same journal
    may number its headers otherwise, and one from a backup may have gone on otherwise."""
    known = "SELECT 1 FROM segment WHERE number = ? AND digest = ?"
    is_known = connection.execute(known, (covered.segment, covered.digest)).fetchone() is not None
    return is_known and covered.catalog == state_of(connection).catalog


def state_of(connection: sqlite3.Connection) -> Covered:
    """The catalog's name, its last segment, and its last header."""
    row = connection.execute(
        """
        SELECT (SELECT value FROM meta WHERE key = 'catalog'), number, digest,
            (SELECT coalesce(max(id), 0) FROM header)
        FROM segment ORDER BY number DESC LIMIT 1
        """
    ).fetchone()
    return Covered("", 0, Digest(""), 0) if row is None else Covered(*row)
