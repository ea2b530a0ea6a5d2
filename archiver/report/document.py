"""The report of a run as a value, and as JSON.

Each folder has an equation that must hold (on server = stored + excluded + quarantined + forgotten; and at a
destination: stored = replayed + already there + refused + removed + pending + left out), and every message that is
not where it should be is listed. The exit code follows from the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, field, to_builtins

from archiver.facts.known import Tally
from archiver.facts.replica import Loss, ReplicaTally
from archiver.mail.folder_names import printable
from archiver.mail.model import Folder
from archiver.mail.uidset import format_uid_set
from archiver.report.units import COUNTS

FORMAT = "archiver-report/1"
Status = Literal["complete", "incomplete", "failed"]

_AT_DESTINATION = ("replayed", "already_there", "refused", "removed", "pending", "restored", "accepted", "left_out")
#: The beginning of the advice for a message whose loss was accepted.
ACCEPTED = "a person accepted"

_LINE = 10_000_000  # of UIDs in one entry


class Failure(Struct, frozen=True):
    """What is missing or wrong: where, why, and what to do about it."""

    folder: str | None
    uid: int | None
    step: str
    reason: str
    server_reply: str | None
    next: str
    date: str | None = None
    subject: str | None = None


class Notice(Struct, frozen=True):
    """What the user should know about a folder although nothing failed. `kind` is "window": the server probably
    shows only a part of it, `count` messages; "renewed": all `count` folders of the source have a new UIDVALIDITY
    (`folder` is empty); "unnumbered": `count` folders of a server have none (`folder` is empty); "gone": the source
    no longer has it, and `count` of our copies stay; "shared": `count` copies in that folder of the destination
    stayed because another account counts on them; "doubtful": `count` messages in files could be read in another
    way; "received": `count` messages were fetched by a protocol without dates; "by-digest": `count` messages have
    no UIDL that can be relied on; "rights": the destination did not give the access rights of `count` users to a
    folder; "left-out": `count` messages of a folder are not replayed; "admin": an admin who opened the mailbox sees
    no folder but INBOX (`folder` is empty); or "empty": the source shows no message in any folder, in `check` alone
    (`folder` is empty). "forgotten": `[retention]` forgot `count` messages; "held": it would forget `count` that
    are held (`folder` is empty)."""

    folder: str
    kind: Literal[
        "window",
        "renewed",
        "gone",
        "shared",
        "unnumbered",
        "doubtful",
        "received",
        "by-digest",
        "rights",
        "left-out",
        "admin",
        "empty",
        "forgotten",
        "held",
    ]
    count: int
    text: str


class Party(Struct, frozen=True):
    """A server and the user name on it."""

    server: str
    user: str


class AtDestination(Struct, frozen=True):
    """The account at its destination: `tallies` by folder name; how many copies of each were `verified` and how
    many of them differ; what the destination altered; and the list of differences."""

    party: Party
    tallies: Mapping[str, ReplicaTally]
    verified: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    losses: Sequence[Loss] = ()
    differences: Sequence[Mapping[str, object]] = ()


class RunReport(Struct, frozen=True):
    """A run of one account. `timings` are the seconds that its steps took. `as_of` is the moment whose folders it
    replayed; None: the present ones. `began_archive`: there was no archive before. `again_at`: when to try again
    after the server ended the run because of a limit."""

    account: str
    run: str
    status: Status
    started: str
    finished: str
    exit_code: int
    folders: Sequence[Tally]
    skipped: Sequence[tuple[Folder, str]]
    failures: Sequence[Failure]
    source: Party | None = None
    destination: AtDestination | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    as_of: str | None = None
    notices: Sequence[Notice] = ()
    began_archive: bool = False
    again_at: str | None = None

    @property
    def totals(self) -> dict[str, Any]:
        """The sums over all folders."""
        totals: dict[str, Any] = {name: sum(getattr(each, name) for each in self.folders) for name in COUNTS}
        there = [each for each in map(self._there, self.folders) if each is not None]
        names = (*_AT_DESTINATION, "verified", "differences")
        summed = {name: sum(each[name] for each in there) for name in names}
        return totals | {"destination": summed if self.destination else None}

    def _there(self, tally: Tally) -> dict[str, Any] | None:
        """A folder at the destination; if it is not mapped yet, all its messages are pending. None: there is no
        destination."""
        at = self.destination
        if at is None:
            return None
        copies = at.tallies.get(tally.name) or not_mapped(tally)
        verified, differences = at.verified.get(printable(tally.name), (0, 0))
        counts = {name: getattr(copies, name) for name in _AT_DESTINATION}
        return {"name": printable(copies.name), **counts, "verified": verified, "differences": differences}

    def to_json(self) -> dict[str, Any]:
        """The document that docs/formats.md specifies."""
        return {
            "format": FORMAT,
            "account": self.account,
            "run": self.run,
            "status": self.status,
            "started": self.started,
            "finished": self.finished,
            "exit_code": self.exit_code,
            "again_at": self.again_at,
            "source": None if self.source is None else to_builtins(self.source),
            "destination": None if self.destination is None else to_builtins(self.destination.party),
            "as_of": self.as_of,
            "began_archive": self.began_archive,
            "timings": {step: round(seconds, 3) for step, seconds in self.timings.items()},
            "folders": [{**_folder(each), "destination": self._there(each)} for each in self.folders],
            "skipped": [{"name": printable(folder.name), "reason": reason} for folder, reason in self.skipped],
            "totals": self.totals,
            "failures": [to_builtins(each) for each in self.failures],
            "notices": [to_builtins(each) for each in self.notices],
            "losses": [_loss(each) for each in self.destination.losses] if self.destination else [],
            "differences": list(self.destination.differences) if self.destination else [],
        }


_WORK = ("fetched", "fetched_bytes", "flags_changed", "vanished")


def nothing_new(report: Mapping[str, Any], run: str, at: str) -> dict[str, Any]:
    """The JSON of a report as a later run that found nothing new would have written it."""
    folders = [_without_work(each) for each in report["folders"]]
    done = {"run": run, "started": at, "finished": at, "began_archive": False, "timings": {}}
    notices = [each for each in report["notices"] if each["kind"] != "forgotten"]
    return {**report, **done, "folders": folders, "totals": _without_work(report["totals"]), "notices": notices}


def _without_work(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of a folder, or of all, of a run that did nothing: what was sent before is there already."""
    counts = {**numbers, **dict.fromkeys(_WORK, 0)}
    if (there := numbers.get("destination")) is not None:
        sent = {"replayed": 0, "already_there": there["replayed"] + there["already_there"], "restored": 0}
        counts["destination"] = {**there, **{name: sent[name] for name in sent if name in there}}
    return counts


def not_mapped(tally: Tally) -> ReplicaTally:
    """A folder that has no place at the destination yet: all its messages wait."""
    return ReplicaTally(tally.name, "", 0, 0, 0, 0, tally.stored)


def _folder(tally: Tally) -> Mapping[str, object]:
    named = {"name": printable(tally.name), "uidvalidity": tally.uidvalidity, "shown": tally.shown}
    counts = {name: getattr(tally, name) for name in COUNTS}
    return named | counts | {"error": tally.error and printable(tally.error)}


def _loss(loss: Loss) -> Mapping[str, object]:
    uids = ",".join(format_uid_set(loss.uids, _LINE))
    return {
        "folder": printable(loss.folder),
        "kind": loss.kind,
        "detail": printable(loss.detail),
        "count": len(loss.uids),
        "uids": uids,
    }
