"""Holds, for people and as JSON, and what a command line says of one."""

from __future__ import annotations

import getpass
import socket
from typing import Any

from archiver.errors import ConfigError
from archiver.facts.keeping import HoldFact
from archiver.mail.folder_names import printable


def reason_of(text: str | None, verb: str) -> str:
    """The reason that a command line gives.

    Raises:
        ConfigError: it gives none.
    """
    reason = " ".join((text or "").split())
    if not reason:
        hint = "say it for those who ask later; it stays in the archive's journal"
        raise ConfigError(f"archiver {verb}", ["why? Give --reason TEXT"], hint=hint)
    return reason


def user() -> str:
    """Who gives this command, and on which machine."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name
        return socket.gethostname()


def hold_to_record(hold: HoldFact) -> dict[str, Any]:
    """A hold, for JSON. Control characters are escaped."""
    return {
        "number": hold.number,
        "folders": [printable(each) for each in hold.folders],
        "addresses": [printable(each) for each in hold.addresses],
        "reason": printable(hold.reason),
        "by": printable(hold.by),
        "at": hold.at,
    }


def hold_words(record: dict[str, Any]) -> str:
    """What a hold keeps, since when and why, in one line."""
    what = []
    if record["folders"]:
        what.append("in " + " or ".join(f'"{each}"' for each in record["folders"]))
    if record["addresses"]:
        what.append("from or to " + " or ".join(record["addresses"]))
    held = f"messages {', '.join(what)}" if what else "everything"
    return f"{held}; since {record['at'][:10]} by {record['by']}: {record['reason']}"
