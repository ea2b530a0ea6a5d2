"""Sets of UIDs in IMAP's notation: `1:5,7`.

Servers limit the length of a command line, and some refuse a descending range, so sets are compressed, ascending
and split into pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_MOST_DIGITS = 10  # of 2**32 - 1


def format_uid_set(uids: Iterable[int], limit_octets: int = 8000) -> Iterator[str]:
    """`uids` as ascending compressed ranges, in pieces of at most `limit_octets` (but at least one range each)."""
    piece: list[str] = []
    octets = 0
    for text in _ranges(uids):
        if piece and octets + len(text) > limit_octets:
            yield ",".join(piece)
            piece, octets = [], 0
        piece.append(text)
        octets += len(text) + 1
    if piece:
        yield ",".join(piece)


def _ranges(uids: Iterable[int]) -> Iterator[str]:
    ordered = iter(sorted(uids))
    first = last = next(ordered, None)
    if first is None or last is None:
        return
    for uid in ordered:
        if uid > last + 1:
            yield str(first) if first == last else f"{first}:{last}"
            first = uid
        last = uid
    yield str(first) if first == last else f"{first}:{last}"


def parse_uid_ranges(text: bytes) -> list[range]:
    """The ranges of a set, each ascending, without counting through them.

    Raises:
        ValueError: not a set of numbers, or one of them has more digits than a UID can have.
    """
    text = text.strip()
    ranges = []
    for part in text.split(b",") if text else ():
        first, colon, last = part.partition(b":")
        if not first.isdigit() or (colon and not last.isdigit()) or max(len(first), len(last)) > _MOST_DIGITS:
            raise ValueError(f"not a set of UIDs: {text[:80]!r}")
        low, high = int(first), int(last or first)
        ranges.append(range(min(low, high), max(low, high) + 1))
    return ranges
