"""The beginning of the replay step, made early: folders that are archived completely are sent on one connection,
while the others are still being fetched.

What it leaves is what a replay leaves that was cut off after some folders. The replay step itself follows, finds
what was sent, and does everything else. So whatever happens to the destination here ends only this beginning: if it
happens again, the replay step reports it. It begins only at a mailbox that nobody uses, with an archive that was
never replayed: then nothing was renamed, moved or deleted there that would have to be followed first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from types import TracebackType

from msgspec import Struct, field

from archiver.control.run import RunControl
from archiver.destination.folder_map.choices import MapRules
from archiver.destination.pace import Pace
from archiver.destination.port import MailDestination
from archiver.errors import (
    ArchiveNotWritable,
    ArchiverError,
    AuthenticationFailed,
    IntegrityError,
    Interrupted,
    Locked,
    TemporaryError,
)
from archiver.events import Event, Noted
from archiver.facts.known import KnownFolder
from archiver.facts.mailbox import DestinationFolders
from archiver.mail.model import Listed
from archiver.replay.connection import DestinationConnection
from archiver.replay.contents import HANDFUL
from archiver.replay.context import ReplayContext, ReplayJob
from archiver.replay.folders.create import create_folders
from archiver.replay.run import jobs_of
from archiver.replay.sync_folder import FolderSync
from archiver.source.same_mailbox import filled_of, shown_by, suspects

#: What concerns the archive, and so everybody who works on it.
_OF_THE_ARCHIVE = (ArchiveNotWritable, IntegrityError, Locked)


class _Over(Exception):
    """There is no time for what would take a while."""


class Begun(Struct):
    """What the replay step goes on with: the folders that were begun, with what is known of messages on their way
    and of refused ones, by their raw names; how fast the destination takes mail; what people were shown
    about folders; and what turned out to be missing in the archive."""

    pace: Pace
    jobs: dict[bytes, ReplayJob] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)
    damage: IntegrityError | None = None

    def close(self) -> None:
        """Forget it. Then the replay step finds out by itself, as after a run that was killed."""
        self.jobs.clear()


def may_begin(listed: DestinationFolders, at_source: Sequence[Listed]) -> bool:
    """Whether a destination is nobody's for certain, whatever else will be found in the archive: it never held more
    than a handful of messages, and none of its folders with mail can be one of the source's."""
    told = [each.status for each in listed.listed if each.folder.selectable]
    if not all(status is not None and status.uidnext for status in told):
        return False
    if sum(max(status.messages, (status.uidnext or 0) - 1) for status in told if status is not None) > HANDFUL:
        return False
    filled = filled_of(listed.listed)
    is_known = all(each.status is not None for each in at_source if each.folder.selectable)
    return not filled or (is_known and not suspects(shown_by(at_source), filled))


class ReplayAhead:
    """Sends the folders that are archived completely, in a thread of its own that begins with the first one. Within
    its `with` block, the archive step says what is `completed`; at the end what is on its way is answered, and no
    more is sent.

    `context` has one attempt, and is used by nobody else. `folders` are all that the account chooses; those of the
    numbers `awaited` will be completed. `at_source` are the folders that the source listed. `identify` is that of
    `replay_folders`. `refused` is called with a refused login. `hand_on` gets what the replay step goes on with.
    """

    def __init__(
        self,
        context: ReplayContext,
        folders: Sequence[KnownFolder],
        awaited: Collection[int],
        rules: MapRules,
        at_source: Sequence[Listed],
        identify: Callable[[DestinationConnection, DestinationFolders], int],
        refused: Callable[[AuthenticationFailed], None],
        hand_on: Callable[[Begun], None],
    ) -> None:
        self._context = context
        self._folders = folders
        self._rules = rules
        self._at_source = at_source
        self._identify = identify
        self._refused = refused
        self._hand_on = hand_on
        self._begun = Begun(context.pace)
        self._changed = threading.Condition()
        self._awaited = set(awaited)
        self._complete: set[int] = set()
        self._jobs: list[ReplayJob] = []
        self._begins = False
        self._waits = True
        self._over = False
        self._failure: ArchiverError | None = None
        self._refusal: AuthenticationFailed | None = None
        self._thread = threading.Thread(target=self._run, name="replay-ahead")
        control = context.control
        self._progress, self._wait = control.progress, control.pause
        context.control = RunControl(control.check_stop, self._pause, self._note, control.now)
        context.is_over = lambda: self._over

    # -- for the archive step --------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether the next folder would be sent at once, when it is complete and durable."""
        return self._waits

    def completed(self, folder: int) -> None:
        """All that this pass found in a folder is durable, and recorded."""
        with self._changed:
            self._awaited.discard(folder)
            self._complete.add(folder)
            if self._awaited and not self._begins:  # else the archive step is over in a moment
                self._begins, self._waits = True, False
                self._thread.start()
            self._changed.notify()

    def __enter__(self) -> ReplayAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over, self._waits = True, False
            self._changed.notify()
        if self._begins:
            self._thread.join()
            self._begun.damage = self._context.damage
            self._hand_on(self._begun)
        if self._refusal is not None:
            self._refused(self._refusal)
        if self._failure is not None and error is None:
            raise self._failure

    # -- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection = DestinationConnection(self._context)
        try:
            self._replay(connection)
            connection.leave(self._context.leave)
        except AuthenticationFailed as error:
            self._refusal = error
        except (_Over, Interrupted):
            pass
        except _OF_THE_ARCHIVE as error:
            self._failure = error
        except ArchiverError:
            pass  # the replay step meets it, too, and reports it
        except Exception as error:  # so does it; and the archive is brought up to date whatever a destination does
            self._progress(Noted(f"replaying later: {type(error).__name__}: {error}"))
        finally:
            self._waits = False
            connection.drop()

    def _replay(self, connection: DestinationConnection) -> None:
        context = self._context
        listed = connection.with_retries(lambda destination: destination.list_folders())
        if self._over or not may_begin(listed, self._at_source):
            return
        context.control.check_stop()
        context.destination = self._identify(connection, listed)
        context.append_limit = listed.append_limit
        placed = create_folders(context, connection, listed, self._folders, self._rules, {}, ())
        self._jobs = jobs_of(context, [(folder, each.raw) for folder, each in placed], listed)
        destination = connection.get()
        while (job := self._next()) is not None:
            self._pass(destination, job)

    def _pass(self, destination: MailDestination, job: ReplayJob) -> None:
        number = job.known.number if job.known else 0
        job.messages, job.octets = self._context.pending.count(number, job.folders)
        if not job.messages:
            return
        self._begun.jobs[job.raw] = job
        try:
            FolderSync(self._context, destination, job).run()
        except TemporaryError:
            raise  # the job has noted until when its messages may arrive
        except BaseException:
            job.resolved = False  # so they are waited for as after a run that was killed
            raise

    def _next(self) -> ReplayJob | None:
        """The next folder whose mail is complete; None if there is no more time."""
        with self._changed:
            while not self._over:
                if (job := self._ready) is not None:
                    self._waits = False
                    self._jobs.remove(job)
                    return job
                self._waits = True
                self._changed.wait()
            return None

    @property
    def _ready(self) -> ReplayJob | None:
        return next((each for each in self._jobs if self._complete.issuperset(each.folders)), None)

    def _pause(self, seconds: float) -> None:
        # NOTE: once messages were sent, a pause is for those that may still show. If it were cut short, the replay
        # step would send them again.
        if self._begun.jobs:
            self._wait(seconds)
            return
        with self._changed:
            self._changed.wait_for(lambda: self._over, seconds)
        self._context.control.check_stop()
        if self._over:
            raise _Over

    def _note(self, event: Event) -> None:
        """Pass on what people should know. The archive step has its own progress."""
        if isinstance(event, Noted):
            if not self._begun.jobs:
                self._begun.notes.add(event.text)
            self._progress(event)
