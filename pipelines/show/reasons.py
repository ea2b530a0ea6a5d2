"""Why a run's exit code is not 0, in one line, from its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archiver.mail.folder_names import printable
from archiver.report.document import ACCEPTED


def reason_of(document: Mapping[str, Any]) -> str | None:
    """The reason in one line, with numbers; None if the report gives none, like that of a complete run."""
    left = [each for each in document.get("failures", ()) if not each["next"].startswith(ACCEPTED)]
    whole = list(dict.fromkeys(each["reason"] for each in left if each["folder"] is None))
    parts = [each for each in left if each["folder"] is not None]
    if parts:
        messages = sum(each["uid"] is not None for each in parts)
        counts = [_count(messages, "message"), _count(len(parts) - messages, "folder")]
        first = parts[0]
        place = f'folder "{first["folder"]}"' + (f", uid {first['uid']}" if first["uid"] is not None else "")
        whole.append(f"{' and '.join(filter(None, counts))} incomplete ({place}: {first['reason']})")
    if differences := len(document.get("differences") or ()):
        whole.append(f"{_count(differences, 'difference')} at the destination")
    return printable("; ".join(whole)) or None


def next_step_of(document: Mapping[str, Any]) -> str | None:
    """What to do about the first thing that keeps a run's exit code from 0; None if the report does not say."""
    left = (each for each in document.get("failures", ()) if not each["next"].startswith(ACCEPTED))
    return next((printable(each["next"]) for each in left if each["next"]), None)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}" if number else ""
