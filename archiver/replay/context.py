"""What the connections of one replay share, and the folders they work on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from archiver.catalog.replicas import PendingMessages, Replicas
from archiver.control import RunControl
from archiver.destination.port import MailDestination
from archiver.errors import IntegrityError
from archiver.facts.replica import MessageKey, OpenedTarget, Refused, Replica, ReplicaFolder, VanishedPolicy
from archiver.journal.recorder import Recorder
from archiver.mail.fingerprint import MessageFingerprint
from archiver.mail.model import RETRY_RUNS, Attributes, FolderStatus, KnownFolder
from archiver.replay.pace import Pace
from archiver.storage.port import MessageStore, Prefetch

#: How long an APPEND may take to show after its connection was lost, in seconds.
ARRIVAL_SECONDS = 5.0

#: How many messages in a row may be refused because the connection broke at them.
MOST_BLAMED = 10

RefusalRetry = Literal["due", "all", "accept"]


@dataclass(frozen=True, slots=True)
class DeletionBlock:
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
        self, copies: Mapping[ReplicaFolder, Sequence[Replica]]
    ) -> Mapping[ReplicaFolder, Mapping[int, str]]:
        """Which of these copies another account counts on, too: account names by UID. Targets without any are left
        out.

        Raises:
            ArchiverError: the archive of an account that is replayed to this mailbox cannot be read.
        """


@dataclass(frozen=True, slots=True)
class ReplayRulesOfAccount:
    """The rules of the account file and the command line. `repairs` are allowed on messages that are refused.
    `vanished` is what happens to copies whose messages are gone from the source, beyond the deletion limit only
    with `confirm_deletions`. `include_vanished` also sends messages that are gone from the source,
    `include_removed` sends again what the destination's user removed. `of_now`: the folders as they are, not as
    they were at a past moment."""

    repairs: Collection[str]
    vanished: VanishedPolicy
    retry: RefusalRetry = "due"
    include_vanished: bool = False
    include_removed: bool = False
    confirm_deletions: bool = False
    of_now: bool = True


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A message whose APPEND was not answered: when it was `sent`, on the monotonic clock, and whether the server
    fell `silent`; otherwise the connection was lost for another reason."""

    sent: float
    silent: bool


@dataclass(slots=True)
class ReplayJob:
    """A folder of the destination to bring up to date from `folders` of the archive (their numbers).

    `status` is what the destination listed; None if the folder was just created or the server does not report it.
    `messages` messages of `octets` octets have no copy there yet. `steps` grows with all progress. `looked_at` are
    fetched messages of the destination that are not known as a copy yet.

    `look_until` is until when a message of a lost connection may still arrive, on the monotonic clock. `resolved`:
    the unfinished APPENDs of earlier runs are resolved. After the server was silent for `silence` seconds, the
    folder is watched for `again` times as long. `silences` counts the silences at a message that was sent by
    itself; `unanswered` messages in a row were set aside for that. `maybe_twice`: some may be stored twice because
    they were taken for unsent. `under_way` are the messages that were on the wire when a connection was lost and
    whose outcome is unknown. `left_behind`: the messages of the folder got other UIDs while some were under way, so
    it is unknown which of them are still to come.

    `taken` counts the messages that were accepted in this run. `put_off` has that count at the time when a message
    was refused first; `waited_for` are the messages for which a pause was made.

    `alone_at_work` returns whether no other connection is at work, so that a limit cannot be one on their number.

    `breaks` counts how often the connection broke at a message of `alone`, those that are sent by themselves, and
    `server_reply` is the server's last answer to one. Messages of `repairs` are then sent repaired; `blamed`
    messages in a row were refused because of such breaks. Messages that were `refused` in this run are not sent
    again in it. `error` is why the folder could not be finished.
    """

    raw: bytes
    name: str
    folders: tuple[int, ...]
    status: FolderStatus | None
    known: ReplicaFolder | None
    messages: int = 0
    octets: int = 0
    steps: int = 0
    look_until: float = 0.0
    resolved: bool = False
    silence: float = 0.0
    again: int = 0
    silences: Counter[MessageKey] = field(default_factory=Counter)
    unanswered: int = 0
    maybe_twice: bool = False
    under_way: dict[MessageKey, UnderWay] = field(default_factory=dict)
    left_behind: bool = False
    alone_at_work: Callable[[], bool] = lambda: True
    looked_at: dict[int, tuple[Attributes, MessageFingerprint]] = field(default_factory=dict)
    taken: int = 0
    put_off: dict[MessageKey, int] = field(default_factory=dict)
    waited_for: set[MessageKey] = field(default_factory=set)
    alone: set[MessageKey] = field(default_factory=set)
    breaks: Counter[MessageKey] = field(default_factory=Counter)
    server_reply: str | None = None
    repairs: dict[MessageKey, tuple[str, ...]] = field(default_factory=dict)
    blamed: int = 0
    refused: set[MessageKey] = field(default_factory=set)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A job's folder, open, and its `number` in the catalog."""

    job: ReplayJob
    number: int
    opened: OpenedTarget


@dataclass(slots=True)
class ReplayContext:
    """Shared by all connections of one account.

    `connect` logs in. `destination` is the number of the destination, set once it is identified. `refused` are the
    messages refused in earlier runs, set once the folders are mapped. `append_limit` is set once the destination
    was listed. `damage` is something missing in the archive that did not stop the replay. `gone` are the folders of
    the archive that the source no longer has, by number. `began` is when the step began, on the monotonic clock,
    and `started` the same in UTC. After `read_timeout` seconds without an answer the destination counts as silent;
    `pace` is how fast it takes mail.
    """

    connect: Callable[[], MailDestination]
    store: MessageStore
    prefetch: Prefetch | None
    replicas: Replicas
    pending: PendingMessages
    recorder: Recorder
    others: OtherAccounts
    rules: ReplayRulesOfAccount
    attempts: int
    control: RunControl
    gone: Mapping[int, KnownFolder] = field(default_factory=dict)
    destination: int = 0
    refused: Mapping[MessageKey, Refused] = field(default_factory=dict)
    append_limit: int | None = None
    damage: IntegrityError | None = None
    began: float = field(default_factory=time.monotonic)
    read_timeout: float = 120.0
    pace: Pace = field(init=False)
    started: str = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.control.now()
        self.pace = Pace(self.read_timeout)

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
