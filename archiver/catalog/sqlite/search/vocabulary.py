"""All words that are in the index of texts, and an index of every three characters of them, so that a word is found
by any part of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from archiver.catalog.sqlite.reading import json_list
from archiver.catalog.sqlite.search.parts import END, LENGTH, Rows, asked_of

MAKE_VOCABULARY = {
    "word": "CREATE TABLE word (/* as cut in form 1 */ id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE)",
    "parts": "CREATE VIRTUAL TABLE parts USING fts5(word, content='', columnsize=0, detail=none, "
    "tokenize='trigram case_sensitive 1')",
}
_WITH = """
SELECT word.word FROM parts CROSS JOIN word ON word.id = parts.rowid
WHERE parts MATCH ? AND instr(word.word, ?) LIMIT ?
"""
_ENDING = """
SELECT word.word FROM parts CROSS JOIN word ON word.id = parts.rowid
WHERE parts MATCH ? AND substr(word.word, -length(?2)) = ?2 LIMIT ?
"""
_COMPARED = "SELECT word FROM word WHERE instr(word, ?) LIMIT ?"
_BEGINNING = "SELECT word FROM word WHERE word >= ? AND word < ? LIMIT ?"
_ADD = "INSERT OR IGNORE INTO word (word) SELECT value FROM json_each(?)"
_ADD_PARTS = f"INSERT INTO parts (rowid, word) SELECT id, word || '{END}' FROM word WHERE id > ?"
_REMOVE_PARTS = "INSERT INTO parts (parts, rowid, word) VALUES ('delete', ?, ?)"
_COUNT_FIRST = "SELECT count(*) FROM word WHERE id <= ? AND instr(word, ?)"
_FIRST = 10_000
_COUNT = "SELECT count(*) FROM (SELECT 1 FROM texts WHERE texts MATCH ? LIMIT ?)"
_FREQUENT = 2000
_LAST = "\U0010ffff"


class Vocabulary:
    """The words. `rows` raises what the index raises."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def containing(self, part: str, limit: int) -> Sequence[str]:
        """The words that have this part, at most `limit`."""
        if len(part) < LENGTH and self._is_everywhere(part, limit):
            return self._words(_COMPARED, (part, limit))
        return self._with(_WITH, part, part, limit)

    def ending(self, end: str, limit: int) -> Sequence[str]:
        """The words that end so."""
        return self._with(_ENDING, end + END, end, limit)

    def beginning(self, beginning: str, limit: int) -> Sequence[str]:
        """The words that begin so."""
        return self._words(_BEGINNING, (beginning, beginning + _LAST, limit))

    def is_frequent(self, expression: str) -> bool:
        """Whether many messages meet an expression for FTS5."""
        return int(self._rows(_COUNT, (expression, _FREQUENT))[0][0]) == _FREQUENT

    def add(self, words: Collection[str]) -> None:
        """Add words; fine if they are there."""
        last = self._last()
        self._rows(_ADD, (json_list(sorted(words)),))
        self._rows(_ADD_PARTS, (last,))

    def remove(self, word: str) -> None:
        """Remove a word; fine if it is not there."""
        for (number,) in self._rows("SELECT id FROM word WHERE word = ?", (word,)):
            self._rows(_REMOVE_PARTS, (number, word + END))
            self._rows("DELETE FROM word WHERE id = ?", (number,))

    def _with(self, statement: str, asked_for: str, part: str, limit: int) -> Sequence[str]:
        asked = asked_of([asked_for], self._rows, self._last(), "parts")
        if asked == "":
            return []
        return self._words(*((_COMPARED, (part, limit)) if asked is None else (statement, (asked, part, limit))))

    def _is_everywhere(self, part: str, limit: int) -> bool:
        """Whether more words than the limit have this part, if the first words are like the others."""
        ((count,),) = self._rows(_COUNT_FIRST, (_FIRST, part))
        return bool(count * self._last() > 2 * limit * _FIRST)

    def _words(self, statement: str, values: Sequence[Any]) -> Sequence[str]:
        return [word for (word,) in self._rows(statement, values)]

    def _last(self) -> int:
        return int(self._rows("SELECT coalesce(max(id), 0) FROM word", ())[0][0])
