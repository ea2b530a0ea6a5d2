"""What the catalog knows about messages that a destination may have stored twice: attempts, and late twins."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from archiver.catalog.sqlite.reading import MESSAGES, PLACE, FlagSets, folder_name, placement
from archiver.catalog.sqlite.replica.queries import GOES_THERE
from archiver.facts.outgoing import Attempt, LateTwin, Outgoing
from archiver.facts.replica import Loss
from archiver.mail.uidset import format_uid_set

_LINE = 10_000_000


_ATTEMPTS = f"""
SELECT attempt.uidnext, attempt.times, attempt.at, attempt.silent, copy.size, copy.dated, copy.flags,
    message.epoch, {PLACE}
FROM {MESSAGES}
JOIN attempt ON attempt.epoch = message.epoch AND attempt.uid = message.uid
JOIN copy ON copy.target = attempt.target AND copy.epoch = message.epoch AND copy.uid = message.uid
WHERE attempt.target = ? ORDER BY message.epoch, message.uid
"""
_TWINS = """
SELECT twin.target_uid, twin.epoch, twin.uid, copy.target_uid, twin.flags, twin.certain
FROM twin LEFT JOIN copy ON copy.target = twin.target AND copy.epoch = twin.epoch AND copy.uid = twin.uid
    AND copy.removed_at IS NULL
WHERE twin.target = ? ORDER BY twin.target_uid
"""
_SAME = "other.target = twin.target AND other.epoch = twin.epoch AND other.uid = twin.uid"
_LISTED = f"""
SELECT folder.path, twin.uid, twin.target_uid FROM {MESSAGES}
JOIN twin ON twin.epoch = message.epoch AND twin.uid = message.uid
JOIN target ON target.number = twin.target
JOIN mapped ON {GOES_THERE}
WHERE target.destination = ? AND target.ended_at IS NULL AND (
    EXISTS (
        SELECT 1 FROM copy AS other
        WHERE {_SAME} AND other.target_uid != twin.target_uid AND other.removed_at IS NULL
    ) OR EXISTS (SELECT 1 FROM twin AS other WHERE {_SAME} AND other.target_uid != twin.target_uid)
)
ORDER BY folder.number, twin.target_uid
"""


def attempts(connection: sqlite3.Connection, target: int) -> Sequence[Attempt]:
    """Messages that have a replica and may be stored a second time."""
    sets = FlagSets()
    return [_attempt(row, sets) for row in connection.execute(_ATTEMPTS, (target,))]


def _attempt(row: Sequence[Any], sets: FlagSets) -> Attempt:
    uidnext, times, at, silent, size, dated, flags, epoch, *columns = row
    place = placement(columns, sets)
    sizes = frozenset({place.size, place.crlf_size, *([] if size is None else [size])})
    return Attempt(Outgoing(epoch, place), uidnext, times, sizes, bool(dated), sets[flags], at, bool(silent))


def twins(connection: sqlite3.Connection, target: int) -> Sequence[LateTwin]:
    """Twins that still exist as far as known, in UID order, with their message's replica if it still exists."""
    return [
        LateTwin(uid, (epoch, message), replica, frozenset(json.loads(flags)), bool(certain))
        for uid, epoch, message, replica, flags, certain in connection.execute(_TWINS, (target,))
    ]


def twins_listed(connection: sqlite3.Connection, destination: int) -> Sequence[Loss]:
    """The twins of a destination, for its report: one row per folder. The last remaining replica of a message is
    not a twin."""
    found: dict[str, list[tuple[int, int]]] = {}
    for path, uid, there in connection.execute(_LISTED, (destination,)):
        found.setdefault(folder_name(path), []).append((uid, there))
    return [
        Loss(
            folder,
            "twin",
            ",".join(format_uid_set({there for _, there in pairs}, _LINE)),
            tuple(sorted(uid for uid, _ in pairs)),
        )
        for folder, pairs in found.items()
    ]
