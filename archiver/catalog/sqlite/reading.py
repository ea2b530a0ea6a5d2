"""Reads rows of messages: the columns of a placement, and their conversion to values.

Rows are taken by position: there may be millions of them. A statement over `MESSAGES` can refer to
the tables `message`, `epoch` and `folder`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from archiver.mail.model import Flags, Placement, StoredMessage
from archiver.mail.uidset import UidSet

_T = TypeVar("_T")


class FlagSets(dict[str, Flags]):
    """Sets of flags by their text, so that equal sets are one object."""

    def __missing__(self, text: str) -> Flags:
        flags = self[text] = frozenset(json.loads(text))
        return flags


MESSAGES = """message
    JOIN epoch ON epoch.number = message.epoch
    JOIN folder ON folder.number = epoch.folder"""

IS_PRESENT = "(message.vanished_at IS NULL AND epoch.ended_at IS NULL)"

#: The message of the statement was removed by us; or it was about to be, and it is not known whether it was.
IS_PRUNED = "EXISTS (SELECT 1 FROM prune WHERE prune.epoch = message.epoch AND prune.uid = message.uid)"

_NAMES = StoredMessage.__struct_fields__
STORED_MESSAGE = ", ".join(f"message.{name}" for name in _NAMES)
PLACE = f"folder.directory, epoch.uidvalidity, epoch.generation, {IS_PRESENT}, {STORED_MESSAGE}"
_FLAGS, _LABELS = _NAMES.index("flags"), _NAMES.index("labels")

CURRENT_SOURCE = """coalesce((
    SELECT min(archive.id) FROM archive JOIN archive AS named
    ON named.protocol = archive.protocol AND named.host = archive.host AND named.user = archive.user
    WHERE named.id = (SELECT max(id) FROM archive)
), 0)"""
"""The present source, by the first row that names it: a source that was left and came back is the same one."""


def any_of(name: str) -> str:
    """The values that the parameter `name` has from `json_list`: `uid IN {any_of("uids")}`. They are one parameter,
    so there may be any number of them, and the statement stays the same."""
    return f"(SELECT value FROM json_each(:{name}))"


def json_list(values: Iterable[Any]) -> str:
    """Numbers or texts as a parameter for `any_of`, in ascending order."""
    return json.dumps(sorted(set(values)))


UID_RANGES = "json_each(:ranges) AS its"
IN_UID_RANGE = """message.epoch = :epoch
    AND message.uid BETWEEN json_extract(its.value, '$[0]') AND json_extract(its.value, '$[1]')"""
_RANGES = 5000


def uid_ranges(uids: Iterable[int] | None) -> Iterator[str]:
    """UIDs as values of the parameter of `UID_RANGES`, one after the other and each of a bounded length; one value
    if there are none to keep to.

    The statement is `... FROM {UID_RANGES} CROSS JOIN message WHERE {IN_UID_RANGE}`: so SQLite looks up one range
    after the other in the order in which they are given.
    """
    if uids is None:
        yield "[]"
        return
    ranges = iter(UidSet(uids).ranges())
    while part := [(each[0], each[-1]) for each in islice(ranges, _RANGES)]:
        yield json.dumps(part)


def placement(row: Sequence[Any], sets: FlagSets) -> Placement:
    """From the columns of `PLACE`."""
    directory, uidvalidity, generation, present, *message = row
    return Placement(directory, uidvalidity, generation, stored_message(message, sets), bool(present))


def stored_message(values: list[Any], sets: FlagSets) -> StoredMessage:
    """From the columns of `STORED_MESSAGE`; `values` is consumed."""
    values[_FLAGS] = sets[values[_FLAGS]]
    if values[_LABELS] is not None:
        values[_LABELS] = sets[values[_LABELS]]
    return StoredMessage(*values)


def folder_name(path: str) -> str:
    """A folder's name for people, from the column of its path."""
    return "/".join(json.loads(path))
