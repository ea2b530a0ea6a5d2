"""Reads a table of an account file into a frozen value by the annotations of its class, and finds every mistake.

An admin who edits a file over a slow connection wants to see all mistakes at once. So each key is read by itself,
strictly (a number in quotes is a mistake), and reading goes on behind a mistake. No text shows a value, since that
may be a password.

| annotation | in TOML |
|---|---|
| `str`, `bool`, `int`, `float` | a string, a truth value, a whole number, a finite number |
| `Literal[...]` | one of these strings |
| `tuple[..., ...]`, `Mapping[..., ...]` | a list, a table of any keys |
| a `Table` | a table with its keys |
| a type with a reader of its own | what that reader takes |
| `Annotated[..., check]` | the same, if `check` returns the value or another one; ValueError says what to write |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Struct

Keys = tuple[int | str, ...]
Reader = Callable[[Any], Any]


class Mistake(Struct, frozen=True):
    """What is wrong at a key, and what to write instead."""

    keys: Keys
    text: str
    kind: Literal["missing", "unknown", "choice", "value"] = "value"


class Table(Struct, frozen=True, kw_only=True):
    """A table of an account file. `__post_init__` raises ValueError if keys contradict each other."""

    @classmethod
    def meant(cls, table: Mapping[str, Any]) -> type[Table]:
        """The class of which this table, as written, is one."""
        return cls

    @classmethod
    def completed(cls, table: Mapping[str, Any]) -> Mapping[str, Any]:
        """The table as written, with the keys that follow from others."""
        return table


T = TypeVar("T", bound=Table)


def read_table(cls: type[T], table: object, readers: Mapping[Any, Reader]) -> tuple[T | None, list[Mistake]]:
    """The value of a table, None if there is a mistake in it; and all mistakes in the order of the keys, unknown
    ones last. `readers` read the values of types that TOML does not have."""
    reading = _Reading(readers)
    value = reading.attempt(cls, table, ())
    return value, reading.mistakes


def between(least: float, most: float) -> Callable[[float], float]:
    """Checks a number against its limits, which are allowed."""

    def check(number: float) -> float:
        if number < least:
            raise ValueError(f"must be greater than or equal to {least:g}")
        if number > most:
            raise ValueError(f"must be less than or equal to {most:g}")
        return number

    return check


def _seconds(number: float) -> float:
    if number <= 0:
        raise ValueError("must be greater than 0")
    return between(0, 3600)(number)


Seconds = Annotated[float, _seconds]
"""A time that may be waited: more than 0, an hour at most."""


class _Failed(Exception):
    """A mistake that is noted already."""


class _Reading:
    def __init__(self, readers: Mapping[Any, Reader]) -> None:
        self._readers = readers
        self.mistakes: list[Mistake] = []

    def _table(self, cls: type[Table], table: object, keys: Keys) -> Any:
        if not isinstance(table, dict):
            name = ".".join(map(str, keys))
            raise self._mistake(keys, f"must be a table: a line [{name}] with its keys below")
        before = len(self.mistakes)
        cls = cls.meant(table)
        given, values = dict(cls.completed(table)), {}
        for name, (attribute, annotation, is_required) in _keys_of(cls).items():
            at = (*keys, name)
            if name in given:
                values[attribute] = self.attempt(annotation, given.pop(name), at)
            elif is_required:
                self._mistake(at, "", "missing")
        for name in given:
            self._mistake((*keys, name), "", "unknown")
        if len(self.mistakes) > before:
            raise _Failed
        return self._checked(lambda its: cls(**its), values, keys)

    def attempt(self, annotation: Any, value: object, keys: Keys) -> Any:
        """The value; None if there is a mistake in it."""
        try:
            return self._read(annotation, value, keys)
        except _Failed:
            return None

    def _read(self, annotation: Any, value: object, keys: Keys) -> Any:
        if type(None) in get_args(annotation):
            if value is None:  # not from TOML, which has no such value, but from `completed`
                return None
            (annotation,) = (each for each in get_args(annotation) if each is not type(None))
        elif get_origin(annotation) is UnionType:  # of tables, of which the first one says which is meant
            annotation = get_args(annotation)[0]
        if get_origin(annotation) is Annotated:
            inner, *checks = get_args(annotation)
            value = self._read(inner, value, keys)
            for check in checks:
                value = self._checked(check, value, keys)
            return value
        if (reader := self._readers.get(annotation)) is not None:
            return self._checked(reader, value, keys)
        if isinstance(annotation, type) and issubclass(annotation, Table):
            return self._table(annotation, value, keys)
        return self._plain(annotation, value, keys)

    def _plain(self, annotation: Any, value: object, keys: Keys) -> Any:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Literal:
            if not (isinstance(value, str) and value in arguments):
                raise self._mistake(keys, f"must be {_either(arguments)}", "choice")
        elif origin is tuple:
            if not isinstance(value, list):
                raise self._mistake(keys, 'must be a list, as in ["Junk", "Public/*"]')
            before = len(self.mistakes)
            value = tuple(self.attempt(arguments[0], item, (*keys, at)) for at, item in enumerate(value))
            if len(self.mistakes) > before:
                raise _Failed
        elif origin is not None:  # a mapping
            if not isinstance(value, dict):
                raise self._mistake(keys, 'must be a table, as in { name = "value" }')
            before = len(self.mistakes)
            value = {
                self.attempt(arguments[0], key, (*keys, key)): self.attempt(arguments[1], item, (*keys, key))
                for key, item in value.items()
            }
            if len(self.mistakes) > before:
                raise _Failed
        elif annotation is float and type(value) in (int, float):
            value = float(value)  # type: ignore[arg-type]  # mypy does not narrow by `in`
            if not math.isfinite(value):
                raise self._mistake(keys, "must be a finite number")
        elif type(value) is not annotation:
            raise self._mistake(keys, _PLAIN[annotation])
        return value

    def _checked(self, read: Reader, value: Any, keys: Keys) -> Any:
        try:
            return read(value)
        except ValueError as error:
            text = str(error)
        raise self._mistake(keys, text)

    def _mistake(self, keys: Keys, text: str, kind: Any = "value") -> _Failed:
        self.mistakes.append(Mistake(keys, text, kind))
        return _Failed()


_PLAIN = {
    str: "must be a string, in quotes",
    bool: "must be true or false, without quotes",
    int: "must be a whole number, without quotes",
    float: "must be a number, without quotes",
}


def _either(choices: tuple[str, ...]) -> str:
    *first, last = (f'"{each}"' for each in choices)
    return f"{', '.join(first)} or {last}" if first else last


@cache
def _keys_of(cls: type[Table]) -> Mapping[str, tuple[str, Any, bool]]:
    """By key its attribute, which has another name where the key is a word of Python's; the annotation; and whether
    it must be given."""
    hints = get_type_hints(cls, include_extras=True)
    # NOTE: not `msgspec.structs.fields`, which finds out all the types once more, for each start of a command.
    names, defaults = cls.__struct_fields__, cls.__struct_defaults__
    required = [True] * (len(names) - len(defaults)) + [each is NODEFAULT for each in defaults]
    keys = zip(cls.__struct_encode_fields__, names, required, strict=True)
    return {key: (name, hints[name], is_required) for key, name, is_required in keys}
