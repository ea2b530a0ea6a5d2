"""How a row is inserted or updated, and values as the tables hold them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from functools import lru_cache

from archiver.mail.model import Flags


@lru_cache(maxsize=4096)
def flags_to_text(flags: Flags) -> str:
    """A set of words as the tables store it."""
    return json.dumps(sorted(flags), separators=(",", ":"))


def text(value: str | None) -> str | None:
    """Undecodable octets, which Python keeps as lone surrogates, are not valid text for a database."""
    if value is None or value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def insert(table: str, columns: Iterable[str]) -> str:
    """A new row; its parameters are the values of the columns, in this order."""
    names = tuple(columns)
    return f"INSERT INTO {table} ({_quoted(names)}) VALUES ({', '.join('?' * len(names))})"


def upsert(table: str, columns: Iterable[str], key: Collection[str], **becomes: str) -> str:
    """As `insert`. If there is a row with the same `key`, its other columns get the new values, or the value of an
    expression in `becomes`, which may refer to the new row as `excluded`."""
    names = tuple(columns)
    new = {name: becomes.get(name, f'excluded."{name}"') for name in names if name not in key}
    changes = ", ".join(f'"{name}" = {value}' for name, value in new.items())
    return f"{insert(table, names)} ON CONFLICT ({_quoted(key)}) DO UPDATE SET {changes}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
