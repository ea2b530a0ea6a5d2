"""A search in the texts of messages and in the names of their attachments.

The index names messages that may match. If they are few, these are read, the newest first; if they are many, or the
index cannot tell, all messages are gone through from the newest on, until enough are found. Each message that is
found was compared with its text, whatever named it. A text of one or two characters is looked for in the newest
messages first, because it mostly is in many; then the index is asked for all of its entries that begin with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.catalog.sqlite.reading import FlagSets
from archiver.catalog.sqlite.search.bodies import Bodies, Document
from archiver.catalog.sqlite.search.finding import (
    Among,
    Newest,
    WithDigests,
    WithHeaders,
    choosing,
    found_of,
    showing,
)
from archiver.facts.query import Found, Query
from archiver.facts.replica import MessageKey
from archiver.mail.headers import folded
from archiver.mail.model import Digest
from archiver.mail.parts.contents import one_line

_FEW = 10_000  # so many are looked up by their digests, and compared
_MANY = 50_000  # so many are named by the index at a time, when all messages are gone through
_SHORT = 3
_FIRST = 500  # so many are gone through for a short text, before the index is asked
_AT_ONCE = 100
_BEFORE, _AFTER = 24, 80  # characters of a snippet
_EARLIEST, _HIGHEST = -(2**63), 2**63 - 1


class _Wanted(Struct, frozen=True):
    """What is asked of the contents, as it is compared."""

    body: str | None
    name: str | None
    attached: bool

    @property
    def texts(self) -> Sequence[str]:
        return [each for each in (self.body, self.name) if each]

    def found_in(self, document: Document) -> str | None:
        """Where a message has it; None: it has not."""
        if self.attached and not document.attached:
            return None
        if self.name is not None and self.name not in folded(document.names):
            return None
        if self.body is None:
            return ", ".join(each for each in document.names.split("\n") if (self.name or "") in folded(each))
        within = document.folded
        at = within.find(self.body)
        return None if at < 0 else _snippet(document.text, within, at, len(self.body))


class _Candidates(Struct):
    """The messages that may match, by their numbers, read from the highest on as far as they are asked for.
    `holding` gives the next ones below a number; None: all may."""

    holding: Callable[[int, int], Sequence[int]] | None = None
    numbers: set[int] = field(default_factory=set)
    floor: int = _HIGHEST

    def all_if_few(self) -> Sequence[int] | None:
        """All of them, if they are few."""
        if self.holding is None or len(found := self.holding(_HIGHEST, _FEW + 1)) > _FEW:
            return None
        return found

    def may_be(self, number: int) -> bool:
        """Whether the message of that number is one of them."""
        while self.holding is not None and number < self.floor:
            more = self.holding(self.floor, _MANY)
            self.numbers.update(more)
            self.floor = more[-1] if len(more) == _MANY else 0
        return self.holding is None or number in self.numbers


def find_inside(
    connection: sqlite3.Connection, query: Query, bodies: Bodies, few: WithHeaders | None
) -> Sequence[Found]:
    """The messages that match `query`, newest arrival first; `few`: those whose headers may match, if they are few.

    Raises:
        Unusable: the index is damaged.
    """
    body, name = (each and folded(one_line(each)) for each in (query.body, query.attachment))
    search = _Search(connection, query, bodies, _Wanted(body, name, query.attached))
    return search.shown(search.chosen(few))


class _Search(Struct):
    connection: sqlite3.Connection
    query: Query
    bodies: Bodies
    wanted: _Wanted

    def chosen(self, few: WithHeaders | None) -> Mapping[MessageKey, str]:
        """The first messages that match, and where they do."""
        if few is not None:
            return self._first(few, _Candidates())
        texts = self.wanted.texts
        if texts and all(len(each) < _SHORT for each in texts):
            found = self._first(Newest(_EARLIEST), _Candidates(), _FIRST)
            if len(found) >= self.query.limit:
                return found
        candidates = self._candidates()
        if (numbers := candidates.all_if_few()) is not None:
            return self._first(WithDigests(self.bodies.digests(numbers)), _Candidates())
        return self._first(Newest(_EARLIEST), candidates)

    def _candidates(self) -> _Candidates:
        if not self.wanted.texts:
            return _Candidates(self.bodies.attached if self.wanted.attached else None)
        asked = self.bodies.asked(self.wanted.texts)
        return _Candidates(None if asked is None else partial(self.bodies.holding, asked))

    def _first(self, among: Among, candidates: _Candidates, most: int | None = None) -> Mapping[MessageKey, str]:
        """The first ones that match, of the first `most`."""
        found: dict[MessageKey, str] = {}
        rows = islice(self.connection.execute(*choosing(self.query, among)), most)
        while batch := list(islice(rows, _AT_ONCE)):
            places = dict(self._matching({digest for *_, digest in batch}, candidates))
            for epoch, uid, digest in batch:
                if digest in places:
                    found[epoch, uid] = places[digest]
                    if len(found) == self.query.limit:
                        return found
        return found

    def _matching(self, digests: set[Digest], candidates: _Candidates) -> Iterator[tuple[Digest, str]]:
        numbers = {
            number: digest
            for digest, number in self.bodies.numbers(list(digests)).items()
            if candidates.may_be(number)
        }
        for document in self.bodies.documents(list(numbers)):
            if (place := self.wanted.found_in(document)) is not None:
                yield numbers[document.id], place

    def shown(self, chosen: Mapping[MessageKey, str]) -> Sequence[Found]:
        sets = FlagSets()
        found = [found_of(row, sets) for row in self.connection.execute(*showing(list(chosen)))]
        return [replace(each, snippet=chosen[each.key]) for each in found]


def _snippet(text: str, within: str, at: int, length: int) -> str:
    """The text around what was found at `at` of `within`, which is the same text `folded`."""
    # As long as the text is, it nearly always has each character where it was.
    start, end = (at, at + length) if len(within) == len(text) else _unfolded(text, at, length)
    first, last = max(0, start - _BEFORE), end + _AFTER
    return ("…" if first else "") + text[first:last] + ("…" if last < len(text) else "")


def _unfolded(text: str, at: int, length: int) -> tuple[int, int]:
    """Where the characters lie in a text that have that place in the folded one, to one character or so."""
    return _reaching(text, at + 1) - 1, _reaching(text, at + length)


def _reaching(text: str, length: int) -> int:
    """How many characters of a text have that length when they are folded."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high) // 2
        if len(folded(text[:middle])) >= length:
            high = middle
        else:
            low = middle + 1
    return low
