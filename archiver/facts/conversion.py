"""How a value of a fact's field is written in JSON, and checked and read from there, by the field's type.

What is read may come from somebody else. So each value has to be of its field's type, each number fits into 64 bits
and is not negative, unless it is `Signed`, and a digest is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NewType, get_args, get_origin

from msgspec import Struct

from archiver.mail.model import Digest, Signed

Convert = Callable[[Any], Any]

HIGHEST = 2**63 - 1
LOWEST = -HIGHEST - 1
_LIST: frozenset[type] = frozenset({list})


class Conversion(NamedTuple):
    """The types that a value may have in JSON, and how it is converted to JSON and back; None: it is the same in
    JSON. The caller checks the type, and a number's range. `signed`: a number that may be negative.

    `read` raises TypeError or ValueError if what it reads is no such value."""

    kinds: frozenset[type]
    write: Convert | None = None
    read: Convert | None = None
    signed: bool = False


def conversion(of: Any, of_struct: Callable[[type[Any]], tuple[Convert, Convert]]) -> Conversion:
    """The conversion of a field's type. `of_struct` writes a struct as an object, and reads it. If the value
    is None, nothing is to be read."""
    if type(None) in get_args(of):
        (inner,) = (each for each in get_args(of) if each is not type(None))
        known = conversion(inner, of_struct)
        write = known.write and _unless_none(known.write)
        return known._replace(kinds=known.kinds | {type(None)}, write=write)
    if of is bytes:
        return Conversion(
            frozenset({str}), lambda octets: octets.decode("latin-1"), lambda text: text.encode("latin-1")
        )
    if of is Digest:
        return Conversion(frozenset({str}), None, _digest)
    if isinstance(of, type) and issubclass(of, Struct):
        return Conversion(frozenset({dict}), *of_struct(of))
    if get_origin(of) is frozenset:
        return Conversion(_LIST, sorted, _reader_of_all(get_args(of)[0], frozenset))
    if get_origin(of) is tuple:
        inner, *_ = get_args(of)
        if inner is Digest:
            return Conversion(_LIST, None, _digests)
        if get_origin(inner) is tuple:
            return Conversion(_LIST, None, _reader_of_rows(get_args(inner)))
        return Conversion(_LIST, None, _reader_of_all(inner, tuple))
    return Conversion(frozenset({_plain(of)}), signed=of is Signed)


def _plain(of: Any) -> type:
    """int, str or bool, whatever the type is called."""
    plain = of.__supertype__ if isinstance(of, NewType) else int if of is Signed else of
    if plain not in (int, str, bool):
        raise TypeError(f"{of} has no form in JSON")
    return plain


def _digest(text: str) -> str:
    if len(text) != 64 or len(bytes.fromhex(text)) != 32:  # blanks are not counted
        raise ValueError("not a digest")
    return text


def _digests(values: list[Any]) -> tuple[str, ...]:
    if not all(type(each) is str for each in values):
        raise TypeError("not of type str only")
    return tuple(map(_digest, values))


def _unless_none(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _reader_of_all(of: Any, container: Callable[[Iterable[Any]], Any]) -> Convert:
    """Checks all values of a list, and puts them into a container."""
    require = _requirement(_plain(of))

    def read(values: list[Any]) -> Any:
        require(values)
        return container(values)

    return read


def _reader_of_rows(of: tuple[Any, ...]) -> Convert:
    """Checks the rows of a list, each of values of these types. A row of another kind is left out at first."""
    choose = _ROWS[of]

    def read(rows: list[Any]) -> tuple[Any, ...]:
        chosen = tuple(choose(rows))
        if len(chosen) != len(rows):
            raise TypeError("a row that cannot be")
        return chosen

    return read


def _frames(rows: list[Any]) -> list[tuple[str, int, int]]:
    frames = [
        (digest, one, two)
        for digest, one, two in rows
        if type(one) is type(two) is int and 0 <= one <= HIGHEST and 0 <= two <= HIGHEST and len(digest) == 64
    ]
    digests = "".join([digest for digest, _, _ in frames])
    return frames if len(bytes.fromhex(digests)) == 32 * len(frames) else []


def _are_digests(*values: Any) -> bool:
    return all(type(each) is str and len(each) == 64 and len(bytes.fromhex(each)) == 32 for each in values)


def _is_place(epoch: Any, uid: Any, digest: Any, size: Any, crlf_size: Any, arrived: Any, present: Any) -> bool:
    """NOTE: a message may have arrived before 1970."""
    numbers = (epoch, uid, size, crlf_size, present)
    return (
        all(type(each) is int and 0 <= each <= HIGHEST for each in numbers)
        and type(arrived) is int
        and LOWEST <= arrived <= HIGHEST
        and _are_digests(digest)
    )


def _is_copy(target: Any, uid: Any, form: Any, digest: Any, size: Any) -> bool:
    are_numbers = all(type(each) is int and 0 <= each <= HIGHEST for each in (target, uid, size))
    return are_numbers and type(form) is type(digest) is str


def _lists(rows: list[Any]) -> list[Any]:
    """The rows that are lists: a text of two letters is a row of two texts, too."""
    return [each for each in rows if type(each) is list]


# Written out, because a fact may have thousands of rows.
_ROWS: Mapping[tuple[Any, ...], Callable[[list[Any]], list[Any]]] = {
    (int, int): lambda rows: [
        (one, two)
        for one, two in rows
        if type(one) is type(two) is int and 0 <= one <= HIGHEST and 0 <= two <= HIGHEST
    ],
    (int, int, int): lambda rows: [
        (one, two, three)
        for one, two, three in rows
        if type(one) is type(two) is type(three) is int
        and 0 <= one <= HIGHEST
        and 0 <= two <= HIGHEST
        and 0 <= three <= HIGHEST
    ],
    (Digest, int, int): _frames,
    (int, Digest, Digest): lambda rows: [
        (number, one, two)
        for number, one, two in _lists(rows)
        if type(number) is int and 0 <= number <= HIGHEST and _are_digests(one, two)
    ],
    (int, int, Digest, int, int, int, int): lambda rows: [
        tuple(row) for row in _lists(rows) if len(row) == 7 and _is_place(*row)
    ],
    (int, int, str, str, int): lambda rows: [
        tuple(row) for row in _lists(rows) if len(row) == 5 and _is_copy(*row)
    ],
    (str, str): lambda rows: [(one, two) for one, two in _lists(rows) if type(one) is type(two) is str],
}


def _requirement(kind: type) -> Callable[[Sequence[Any]], None]:
    """Raises an error unless all values are of a kind."""
    only = frozenset({kind})

    def require(values: Sequence[Any]) -> None:
        if not only.issuperset(map(type, values)):
            raise TypeError(f"not of type {kind.__name__} only")
        if kind is int and values and not 0 <= min(values) <= max(values) <= HIGHEST:
            raise ValueError("a number that cannot be")

    return require
