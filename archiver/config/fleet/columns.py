"""The columns of a CSV file of accounts, and which key of an account file each is.

Names are compared without regard to case, and blanks, dots, hyphens and underscores are one: "Destination host",
"to-host" and "destination.host" are the column `to_host`. A column whose name begins with "#" is for people.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from archiver.config.layers import Tree
from archiver.config.references import SecretReference

Kind = Literal["text", "number", "truth", "password", "reference", "account", "folder"]


class Column(Struct, frozen=True):
    """A column: the table and the key that it fills, and what its cells are."""

    table: str
    key: str
    kind: Kind = "text"


def _server(table: str, prefix: str) -> Mapping[str, Column]:
    texts = ("provider", "host", "tls", "ca_file", "fingerprint", "user", "login_user", "login", "auth")
    columns = {prefix + key: Column(table, key) for key in texts}
    columns |= {prefix + key: Column(table, key, "number") for key in ("port", "connections")}
    columns |= {
        f"{prefix}password_{kind}": Column(table, kind, "reference")
        for kind in ("env", "file", "command", "keyring")
    }
    return columns | {f"{prefix}password": Column(table, "password", "password")}


COLUMNS: Mapping[str, Column] = {
    "account": Column("", "account", "account"),
    "folder": Column("", "folder", "folder"),
    **_server("source", ""),
    "protocol": Column("source", "protocol"),
    "files": Column("source", "path"),
    **_server("destination", "to_"),
    "to_prefix": Column("destination", "prefix"),
    "to_shared": Column("destination", "shared", "truth"),
    "path": Column("archive", "path"),
    "search": Column("messages", "search"),
    "older_than": Column("messages", "older_than"),
    "newer_than": Column("messages", "newer_than"),
}

_OTHER_NAMES = {"name": "account", "archive_path": "path", "source_path": "files"}
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def column_named(title: str) -> str | None:
    """The column that a header means; None for one that is for people.

    Raises:
        ValueError: there is no such column.
    """
    if title.lstrip().startswith("#"):
        return None
    name = re.sub(r"[\s._-]+", "_", title.strip().lower())
    name = _OTHER_NAMES.get(name, name)
    if name in COLUMNS:
        return name
    for long, short in (("source_", ""), ("destination_", "to_"), ("messages_", "")):
        if name.startswith(long) and (found := short + name.removeprefix(long)) in COLUMNS:
            return found
    close = difflib.get_close_matches(name, COLUMNS, n=1)
    people = 'begin it with "#" if it is for people'
    if close:
        raise ValueError(f'is no column; did you mean "{close[0]}"? Otherwise {people}')
    raise ValueError(f"is no column; there are {', '.join(COLUMNS)}; {people}")


def column_of(table: str, key: str) -> str | None:
    """The column that fills a key of an account file."""
    found = (name for name, each in COLUMNS.items() if (each.table, each.key) == (table, key))
    return next(found, None)


def filled_by(name: str) -> tuple[str, str]:
    """The table and the key of an account file that a column fills."""
    column = COLUMNS[name]
    return column.table, "password" if column.kind in ("password", "reference") else column.key


def value_of(name: str, text: str) -> Any:
    """The value of a cell that is not empty, as TOML has it.

    Raises:
        ValueError: what to write instead. A password is in no text.
    """
    column = COLUMNS[name]
    if column.kind == "password":
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
            raise ValueError("has a control character, such as the end of a line")
        return text
    if not text.isprintable():
        raise ValueError("has a control character, such as the end of a line")
    match column.kind:
        case "number":
            if not re.fullmatch(r"[0-9]{1,9}", text):
                raise ValueError("must be a whole number")
            return int(text)
        case "truth":
            if text.lower() not in _TRUTHS:
                raise ValueError("must be true or false")
            return _TRUTHS[text.lower()]
        case "reference" if column.key == "command":
            try:
                return shlex.split(text)
            except ValueError as error:
                raise ValueError(f"is not a valid command line: {error}") from None
    return text


def tree_of(cells: Mapping[str, Any]) -> Tree:
    """The tables of an account file with these cells. Passwords themselves are left out.

    Raises:
        ValueError: a side has several passwords.
    """
    tree: Tree = {}
    for name, value in cells.items():
        column = COLUMNS[name]
        if column.kind in ("account", "folder", "password"):
            continue
        table = tree.setdefault(column.table, {})
        if column.kind == "reference":
            if "password" in table or f"{_prefix(column.table)}password" in cells:
                raise ValueError(f"more than one password of the {column.table}; fill one column")
            table["password"] = {column.key: value}
        else:
            table[column.key] = value
    if "path" in tree.get("source", {}):
        tree["source"].setdefault("protocol", "files")
    return tree


def reference_tree(reference: SecretReference) -> Tree:
    """A reference as TOML has it."""
    return {reference.kind: list(reference.value) if reference.kind == "command" else reference.value}


def _prefix(table: str) -> str:
    return "to_" if table == "destination" else ""
