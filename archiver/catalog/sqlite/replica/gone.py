"""Replicas at a destination whose messages or folders vanished from the source."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping

from archiver.catalog.sqlite.reading import IS_PRUNED, MESSAGES, any_of, json_list
from archiver.catalog.sqlite.replica.queries import OF_MESSAGE, REPLICAS
from archiver.facts.replica import Moved
from archiver.mail.window import WINDOWS

#: Replicas that we appended and that were not removed, without those that the user restored.
_OURS = "copy.removed_at IS NULL AND copy.how IN ('appended', 'found', 'again')"

_CURRENT = "target.destination = :destination AND target.ended_at IS NULL"

_IS_CUT = f"""coalesce((
    SELECT pass.shown IN ({", ".join(map(str, sorted(WINDOWS)))}) FROM pass
    WHERE pass.epoch = epoch.number AND pass.error IS NULL ORDER BY pass.segment DESC LIMIT 1
), 0)"""
_WITH_ITS_FOLDER = f"folder.gone_at IS NOT NULL AND folder.number IN {any_of('gone')}"


def gone_from_source(*, twice: bool) -> str:
    """Our replicas in the folder `target` whose message vanished, or whose source folder, one of `gone`, did;
    `twice`: two complete archive steps saw that.

    Messages that we removed are not among them: their replicas stay, also if their folder is gone later.

    NOTE: not if the folder shows a number of messages at which providers cut off: what earlier versions took for
    deleted there may only be hidden.
    """
    vanished, with_its_folder = "message.vanished_at IS NOT NULL", _WITH_ITS_FOLDER
    if twice:
        vanished += f" AND {_seen_twice('message.vanished_at', 'message.vanished_run')} AND NOT {_IS_CUT}"
        with_its_folder += f" AND {_seen_twice('folder.gone_at', 'folder.gone_run')}"
    is_gone = f"({vanished} OR {with_its_folder}) AND NOT {IS_PRUNED}"
    return f"{REPLICAS} WHERE copy.target = :target AND {_OURS} AND epoch.ended_at IS NULL AND {is_gone}"


def _seen_twice(at: str, run: str) -> str:
    """Two complete archive steps saw what happened at that time. Times have a resolution of a second: within the
    same second only steps of the same or a later run count.

    NOTE: a run whose clock was ahead has a step that seems to come afterwards. So a step also counts only if it was
    recorded no earlier than the first one of `run`; a rebuilt catalog knows no earlier step.
    """
    return f"""(
        SELECT count(*) FROM step WHERE step.step = 'archive' AND (step.at, step.run) >= ({at}, {run})
        AND step.rowid >= (SELECT coalesce(min(its.rowid), 0) FROM step AS its WHERE its.run = {run})
    ) >= 2"""


_STRANDED = f"""
SELECT folder.number, count(*) FROM {MESSAGES}
JOIN copy ON {OF_MESSAGE}
JOIN target ON target.number = copy.target
WHERE folder.gone_at IS NOT NULL AND {_CURRENT} AND {_OURS}
GROUP BY folder.number
"""


def stranded(connection: sqlite3.Connection, destination: int) -> Mapping[int, int]:
    """How many of our replicas belong to folders that the source no longer has, by folder number."""
    return dict(connection.execute(_STRANDED, {"destination": destination}))


_ITS_DESTINATION = "(SELECT destination FROM target WHERE number = :target)"
IS_NEEDED = f"""EXISTS (
    SELECT 1 FROM message AS other
    JOIN epoch AS its_epoch ON its_epoch.number = other.epoch
    JOIN folder AS its_folder ON its_folder.number = its_epoch.folder
    JOIN mapped ON mapped.folder = its_folder.number AND mapped.destination = {_ITS_DESTINATION}
    WHERE other.digest = message.digest AND other.vanished_at IS NULL AND its_epoch.ended_at IS NULL
    AND its_folder.gone_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM copy AS its_copy JOIN target AS its_target ON its_target.number = its_copy.target
        WHERE its_copy.epoch = other.epoch AND its_copy.uid = other.uid AND its_copy.removed_at IS NULL
        AND its_target.destination = {_ITS_DESTINATION} AND its_target.ended_at IS NULL
    )
)"""
"""The message has the same octets as one that is at the source and missing at the destination of `target`; for
instance, it was moved and then refused in its new folder. Then the replica of the vanished message is the only one
there."""

_IS_THERE = "message.vanished_at IS NULL"
_STAYS = f"({_IS_THERE} AND epoch.ended_at IS NULL AND folder.gone_at IS NULL)"
_IS_ASTRAY = f"({_STAYS} AND coalesce(mapped.raw != target.raw, 0))"
_LIVE_COPY = f"copy ON {OF_MESSAGE} AND copy.removed_at IS NULL"
_WHERE_COPIES_ARE = f"""
SELECT copy.target, folder.number,
    sum({_IS_THERE} AND NOT {_STAYS}), sum({_IS_ASTRAY}), sum({_STAYS} AND NOT {_IS_ASTRAY})
FROM {MESSAGES}
JOIN {_LIVE_COPY}
JOIN target ON target.number = copy.target
LEFT JOIN mapped ON mapped.folder = folder.number AND mapped.destination = :destination
WHERE {_CURRENT} GROUP BY copy.target, folder.number
"""
_EQUAL_ELSEWHERE = f"""
SELECT copy.target, its_epoch.folder, count(DISTINCT copy.target_uid), its_epoch.messages
FROM {MESSAGES}
JOIN {_LIVE_COPY}
JOIN message AS other ON other.digest = message.digest
JOIN epoch AS its_epoch ON its_epoch.number = other.epoch
JOIN folder AS its_folder ON its_folder.number = its_epoch.folder
WHERE copy.target IN {any_of("movable")} AND {_IS_THERE}
AND other.vanished_at IS NULL AND its_epoch.ended_at IS NULL AND its_folder.gone_at IS NULL
GROUP BY copy.target, its_epoch.number
"""
_HELD = f"""
SELECT epoch.folder, count(*) FROM {MESSAGES}
WHERE epoch.folder IN {any_of("folders")} AND {_STAYS} GROUP BY epoch.folder
"""


def moved(connection: sqlite3.Connection, destination: int) -> list[Moved]:
    """Destination folders whose replicas belong to source folders that are mapped elsewhere, with the folders that
    have their mail now. The message of each replica is no longer in its folder; or it still is and the folder is
    mapped elsewhere, for instance if a run was interrupted after it followed a rename that was undone before the
    next run."""
    left: Counter[int] = Counter()
    homes: defaultdict[int, set[int]] = defaultdict(set)
    stay: set[int] = set()
    rows = connection.execute(_WHERE_COPIES_ARE, {"destination": destination})
    for target, its_folder, gone, astray, staying in rows:
        left[target] += gone + astray
        if astray:
            homes[target].add(its_folder)
        if staying:
            stay.add(target)
    movable = {
        target for target, number in left.items() if number and target not in stay and len(homes[target]) < 2
    }
    if not movable:
        return []
    equal = connection.execute(_EQUAL_ELSEWHERE, {"movable": json_list(movable)})
    # NOTE: what the account's rules map elsewhere stays where it was, and does not belong to another folder.
    found = [row for row in equal if homes[row[0]] <= {row[1]}]
    held = dict(connection.execute(_HELD, {"folders": json_list(row[1] for row in found)}))
    return [Moved(row[0], row[1], row[2], left[row[0]], held[row[1]], row[3] is not None) for row in found]
