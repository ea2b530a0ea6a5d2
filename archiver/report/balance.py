"""Whether the books of a run balance: what is missing from the totals without a reason, and the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec.structs import replace

from archiver.facts.known import Tally
from archiver.facts.replica import ReplicaTally
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.mail.model import Listed
from archiver.report.document import AtDestination, Failure, Status


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
