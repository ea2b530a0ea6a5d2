"""Facts as JSON lines, and back; also other values with octets or sets in them. How each field is written follows
from its type, and so does what is accepted there when it is read; docs/formats.md has the lines.

| type | JSON |
|---|---|
| numbers, text, truth values, None | as they are |
| `bytes`: a name on the wire | text, each octet a Latin-1 character |
| `frozenset[...]` | a sorted list |
| `tuple[...]`, also of tuples | a list |
| `StoredMessage` | its fields, among those of the fact; `thrid` and `labels` only if they are known |
| any other `Struct` | an object |

NOTE: the octets of a line must never change, since segments are named by their digests. Text is escaped to ASCII:
undecodable octets are lone surrogates in a journal, which UTF-8 cannot hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

import msgspec

from archiver.facts.archive import Fact
from archiver.facts.conversion import HIGHEST, LOWEST, Conversion, Convert, conversion
from archiver.mail.model import StoredMessage

T = TypeVar("T")

_KINDS: dict[str, type[Any]] = {cls.kind: cls for cls in get_args(Fact)}
_encode = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":")).encode
_encode_utf8 = msgspec.json.Encoder().encode
_decode = json.JSONDecoder().raw_decode


def fact_to_json(fact: Fact) -> str:
    """One JSON object on one line, keys in a fixed order."""
    record = _CODECS[type(fact)].to_record(fact)
    try:
        octets = _encode_utf8(record)
    except UnicodeEncodeError:  # a lone surrogate
        return _encode(record)
    # It takes a third of the time, and writes the same where there is nothing to escape but what JSON requires.
    return octets.decode("ascii") if octets.isascii() and b"\x7f" not in octets else _encode(record)


def fact_from_json(line: str) -> Fact:
    """The inverse of `fact_to_json`.

    Raises:
        ValueError: not a fact that this version knows.
    """
    try:
        record, end = _decode(line)
        if end != len(line):
            raise ValueError("more than one value")
        fact: Fact = _CODECS[_KINDS[record.pop("fact")]].from_record(record)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a known fact: {line[:120]!r}") from error
    return fact


def to_record(value: Any) -> dict[str, Any]:
    """A struct as a JSON object, keys in the order of its fields."""
    return _CODECS[type(value)].to_record(value)


def of_record(cls: type[T], record: dict[str, Any]) -> T:
    """The inverse of `to_record`, which uses up `record`. Missing fields get their defaults.

    Raises:
        TypeError, ValueError: not such an object.
    """
    value: T = _CODECS[cls].from_record(record)
    return value


_Values = Callable[[Any], tuple[Any, ...]]
_MOST_SHAPES = 1000


class _Shape(NamedTuple):
    """How records are read that have the same keys with values of the same types: `readers` convert values,
    `numbers` returns those that must not be negative, `signed` are the names of the others, `make` makes a value of
    them all.
    """

    readers: tuple[tuple[str, Convert], ...]
    numbers: _Values
    signed: tuple[str, ...]
    make: Convert


class _Codec(NamedTuple):
    """How a class is written. `names` are its keys in JSON, and `values` returns their values; `conversions` are
    those of the keys. `inlined` is the field whose own fields are written among the others; `optional` are those of
    them that are left out if they are None.

    `shapes` are those of records that were read. Checking the types of a record as a whole takes less time than
    looking at each value.
    """

    cls: type[Any]
    names: tuple[str, ...]
    values: _Values
    writers: Mapping[str, Convert]
    conversions: Mapping[str, Conversion]
    inlined: str | None
    optional: tuple[str, ...]
    shapes: dict[tuple[object, ...], _Shape]

    def to_record(self, value: Any) -> dict[str, Any]:
        record = dict(zip(self.names, self.values(value), strict=True))
        for name, write in self.writers.items():
            record[name] = write(record[name])
        for name in self.optional:
            if record[name] is None:
                del record[name]
        return record

    def from_record(self, record: dict[str, Any]) -> Any:
        key = (*record, *map(type, record.values()))
        readers, numbers, signed, make = self.shapes.get(key) or self._shape(record, key)
        for number in numbers(record):
            if not 0 <= number <= HIGHEST:
                raise ValueError("a number that cannot be")
        for name in signed:
            if not LOWEST <= record[name] <= HIGHEST:
                raise ValueError("a number that cannot be")
        for name, read in readers:
            record[name] = read(record[name])
        return make(record)

    def _shape(self, record: dict[str, Any], key: tuple[object, ...]) -> _Shape:
        """The shape of a record that is the first one of it.

        Raises:
            TypeError: no record of the class has such keys or types.
        """
        for name, value in record.items():
            if name not in self.conversions or type(value) not in self.conversions[name].kinds:
                raise TypeError(f"{name} is {type(value).__name__}")
        given = {name: self.conversions[name] for name, value in record.items() if value is not None}
        numbers = [name for name, each in given.items() if int in each.kinds]
        signed = [name for name in numbers if given[name].signed]
        shape = _Shape(
            tuple((name, each.read) for name, each in given.items() if each.read is not None),
            _getter([name for name in numbers if name not in signed]),
            tuple(signed),
            self._maker(record),
        )
        if len(self.shapes) < _MOST_SHAPES:
            self.shapes[key] = shape
        return shape

    def _maker(self, record: Collection[str]) -> Convert:
        """Makes a value of records with these keys."""
        if self.inlined is None:
            return _maker(self.cls, record)
        message, rest = _maker(StoredMessage, [name for name in _OF_MESSAGE if name in record]), self.inlined
        its = _maker(self.cls, [rest, *(name for name in record if name not in _OF_MESSAGE)])

        def make(record: dict[str, Any]) -> Any:
            record[rest] = message(record)
            return its(record)

        return make


def _maker(cls: type[Any], names: Collection[str]) -> Convert:
    """Makes a value of a class of the values with these names; the others get their defaults."""
    fields: tuple[str, ...] = cls.__struct_fields__
    ordered = [name for name in fields if name in names]
    if ordered == list(fields[: len(ordered)]):
        values = _getter(ordered)
        return lambda record: cls(*values(record))
    return lambda record: cls(**{name: record[name] for name in ordered})


def _getter(names: Sequence[str]) -> _Values:
    """Returns the values of a record that have these names."""
    if len(names) > 1:
        return itemgetter(*names)
    return (lambda record: (record[names[0]],)) if names else lambda _: ()


_OF_MESSAGE = StoredMessage.__struct_fields__
_OPTIONAL = ("thrid", "labels")


class _Codecs(dict[type[Any], _Codec]):
    """The codecs of structs, each created when it is first needed."""

    def __missing__(self, cls: type[Any]) -> _Codec:
        codec = self[cls] = _made(cls)
        return codec


_CODECS = _Codecs()


def _made(cls: type[Any]) -> _Codec:
    """NOTE: the class needs at least two fields; otherwise `attrgetter` returns no tuple."""
    paths = {"fact": "kind"} if cls in _KINDS.values() else {}
    types: dict[str, Any] = {}
    inlined = None
    hints = get_type_hints(cls, include_extras=True)
    for name in cls.__struct_fields__:
        if hints[name] is StoredMessage:
            inlined = name
            paths |= {each: f"{inlined}.{each}" for each in _OF_MESSAGE}
            types |= get_type_hints(StoredMessage, include_extras=True)
        else:
            paths[name] = name
            types[name] = hints[name]
    conversions = {name: conversion(of, _of_struct) for name, of in types.items()}
    writers = {name: each.write for name, each in conversions.items() if each.write is not None}
    return _Codec(
        cls,
        tuple(paths),
        attrgetter(*paths.values()),
        writers,
        conversions,
        inlined,
        () if inlined is None else _OPTIONAL,
        {},
    )


def _of_struct(cls: type[Any]) -> tuple[Convert, Convert]:
    codec = _CODECS[cls]
    return codec.to_record, codec.from_record
