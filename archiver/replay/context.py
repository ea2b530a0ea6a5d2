"""What the connections of one replay share, and the folders they work on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.catalog.replicas import PendingMessages, Replicas
from archiver.control.limits.limiter import UNLIMITED, Limiter
from archiver.control.run import RunControl
from archiver.destination.pace import Pace
from archiver.destination.port import MailDestination
from archiver.destination.rights import RightsRules
from archiver.errors import IntegrityError
from archiver.facts.known import RETRY_RUNS, KnownFolder
from archiver.facts.mailbox import SelectedFolder
from archiver.facts.outgoing import Refused
from archiver.facts.replica import MessageKey, Replica, ReplicaFolder
from archiver.journal.recorder import Recorder
from archiver.mail.fingerprint import MessageFingerprint
from archiver.mail.model import Attributes, FolderStatus
from archiver.storage.port import MessageStore, Prefetch

#: How long an APPEND may take to show after its connection was lost, in seconds.
ARRIVAL_SECONDS = 5.0

#: How many messages in a row may be refused because the connection broke at them.
MOST_BLAMED = 10

VanishedPolicy = Literal["keep", "mark", "expunge"]
RefusalRetry = Literal["due", "all", "accept"]


class DeletionBlock(Struct, frozen=True):
    """Why nothing may be deleted at a destination, and what the user can do about it."""

    reason: str
    advice: str


class OtherAccounts(Protocol):
    """Other accounts of ours that may count on mail at the same destination."""

    def deletion_block(self, raws: Iterable[bytes]) -> DeletionBlock | None:
        """Why nothing may be deleted in the folders of these names: another account file names the same folders, or
        may do so, or another account is known to fill one of them. None if none does.

        Raises:
            ArchiverError: the archive of an account that is replayed to this mailbox cannot be read.
        """

    def claimed(
        self, replicas: Mapping[ReplicaFolder, Sequence[Replica]]
    ) -> Mapping[ReplicaFolder, Mapping[int, str]]:
        """Which of these copies another account counts on, too: account names by UID. Targets without any are left
        out.

        Raises:
            ArchiverError: the archive of an account that is replayed to this mailbox cannot be read.
        """


class ReplayRulesOfAccount(Struct, frozen=True):
    """The rules of the account file and the command line. `repairs` are allowed on messages that are refused.
    `vanished` is what happens to copies whose messages are gone from the source, beyond the deletion limit only
    with `confirm_deletions`. `include_vanished` also sends messages that are gone from the source,
    `include_removed` sends again what the destination's user removed. `of_now`: the folders as they are, not as
    they were at a past moment. `rights`: access rights are given as they are at the source; None: they are left
    alone. `labels`: copies get the labels of Gmail, too. `only_adds`: people live in the destination, so
    nothing that is there is changed; what is new is added."""

    repairs: Collection[str]
    vanished: VanishedPolicy
    retry: RefusalRetry = "due"
    include_vanished: bool = False
    include_removed: bool = False
    confirm_deletions: bool = False
    of_now: bool = True
    only_adds: bool = False
    rights: RightsRules | None = None
    labels: bool = False

    @property
    def follows(self) -> bool:
        """Whether what is there gets the flags, the names of folders and the rights that the source has now."""
        return self.of_now and not self.only_adds


class InFlight(Struct, frozen=True):
    """A message whose APPEND was not answered: when it was `sent`, on the monotonic clock, and whether the server
    fell `silent`. If it did not, the connection was lost for another reason."""

    sent: float
    silent: bool


class ReplayJob(Struct):
    """A folder of the destination to bring up to date from `folders` of the archive (their numbers).

    `status` is what the destination listed; None if the folder was just created or the server does not report it.
    `messages` messages of `octets` octets have no replica there yet. `steps` grows with all progress. `fetched` are
    messages of the destination that were downloaded and are not known as a replica yet, by UID.

    A message of a lost connection may still arrive until `watch_until`, on the monotonic clock. `resolved`: the
    unfinished APPENDs of earlier runs are resolved. After the server was silent for `longest_silence` seconds, the
    folder is watched for `watch_factor` times as long. `silence_counts` counts the silences at a message that was
    sent by itself; `unanswered_in_row` messages in a row were set aside because of them. `maybe_duplicated`: some
    messages may be stored twice because they were taken for unsent. `in_flight` are the messages that were on the
    wire when a connection was lost and whose outcome is unknown. `renumbered`: the messages of the folder got other
    UIDs while some were in flight, so it is unknown which of those are still to come.

    `accepted` counts the messages that were accepted in this run. `deferred_at` has that count at the time when a
    message was first refused; `paused_for` are the messages for which a pause was made.

    `is_only_connection` returns whether no other connection is working. A limit that the server reports then cannot
    be one on the number of connections.

    `break_counts` counts how often the connection broke at a message of `send_alone`, those that are sent by
    themselves, and `server_reply` is the server's last answer to one. Messages of `repairs` are then sent repaired;
    `blamed_in_row` messages in a row were refused because of such breaks. Messages that were `refused` in this run
    are not sent again in it. `error` is why the folder could not be finished. `deleted_from`: the account's policy
    deleted something in it.
    """

    raw: bytes
    name: str
    folders: tuple[int, ...]
    status: FolderStatus | None
    known: ReplicaFolder | None
    messages: int = 0
    octets: int = 0
    steps: int = 0
    watch_until: float = 0.0
    resolved: bool = False
    longest_silence: float = 0.0
    watch_factor: int = 0
    silence_counts: Counter[MessageKey] = field(default_factory=Counter)
    unanswered_in_row: int = 0
    maybe_duplicated: bool = False
    in_flight: dict[MessageKey, InFlight] = field(default_factory=dict)
    renumbered: bool = False
    is_only_connection: Callable[[], bool] = lambda: True
    fetched: dict[int, tuple[Attributes, MessageFingerprint]] = field(default_factory=dict)
    accepted: int = 0
    deferred_at: dict[MessageKey, int] = field(default_factory=dict)
    paused_for: set[MessageKey] = field(default_factory=set)
    send_alone: set[MessageKey] = field(default_factory=set)
    break_counts: Counter[MessageKey] = field(default_factory=Counter)
    server_reply: str | None = None
    repairs: dict[MessageKey, tuple[str, ...]] = field(default_factory=dict)
    blamed_in_row: int = 0
    refused: set[MessageKey] = field(default_factory=set)
    error: str | None = None
    deleted_from: bool = False

    def moved(self, opened: SelectedFolder) -> bool:
        """Whether the folder is not as our last complete pass left it."""
        state = self.known.state if self.known else None
        return state is None or (state.uidnext, state.messages) != (opened.uidnext, opened.messages)

    def going_on_from(self, begun: ReplayJob) -> ReplayJob:
        """This job, where one of the same folder was begun earlier in this run."""
        return replace(
            begun,
            name=self.name,
            folders=self.folders,
            status=self.status,
            known=self.known,
            is_only_connection=self.is_only_connection,
            error=None,
        )


class JobFolder(Struct, frozen=True):
    """The folder of a job, opened, and its `number` in the catalog."""

    job: ReplayJob
    number: int
    opened: SelectedFolder


class ReplayContext(Struct):
    """Shared by all connections of one account.

    `connect` logs in; `leave` hands on the first connection, when all is done. `destination` is the number of the
    destination, set once it is identified. `refused` are the messages refused in earlier runs, set once the folders
    are mapped. `append_limit` is set once the destination was listed. `damage` is something missing in the archive
    that did not stop the replay. `gone` are the folders of the archive that the source no longer has, by number.
    `begun` are the jobs that were begun earlier in this run, by raw name. When `is_over`, nothing more is sent:
    what is on its way is answered and recorded. `began` is when the step began, on the monotonic clock, and
    `started` the same in UTC. `pace` is how fast the destination takes mail, and when it counts as silent; `limits`
    is how much the account may send.
    """

    connect: Callable[[], MailDestination]
    leave: Callable[[MailDestination], None]
    store: MessageStore
    prefetch: Prefetch | None
    replicas: Replicas
    pending: PendingMessages
    recorder: Recorder
    others: OtherAccounts
    rules: ReplayRulesOfAccount
    attempts: int
    control: RunControl
    started: str
    pace: Pace
    limits: Limiter = UNLIMITED
    gone: Mapping[int, KnownFolder] = field(default_factory=dict)
    destination: int = 0
    refused: Mapping[MessageKey, Refused] = field(default_factory=dict)
    append_limit: int | None = None
    damage: IntegrityError | None = None
    begun: Mapping[bytes, ReplayJob] = field(default_factory=dict)
    is_over: Callable[[], bool] = lambda: False
    began: float = field(default_factory=time.monotonic)

    @property
    def patient(self) -> bool:
        """False: other accounts wait for this worker."""
        return False

    @property
    def repairs(self) -> Collection[str]:
        return self.rules.repairs

    @property
    def retry(self) -> RefusalRetry:
        return self.rules.retry

    def is_due(self, key: MessageKey) -> bool:
        """Whether to send a message: a refused one is tried again in the next three runs, then only by `retry`."""
        refused = self.refused.get(key)
        return refused is None or self.retry != "due" or not (refused.accepted or refused.tries > RETRY_RUNS)

    def damaged(self, error: IntegrityError) -> None:
        """Note that something is missing in the archive; it is raised when everything else is done."""
        self.damage = self.damage or error
