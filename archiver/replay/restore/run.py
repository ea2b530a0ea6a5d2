"""Messages that somebody asks for, sent to a mailbox by the steps of a replay: each folder is mapped, created and
opened, what an earlier attempt left is resolved, and what is missing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from msgspec import Struct

from archiver.destination.folder_map.choices import MapRules
from archiver.destination.port import MailDestination
from archiver.errors import FolderNotFound
from archiver.events import Planned
from archiver.facts.archive import Fact
from archiver.facts.destination import MappedFact, RemovedFact, TargetStateFact
from archiver.facts.known import KnownFolder
from archiver.facts.mailbox import DestinationFolders
from archiver.facts.replica import ReplicaFolder
from archiver.mail.folder_names import canonical_raw, decode_name, printable
from archiver.mail.model import INBOX
from archiver.replay.connection import DestinationConnection
from archiver.replay.context import ReplayContext, ReplayJob
from archiver.replay.folders.create import create_folders, rules_for
from archiver.replay.run import jobs_of, know_refused, note_twins, work_off
from archiver.replay.sync_folder import FolderSync

_TOP = MapRules({})


class FolderPart(Struct, frozen=True):
    """Folders that are mapped by the same rules; `same_names`: each to the folder of its own name, octet for
    octet."""

    folders: Sequence[KnownFolder]
    rules: MapRules = _TOP
    same_names: bool = False


def parts_below(folders: Sequence[KnownFolder], into: str) -> list[FolderPart]:
    """How folders go below the folder `into`: what was in INBOX lies there itself, other folders keep their names
    below it."""
    inbox = [each for each in folders if canonical_raw(each.folder.raw) == INBOX]
    others = [each for each in folders if canonical_raw(each.folder.raw) != INBOX]
    above, _, last = into.rpartition("/")
    found = [FolderPart(inbox, MapRules({"INBOX": last}, above))] if inbox else []
    return [*found, FolderPart(others, MapRules({}, into))] if others else found


def parts_in_place(folders: Sequence[KnownFolder]) -> list[FolderPart]:
    """How folders go back to the mailbox that they are from."""
    return [FolderPart(folders, same_names=True)]


def look_again(
    context: ReplayContext, connection: DestinationConnection, folders: Iterable[tuple[int, ReplicaFolder]]
) -> None:
    """Find out what became of messages that were brought back to these folders of these places before: of those
    that an earlier attempt was sending, and of those that were there. Nothing is sent."""
    for place, folder in folders:
        context.destination = place
        job = ReplayJob(folder.raw, printable(decode_name(folder.raw)), (), None, folder)

        def pass_over(destination: MailDestination, job: ReplayJob = job) -> None:
            FolderSync(context, destination, job).run()

        try:
            connection.with_retries(pass_over, partial(_steps, job))
        except FolderNotFound:
            _note_removed(context, folder)


def _steps(job: ReplayJob) -> int:
    return job.steps


def _note_removed(context: ReplayContext, folder: ReplicaFolder) -> None:
    """The folder is gone, and what was in it."""
    live = [uid for uid, is_live in context.replicas.messages.claimed(folder.number).items() if is_live]
    if live:
        now = context.control.now()
        facts: list[Fact] = [RemovedFact(folder.number, tuple(sorted(live)), "user", now)]
        if folder.state is not None:  # so that it is looked at if it exists again
            facts.append(TargetStateFact(folder.number, folder.state.uidnext, 0, now))
        context.recorder.write(facts)


def restore_messages(
    context: ReplayContext,
    connection: DestinationConnection,
    listed: DestinationFolders,
    parts: Sequence[FolderPart],
    connections: int,
) -> dict[str, str]:
    """Send what `context.pending` has of these folders to the place `context.destination`. Returns why folders
    could not be finished, by name.

    Raises:
        ConfigError: the folders cannot be mapped; nothing was created.
        ArchiverError: the mailbox could not be finished; what was done so far is recorded.
    """
    errors: dict[str, str] = {}
    context.append_limit = listed.append_limit
    placed: list[tuple[KnownFolder, bytes]] = []
    for part in parts:
        if part.same_names:
            _map_to_themselves(context, part)
        made = create_folders(context, connection, listed, part.folders, part.rules, errors, ())
        placed += [(folder, each.raw) for folder, each in made]
    known = {each.folder.raw for each in listed.listed}
    new = [raw for _, raw in placed if raw not in known]
    connection.with_retries(lambda destination: destination.subscribe(new))
    know_refused(context)
    jobs = jobs_of(context, placed, listed)
    for job in jobs:
        number = job.known.number if job.known else 0
        job.messages, job.octets = context.pending.count(number, job.folders)
        context.control.progress(Planned(job.messages, job.octets))
    work_off(context, jobs, connections, connection)
    for job in jobs:
        if job.maybe_duplicated and job.error is None:
            note_twins(context, connection, job)
        if job.known is not None and (twins := context.replicas.changes.twins(job.known.number)):
            uids = ", ".join(str(each.uid) for each in twins)
            errors[job.name] = f"stored twice, because the first answer came too late: UIDs {uids} there"
    return errors | {job.name: job.error for job in jobs if job.error is not None}


def _map_to_themselves(context: ReplayContext, part: FolderPart) -> None:
    """Record for each folder that it goes to the one of its own name, whatever that decodes to."""
    recorded, now = context.replicas.folders.mapped(context.destination), context.control.now()
    facts = [
        MappedFact(
            context.destination,
            each.number,
            each.folder.raw,
            each.folder.path,
            rules_for(each.folder, part.rules),
            now,
            each.folder.subscribed,
        )
        for each in part.folders
        if each.number not in recorded
    ]
    context.recorder.write(facts)
