"""Sets of UIDs, kept as ranges, and IMAP's notation of them: `1:5,7`.

A server can name four billion UIDs in one short line, and a folder of a million messages has few gaps. So a set of
UIDs holds ranges, and nothing counts through them that does not need each UID.

Servers limit the length of a command line, and some refuse a descending range, so sets are written compressed,
ascending, and split into pieces.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Set
from itertools import chain, islice
from typing import Self

_MOST_DIGITS = 10  # of 2**32 - 1


class UidSet(Set[int]):
    """An immutable set of UIDs that takes 16 bytes a range, whatever the range holds.

    Behaves as any set, and iterates in ascending order. With another UidSet, `&`, `|`, `-` and `<=` take time by
    the set that has fewer ranges, except for copying. NOTE: a `dict.keys()` on the left side of an operator goes
    through all of this set; write this set on the left.
    """

    __slots__ = ("_bounds", "_count")
    _bounds: array[int]  # where the set begins and ends, in turn
    _count: int

    def __init__(self, uids: Iterable[int] = ()) -> None:
        """`uids` may come in any order; ascending ones are never held all at once."""
        self._bounds = uids._bounds if isinstance(uids, UidSet) else _bounds_of(_runs(uids))
        self._count = sum(self._bounds[1::2]) - sum(self._bounds[::2])

    @classmethod
    def of_ranges(cls, ranges: Iterable[range]) -> Self:
        """All that is in these ranges, which may be in any order and may overlap; each with a step of 1."""
        return cls._of(_bounds_of((each.start, each.stop) for each in ranges if each))

    @classmethod
    def _of(cls, bounds: array[int]) -> Self:
        made = cls.__new__(cls)
        made._bounds = bounds
        made._count = sum(bounds[1::2]) - sum(bounds[::2])
        return made

    def __contains__(self, uid: object) -> bool:
        return isinstance(uid, int) and bisect_right(self._bounds, uid) % 2 == 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self.ranges())

    def __and__(self, other: Iterable[int]) -> UidSet:
        return self._combined(other, lambda here, there: here and there)

    __rand__ = __and__

    def __or__(self, other: Iterable[int]) -> UidSet:  # type: ignore[override]
        return self._combined(other, lambda here, there: here or there)

    __ror__ = __or__

    def __sub__(self, other: Iterable[int]) -> UidSet:
        return self._combined(other, lambda here, there: here and not there)

    def __rsub__(self, other: Iterable[int]) -> UidSet:
        return UidSet(other) - self

    def __le__(self, other: Set[object]) -> bool:
        return not self - other if isinstance(other, UidSet) else super().__le__(other)

    def __eq__(self, other: object) -> bool:
        return self._bounds == other._bounds if isinstance(other, UidSet) else super().__eq__(other)

    def __hash__(self) -> int:
        return self._hash()

    def __repr__(self) -> str:
        shown = ",".join(islice(format_uid_set(self, 80), 2))
        return f"UidSet({shown[:80]!r})"

    def ranges(self) -> Iterator[range]:
        """Its ranges, ascending; no two of them touch."""
        return map(range, self._bounds[::2], self._bounds[1::2])

    def pieces(self, most: int) -> Iterator[UidSet]:
        """The set in pieces of `most` UIDs, ascending; the last may have fewer."""
        piece, room = array("Q"), most
        for each in self.ranges():
            start = each.start
            while start < each.stop:
                end = min(each.stop, start + room)
                piece.extend((start, end))
                room -= end - start
                start = end
                if not room:
                    yield UidSet._of(piece)
                    piece, room = array("Q"), most
        if piece:
            yield UidSet._of(piece)

    def newest(self, most: int) -> list[int]:
        """The `most` highest UIDs, or as many as there are, ascending."""
        found: list[int] = []
        for at in range(len(self._bounds) - 2, -1, -2):
            start, stop = self._bounds[at], self._bounds[at + 1]
            found[:0] = range(max(start, stop - (most - len(found))), stop)
            if len(found) >= most:
                break
        return found

    @property
    def first(self) -> int:
        """The lowest UID; 0 if the set is empty."""
        return self._bounds[0] if self._bounds else 0

    @property
    def last(self) -> int:
        """The highest UID; 0 if the set is empty."""
        return self._bounds[-1] - 1 if self._bounds else 0

    def _combined(self, other: Iterable[int], wanted: Callable[[bool, bool], bool]) -> UidSet:
        """What is `wanted`, by whether it is in this set and in the other one. It need not be wanted if it is in
        neither."""
        there = UidSet(other)
        if len(self._bounds) < len(there._bounds):
            return UidSet._of(_merged(there._bounds, self._bounds, lambda one, two: wanted(two, one)))
        return UidSet._of(_merged(self._bounds, there._bounds, wanted))


def _merged(many: array[int], few: array[int], wanted: Callable[[bool, bool], bool]) -> array[int]:
    """The bounds of what is wanted of two sets, with a step for each bound of the second one. Between two of those,
    either all bounds of the first one count or none."""
    result = array("Q")
    at = 0
    for number in range(len(few) + 1):
        inside = number % 2 == 1
        stop = bisect_left(many, few[number], at) if number < len(few) else len(many)
        if wanted(True, inside) != wanted(False, inside):
            result.extend(many[at:stop])
        at = stop
        if number < len(few):
            before = wanted(at % 2 == 1, inside)
            at += at < len(many) and many[at] == few[number]
            if wanted(at % 2 == 1, not inside) != before:
                result.append(few[number])
    return result


def _runs(uids: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending neighbours put together, each as (first, behind the last)."""
    if isinstance(uids, range) and uids.step == 1:
        if uids:
            yield uids.start, uids.stop
        return
    ordered = iter(uids)
    start = end = -1
    for uid in ordered:
        if uid == end:
            end += 1
        elif not start <= uid < end:
            if start >= 0:
                yield start, end
            start, end = uid, uid + 1
    if start >= 0:
        yield start, end


def _bounds_of(runs: Iterable[tuple[int, int]]) -> array[int]:
    """The bounds of runs in any order. Those that overlap or touch become one."""
    starts, ends = array("Q"), array("Q")
    ascending = True
    for start, end in runs:
        if ends and start <= ends[-1]:
            ascending = False
        starts.append(start)
        ends.append(end)
    bounds = array("Q")
    if not ascending:
        # What begins before all earlier ones have ended is of one range with them, whichever they are.
        starts, ends = array("Q", sorted(starts)), array("Q", sorted(ends))
    for number, start in enumerate(starts):
        if number and start <= ends[number - 1]:
            bounds[-1] = ends[number]
        else:
            bounds.extend((start, ends[number]))
    return bounds


def format_uid_set(uids: Iterable[int], limit_octets: int = 8000) -> Iterator[str]:
    """`uids` as ascending compressed ranges, in pieces of at most `limit_octets` (but at least one range each)."""
    piece: list[str] = []
    octets = 0
    for each in UidSet(uids).ranges():
        text = f"{each[0]}:{each[-1]}" if len(each) > 1 else str(each[0])
        if piece and octets + len(text) > limit_octets:
            yield ",".join(piece)
            piece, octets = [], 0
        piece.append(text)
        octets += len(text) + 1
    if piece:
        yield ",".join(piece)


def parse_uid_ranges(text: bytes) -> Iterator[range]:
    """The ranges of a set, each ascending, one by one.

    Raises:
        ValueError: not a set of numbers, or one of them has more digits than a UID can have.
    """
    text = text.strip()
    for part in text.split(b",") if text else ():
        first, colon, last = part.partition(b":")
        if not first.isdigit() or (colon and not last.isdigit()) or max(len(first), len(last)) > _MOST_DIGITS:
            raise ValueError(f"not a set of UIDs: {text[:80]!r}")
        low, high = int(first), int(last or first)
        yield range(min(low, high), max(low, high) + 1)


def parse_uid_set(text: bytes) -> UidSet:
    """The set itself. Raises as `parse_uid_ranges`."""
    return UidSet.of_ranges(parse_uid_ranges(text))
