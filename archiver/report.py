"""The report of a run: the ledger as a value, and as JSON.

It says for each folder an equation that must balance (on server = stored + excluded + quarantined) and lists
every message that is not where it should be. The exit code follows from the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from archiver.model import Folder, Quarantined, Tally
from archiver.names import printable

FORMAT = "archiver-report/1"
Status = Literal["complete", "incomplete", "failed"]

_COUNTS = (
    "on_server",
    "stored",
    "excluded",
    "quarantined",
    "fetched",
    "fetched_bytes",
    "flags_changed",
    "vanished",
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What is not in the archive as it should be: where, why, and what can be done."""

    folder: str | None
    uid: int | None
    step: str
    reason: str
    server_reply: str | None
    next: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run of one account, ready to be written."""

    account: str
    run: str
    status: Status
    started: str
    finished: str
    exit_code: int
    folders: Sequence[Tally]
    skipped: Sequence[tuple[Folder, str]]
    failures: Sequence[Failure]

    @property
    def totals(self) -> dict[str, int]:
        """The folders' counts summed."""
        return {name: sum(getattr(folder, name) for folder in self.folders) for name in _COUNTS}

    def to_json(self) -> dict[str, Any]:
        """The document docs/formats.md specifies."""
        return {
            "format": FORMAT,
            "account": self.account,
            "run": self.run,
            "status": self.status,
            "started": self.started,
            "finished": self.finished,
            "exit_code": self.exit_code,
            "folders": [_folder(each) for each in self.folders],
            "skipped": [{"name": printable(folder.name), "reason": reason} for folder, reason in self.skipped],
            "totals": self.totals,
            "failures": [asdict(each) for each in self.failures],
        }


def _folder(tally: Tally) -> Mapping[str, object]:
    named = {"name": printable(tally.name), "uidvalidity": tally.uidvalidity}
    return named | {name: getattr(tally, name) for name in _COUNTS}


def quarantine_failures(quarantined: Sequence[Quarantined]) -> list[Failure]:
    """Every quarantined message, the accepted ones too."""
    return [
        Failure(
            folder=printable(each.folder),
            uid=each.uid,
            step=each.step,
            reason=each.reason,
            server_reply=each.server_reply,
            next=_next(each),
        )
        for each in quarantined
    ]


def _next(quarantined: Quarantined) -> str:
    if quarantined.accepted:
        return "a person accepted that this message is not in the archive"
    return "`archiver retry` tries again; `archiver retry --accept` takes what the server gives, or the loss"


def folder_failures(tallies: Sequence[Tally]) -> list[Failure]:
    """Folders whose pass failed or whose equation does not balance. One that this run did not visit is not judged
    by it: either nothing changed there, or it is among those not reached."""
    failures = []
    for tally in tallies:
        missing = tally.on_server - tally.stored - tally.excluded - tally.quarantined
        if not tally.visited or (tally.error is None and missing == 0):
            continue
        reason = printable(tally.error or f"{missing} messages are not accounted for")
        failures.append(
            Failure(
                printable(tally.name), None, "fetch", reason, None, "run again; what is there is not fetched twice"
            )
        )
    return failures


def unreached_failures(names: Sequence[str], reason: str) -> list[Failure]:
    """Folders the run did not get to."""
    return [Failure(printable(name), None, "fetch", printable(reason), None, "run again") for name in names]


def judge(failures: Sequence[Failure], accepted: int, error_code: int | None) -> tuple[Status, int]:
    """Status and exit code of a run. `accepted` of the failures were accepted by a person and no longer count;
    `error_code` is the exit code of what stopped the account, None if nothing did."""
    if error_code is not None:
        return "failed", error_code
    return ("incomplete", 3) if len(failures) > accepted else ("complete", 0)
