"""Deletions at a destination, where a person's policy asks for them: of our own copies alone, and with a brake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from archiver.copies import Copy, Twin, gone_words
from archiver.copy_facts import MarkedFact, RemovedFact
from archiver.destination_ports import MailDestination
from archiver.errors import FolderNotFound, MessageRefused, PermissionDenied
from archiver.facts import Fact
from archiver.model import KnownFolder
from archiver.names import printable
from archiver.progress import Noted
from archiver.replay.connection import Connection
from archiver.replay.context import ReplayContext, ReplayJob
from archiver.replay.following import DELETED, NO_FLAGS, over_the_brake
from archiver.replay.twins import certain_twins, expunge_twins


def withdraw(context: ReplayContext, connection: Connection, jobs: Sequence[ReplayJob]) -> str | None:
    """Carry out the policy for copies whose messages vanished at the source, but for folders beyond the brake; why
    something was held back. A folder where it cannot be done has that as its error."""
    gone: dict[bytes, Sequence[Copy]] = {}
    twins: dict[bytes, Sequence[Twin]] = {}
    held: dict[bytes, int] = {}
    for job in jobs:
        if job.known is not None:
            copies = context.copies.vanished(job.known.number, gone=context.gone)
            twins[job.raw] = certain_twins(context, job)
            gone[job.raw] = [copy for copy in copies if context.rules.vanished == "expunge" or not copy.marked]
            held[job.raw] = sum(context.copies.claimed(job.known.number).values())
    counts = {raw: len(gone[raw]) + len(twins[raw]) for raw in gone}
    total = sum(counts.values())
    if not total:
        return None
    # A folder that is gone is all of itself: its copies are measured by the account alone.
    single = {raw: counts[raw] - sum(copy.folder in context.gone for copy in gone[raw]) for raw in gone}
    braking = [job for job in jobs if over_the_brake(single.get(job.raw, 0), held.get(job.raw, 0))]
    if over_the_brake(total, sum(held.values())):
        braking = list(jobs)
    reason = None if context.rules.confirmed else _held_back(braking, counts)
    if reason is not None:
        context.progress(Noted(f"{reason}; --confirm-deletions {context.rules.vanished}s them"))
    for job in jobs:
        if counts.get(job.raw) and (context.rules.confirmed or job not in braking):
            try:
                if gone[job.raw]:
                    connection.insist(partial(_take_back, context, job, gone[job.raw]))
                if twins[job.raw]:
                    connection.insist(partial(expunge_twins, context, job, twins[job.raw]))
            except (FolderNotFound, PermissionDenied, MessageRefused) as error:
                job.error = str(error)
                context.progress(Noted(job.error))
    return reason


def stranded_jobs(context: ReplayContext, jobs: Sequence[ReplayJob]) -> list[ReplayJob]:
    """The folders there that hold mail of folders which the source no longer has, and of no others."""
    targets, recorded = context.copies.targets(context.destination), context.copies.mapped(context.destination)
    known = {job.raw for job in jobs}
    found: dict[bytes, list[KnownFolder]] = {}
    for number, folder in context.gone.items():
        if number in recorded and recorded[number][0] in targets and recorded[number][0] not in known:
            found.setdefault(recorded[number][0], []).append(folder)
    return [
        ReplayJob(
            raw=raw,
            name=printable(", ".join(each.folder.name for each in folders)),
            folders=tuple(each.number for each in folders),
            status=None,
            known=targets[raw],
        )
        for raw, folders in found.items()
    ]


def tell_of_gone(context: ReplayContext) -> None:
    """Which folders are gone from the source while copies of ours stay."""
    for number, copies in context.copies.stranded(context.destination).items():
        if number in context.gone:
            context.progress(Noted(gone_words(printable(context.gone[number].folder.name), copies)))


def _held_back(braking: Sequence[ReplayJob], counts: Mapping[bytes, int]) -> str | None:
    left = [(job.name, counts[job.raw]) for job in braking if counts.get(job.raw)]
    if not left:
        return None
    copies = sum(count for _, count in left)
    names = ", ".join(f'"{name}"' for name, _ in left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    words = "copy of a message that is" if copies == 1 else "copies of messages that are"
    return f"{copies} {words} gone from the source stayed, being more than 50 or 10 %: {names}"


def _take_back(
    context: ReplayContext, job: ReplayJob, copies: Sequence[Copy], destination: MailDestination
) -> None:
    """Mark or expunge copies in one folder; none of anybody else's."""
    assert job.known is not None
    if context.rules.vanished == "expunge" and not destination.can_expunge:
        # NOTE: nothing is marked either: whoever expunges next would take it along.
        reason = f"{len(copies)} copies of messages that are gone from the source were left"
        hint = 'the destination cannot expunge them alone; [replay] vanished = "mark" marks them'
        raise PermissionDenied(f'folder "{job.name}": {reason}', hint=hint)
    number = job.known.number
    opened = destination.open(job.raw)
    if opened.uidvalidity != job.known.uidvalidity:
        return  # the next run matches its messages again
    there = set(destination.flags({copy.uid for copy in copies}))
    away = tuple(sorted({copy.uid for copy in copies} - there))
    facts: list[Fact] = [RemovedFact(number, away, "user", context.now())] if away else []
    uids = tuple(sorted(there))
    if uids:
        context.check_stop()
        shown = destination.store({(DELETED, NO_FLAGS): uids})
        marked = tuple(uid for uid in uids if shown.get(uid, NO_FLAGS) >= DELETED)
        facts.append(MarkedFact(number, marked, True, context.now()))
        if marked and context.rules.vanished == "expunge":
            context.recorder.write(facts)  # first, so that what is gone afterwards is known to be our doing
            facts = []
            destination.expunge(marked)
            left = destination.flags(marked)
            expunged = tuple(uid for uid in marked if uid not in left)
            facts.append(RemovedFact(number, expunged, "policy", context.now()))
        done = "expunged" if context.rules.vanished == "expunge" else "marked as deleted"
        words = f"{len(marked):,} copies of messages that are gone from the source {done}"
        context.progress(Noted(f'destination folder "{job.name}": {words}'))
    context.recorder.write(facts)
