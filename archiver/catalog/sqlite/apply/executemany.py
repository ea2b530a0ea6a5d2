"""Passes values and many rows to the database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, UpdateBase
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

from archiver.mail.model import Flags


@lru_cache(maxsize=4096)
def flags_to_text(flags: Flags) -> str:
    """A set of words as the tables store it."""
    return json.dumps(sorted(flags), separators=(",", ":"))


def send(connection: Connection, statement: UpdateBase, rows: Sequence[Mapping[str, object]]) -> None:
    """Execute `statement` for each of many rows, in the form that the driver takes.

    SQLAlchemy would process every value of every row, which takes longer than storing them. The columns must have
    types that the driver accepts unchanged.
    """
    compiled = _compiled(statement, connection.dialect)
    if (names := compiled.positiontup) is None:
        parameters: Sequence[Any] = [{**compiled.params, **row} for row in rows]
    else:
        parameters = [tuple(row[name] for name in names) for row in rows]
    connection.exec_driver_sql(str(compiled), parameters)


@lru_cache(maxsize=64)
def _compiled(statement: UpdateBase, dialect: Dialect) -> SQLCompiler:
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    return compiled


def text(value: str | None) -> str | None:
    """Undecodable octets, which Python keeps as lone surrogates, are not valid text for a database."""
    if value is None or value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
