"""Deletions at a destination, if the account's policy asks for them: only of our own copies, and with a limit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from archiver.destination.port import FlagStore
from archiver.errors import FolderNotFound, MessageRefused, PermissionDenied, Where
from archiver.events import Noted
from archiver.facts.archive import Fact
from archiver.facts.destination import MarkedFact, RemovedFact
from archiver.facts.known import KnownFolder
from archiver.facts.outgoing import LateTwin
from archiver.facts.replica import Replica, gone_words
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.replay.connection import DestinationConnection
from archiver.replay.context import ReplayContext, ReplayJob
from archiver.replay.flag_merge import DELETED, NO_FLAGS, exceeds_deletion_limit
from archiver.replay.send.twins import certain_twins, expunge_twins

_COPIES = ("copy of a message that is gone from the source", "copies of messages that are gone from the source")
_TWINS = (
    "message that the destination had stored twice (the message itself is not gone)",
    "messages that the destination had stored twice (the messages themselves are not gone)",
)


def delete_vanished(
    context: ReplayContext, connection: DestinationConnection, jobs: Sequence[ReplayJob]
) -> str | None:
    """Carry out the policy for copies whose messages vanished at the source, except in folders beyond the deletion
    limit; returns why something was not deleted. A folder where it fails has that as its error."""
    gone: dict[bytes, Sequence[Replica]] = {}
    twins: dict[bytes, Sequence[LateTwin]] = {}  # of copies that stay
    along: dict[bytes, Sequence[LateTwin]] = {}  # of copies that go
    for job in jobs:
        if job.known is not None:
            replicas = context.replicas.changes.deletable(job.known.number, gone=context.gone)
            gone[job.raw] = [
                replica for replica in replicas if context.rules.vanished == "expunge" or not replica.marked
            ]
            going = {replica.uid for replica in gone[job.raw]}
            certain = certain_twins(context, job)
            twins[job.raw] = [twin for twin in certain if twin.copy not in going]
            along[job.raw] = [twin for twin in certain if twin.copy in going]
    if not (any(gone.values()) or any(twins.values())):
        return None
    holding = context.replicas.folders.holding(context.destination)
    held = {job.raw: holding[job.raw][1] for job in jobs if job.known is not None and job.raw in holding}
    copies_held, copies_stay = _limited(context, jobs, gone, held, _COPIES)
    twins_held, twins_stay = _limited(context, jobs, twins, held, _TWINS)
    for job in jobs:
        some = [] if job.raw in copies_stay else gone.get(job.raw, ())
        second = [] if job.raw in twins_stay else [*twins.get(job.raw, ())]
        if some:
            second += along[job.raw]
        if some or second:
            job.deleted_from = True
            try:
                # NOTE: twins go first. One whose copy is gone already stays, as it is the last of its message.
                if second:
                    connection.with_retries(partial(expunge_twins, context, job, second))
                if some:
                    connection.with_retries(partial(_delete, context, job, some))
            except (FolderNotFound, PermissionDenied, MessageRefused) as error:
                job.error = error.within(printable(job.name))
                context.control.progress(Noted(str(error)))
    return "; ".join(filter(None, (copies_held, twins_held))) or None


def _limited(
    context: ReplayContext,
    jobs: Sequence[ReplayJob],
    due: Mapping[bytes, Sequence[Replica | LateTwin]],
    held: Mapping[bytes, int],
    words: tuple[str, str],
) -> tuple[str | None, Collection[bytes]]:
    """Why some of what is due to be deleted is kept, and the folders where it is; reported as a note."""
    counts = {raw: len(some) for raw, some in due.items()}
    # All of a folder that is gone is due, so its copies count only toward the account's limit.
    single = {
        raw: sum(isinstance(each, LateTwin) or each.folder not in context.gone for each in some)
        for raw, some in due.items()
    }
    braking = [job for job in jobs if exceeds_deletion_limit(single.get(job.raw, 0), held.get(job.raw, 0))]
    if exceeds_deletion_limit(sum(counts.values()), sum(held.values())):
        braking = list(jobs)
    reason = None if context.rules.confirm_deletions else _beyond_limit(braking, counts, words)
    if reason is None:
        return None, ()
    context.control.progress(Noted(f"{reason}; --confirm-deletions {context.rules.vanished}s them"))
    return reason, {job.raw for job in braking}


def stranded_jobs(context: ReplayContext, jobs: Sequence[ReplayJob]) -> list[ReplayJob]:
    """Folders of the destination that hold mail only of folders that the source no longer has."""
    replica_folders, recorded = (
        context.replicas.folders.current(context.destination),
        context.replicas.folders.mapped(context.destination),
    )
    known = {job.raw for job in jobs}
    found: dict[bytes, list[KnownFolder]] = {}
    for number, folder in context.gone.items():
        if number in recorded and recorded[number][0] in replica_folders and recorded[number][0] not in known:
            found.setdefault(recorded[number][0], []).append(folder)
    return [
        ReplayJob(
            raw=raw,
            name=printable(", ".join(each.folder.name for each in folders)),
            folders=tuple(each.number for each in folders),
            status=None,
            known=replica_folders[raw],
        )
        for raw, folders in found.items()
    ]


def report_gone_folders(context: ReplayContext) -> None:
    """Report folders that are gone from the source while our copies stay."""
    for number, replicas in context.replicas.folders.stranded(context.destination).items():
        if number in context.gone:
            context.control.progress(Noted(gone_words(printable(context.gone[number].folder.name), replicas)))


def _beyond_limit(braking: Sequence[ReplayJob], counts: Mapping[bytes, int], words: tuple[str, str]) -> str | None:
    left = [(job.name, counts[job.raw]) for job in braking if counts.get(job.raw)]
    if not left:
        return None
    replicas = sum(count for _, count in left)
    names = ", ".join(f'"{name}"' for name, _ in left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    return f"{replicas} {words[replicas > 1]} stayed, since that is more than 50 or 10 %: {names}"


def _delete(context: ReplayContext, job: ReplayJob, replicas: Sequence[Replica], destination: FlagStore) -> None:
    """Mark or expunge our copies in one folder, and no other messages."""
    assert job.known is not None
    if context.rules.vanished == "expunge" and not destination.can_expunge:
        # NOTE: nothing is marked either: the next EXPUNGE of any client would remove it.
        reason = f"{counted(len(replicas), 'copy', 'copies')} of mail gone from the source: not expunged"
        hint = 'the destination cannot expunge single messages; use [replay] vanished = "mark" to mark them'
        raise PermissionDenied(reason, where=Where(folder=printable(job.name)), hint=hint)
    number = job.known.number
    opened = destination.open(job.raw)
    if not opened.uidvalidity:
        reason = f"{counted(len(replicas), 'copy', 'copies')} of mail gone from the source: not deleted"
        hint = "the destination gives no UIDVALIDITY, so it is not certain which messages they are"
        raise PermissionDenied(reason, where=Where(folder=printable(job.name)), hint=hint)
    if opened.uidvalidity != job.known.uidvalidity:
        return  # the next run matches its messages again
    there = set(destination.flags({replica.uid for replica in replicas}))
    away = tuple(sorted({replica.uid for replica in replicas} - there))
    facts: list[Fact] = [RemovedFact(number, away, "user", context.control.now())] if away else []
    uids = tuple(sorted(there))
    if uids:
        context.control.check_stop()
        shown = destination.store({(DELETED, NO_FLAGS): uids})
        marked = tuple(uid for uid in uids if shown.get(uid, NO_FLAGS) >= DELETED)
        facts.append(MarkedFact(number, marked, True, context.control.now()))
        if marked and context.rules.vanished == "expunge":
            context.recorder.write(facts)  # first, so that it is known afterwards that we removed them
            facts = []
            destination.expunge(marked)
            left = destination.flags(marked)
            expunged = tuple(uid for uid in marked if uid not in left)
            facts.append(RemovedFact(number, expunged, "policy", context.control.now()))
        done = "expunged" if context.rules.vanished == "expunge" else "marked as deleted"
        words = f"{counted(len(marked), 'copy', 'copies')} of mail gone from the source: {done}"
        context.control.progress(Noted(f'destination folder "{job.name}": {words}'))
    context.recorder.write(facts)
