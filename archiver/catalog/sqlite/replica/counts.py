"""The outcome for each folder's messages at a destination, and what it altered or does not keep."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from archiver.catalog.sqlite.reading import IS_PRESENT, MESSAGES, folder_name
from archiver.catalog.sqlite.replica.queries import GOES_THERE, IS_ALTERED, IS_WANTED, OF_MESSAGE, was_removed
from archiver.catalog.sqlite.replica.twins import twins_listed
from archiver.facts.replica import Loss, ReplicaTally

_IS_CURRENT = "target.destination = mapped.destination AND target.raw = mapped.raw AND target.ended_at IS NULL"
# NOTE: the target is joined before the messages, or SQLite looks through all targets for each of them.
_TALLIES = f"""
SELECT number, name, path,
    sum(is_message AND is_live AND is_new), sum(is_message AND is_live AND NOT is_new),
    sum(is_message AND NOT is_live AND NOT is_gone AND is_refused), sum(is_message AND is_gone),
    sum(is_message AND NOT is_live AND NOT is_gone AND NOT is_refused),
    sum(is_message AND is_live AND is_altered AND NOT is_accepted), sum(is_message AND is_live AND is_accepted)
FROM (
    SELECT mapped.folder AS number, folder.path AS name, mapped.path AS path, message.uid IS NOT NULL AS is_message,
        copy.target IS NOT NULL AND copy.removed_at IS NULL AS is_live,
        coalesce(copy.run = :run AND copy.how IN ('appended', 'found', 'restored'), 0) AS is_new,
        CASE WHEN copy.target IS NULL THEN {was_removed("target.destination", "target.raw")}
            ELSE copy.removed_at IS NOT NULL END AS is_gone,
        refusal.uid IS NOT NULL AS is_refused, copy.accepted_at IS NOT NULL AS is_accepted,
        coalesce({IS_ALTERED}, FALSE) AS is_altered
    FROM mapped
    JOIN folder ON folder.number = mapped.folder
    LEFT JOIN target ON {_IS_CURRENT}
    LEFT JOIN epoch ON epoch.folder = folder.number AND epoch.ended_at IS NULL
    LEFT JOIN message ON message.epoch = epoch.number AND message.vanished_at IS NULL
    LEFT JOIN copy ON copy.target = target.number AND {OF_MESSAGE}
    LEFT JOIN refusal ON refusal.target = target.number AND refusal.epoch = message.epoch
        AND refusal.uid = message.uid
    WHERE mapped.destination = :destination
)
GROUP BY number ORDER BY number
"""
_RESTORED = f"""
SELECT epoch.folder, count(*) FROM copy
JOIN message ON message.epoch = copy.epoch AND message.uid = copy.uid
JOIN epoch ON epoch.number = message.epoch
JOIN folder ON folder.number = epoch.folder
JOIN target ON target.number = copy.target
JOIN mapped ON {GOES_THERE}
WHERE target.destination = :destination AND target.ended_at IS NULL AND copy.removed_at IS NULL
AND copy.run = :run AND copy.how = 'restored' AND NOT {IS_PRESENT}
GROUP BY epoch.folder
"""
_ODD = f"""
SELECT folder.path, copy.uid, copy.lost, copy.repaired, copy.dated, copy.likeness, copy.accepted_at IS NOT NULL,
    copy.lost_labels
FROM {MESSAGES}
JOIN copy ON {OF_MESSAGE}
JOIN target ON target.number = copy.target
JOIN mapped ON {GOES_THERE}
WHERE target.destination = ? AND target.ended_at IS NULL AND {IS_WANTED} AND copy.removed_at IS NULL
AND (copy.lost != '[]' OR copy.repaired != '' OR NOT copy.dated
    OR copy.likeness IN ('line-ends', 'headers', 'cut', 'other') OR copy.lost_labels != '[]')
ORDER BY folder.number, copy.uid
"""


def tallies(connection: sqlite3.Connection, destination: int, run: str | None) -> Sequence[ReplicaTally]:
    """The outcome for every mapped folder's present messages."""
    values = {"destination": destination, "run": run}
    restored: dict[int, int] = dict(connection.execute(_RESTORED, values))
    return [
        replace(
            ReplicaTally(folder_name(name), folder_name(path), *counts),
            restored=restored.get(number, 0),
        )
        for number, name, path, *counts in connection.execute(_TALLIES, values)
    ]


def losses(connection: sqlite3.Connection, destination: int) -> Sequence[Loss]:
    """What the destination altered or does not keep of present messages, and what it stored twice, by folder and
    kind."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for path, uid, lost, repaired, dated, *shown in connection.execute(_ODD, (destination,)):
        folder = folder_name(path)
        for kind, detail in _losses_of(lost, repaired, dated, *shown):
            found.setdefault((folder, kind, detail), []).append(uid)
    twice = twins_listed(connection, destination)
    return [*twice, *(Loss(*what, tuple(uids)) for what, uids in found.items())]


_REWRITTEN = {
    "line-ends": "line ends",
    "headers": "headers",
    "other": "the bytes",
}


def _losses_of(
    lost: str, repaired: str, dated: int, likeness: str | None, accepted: int, labels: str | None
) -> Iterator[tuple[str, str]]:
    if lost != "[]":
        yield "flags", " ".join(json.loads(lost))
    if labels not in (None, "[]"):
        yield "labels", ", ".join(json.loads(str(labels)))
    if repaired:
        yield "repaired", repaired.replace(",", ", ")
    if not dated:
        yield "internaldate", "the destination does not keep it"
    if likeness == "cut":
        yield "cut", "accepted" if accepted else "not accepted"
    elif likeness in _REWRITTEN:
        yield "rewritten", _REWRITTEN[likeness] + (" (accepted)" if accepted else "")
