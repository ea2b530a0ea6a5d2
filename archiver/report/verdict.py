"""The verdict on a run in plain words, for the top of its report for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from archiver.mail.counts import counted
from archiver.report.units import Row, missing, size, undelivered

_ENDS = {
    1: "an unexpected error stopped it",
    2: "the account's settings are wrong",
    4: "files were found that do not belong to the archive",
    5: "the server could not be reached, or refused the login",
    6: "the archive is damaged",
    7: "another run was at work",
    8: "the archive could not be written: the disk is full or read-only",
    75: "the server asked to try later",
}
_NOTICES = 3
_UNREACHED = "not reached: "


class Verdict(Struct, frozen=True):
    """The result of a run. `sentences` say more; they may contain text from a server."""

    kind: Literal["good", "part", "bad"]
    headline: str
    sentences: Sequence[str]


def verdict(report: Row) -> Verdict:
    """The verdict on a `completed` report. It follows from the numbers; the status can only make it worse."""
    problems, lost, aside = _problems(report), _lost(report), _left_aside(report)
    if report["status"] not in ("complete", "incomplete"):
        headline = "The run was stopped" if report["exit_code"] > 128 else "The run did not finish"
        return Verdict("bad", headline, _said(_why(report), _held(report), *problems, *aside))
    if report["status"] == "complete" and problems == lost:  # a loss is incomplete until it is accepted
        there = report["totals"]["destination"]
        held = there["replayed"] + there["already_there"] if there else report["totals"]["stored"]
        amount = f"{counted(held, 'message')} in {counted(len(report['folders']), 'folder')}"
        if not lost:
            all_there = "Everything that the server shows is there" if _cut_off(report) else "Everything is there"
            return Verdict("good", f"{all_there}: {amount}", _said(_whole(report), *aside))
        accepted = (f"{each}; this was accepted" for each in lost)
        return Verdict("good", f"Everything that could be fetched is there: {amount}", _said(*accepted, *aside))
    headline = "; ".join(problems[:2]) or "Something is missing"
    return Verdict("part", headline[:1].upper() + headline[1:], _said(*problems[2:], _held(report), *aside))


def _said(*parts: str) -> list[str]:
    return [f"{part[:1].upper()}{part[1:]}." for part in parts if part]


def _whole(report: Row) -> str:
    totals, there = report["totals"], report["totals"]["destination"]
    if report["as_of"] and there is not None:
        restored = f"{there['replayed'] + there['restored']:,} of them delivered in this run"
        return f"the messages that the folders held at {report['as_of']} are at the destination, {restored}"
    which = "every message that the server shows" if _cut_off(report) else "every message on the server"
    which += " that the account's settings include" if totals["excluded"] else ""
    octets = f" ({size(totals['stored_bytes'])})" if totals["stored_bytes"] else ""
    if there is None:
        return f"{which} is in the archive with exactly its bytes{octets}"
    delivered = [f"{there['replayed']:,} delivered in this run"] if there["replayed"] else []
    delivered += [f"{there['already_there']:,} already there"] if there["already_there"] else []
    delivered += [f"{there['verified']:,} compared and equal"] if there["verified"] else []
    details = f": {', '.join(delivered)}" if delivered else ""
    return f"{which} is in the archive{octets} and at the destination{details}"


def _cut_off(report: Row) -> bool:
    """Whether the server probably shows only a part of a folder."""
    return any(each["kind"] == "window" for each in report["notices"])


def _held(report: Row) -> str:
    totals, there = report["totals"], report["totals"]["destination"]
    if not totals["stored"]:
        return "nothing is in the archive yet"
    octets = f" ({size(totals['stored_bytes'])})" if totals["stored_bytes"] else ""
    amount = f"{counted(totals['stored'], 'message')} in {counted(len(report['folders']), 'folder')}"
    held = f"the archive holds {amount}{octets}"
    return (
        held if there is None else f"{held}; {there['replayed'] + there['already_there']:,} are at the destination"
    )


def _lost(report: Row) -> list[str]:
    """What may be lost, which the user may have accepted."""
    totals, there = report["totals"], report["totals"]["destination"]
    lost = []
    if totals["quarantined"]:
        lost.append(f"{counted(totals['quarantined'], 'message')} could not be archived")
    if there is not None and there["refused"]:
        lost.append(f"{counted(there['refused'], 'message')} could not be delivered")
    return lost


def _problems(report: Row) -> list[str]:
    """What is wrong, the worst first."""
    problems = _lost(report)
    there = report["totals"]["destination"]
    found = max(len(report["differences"]), there["differences"] if there else 0)
    if found:
        problems.append(f"{counted(found, 'difference')} found at the destination")
    if twins := sum(each["count"] for each in report["losses"] if each["kind"] == "twin"):
        problems.append(f"{counted(twins, 'message')} {'is' if twins == 1 else 'are'} twice at the destination")
    unfinished = {each["folder"] for each in report["failures"] if each["uid"] is None and each["folder"]}
    if unfinished:
        problems.append(f"{counted(len(unfinished), 'folder')} could not be finished")
    elif any(missing(each) or undelivered(each) for each in (*report["folders"], report["totals"])):
        problems.append("not every message is accounted for")
    if there is not None and there["pending"] and not report["as_of"]:
        waits = "waits" if there["pending"] == 1 else "wait"
        problems.append(f"{counted(there['pending'], 'message')} still {waits} to be delivered")
    return problems


def _left_aside(report: Row) -> list[str]:
    """What is missing for a good reason, and other remarks."""
    totals, there = report["totals"], report["totals"]["destination"]
    aside = ["this run began the archive: there was none before"] if report["began_archive"] else []
    if totals["excluded"]:
        aside.append(f"{counted(totals['excluded'], 'message')} excluded by the account's settings")
    if there is not None and there["removed"]:
        aside.append(
            f"{counted(there['removed'], 'message')} delivered earlier and since removed at the destination"
        )
    if there is not None and there["accepted"]:
        amount = counted(there["accepted"], "message")
        aside.append(f"{amount} accepted as the destination shows them, altered or cut off")
    if there is not None and there["restored"]:
        aside.append(f"{counted(there['restored'], 'message')} gone from the source and restored in this run")
    aside += [each["text"] for each in report["notices"][:_NOTICES]]
    if len(report["notices"]) > _NOTICES:
        more = len(report["notices"]) - _NOTICES
        aside.append(f"{counted(more, 'more folder')} with such notices {'is' if more == 1 else 'are'} listed")
    if any(each["kind"] != "twin" for each in report["losses"]):
        aside.append("the destination did not keep everything unchanged; what it altered is listed")
    return aside


def _why(report: Row) -> str:
    """What stopped the run: the reason why a folder was not reached, or another one that concerns no single
    message, or the exit code."""
    if report["exit_code"] > 128:
        return f"it was stopped by signal {report['exit_code'] - 128}; the next run goes on where it stopped"
    reasons = [str(each["reason"]) for each in report["failures"] if each["uid"] is None]
    first = min(reasons, key=lambda reason: not reason.startswith(_UNREACHED), default=None)
    if first is not None:
        return f"it ended early: {first.removeprefix(_UNREACHED).rstrip('.')}"
    return _ENDS.get(report["exit_code"], f"exit code {report['exit_code']}")
