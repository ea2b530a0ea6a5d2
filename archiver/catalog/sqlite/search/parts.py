"""What an index of every three characters (SQLite's FTS5, tokenizer `trigram`) is asked for.

The rarest parts of a text are asked for, not all: each one more takes time, and leaves out fewer messages. How rare
they are is counted in the newest rows. Each text in such an index ends with `END`, so that each of its characters
begins a part, and a text of one or two characters is the beginning of some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

#: What follows each text in an index.
END = "\n\n"

Rows = Callable[[str, Sequence[Any]], list[Any]]
"""The rows of a statement with its parameters."""

LENGTH = 3  # of a part
_ASKED = 6  # parts for one search
_COUNTED = 24  # parts of one text
_SAMPLE = 2000  # rows in which they are counted
_BEGINNINGS = 2000  # parts that begin with a shorter text
_VOCABULARY = "CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, {table}, row)"
_BEGINNING = "SELECT term FROM temp.vocabulary WHERE term >= ? AND term < ? LIMIT ?"
_COUNT = "SELECT count(*) FROM {table} WHERE {table} MATCH ? AND rowid > ?"


def asked_of(texts: Sequence[str], rows: Rows, last: int, table: str) -> str | None:
    """What all of these texts (`folded`) need of an index in `table` whose highest row has the number `last`; "" if
    nothing there has it; None: the index cannot tell, since too many parts begin with a short text."""
    short = [_beginnings(text, rows, table) for text in texts if 0 < len(text) < LENGTH]
    asked = [each for each in short if each is not None]
    asked += _rarest([text for text in texts if len(text) >= LENGTH], rows, last, table)
    if not asked:
        return None
    return " AND ".join(asked) if all(asked) else ""


def _rarest(texts: Sequence[str], rows: Rows, last: int, table: str) -> list[str]:
    """The parts of these texts that the fewest rows have, as far as the newest ones show."""
    found: dict[str, int] = {}
    for text in texts:
        parts = list(dict.fromkeys(text[at : at + LENGTH] for at in range(len(text) - LENGTH + 1)))
        found |= dict.fromkeys(map(_quoted, parts[:: 1 + len(parts) // _COUNTED]), 0)
    if len(found) > _ASKED:
        found = {part: rows(_COUNT.format(table=table), (part, last - _SAMPLE))[0][0] for part in found}
    return sorted(found, key=found.__getitem__)[:_ASKED]


def _beginnings(text: str, rows: Rows, table: str) -> str | None:
    """What a short text needs; "" if nothing there has it, None if that is too much."""
    rows("DROP TABLE IF EXISTS temp.vocabulary", ())
    rows(_VOCABULARY.format(table=table), ())
    found = rows(_BEGINNING, (text, text + "\U0010ffff", _BEGINNINGS + 1))
    if len(found) > _BEGINNINGS:
        return None
    return "(" + " OR ".join(_quoted(term) for (term,) in found) + ")" if found else ""


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
