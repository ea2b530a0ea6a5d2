"""The equation of every folder, counted by the database with one grouped query for each kind of fact."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from archiver.catalog.sqlite.reading import folder_name
from archiver.facts.known import Tally

_FOLDERS = """
SELECT folder.path, epoch.number, epoch.uidvalidity
FROM folder JOIN epoch ON epoch.folder = folder.number AND epoch.ended_at IS NULL
WHERE folder.listed ORDER BY folder.number
"""
_MESSAGES = """
SELECT epoch, sum(is_present), sum(is_present * size), sum(is_fetched), sum(is_fetched * size) FROM (
    SELECT epoch, size, vanished_at IS NULL AS is_present,
        coalesce(stored_run = :run AND matched IS NULL, 0) AS is_fetched FROM message
) GROUP BY epoch
"""
_QUARANTINED = "SELECT epoch, count(*) FROM quarantine GROUP BY epoch"
_FORGOTTEN = "SELECT epoch, count(*) FROM forgotten_place WHERE gone_at IS NULL GROUP BY epoch"
_REFLAGGED = """
SELECT epoch, count(DISTINCT uid) FROM (
    SELECT epoch, uid FROM flag_change WHERE run = :run
    UNION ALL SELECT epoch, uid FROM label_change WHERE run = :run
) GROUP BY epoch
"""
# NOTE: what we removed from the source did not vanish.
_VANISHED = """
SELECT epoch, count(DISTINCT uid) FROM presence_change AS its WHERE run = :run AND NOT present
AND NOT EXISTS (SELECT 1 FROM prune WHERE prune.epoch = its.epoch AND prune.uid = its.uid)
GROUP BY epoch
"""
_NEWEST_PASSES = """
SELECT pass.epoch, pass.on_server, pass.excluded, pass.error, pass.shown, :run IS NULL
FROM pass JOIN (SELECT epoch, max(segment) AS segment FROM pass GROUP BY epoch) AS newest
ON newest.epoch = pass.epoch AND newest.segment = pass.segment
"""
_PASSES_OF_RUN = "SELECT epoch, on_server, excluded, error, shown, 1 FROM pass WHERE run = :run"


def tallies(connection: sqlite3.Connection, run: str | None) -> Sequence[Tally]:
    """One Tally for every listed folder that has an epoch, in the order in which folders were first seen.

    What only the server knows comes from the pass of `run`, or from the newest pass if `run` made none.
    """

    def by_epoch(statement: str) -> dict[int, Sequence[Any]]:
        return {epoch: rest for epoch, *rest in connection.execute(statement, {"run": run})}

    messages, quarantined = by_epoch(_MESSAGES), by_epoch(_QUARANTINED)
    forgotten = by_epoch(_FORGOTTEN)
    reflagged, vanished = by_epoch(_REFLAGGED), by_epoch(_VANISHED)
    passes = by_epoch(_NEWEST_PASSES) | by_epoch(_PASSES_OF_RUN)

    def tally(path: str, epoch: int, uidvalidity: int) -> Tally:
        stored, stored_bytes, fetched, fetched_bytes = messages.get(epoch, (0, 0, 0, 0))
        on_server, excluded, error, shown, visited = passes.get(epoch, (0, 0, None, None, False))
        return Tally(
            name=folder_name(path),
            uidvalidity=uidvalidity,
            on_server=on_server,
            stored=stored,
            excluded=excluded,
            quarantined=quarantined.get(epoch, (0,))[0],
            fetched=fetched,
            fetched_bytes=fetched_bytes,
            flags_changed=reflagged.get(epoch, (0,))[0],
            vanished=vanished.get(epoch, (0,))[0],
            error=error,
            visited=bool(visited),
            stored_bytes=stored_bytes,
            shown=shown,
            forgotten=forgotten.get(epoch, (0,))[0],
        )

    return [tally(*folder) for folder in connection.execute(_FOLDERS)]
