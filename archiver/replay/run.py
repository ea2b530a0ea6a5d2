"""The replay step: from the archive to a destination, over several connections; the source is not contacted.

The folder map is made and checked before anything is created. Then every folder that needs it gets one pass, on one
connection at a time. Deletions come last, and only if everything else succeeded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from msgspec import Struct, field

from archiver.destination.folder_map.choices import MapRules
from archiver.destination.port import MailDestination
from archiver.errors import (
    AuthenticationFailed,
    BackendError,
    ConnectionLost,
    ConnectionRefused,
    OverQuota,
    TemporaryError,
    Unanswered,
)
from archiver.events import Noted, Planned
from archiver.facts.destination import AcceptedFact
from archiver.facts.known import KnownFolder
from archiver.facts.mailbox import DestinationFolders
from archiver.mail.folder_names import printable
from archiver.mail.model import INBOX
from archiver.replay.compare.unchanged import changes_since, is_unchanged
from archiver.replay.connection import ConnectionGroup, DestinationConnection, JobQueue
from archiver.replay.context import MOST_BLAMED, ReplayContext, ReplayJob
from archiver.replay.deletions import delete_vanished, report_gone_folders, stranded_jobs
from archiver.replay.folders.create import create_folders
from archiver.replay.folders.removed import forget_removed, removed_folders
from archiver.replay.folders.rename import follow_renames, resolve_renames, without_renamed
from archiver.replay.follow_rights import are_due, follow_rights
from archiver.replay.send.labels import labels_due, require_labels
from archiver.replay.shared_copies import LeftToOthers, Spared, spare
from archiver.replay.sync_folder import FolderSync

#: Errors of one of several connections that may come from a limit on their number.
_OF_THE_CONNECTION = (TemporaryError, AuthenticationFailed, ConnectionRefused)


class ListedDestination(Struct, frozen=True):
    """A connection to a destination, and the folders that it listed a moment ago. `leave` closes it."""

    connection: MailDestination
    folders: DestinationFolders
    leave: Callable[[MailDestination], None]


class ReplayResult(Struct, frozen=True):
    """What could not be done, besides the messages that were refused: `errors` are reasons by folder name;
    `blocked_reason` is why deletions were not carried out, and `advice` what to do about it, None if a confirmation
    is enough (--confirm-deletions). `left` are copies that were kept for other accounts. `unchanged` are the
    numbers of folders that were not opened, and are as they were when their copies were last compared."""

    errors: Mapping[str, str] = field(default_factory=dict)
    blocked_reason: str | None = None
    advice: str | None = None
    left: Sequence[LeftToOthers] = ()
    unchanged: tuple[int, ...] = ()


def replay_folders(
    context: ReplayContext,
    folders: Sequence[KnownFolder],
    rules: MapRules,
    connections: int,
    identify: Callable[[DestinationConnection, DestinationFolders], int],
    seen: ListedDestination | None = None,
) -> ReplayResult:
    """Bring the destination up to date with `folders` of the archive. `identify` says under which number it is
    known, from the folders that it lists. `seen` is what a look at it found a moment ago.

    Raises:
        ConfigError: nobody said yet which mailbox it is, or the folders cannot be mapped; nothing was created.
        ArchiverError: the account could not be finished; what was done so far is recorded.
    """
    connection = DestinationConnection(context)
    if seen is not None:
        connection.take(seen.connection, seen.leave)
    errors: dict[str, str] = {}
    try:
        listed = seen.folders if seen else connection.with_retries(lambda destination: destination.list_folders())
        context.destination = identify(connection, listed)
        context.append_limit = listed.append_limit
        if context.rules.labels:
            connection.with_retries(require_labels)
        if context.rules.include_removed:
            forget_removed(context)
        resolve_renames(context, connection)
        gone = set() if context.rules.include_removed else removed_folders(context, connection, listed)
        if context.rules.only_adds:
            folders = without_renamed(context, listed, folders, rules, errors)
        elif context.rules.of_now:
            listed = follow_renames(context, connection, listed, folders, rules)
        placed = create_folders(context, connection, listed, folders, rules, errors, gone)
        know_refused(context)
        jobs = jobs_of(context, [(folder, each.raw) for folder, each in placed], listed)
        due = [job for job in jobs if _is_due(context, job)]
        work_off(context, due, connections, connection)
        if context.retry == "accept":
            _accept_altered(context, jobs)
        for job in due:
            if job.maybe_duplicated and job.error is None:
                note_twins(context, connection, job)
        failed = any(job.error is not None for job in due)
        spared, blocked_reason = Spared(), None
        if not (errors or failed or context.rules.include_vanished) and context.rules.vanished != "keep":
            jobs += stranded_jobs(context, jobs)
            spared = spare(context, [job.known for job in jobs if job.known is not None])
            blocked_reason = spared.blocked_reason or delete_vanished(context, connection, jobs)
        report_gone_folders(context)
        follow_rights(context, connection, [(folder, each.raw) for folder, each in placed])
        errors |= {job.name: job.error for job in jobs if job.error is not None}
        if seen is None:
            connection.leave(context.leave)
    finally:
        connection.close()
    if context.damage is not None:
        raise context.damage
    opened = {job.raw for job in due}
    unchanged = _unchanged(job for job in jobs if job.raw not in opened)
    return ReplayResult(errors, blocked_reason, spared.advice, spared.left, unchanged)


def is_quiet(context: ReplayContext, listed: DestinationFolders, folders: Sequence[KnownFolder]) -> bool:
    """Whether a replay of `folders` would find nothing to do, and to compare them means to read no more than what
    changed, as far as the listing and the catalog say. Nothing is recorded, and nothing is asked."""
    mapped = context.replicas.folders.mapped(context.destination)
    if not all(each.number in mapped for each in folders):
        return False
    if are_due(context, [(each, mapped[each.number].raw) for each in folders]):
        return False
    know_refused(context)
    held = context.replicas.folders.holding(context.destination)
    for job in jobs_of(context, [(each, mapped[each.number].raw) for each in folders], listed):
        if job.known is None or _is_due(context, job):
            return False
        if held[job.raw][1] and changes_since(job.known, job.status) is None:
            return False
    return True


def know_refused(context: ReplayContext) -> None:
    """Let the context know which messages were refused before."""
    refused = context.pending.refused(context.destination, vanished=context.rules.include_vanished)
    context.refused = {each.key: each for each in refused}


def _unchanged(jobs: Iterable[ReplayJob]) -> tuple[int, ...]:
    """Of folders without a pass, those that are as they were when their copies were last compared."""
    known = ((job, job.known) for job in jobs if job.known is not None and not job.deleted_from)
    return tuple(folder.number for job, folder in known if is_unchanged(folder, job.status))


def _accept_altered(context: ReplayContext, jobs: Sequence[ReplayJob]) -> None:
    """Accept all copies that the destination altered or shows cut off, as it showed them last."""
    for number in (job.known.number for job in jobs if job.known is not None):
        if uids := context.replicas.changes.altered(number):
            context.recorder.write([AcceptedFact(number, tuple(uids), context.control.now())])


def jobs_of(
    context: ReplayContext,
    placed: Sequence[tuple[KnownFolder, bytes]],
    listed: DestinationFolders,
) -> list[ReplayJob]:
    """A job for each folder of the destination that folders of the archive go to. What was begun goes on."""
    statuses = {each.folder.raw: each.status for each in listed.listed}
    folders = context.replicas.folders.current(context.destination)
    sources: dict[bytes, list[KnownFolder]] = {}
    for folder, raw in placed:
        sources.setdefault(raw, []).append(folder)
    jobs: list[ReplayJob] = []
    for raw, here in sources.items():
        job = ReplayJob(
            raw=raw,
            name=printable(", ".join(folder.folder.name for folder in here)),
            folders=tuple(folder.number for folder in here),
            status=statuses.get(raw),
            known=folders.get(raw),
        )
        begun = context.begun.get(raw)
        jobs.append(job if begun is None else job.going_on_from(begun))
    return jobs


def _is_due(context: ReplayContext, job: ReplayJob) -> bool:
    """Whether a folder has to be opened: not if it is as our last pass left it and nothing waits to be done."""
    number = job.known.number if job.known else 0
    job.messages, job.octets = context.pending.count(number, job.folders, vanished=context.rules.include_vanished)
    not_due = sum(each.target == number and not context.is_due(key) for key, each in context.refused.items())
    job.messages = max(0, job.messages - not_due)
    if job.messages:
        context.control.progress(Planned(job.messages, job.octets))
        return True
    state = job.known.state if job.known else None
    if job.known is None or state is None or job.status is None:
        return True
    if not job.status.uidvalidity:
        return True  # its messages are compared
    here = (job.status.uidvalidity, job.status.uidnext, job.status.messages)
    if here != (job.known.uidvalidity, state.uidnext, state.messages):
        return True
    if context.rules.include_vanished and context.pending.vanished(number, gone=context.gone):
        return True
    if context.rules.follows and context.replicas.changes.reflagged(number, limit=1):
        return True
    if context.rules.labels and next(labels_due(context, number), None) is not None:
        return True
    return bool(context.pending.intents(number))


def work_off(
    context: ReplayContext, jobs: Sequence[ReplayJob], connections: int, first: DestinationConnection
) -> None:
    """Run all jobs, the largest first, over at most `connections` connections.

    Raises:
        ArchiverError: the first failure of the account, after all connections ended.
    """
    queue = JobQueue(sorted(jobs, key=lambda job: -job.octets))
    failures: list[BaseException] = []
    group = ConnectionGroup()
    first.alone = partial(group.alone, first=True)

    def fail(error: BaseException) -> None:
        failures.append(error)
        queue.end()

    def work(connection: DestinationConnection) -> None:
        ahead = _JobAhead(queue)
        try:
            while (job := ahead.next()) is not None:
                job.is_only_connection = connection.alone
                try:
                    _pass(context, connection, job, ahead)
                except _OF_THE_CONNECTION as error:
                    if not group.leaves_to_others(first=connection is first):
                        raise
                    connection.drop()
                    queue.give_back(job)
                    context.control.progress(Noted(f"{error.message}: going on with one connection less"))
                    return
                queue.done()
        except BaseException as error:  # NOTE: raised again below, in the calling thread
            fail(error)

    def work_beside() -> None:
        connection = DestinationConnection(context, partial(group.alone, first=False))
        try:
            connection.get()
        except BackendError as error:
            # Servers limit the connections of a user; the first one does all the work if necessary.
            context.control.progress(Noted(f"{error.reason}: going on with one connection less"))
        except BaseException as error:
            fail(error)
        else:
            work(connection)
        finally:
            group.leave()
            connection.close()

    numbers = range(2, 1 + min(connections, _worthwhile_connections(jobs)))
    threads = [threading.Thread(target=work_beside, name=f"replay-{number}") for number in numbers]
    for thread in threads:
        group.join()
        thread.start()
    work(first)
    for thread in threads:
        thread.join()
    work(first)  # what it left to a connection that then could not be opened
    if failures:
        raise failures[0]


def _worthwhile_connections(jobs: Sequence[ReplayJob]) -> int:
    """NOTE: a folder costs about as many round trips as a login, however little work it has."""
    worth = 1 + max(sum(job.messages for job in jobs) // 200, len(jobs) // 4)
    return min(len(jobs), worth)


def note_twins(context: ReplayContext, connection: DestinationConnection, job: ReplayJob) -> None:
    """Look again for messages that a slow server stored twice: they may have come after the folder's pass."""
    connection.with_retries(lambda destination: FolderSync(context, destination, job).note_twins())


class _JobAhead(Struct):
    """The jobs of one connection, which may open the next folder before the present one is done."""

    queue: JobQueue
    _taken: ReplayJob | None = None

    def next(self) -> ReplayJob | None:
        """The job to begin now; None if all are done."""
        job, self._taken = self._taken, None
        return self.queue.next() if job is None else job

    def upcoming(self) -> bytes | None:
        """The folder of the job that follows, if there is one now."""
        self._taken = self._taken or self.queue.take()
        return None if self._taken is None else self._taken.raw

    def give_back(self) -> None:
        """Leave that one to other connections."""
        if self._taken is not None:
            self.queue.give_back(self._taken)
            self._taken = None


def _pass(context: ReplayContext, connection: DestinationConnection, job: ReplayJob, ahead: _JobAhead) -> None:
    """One folder. Its failure affects only this folder; a failure of the connection, the login or the quota ends
    the account's replay, and so does a server that answers nothing."""

    def synchronised(destination: MailDestination) -> None:
        try:
            FolderSync(context, destination, job, ahead.upcoming).run()
        except BackendError:
            ahead.give_back()
            raise

    try:
        connection.with_retries(synchronised, lambda: job.steps)
    except BackendError as error:
        if isinstance(error, OverQuota | AuthenticationFailed | ConnectionRefused | Unanswered):
            raise
        # A server that hangs up on message after message may accept those of other folders, and one that hangs up
        # when this folder is opened may open others.
        is_its_own = job.blamed_in_row >= MOST_BLAMED or _hangs_up_here(connection, job, error)
        if isinstance(error, TemporaryError) and not is_its_own:
            raise
        job.error = error.within(printable(job.name))
        context.control.progress(Noted(str(error)))


def _hangs_up_here(connection: DestinationConnection, job: ReplayJob, error: BackendError) -> bool:
    """Whether the server hangs up whenever this folder is opened, and opens another one."""
    if (
        not (isinstance(error, ConnectionLost) and error.at_opening and job.is_only_connection())
        or job.raw == INBOX
    ):
        return False
    try:
        connection.get().open(INBOX, readonly=True)
    except BackendError:
        connection.drop()
        return False
    return True
