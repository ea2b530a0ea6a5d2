"""Facts as JSON lines, and back; also other values with octets or sets in them. How each field is written follows
from its type; docs/formats.md has the lines.

| type | JSON |
|---|---|
| numbers, text, truth values, None | as they are |
| `bytes`: a name on the wire | text, each octet a Latin-1 character |
| `frozenset[...]` | a sorted list |
| `tuple[...]`, also of tuples | a list |
| `StoredMessage` | its fields, among those of the fact |
| any other dataclass | an object |

NOTE: the octets of a line must never change, since segments are named by their digests. Text is escaped to ASCII:
undecodable octets are lone surrogates in a journal, which UTF-8 cannot hold. So a codec that writes UTF-8 does not
fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from archiver.facts.archive import Fact
from archiver.mail.model import StoredMessage

T = TypeVar("T")

_KINDS: dict[str, type[Any]] = {cls.kind: cls for cls in get_args(Fact)}
_encode = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":")).encode


def fact_to_json(fact: Fact) -> str:
    """One JSON object on one line, keys in a fixed order."""
    return _encode(_CODECS[type(fact)].to_record(fact))


def fact_from_json(line: str) -> Fact:
    """The inverse of `fact_to_json`.

    Raises:
        ValueError: not a fact that this version knows.
    """
    try:
        record = json.loads(line)
        fact: Fact = _CODECS[_KINDS[record.pop("fact")]].from_record(record)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a known fact: {line[:120]!r}") from error
    return fact


def to_record(value: Any) -> dict[str, Any]:
    """A dataclass as a JSON object, keys in the order of its fields."""
    return _CODECS[type(value)].to_record(value)


def of_record(cls: type[T], record: dict[str, Any]) -> T:
    """The inverse of `to_record`, which uses up `record`. Missing fields get their defaults.

    Raises:
        TypeError, ValueError: not such an object. The types of numbers and text are not checked.
    """
    value: T = _CODECS[cls].from_record(record)
    return value


_Convert = Callable[[Any], Any]


class _Codec(NamedTuple):
    """How a class is written. `names` are its keys in JSON, and `values` returns their values; `writers` and
    `readers` convert those that need it. `inlined` is the field whose own fields are written among the others.
    """

    cls: type[Any]
    names: tuple[str, ...]
    values: Callable[[Any], tuple[Any, ...]]
    writers: Mapping[str, _Convert]
    readers: Mapping[str, _Convert]
    inlined: str | None

    def to_record(self, value: Any) -> dict[str, Any]:
        record = dict(zip(self.names, self.values(value), strict=True))
        for name, write in self.writers.items():
            record[name] = write(record[name])
        return record

    def from_record(self, record: dict[str, Any]) -> Any:
        for name, read in self.readers.items():
            if name in record:
                record[name] = read(record[name])
        if self.inlined is not None:
            if self.inlined in record:
                raise KeyError(self.inlined)
            its = {name: record.pop(name) for name in _OF_MESSAGE if name in record}
            record[self.inlined] = StoredMessage(**its)
        return self.cls(**record)


_OF_MESSAGE = tuple(each.name for each in fields(StoredMessage))


class _Codecs(dict[type[Any], _Codec]):
    """The codecs of dataclasses, each created when it is first needed."""

    def __missing__(self, cls: type[Any]) -> _Codec:
        codec = self[cls] = _made(cls)
        return codec


_CODECS = _Codecs()


def _made(cls: type[Any]) -> _Codec:
    """NOTE: the class needs at least two fields; otherwise `attrgetter` returns no tuple."""
    paths = {"fact": "kind"} if cls in _KINDS.values() else {}
    types: dict[str, Any] = {"fact": str}
    inlined = None
    hints = get_type_hints(cls)
    for each in fields(cls):
        if hints[each.name] is StoredMessage:
            inlined = each.name
            paths |= {name: f"{inlined}.{name}" for name in _OF_MESSAGE}
            types |= get_type_hints(StoredMessage)
        else:
            paths[each.name] = each.name
            types[each.name] = hints[each.name]
    writers, readers = {}, {}
    for name in paths:
        write, read = _conversion(types[name])
        if write is not None:
            writers[name] = write
        if read is not None:
            readers[name] = read
    return _Codec(cls, tuple(paths), attrgetter(*paths.values()), writers, readers, inlined)


def _conversion(of: Any) -> tuple[_Convert | None, _Convert | None]:
    """How a value of this type is converted to JSON and back; None: it is the same in JSON."""
    if type(None) in get_args(of):
        (inner,) = (each for each in get_args(of) if each is not type(None))
        write, read = _conversion(inner)
        return write and _unless_none(write), read and _unless_none(read)
    if of is bytes:
        return lambda octets: octets.decode("latin-1"), lambda text: text.encode("latin-1")
    if isinstance(of, type) and is_dataclass(of):
        codec = _CODECS[of]
        return codec.to_record, codec.from_record
    if get_origin(of) is frozenset:
        return sorted, frozenset
    if get_origin(of) is tuple:
        return None, _rows if get_origin(get_args(of)[0]) is tuple else tuple
    return None, None


def _unless_none(convert: _Convert) -> _Convert:
    return lambda value: None if value is None else convert(value)


def _rows(rows: list[list[Any]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(map(tuple, rows))
