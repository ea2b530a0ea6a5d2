"""How failures of one message add up: a message in quarantine, and one that a destination refused."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Table, case, func, or_
from sqlalchemy.dialects.sqlite import Insert


def failed_again(table: Table, failure: Insert) -> dict[str, ColumnElement[Any]]:
    """The columns of `table` that change if `failure` follows an earlier one: each run counts as one try."""
    ours, new = table.c, failure.excluded
    repeated = case((new.last_run.is_(None), 0), (ours.last_run == new.last_run, 0), else_=1)
    return {
        "tries": ours.tries + repeated,
        # An acceptance is not revoked by another failure.
        "accepted": or_(ours.accepted, new.accepted),
        "last_run": func.coalesce(new.last_run, ours.last_run),
    }
