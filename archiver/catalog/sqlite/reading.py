"""Reads rows of messages: the columns of a placement, and their conversion to values.

Rows are taken by position: there may be millions of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import fields, make_dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import ColumnElement, Select, and_, func, select

from archiver.catalog.sqlite.schema import ARCHIVE, EPOCH, FOLDER, MESSAGE
from archiver.mail.model import Flags, Placement, StoredMessage
from archiver.mail.uidset import UidSet

_T = TypeVar("_T")

_IN_LIST = 500
STREAM = {"yield_per": 2000}


class FlagSets(dict[str, Flags]):
    """Sets of flags by their text, so that equal sets are one object."""

    def __missing__(self, text: str) -> Flags:
        flags = self[text] = frozenset(json.loads(text))
        return flags


IS_PRESENT = and_(MESSAGE.c.vanished_at.is_(None), EPOCH.c.ended_at.is_(None))
STORED_MESSAGE = tuple(MESSAGE.c[each.name] for each in fields(StoredMessage))
PLACE = (
    FOLDER.c.directory,
    EPOCH.c.uidvalidity,
    EPOCH.c.generation,
    IS_PRESENT.label("present"),
    *STORED_MESSAGE,
)
_FLAGS = STORED_MESSAGE.index(MESSAGE.c.flags)


_named = ARCHIVE.alias("named")
CURRENT_SOURCE = func.coalesce(
    select(func.min(ARCHIVE.c.id))
    .join(_named, and_(*(_named.c[name] == ARCHIVE.c[name] for name in ("protocol", "host", "user"))))
    .where(_named.c.id == select(func.max(ARCHIVE.c.id)).scalar_subquery())
    .scalar_subquery(),
    0,
)
"""The present source, as the first row that names it: a source that was replaced and is used again is the same
one."""


def of_messages(*columns: ColumnElement[Any]) -> Select[*tuple[Any, ...]]:
    joined = select(*columns).select_from(MESSAGE).join(EPOCH, EPOCH.c.number == MESSAGE.c.epoch)
    return joined.join(FOLDER, FOLDER.c.number == EPOCH.c.folder)


def parts(column: ColumnElement[Any], values: Collection[Any]) -> Iterator[ColumnElement[bool]]:
    """`column` is one of `values`, as conditions of a bounded length, in ascending order."""
    ordered = sorted(set(values))
    for start in range(0, len(ordered), _IN_LIST):
        yield column.in_(ordered[start : start + _IN_LIST])


def uid_parts(column: ColumnElement[Any], uids: Iterable[int]) -> Iterator[ColumnElement[bool]]:
    """The same for UIDs; long ranges are asked for as such."""
    single: list[int] = []
    for each in UidSet(uids).ranges():
        if len(each) > _IN_LIST or len(single) + len(each) > _IN_LIST:
            yield from [column.in_(single)] if single else ()
            single = []
        if len(each) > _IN_LIST:
            yield column.between(each[0], each[-1])
        else:
            single.extend(each)
    yield from [column.in_(single)] if single else ()


def placement(row: Sequence[Any], sets: FlagSets) -> Placement:
    """From the columns of `PLACE`."""
    directory, uidvalidity, generation, present, *message = row
    return placed(directory, uidvalidity, generation, stored_message(message, sets), present)


def stored_message(values: list[Any], sets: FlagSets) -> StoredMessage:
    """From the columns of `STORED_MESSAGE`; `values` is consumed."""
    values[_FLAGS] = sets[values[_FLAGS]]
    return _message(*values)


def folder_name(path: str) -> str:
    """A folder's name for people, from the column of its path."""
    return "/".join(json.loads(path))


def _quickly(cls: type[_T]) -> Callable[..., _T]:
    """A constructor for a frozen dataclass with slots, with all fields by position; it takes a third of the time.

    NOTE: a frozen dataclass sets its fields through `object.__setattr__`, one by one. This makes a value of a class
    with the same slots that is not frozen, and gives it the class that it should have, which Python allows between
    classes of the same layout (docs.python.org, Data model, `__class__` assignment).
    """
    draft = make_dataclass(f"_{cls.__name__}", [each.name for each in fields(cast("Any", cls))], slots=True)

    def make(*values: Any) -> _T:
        made: Any = draft(*values)
        made.__class__ = cls
        return cast(_T, made)

    return make


placed = _quickly(Placement)
_message = _quickly(StoredMessage)
