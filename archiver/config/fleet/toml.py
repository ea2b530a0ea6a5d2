"""Tables as the text of an account file, and what differs between the tables of two files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archiver.config.layers import REFERENCES, Tree
from archiver.config.template import quoted

_HEAD = """\
# Written by `archiver init --from-csv`. What accounts have in common is in defaults.toml. docs/configuration.md
# has all keys. A later `init --from-csv` does not change this file.
"""


def text_of(tree: Tree, head: str = _HEAD) -> str:
    """The text of a file with these tables; read again, it has the same ones."""
    return head + "".join(f"\n{block}" for block in _blocks(tree, ""))


def differing(one: Tree, other: Tree, above: str = "") -> Iterator[str]:
    """The keys of which only one tree has a value, or another one than the other tree."""
    for key in sorted(one.keys() | other.keys()):
        here, there = one.get(key), other.get(key)
        if isinstance(here, dict) and isinstance(there, dict) and key not in REFERENCES:
            yield from differing(here, there, f"{above}{key}.")
        elif here != there:
            yield f"{above}{key}"


def _blocks(tree: Tree, name: str) -> Iterator[str]:
    tables = {key: value for key, value in tree.items() if isinstance(value, dict) and key not in REFERENCES}
    lines = [f"{key} = {_value(value)}\n" for key, value in tree.items() if key not in tables]
    if name and (lines or not tables):
        yield f"[{name}]\n{''.join(lines)}"
    for key, value in tables.items():
        yield from _blocks(value, f"{name}.{key}" if name else key)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    return quoted(value)
