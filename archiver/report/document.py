"""The report of a run as a value, and as JSON.

Each folder has an equation that must hold (on server = stored + excluded + quarantined + forgotten; and at a
destination: stored = replayed + already there + refused + removed + pending + left out), and every message that is
not where it should be is listed. The exit code follows from the same numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from archiver.facts.replica import Loss, Refused, ReplicaTally
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.mail.model import Folder, Listed, Quarantined, Tally
from archiver.mail.refusal import REFUSALS, advice
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
    return {**report, **done, "folders": folders, "totals": _without_work(report["totals"])}


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


def refusal_failures(refused: Sequence[Refused]) -> list[Failure]:
    """Every message that the destination refused, including the accepted ones."""
    return [
        Failure(
            folder=printable(each.folder),
            uid=each.key[1],
            step="replay",
            reason=each.reason,
            server_reply=each.server_reply and printable(each.server_reply),
            next=_next_of_refused(each),
            date=each.date and printable(each.date),
            subject=each.subject and printable(each.subject),
        )
        for each in refused
    ]


def _next_of_refused(refused: Refused) -> str:
    if refused.accepted:
        return f"{ACCEPTED} that this message is not at the destination"
    if refused.refusal == "damaged":
        return "`archiver repair` fetches it again from wherever it still exists; then run `archiver retry`"
    return next((advice(known) for known in REFUSALS if known == refused.refusal), advice("unknown"))


def pending_failures(tallies: Sequence[ReplicaTally], errors: Mapping[str, str]) -> list[Failure]:
    """Folders of which not everything was sent, with the reason if there is one."""
    failures = []
    for each in tallies:
        reason = errors.get(each.folder)
        if each.pending and reason is None:
            reason = f"{counted(each.pending, 'message is', 'messages are')} not at the destination yet"
        if reason is not None:
            next_step = "run again; messages that are there are not sent again"
            failures.append(Failure(printable(each.folder), None, "replay", printable(reason), None, next_step))
    known = {each.folder for each in tallies}
    failures += [
        Failure(printable(name), None, "replay", printable(reason), None, "run again")
        for name, reason in errors.items()
        if name not in known
    ]
    return failures


def missing_failures(tallies: Sequence[ReplicaTally], labels: str) -> list[Failure]:
    """Folders that are not replayed by themselves, with messages that no replayed folder has."""
    advice = 'run again, in case they have just come; otherwise set [replay] labels = "folders"'
    return [
        Failure(
            printable(each.folder),
            None,
            "replay",
            f"{counted(each.pending, 'message is', 'messages are')} not in All Mail, so with [replay] labels = "
            f'"{labels}" not at the destination',
            None,
            advice,
        )
        for each in tallies
        if each.pending
    ]


def twin_failures(losses: Sequence[Loss]) -> list[Failure]:
    """Every message that the destination stored twice: a run with duplicates is not complete."""
    return [
        Failure(
            folder=printable(each.folder),
            uid=uid,
            step="replay",
            reason="stored twice at the destination: the first copy came late, after the message was sent again",
            server_reply=None,
            next='delete one of the two there (`[replay] vanished = "expunge"` does this if it is certain); if the '
            "destination is slow, a larger [destination] read_timeout prevents it",
        )
        for each in losses
        if each.kind == "twin"
        for uid in each.uids
    ]


def retention_failures(blocked: str | None, kept: Sequence[tuple[str, str]]) -> list[Failure]:
    """Why the rule of retention did not do what it should: all that stayed."""
    failures = []
    if blocked is not None:
        advice = "`archiver run --confirm-deletions` forgets them, `archiver hold` keeps them"
        failures.append(Failure(None, None, "retention", printable(blocked), None, advice))
    for what, why in kept:
        reason = f"{printable(what)} was not removed: {printable(why)}"
        failures.append(Failure(None, None, "retention", reason, None, "`archiver forget --finish` tries again"))
    return failures


def quarantine_failures(quarantined: Sequence[Quarantined]) -> list[Failure]:
    """Every quarantined message, including the accepted ones."""
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
        return f"{ACCEPTED} that this message is not in the archive"
    return "`archiver retry` tries again; `archiver retry --accept` accepts what the server sends, or the loss"


def folder_failures(tallies: Sequence[Tally]) -> list[Failure]:
    """Folders whose pass failed or whose equation does not hold. Folders that this run did not visit are not
    judged: either nothing changed in them, or they are among those that were not reached."""
    failures = []
    for tally in tallies:
        if not tally.visited or (tally.error is None and tally.balanced):
            continue
        reason = printable(tally.error or f"{_unaccounted(tally)} messages are not accounted for")
        failures.append(
            Failure(
                printable(tally.name),
                None,
                "fetch",
                reason,
                None,
                "run again; stored messages are not fetched again",
            )
        )
    return failures


def unreached_failures(names: Sequence[str], reason: str) -> list[Failure]:
    """Folders that the run did not reach."""
    return [Failure(printable(name), None, "fetch", printable(reason), None, "run again") for name in names]


def gap_failures(
    tallies: Sequence[Tally],
    at: AtDestination | None,
    asked: Collection[str],
    explained: Collection[str | None],
    *,
    all_sent: bool,
) -> list[Failure]:
    """What is missing from the totals of a run that nothing stopped, and no other failure explains: the safety net
    under every report that would say `complete`.

    `asked` are the names of the folders that the source listed and the account's rules select; empty if the run did
    not contact the source. `explained` are folders, by their printable names, that already have a failure.
    `all_sent`: everything in the archive should have been sent.
    """
    found = [
        Failure(printable(name), None, "fetch", "the run did not open this folder", None, "run again")
        for name in sorted(set(asked) - {each.name for each in tallies})
    ]
    # NOTE: tallies of the destination are by printable name, which two folders may share.
    named = Counter(each.name for each in tallies)
    for tally in tallies:
        if asked and not tally.balanced:
            reason = f"{_unaccounted(tally)} messages are not accounted for"
            found.append(Failure(printable(tally.name), None, "fetch", reason, None, "run again"))
        if at is not None and all_sent and named[tally.name] == 1:
            found += _gap_there(tally, at.tallies.get(tally.name))
    return [each for each in found if each.folder not in explained]


def _unaccounted(tally: Tally) -> int:
    return tally.on_server - tally.stored - tally.excluded - tally.quarantined - tally.forgotten


def _gap_there(tally: Tally, there: ReplicaTally | None) -> Iterator[Failure]:
    name, again = printable(tally.name), "run again; messages that are there are not sent again"
    if there is None:
        if tally.stored:
            yield Failure(name, None, "replay", "the folder is not mapped to one of the destination", None, again)
        return
    terms = (there.replayed, there.already_there, there.refused, there.removed, there.pending, there.left_out)
    missing = tally.stored - sum(terms)
    if missing:
        yield Failure(
            name,
            None,
            "replay",
            f"{counted(missing, 'message is', 'messages are')} not accounted for there",
            None,
            again,
        )
    if there.pending:
        reason = f"{counted(there.pending, 'message is', 'messages are')} not at the destination yet"
        yield Failure(name, None, "replay", reason, None, again)


def with_unreached(tallies: Sequence[Tally], listed: Sequence[Listed], reasons: Mapping[str, str]) -> list[Tally]:
    """The folders of a report, including those that the run did not reach (`reasons` by name): those have the
    listing's message count, not an earlier run's, and what the archive holds of them. An error of an earlier run
    says nothing about this one and is removed."""
    there = {each.folder.name: each.status for each in listed}
    rows = [each if each.visited else replace(each, error=None) for each in tallies]
    # NOTE: several folders may have the same printable name, so no row may replace another.
    unvisited = {each.name: place for place, each in enumerate(rows) if not each.visited}
    for name, reason in reasons.items():
        status, place = there.get(name), unvisited.get(name)
        uidvalidity = status.uidvalidity if status else None
        row = Tally(name, uidvalidity, 0, 0, 0, 0, visited=False) if place is None else rows[place]
        row = replace(row, on_server=status.messages if status else row.on_server, error=reason)
        if place is None:
            rows.append(row)
        else:
            rows[place] = row
    return rows


def judge(
    failures: Sequence[Failure], accepted: int, error_code: int | None, differences: int = 0
) -> tuple[Status, int]:
    """Status and exit code of a run. `accepted` of the failures were accepted by the user and no longer count.
    `error_code` is the exit code of the error that stopped the account, None if there was none. `differences` is
    the number of differences at the destination."""
    if error_code is not None:
        return ("incomplete" if error_code == 3 else "failed"), error_code
    if differences:
        return "incomplete", 4
    return ("incomplete", 3) if len(failures) > accepted else ("complete", 0)
