"""Access rights and annotations of folders, at the source and as they were given at a destination."""

from __future__ import annotations

import json
from collections.abc import Mapping

from archiver.catalog.sqlite.database import Database
from archiver.facts.access import Annotations, Entries, Granted, Rights


class SqlSharing:
    """Implements `archiver.catalog.replicas.Sharing` over a catalog's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rights(self) -> Mapping[int, Rights]:
        """The rights of each folder whose rights were seen, by its number."""
        with self._database.reading() as connection:
            return {
                folder: Rights(None if entries is None else _entries(entries), mine)
                for folder, entries, mine in connection.execute("SELECT folder, entries, mine FROM rights")
            }

    def annotations(self) -> Mapping[int, Annotations]:
        """The annotations of each folder that has or had some, by its number; 0 is the server."""
        with self._database.reading() as connection:
            return {
                folder: Annotations(_entries(entries), left_out)
                for folder, entries, left_out in connection.execute(
                    "SELECT folder, entries, left_out FROM annotations"
                )
            }

    def granted(self, destination: int) -> Mapping[int, Granted]:
        """What was given at a destination, by the folder's number."""
        query = "SELECT folder, raw, entries, refused FROM granted WHERE destination = ?"
        with self._database.reading() as connection:
            return {
                folder: Granted(raw, _entries(entries), _entries(refused))
                for folder, raw, entries, refused in connection.execute(query, (destination,))
            }


def _entries(text: str) -> Entries:
    return tuple((one, two) for one, two in json.loads(text))
