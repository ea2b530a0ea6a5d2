"""Failures of a report: what is missing or wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archiver.facts.known import Quarantined
from archiver.facts.outgoing import Refused
from archiver.facts.replica import Loss, ReplicaTally
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.mail.refusal import REFUSALS, advice
from archiver.report.document import ACCEPTED, Failure


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


def pruned_failures(unsent: Sequence[tuple[str, int]]) -> list[Failure]:
    """Folders with messages that `prune` removed from the source and that the destination does not have yet."""
    return [
        Failure(
            printable(folder),
            None,
            "replay",
            f"{counted(count, 'message')} that `prune` removed from the source {'is' if count == 1 else 'are'} not "
            "at the destination yet",
            None,
            "run again; messages that are there are not sent again",
        )
        for folder, count in unsent
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


def unreached_failures(reasons: Mapping[str, str]) -> list[Failure]:
    """Folders that the run did not reach, by name with the reason."""
    return [
        Failure(printable(name), None, "fetch", printable(reason), None, "run again")
        for name, reason in reasons.items()
    ]
