"""All tables of a catalog by their names, with the statements that create them and their indices."""

from __future__ import annotations

import re

from archiver.catalog.sqlite.schema import copies, destinations, folders, keeping, messages, runs

_TABLES: dict[str, list[str]] = {}
for _part in (runs, folders, messages, destinations, copies, keeping):
    for _statement in _part.STATEMENTS.split(";\n"):
        if _found := re.match(r"CREATE TABLE (\w+)|CREATE (?:UNIQUE )?INDEX \w+ ON (\w+)", _statement):
            _TABLES.setdefault(_found[1] or _found[2], []).append(_statement)

TABLES = tuple(_TABLES)


def creating(*tables: str) -> list[str]:
    """The statements that create these tables and their indices; without names: all of them."""
    return [statement for table in tables or TABLES for statement in _TABLES[table]]
