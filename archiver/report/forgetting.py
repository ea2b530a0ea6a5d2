"""Takes what stored reports say of forgotten messages out of them: reasons, answers of servers, dates and
subjects."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from archiver.storage.files import Writing, replace_file

_FORGOTTEN = "the message was forgotten"


def forget_in_reports(runs: Path, messages: Collection[tuple[str, int]]) -> int:
    """Rewrite the reports that list one of these messages, by the printable name of its folder and its UID, and
    remove their pages, which are made again; returns how many. A report that cannot be read is removed, since
    nobody knows what it says.

    Raises:
        ArchiveNotWritable: one cannot be written.
    """
    wanted, changed = set(messages), 0
    with Writing(os.fspath(runs)):
        for report in sorted(runs.glob("*/report.json")):
            try:
                document = json.loads(report.read_text(encoding="utf-8"))
                found = [each for each in document["failures"] if (each["folder"], each["uid"]) in wanted]
            except (ValueError, KeyError, TypeError):
                found = None
            if found == []:
                continue
            for each in found or ():
                _blot(each)
            # The page goes first: an interruption must not leave one that is newer than its report.
            with suppress(FileNotFoundError):
                report.with_name("report.html").unlink()
            if found is None:
                report.unlink()
            else:
                octets = (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode("utf-8")
                replace_file(str(report), str(report.with_name(".report-forgotten")), octets, sync=True)
            changed += 1
    return changed


def _blot(failure: dict[str, Any]) -> None:
    failure |= {"reason": _FORGOTTEN, "server_reply": None, "next": ""}
    failure |= {name: None for name in ("date", "subject") if name in failure}
