"""What the connections of one replay share, and the folders they work on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from archiver.catalog.port import Copies
from archiver.control import RunControl
from archiver.destination.port import MailDestination
from archiver.errors import IntegrityError
from archiver.facts.replica import Copy, KnownTarget, MessageKey, OpenedTarget, Refused, VanishedPolicy
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
class Hold:
    """Why nothing may be deleted at a destination, and what a person can do about it."""

    reason: str
    advice: str


class OtherAccounts(Protocol):
    """Other accounts of ours that may count on mail at the same destination."""

    def hold(self, raws: Iterable[bytes]) -> Hold | None:
        """Why nothing may be deleted there, in the folders of these names: an account file names the same folders,
        or may do so, or an account is known to fill one of them; None if nothing of the kind is known.

        Raises:
            ArchiverError: the archive of an account that is replayed to this mailbox cannot tell.
        """

    def claimed(self, copies: Mapping[KnownTarget, Sequence[Copy]]) -> Mapping[KnownTarget, Mapping[int, str]]:
        """Which of these copies are another account's, too: UIDs and the names of accounts. Targets with none are
        left out.

        Raises:
            ArchiverError: the archive of an account that is replayed to this mailbox cannot tell.
        """


@dataclass(frozen=True, slots=True)
class ReplayRulesOfAccount:
    """What the account file and the command line ask for. `repairs` may be done to what is refused; `vanished` is
    what becomes of copies whose messages are gone from the source, beyond the brake only if `confirm_deletions`;
    `include_vanished` sends what is gone from the source too, `include_removed` sends again what the destination's
    user removed. `of_now`: the folders as they are, and not as they stood at a moment of the past."""

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
    was `silent` then; otherwise the connection was lost for another reason."""

    sent: float
    silent: bool


@dataclass(slots=True)
class ReplayJob:
    """A folder of the destination that is to be brought up to date from `folders` of the archive (their numbers).

    `status` is what the destination listed; None where it was just made or does not tell. `messages` of `octets`
    have no copy there yet. `steps` grows with whatever is got done. `looked_at` are messages there that were
    fetched and are nobody's copy yet.

    `look_until` is how long something that a lost connection brought may still arrive, on the monotonic clock;
    `resolved`: what an earlier run left is known. After a `silence` of so many seconds the folder is looked at for
    `again` times as long. `silences` counts those at a message that was sent by itself, and `unanswered` messages
    in a row were set aside for that. `maybe_twice`: some may be stored twice, as they were taken for unsent.
    `under_way` are the messages that were on the wire when a connection was lost, as long as it is not known what
    became of them. `left_behind`: the messages there got other UIDs while some were under way, so that nobody can
    tell which of them are still to come.

    `taken` counts the messages that were taken in this run. `put_off` says how many these were when a message was
    refused for the first time; `waited_for` are those for whose sake a pause was made.

    `alone_at_work` tells whether no other connection is at work, so that a limit is none on their number.

    `breaks` counts how often the connection broke at a message that was sent by itself, which those of `alone` are,
    and `server_reply` is what the server said then. Those of `repairs` are sent repaired after that; `blamed`
    messages in a row were refused for it. All that were `refused` in this run are not sent again in it. `error` is
    why the folder could not be finished.
    """

    raw: bytes
    name: str
    folders: tuple[int, ...]
    status: FolderStatus | None
    known: KnownTarget | None
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
    """A job's folder, open, and known under `number`."""

    job: ReplayJob
    number: int
    opened: OpenedTarget


@dataclass(slots=True)
class ReplayContext:
    """Shared by all connections of one account.

    `connect` logs in. `destination` is its number, known once it was met. `refused` are the messages refused in
    earlier runs, known once the folders have their places. `append_limit` is known once the destination was listed.
    `damage` is something missing in the archive that stopped nobody. `gone` are the folders of the archive that the
    source no longer has, by their numbers. `began` is when the step did, on the monotonic clock, and `started` is
    the same as `now` gives it. After
    `read_timeout` seconds without a word the destination counts as silent; `pace` is how fast it takes mail.
    """

    connect: Callable[[], MailDestination]
    store: MessageStore
    prefetch: Prefetch | None
    copies: Copies
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
        """Other accounts wait for this worker."""
        return False

    @property
    def repairs(self) -> Collection[str]:
        return self.rules.repairs

    @property
    def retry(self) -> RefusalRetry:
        return self.rules.retry

    def is_due(self, key: MessageKey) -> bool:
        """Whether a message is to be sent: a refused one is tried again in the next three runs, then by `retry`."""
        refused = self.refused.get(key)
        return refused is None or self.retry != "due" or not (refused.accepted or refused.tries > RETRY_RUNS)

    def damaged(self, error: IntegrityError) -> None:
        """Something is missing in the archive; it is told when everything else is done."""
        self.damage = self.damage or error
