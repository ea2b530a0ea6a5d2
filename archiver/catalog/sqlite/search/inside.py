"""A search in the texts of messages and in the names of their attachments.

The index names messages that may match. They are compared from the newest on, until enough are found: each message
that is found was compared with its text, whatever named it. If the index names a good part of all, the newest
messages are compared first, whether it names them or not, because most searches of that kind find enough there. If
the query asks for more than what is inside, and the index names very many, those that meet the rest are gone
through instead.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from archiver.catalog.sqlite.reading import FlagSets
from archiver.catalog.sqlite.search.bodies import Bodies
from archiver.catalog.sqlite.search.document import Document
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

_SAMPLE, _MARGIN = 5000, 1.25
_MANY = 50_000  # to find out what else is asked for takes as long as to go through all messages
_FEW_WORDS, _MANY_WORDS = 2000, 20_000  # so many different words are looked for one by one
_FIRST = 4000  # so many of the newest are compared before the index is asked for more than that
_AT_ONCE = 100
_MOST_AT_ONCE = 800
_BEFORE = 12  # columns of a snippet: in a narrow table what was found should not be cut off
_AFTER = 80  # characters
_NEAR = 100  # characters by which folding moved something: each place is tried
_EARLIEST = -(2**63)


class _Wanted(Struct, frozen=True):
    """What is asked of the contents, as it is compared."""

    body: str | None
    name: str | None
    attached: bool

    @property
    def columns(self) -> Mapping[str, str]:
        """The texts, by the column of the index that has them."""
        return {column: text for column, text in (("body", self.body), ("names", self.name)) if text}

    @property
    def texts(self) -> Collection[str]:
        return self.columns.values()

    def found_in(self, document: Document) -> str | None:
        """Where a message has it; None: it has not."""
        if self.attached and not document.attached:
            return None
        if self.name is not None and self.name not in folded(document.names):
            return None
        if self.body is None:
            return ", ".join(each for each in document.names.split("\n") if (self.name or "") in folded(each))
        if self.body.isascii() and not document.may_hold(self.body.encode("ascii")):
            return None
        within = document.folded
        at = within.find(self.body)
        return None if at < 0 else _snippet(document.text, within, at, len(self.body))


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


class _Match(NamedTuple):
    """A place of a message that matches, and where it does; the newest one is the lowest."""

    order: tuple[int, int, int]
    key: MessageKey
    where: str


class _Search(Struct):
    connection: sqlite3.Connection
    query: Query
    bodies: Bodies
    wanted: _Wanted

    def chosen(self, few: WithHeaders | None) -> Mapping[MessageKey, str]:
        """The first messages that match, and where they do."""
        if few is not None:
            named = self._named(_FEW_WORDS, _MANY + 1)
            return self._where(self._first(few, None if named is None or len(named) > _MANY else set(named)))
        if not self.wanted.texts:
            return self._where(self._newest_matches(-1))
        named = self._named(_FEW_WORDS, _SAMPLE)
        is_sample = named is not None and len(named) == _SAMPLE
        if named is None or (is_sample and self._is_frequent(named)):
            found = self._newest_matches()
            if len(found) >= self.query.limit:
                return self._where(found)
        if named is None or is_sample:
            named = self._named(_MANY_WORDS, -1)
        if named is None:
            return self._where(self._newest_matches(-1))
        if len(named) > _MANY and self._asks_for_more():
            return self._where(self._first(Newest(_EARLIEST), set(named)))
        return self._where(self._compared(self.bodies.newest(named)))

    def _is_frequent(self, sample: Sequence[int]) -> bool:
        """Whether enough messages match among the newest ones, if they are like those of this sample."""
        return _FIRST * len(sample) > _MARGIN * self.query.limit * max(sample)

    def _named(self, words: int, limit: int) -> Sequence[int] | None:
        """The messages that the index names, at most `limit`, those with the lowest numbers; None: it cannot tell,
        or they are in more than so many different words."""
        return self.bodies.named(self.wanted.columns, words, limit) if self.wanted.texts else None

    def _newest_matches(self, most: int | None = None) -> Sequence[_Match]:
        """The matches among the newest messages; -1: among all."""
        most = _FIRST if most is None else most
        if self._asks_for_more():
            return self._first(Newest(_EARLIEST), None, most=None if most < 0 else most)
        return self._compared(self.bodies.all_newest(attached=self.wanted.attached, limit=most))

    def _asks_for_more(self) -> bool:
        """Whether something is asked for that only the catalog knows."""
        asked = Query(body=self.query.body, attachment=self.query.attachment, attached=self.query.attached)
        return replace(self.query, limit=asked.limit, vanished=False) != asked

    def _where(self, found: Sequence[_Match]) -> Mapping[MessageKey, str]:
        return {each.key: each.where for each in sorted(found)[: self.query.limit]}

    def _compared(self, numbers: Iterator[tuple[int, int]]) -> Sequence[_Match]:
        """The matches among these messages, the newest first, as far as they are needed. A message may be in
        several folders, and may have arrived earlier there; so it is not over when there are enough, but when no
        other one can be newer."""
        found: list[_Match] = []
        size = _AT_ONCE
        while batch := list(islice(numbers, size)):
            size = min(2 * size, _MOST_AT_ONCE)
            documents = self.bodies.documents([number for number, _ in batch])
            matching = {
                each.digest: where for each in documents if (where := self.wanted.found_in(each)) is not None
            }
            if matching:
                found += self._places(WithDigests(list(matching)), matching)
            if len(found) >= self.query.limit:
                newest_left = batch[-1][1]
                if sum(-each.order[0] >= newest_left for each in found) >= self.query.limit:
                    break
        return found

    def _first(self, among: Among, numbers: set[int] | None, most: int | None = None) -> Sequence[_Match]:
        """The first matches among these messages, and among those of these `numbers`; of the first `most`."""
        found: list[_Match] = []
        rows = islice(self.connection.execute(*choosing(self.query, among)), most)
        while batch := list(islice(rows, _AT_ONCE)):
            known = self.bodies.numbers(list({digest for _, _, digest, _ in batch}))
            asked = [number for number in known.values() if numbers is None or number in numbers]
            places = {
                each.digest: where
                for each in self.bodies.documents(asked)
                if (where := self.wanted.found_in(each)) is not None
            }
            found += _matches(batch, places)
            if len(found) >= self.query.limit:
                break
        return found

    def _places(self, among: Among, matching: Mapping[Digest, str]) -> Iterator[_Match]:
        return _matches(self.connection.execute(*choosing(self.query, among)), matching)

    def shown(self, chosen: Mapping[MessageKey, str]) -> Sequence[Found]:
        sets = FlagSets()
        found = [found_of(row, sets) for row in self.connection.execute(*showing(list(chosen)))]
        return [replace(each, snippet=chosen[each.key]) for each in found]


def _matches(rows: Iterable[tuple[int, int, str, int]], matching: Mapping[Digest, str]) -> Iterator[_Match]:
    """The rows of `choosing` whose messages match."""
    for epoch, uid, digest, arrived in rows:
        if (where := matching.get(Digest(digest))) is not None:
            yield _Match((-arrived, epoch, -uid), (epoch, uid), where)


def _snippet(text: str, within: str, at: int, length: int) -> str:
    """The text around what was found at `at` of `within`, which is the same text `folded`."""
    # As long as the text is, it nearly always has each character where it was.
    start, end = (at, at + length) if len(within) == len(text) else _unfolded(text, within, at, length)
    first, last = _beginning(text, start), end + _AFTER
    return ("…" if first else "") + text[first:last] + ("…" if last < len(text) else "")


def _beginning(text: str, found: int) -> int:
    """Where a snippet begins, for what was found at that place: with a word, if possible."""
    start, columns = found, 0
    while start and columns < _BEFORE:
        start -= 1
        columns += 2 if unicodedata.east_asian_width(text[start]) in "WF" else 1
    return text.find(" ", start, found) + 1 or start if start else 0


def _unfolded(text: str, within: str, at: int, length: int) -> tuple[int, int]:
    """Where the characters lie in a text that have that place in the folded one, to one character or so."""
    moved = len(within) - len(text)
    first, last = max(0, at - max(moved, 0)), at + max(-moved, 0)
    if last - first <= _NEAR:
        wanted = within[at : at + length]
        for start in range(first, last + 1):
            if folded(text[start : start + 2 * length]).startswith(wanted):
                return start, start + length
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
