"""Which rows of an answer bring something that was asked for, and how much of all answers is kept.

A server could hold a run for ever with rows that say nothing new: the same message again and again, messages that
do not exist, a list in the answer to a search. They may come, but they gain the server no time. Nor may answers
without an end use up the memory: all connections of the process, to whatever servers, share a budget.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping, Sequence

from archiver.control.waiting import lock_free_after_fork
from archiver.imap.tokens import Response, number

MOST_BELIEVED = 10_000_000
"""Messages of a folder, whatever its server says: what is counted for each of them has to fit into the memory."""

_FETCH = re.compile(rb"\A\* (\d+) +FETCH\b", re.IGNORECASE)
_DATA = re.compile(rb"\A\* (X?LIST|LSUB|STATUS|E?SEARCH|VANISHED)\b", re.IGNORECASE)

_STEP = 1 << 20  # so much of each answer is not counted: a small one costs no look at the others
# What is kept until a command is finished: for lists, for other commands, and in addition for each message of the
# open folder. All connections together share a budget.
_LONG_ANSWER = 128 << 20
_SHORT_ANSWER = 16 << 20
_OF_A_MESSAGE = 400
_LONG_ANSWERS = (b"LIST", b"LSUB", b"FETCH", b"(QRESYNC")  # words in a command; a folder's name may have one, too
_RESPONSE_OCTETS = 250  # octets that keeping a response costs in addition to its own

#: The words in a command that ask for rows of a kind.
_ASKED_BY: Mapping[bytes, tuple[bytes, ...]] = {
    b"FETCH": (b"FETCH", b"STORE", b"(QRESYNC"),
    b"LIST": (b"LIST", b"LSUB"),
    b"XLIST": (b"LIST",),
    b"LSUB": (b"LSUB",),
    b"STATUS": (b"STATUS",),
    b"SEARCH": (b"SEARCH",),
    b"ESEARCH": (b"SEARCH",),
    b"VANISHED": (b"(QRESYNC", b"EXPUNGE"),
}


class MessageRows:
    """The rows of FETCH in one answer, by the numbers of their messages."""

    def __init__(self) -> None:
        self._seen = bytearray()

    def is_news(self, text: bytes, exists: int) -> bool:
        """Whether a response is the first row about one of the `exists` messages."""
        found = _FETCH.match(text)
        message = number(found[1], min(exists, MOST_BELIEVED)) if found else None
        if not message:
            return False
        if message >= len(self._seen):
            self._seen.extend(bytes(message + 1 - len(self._seen)))
        if self._seen[message]:
            return False
        self._seen[message] = True
        return True

    def are_news(self, numbers: Sequence[int], exists: int) -> bool:
        """Whether rows about messages with these numbers are the first about each of them. If not, none of them
        counts as seen."""
        highest = max(numbers)
        if min(numbers) < 1 or highest > min(exists, MOST_BELIEVED) or len(set(numbers)) < len(numbers):
            return False
        if highest >= len(self._seen):
            self._seen.extend(bytes(highest + 1 - len(self._seen)))
        if any(map(self._seen.__getitem__, numbers)):
            return False
        if highest - min(numbers) + 1 == len(numbers):  # since each is there once
            self._seen[min(numbers) : highest + 1] = b"\1" * len(numbers)
            return True
        for each in numbers:
            self._seen[each] = True
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


_counting = lock_free_after_fork()


class Budget:
    """How many octets all answers together may take, `most`. Any thread may use it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: weakref.WeakKeyDictionary[Share, int] = weakref.WeakKeyDictionary()

    def allows(self, share: Share, octets: int) -> bool:
        """Count these octets for a share. False if all together are too much and this one has to give up: the
        largest, or whichever grows when even a quarter more is used up before that one has ended."""
        with _counting:
            self._kept[share] = octets
            together = sum(self._kept.values())
            is_largest = octets == max(self._kept.values())
        return together <= self.most or not (is_largest or together > self.most + self.most // 4)


BUDGET = Budget(512 << 20)
"""One for the process, because memory belongs to a process."""


class Share:
    """What one answer takes of the budget, as long as this value lives: it belongs to the replies. `octets` is its
    size. Belongs to the connection's thread."""

    def __init__(self, budget: Budget = BUDGET) -> None:
        self.octets = 0
        self._budget = budget
        self._counted = 0

    def grow(self, octets: int) -> bool:
        """Keep that many octets more; False if the budget does not allow it."""
        self.octets += octets
        if self.octets <= self._counted + _STEP:
            return True
        self._counted = self.octets
        return self._budget.allows(self, self.octets)


class Answer:
    """What is kept of the answer to some commands, within limits. The open folder has `messages` when they are
    sent; it may shrink meanwhile. `share` is what the answer takes of the budget."""

    def __init__(self, commands: Sequence[bytes], messages: int) -> None:
        self._commands, self._messages = commands, messages
        is_long = any(word in each.upper() for each in commands for word in _LONG_ANSWERS)
        self._most = _LONG_ANSWER if is_long else _SHORT_ANSWER
        self.share = Share()

    def too_much(self, response: Response, exists: int) -> str | None:
        """Count one more response, when the folder has `exists` messages. Returns what is too much, for people;
        None if nothing is."""
        octets = len(response.text) + sum(map(len, response.literals)) + _RESPONSE_OCTETS
        is_within_budget = self.share.grow(octets)
        most = self._most + _OF_A_MESSAGE * min(max(self._messages, exists), MOST_BELIEVED)
        if self.share.octets <= most and is_within_budget:
            return None
        # NOTE: only the name of a command, because that of a login has a password.
        names = dict.fromkeys(b" ".join(each.split()[: 1 + each.startswith(b"UID ")]) for each in self._commands)
        what = f"it has {self.share.octets >> 20} MB already ({b', '.join(names).decode('ascii', 'replace')})"
        if not is_within_budget:
            what += f", and all connections together may have {BUDGET.most >> 20} MB"
        return what

    def let_go(self) -> None:
        """What was kept is not ours any more: its share lasts as long as the replies that have it. What follows is
        counted apart."""
        self.share = Share()
