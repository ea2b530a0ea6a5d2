"""Tells rows of an answer that bring something that was asked for from those that do not.

A server could hold a run for ever with rows that say nothing new: the same message again and again, messages that
do not exist, a list in the answer to a search. They may come, but they gain the server no time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from archiver.imap.tokens import Response, number

_FETCH = re.compile(rb"\A\* (\d+) FETCH\b", re.IGNORECASE)
_DATA = re.compile(rb"\A\* (X?LIST|LSUB|STATUS|E?SEARCH|VANISHED)\b", re.IGNORECASE)

#: The words in a command that ask for rows of a kind.
_ASKED_BY: Mapping[bytes, tuple[bytes, ...]] = {
    b"FETCH": (b"FETCH", b"STORE", b"QRESYNC"),
    b"LIST": (b"LIST", b"LSUB"),
    b"XLIST": (b"LIST",),
    b"LSUB": (b"LSUB",),
    b"STATUS": (b"STATUS",),
    b"SEARCH": (b"SEARCH",),
    b"ESEARCH": (b"SEARCH",),
    b"VANISHED": (b"QRESYNC", b"EXPUNGE"),
}


class MessageRows:
    """The rows of FETCH in one answer, by the numbers of their messages."""

    def __init__(self) -> None:
        self._seen = bytearray()

    def is_news(self, text: bytes, exists: int) -> bool:
        """Whether a response is the first row about one of the `exists` messages."""
        found = _FETCH.match(text)
        message = number(found[1], exists) if found else None
        if not message:
            return False
        if message >= len(self._seen):
            self._seen.extend(bytes(message + 1 - len(self._seen)))
        if self._seen[message]:
            return False
        self._seen[message] = True
        return True


class News:
    """What the answer to `commands` has brought so far. NOTE: a folder's name in a command may ask for something,
    too; then the rows are only read more patiently."""

    def __init__(self, commands: bytes) -> None:
        commands = commands.upper()
        self._asked = {kind for kind, words in _ASKED_BY.items() if any(word in commands for word in words)}
        self._messages = MessageRows()
        self._seen: set[tuple[bytes, tuple[bytes, ...]]] = set()

    def has(self, response: Response, exists: int) -> bool:
        """Whether this response brings something that was asked for and did not come before. The open folder has
        `exists` messages."""
        if b"FETCH" in self._asked and self._messages.is_news(response.text, exists):
            return True
        found = _DATA.match(response.text)
        if found is None or found[1].upper() not in self._asked:
            return False
        row = (response.text, response.literals)
        known = row in self._seen
        self._seen.add(row)
        return not known
