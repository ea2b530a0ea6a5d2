"""How failures of one message add up: a message in quarantine, and one that a destination refused."""

from __future__ import annotations

from collections.abc import Mapping


def failed_again(table: str) -> Mapping[str, str]:
    """The columns of `table` that change if a failure follows an earlier one, with their new values: each run
    counts as one try, and another failure does not revoke an acceptance."""
    repeated = f"CASE WHEN excluded.last_run IS NULL OR {table}.last_run = excluded.last_run THEN 0 ELSE 1 END"
    return {
        "tries": f"{table}.tries + {repeated}",
        "accepted": f"{table}.accepted OR excluded.accepted",
        "last_run": f"coalesce(excluded.last_run, {table}.last_run)",
    }
