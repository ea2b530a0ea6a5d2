"""What can go wrong, as one hierarchy with exit codes.

Every expected failure is one of these, so that the command line can print *where: what; what next* in one line and
return the exit code without a traceback. Anything else is a bug and keeps its traceback.

    ArchiverError (1)
    ├ ConfigError (2)            every mistake of the file at once
    ├ ArchiveNotWritable (8)
    │ └ ArchiveMissing           the account's archive is not where it should be
    ├ ArchiveUnreachable (5)     the bucket cannot be reached, or refuses our credentials
    ├ ArchiveThrottled (75)      the bucket asks us to slow down
    ├ LedgerUnavailable (5)      the fleet's ledger cannot be reached or written
    ├ BackendError (1)           carries where: account, server, folder, uid, operation
    │ ├ TemporaryError           retried with backoff
    │ │ ├ ConnectionLost (5)
    │ │ │ └ NothingDelivered     it broke at every requested message
    │ │ ├ Throttled (75)         honours the server's hint
    │ │ │ └ BudgetUsedUp         a limit of the account file, for a day
    │ │ ├ AllRefused             every requested message of the folder was refused
    │ │ └ ServerUnavailable (5)
    │ │   ├ Unreachable          refused, no route, no such host, no greeting
    │ │   └ CountsDisagree       the folder's message count does not match the listed UIDs
    │ └ PermanentError
    │   ├ AuthenticationFailed (5)
    │   ├ ConnectionRefused (5)  no server there, no TLS, or an untrusted certificate
    │   ├ OverQuota (3)          the destination is full; resumable
    │   ├ Unanswered (5)         the destination answers no APPEND in time
    │   ├ FolderNotFound
    │   ├ FolderRefused          the destination does not accept a folder of that name
    │   ├ PermissionDenied
    │   ├ MessageRefused         the server answered NO or BAD to a command about messages
    │   └ FolderChanged          the folder is no longer the one that was opened
    ├ IntegrityError (6)         bytes missing or different
    │ └ FactsContradict          what is to be recorded contradicts what is recorded
    ├ Locked (7)
    ├ Incomplete (3)             everything possible was done; the rest is listed
    └ Interrupted (128+N, 3)     a signal, or the end of its time, stopped the run after the current batch
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterable

from msgspec import Struct
from msgspec.structs import replace


class ArchiverError(Exception):
    """An expected failure: one line for people, a hint at what to do next, and an exit code."""

    exit_code = 1
    what_next: str | None = None  # the hint if the caller gives none

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.what_next

    def __str__(self) -> str:
        return followed_by(self.message, self.hint)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.__dict__, self.args))


def followed_by(text: str, more: str | None) -> str:
    """A text and what belongs to it. Servers end theirs with a full stop."""
    if not more:
        return text
    return f"{text[:-1] if text.endswith('.') and not text.endswith('..') else text}; {more}"


def _rebuild(cls: type[ArchiverError], state: dict[str, object], args: tuple[object, ...]) -> ArchiverError:
    """Unpickle across a forked worker without calling a subclass's own signature."""
    error = cls.__new__(cls)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


class ConfigError(ArchiverError):
    """The command line or a configuration file is wrong; `problems` holds every mistake at once."""

    exit_code = 2

    def __init__(self, where: str, problems: Iterable[str], *, hint: str | None = None) -> None:
        self.where = where
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{where}: {problem}" for problem in self.problems), hint=hint)


class ArchiveNotWritable(ArchiverError):
    """The archive path is read-only, full, or not ours; or the bucket does not exist or refuses writes."""

    exit_code = 8


class ArchiveMissing(ArchiveNotWritable):
    """The account's archive is not where it should be: perhaps a disk is not mounted, or a folder was moved."""


class ArchiveUnreachable(ArchiverError):
    """The bucket cannot be reached, or refuses our credentials."""

    exit_code = 5
    what_next = "run again later; what the archive has is not fetched again"


class ArchiveThrottled(ArchiverError):
    """The bucket still asks us to slow down after we did."""

    exit_code = 75
    what_next = "run again later, or with fewer [archive.s3] connections; what the archive has is not fetched again"


class LedgerUnavailable(ArchiverError):
    """The ledger of a fleet cannot be reached or written. No mail depends on it."""

    exit_code = 5
    what_next = "fix that, and run again"


class IntegrityError(ArchiverError):
    """Stored bytes are missing or are not the bytes that were recorded."""

    exit_code = 6


class FactsContradict(IntegrityError):
    """What was to be recorded contradicts what the catalog has recorded. The disk is not to blame."""


class Locked(ArchiverError):
    """Another run holds the account's lock."""

    exit_code = 7


class Incomplete(ArchiverError):
    """Everything possible was done; what is left is listed in the report."""

    exit_code = 3


#: The signal by which a process is stopped when the time is over that it was given.
TIME_IS_OVER = signal.SIGALRM


class Interrupted(ArchiverError):
    """A signal stopped the run; the current batch was finished first."""

    def __init__(self, signal_number: int) -> None:
        if signal_number == TIME_IS_OVER:
            super().__init__("the time of --max-duration is over", hint="the next run goes on where this one ended")
        else:
            super().__init__(f"stopped by signal {signal_number}", hint="run again to resume")
        self.exit_code = stopped_code(signal_number)


def stopped_code(signal_number: int) -> int:
    """The exit code of what a signal stopped. Who gives a run a limited time expects it to be incomplete at times;
    what is left is listed, and nothing else was wrong."""
    return Incomplete.exit_code if signal_number == TIME_IS_OVER else 128 + signal_number


class Where(Struct, frozen=True):
    """The place of a failure at a server, as far as it is known."""

    server: str | None = None
    folder: str | None = None
    uid: int | None = None
    operation: str | None = None

    def __str__(self) -> str:
        parts = [self.server] if self.server else []
        if self.folder is not None:
            parts.append(f'folder "{self.folder}"')
        if self.uid is not None:
            parts.append(f"uid {self.uid}")
        if self.operation:
            parts.append(self.operation)
        return ", ".join(parts) or "server"


class BackendError(ArchiverError):
    """A failure at a server: `where` it happened, and `server_reply`, what the server answered."""

    def __init__(
        self,
        message: str,
        *,
        where: Where | None = None,
        server_reply: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.reason = message
        self.where = where
        self.server_reply = server_reply

    def within(self, folder: str) -> str:
        """The error and what to do next, for a line that begins with the (printable) name of this folder."""
        return followed_by(self.reason_within(folder), self.hint)

    def reason_within(self, folder: str) -> str:
        """The error alone, for such a line."""
        if self.where is None or self.where.folder != folder:
            return self.message
        where = replace(self.where, folder=None)
        return f"{where}: {self.reason}" if where != Where() else self.reason


class TemporaryError(BackendError):
    """Another attempt may succeed."""

    what_next = "run again later; what the archive has is not fetched again"


class ConnectionLost(TemporaryError):
    """The connection broke or stalled, or the server did not follow the protocol.

    `silence` is for how many seconds the server sent nothing, 0 if the connection ended for another reason. NOTE: a
    silent server may still be working on what it received, and finish it long after we hung up. `asked_ahead`: what
    broke it may be something that was asked ahead, such as a message. `at_opening`: it broke when a folder was
    opened, each time.
    """

    exit_code = 5
    silence: float = 0.0
    asked_ahead: bool = False
    at_opening: bool = False


class NothingDelivered(ConnectionLost):
    """The connection broke at every requested message, and none was delivered."""


class Throttled(TemporaryError):
    """The server asks us to slow down; `delay_seconds` is its own hint, None if it gave none. `again_at` is when to
    try again (UTC, ISO 8601), None until a caller has computed it. An error that is not `certain` was recognised by
    words that may be about one message or one folder. `may_put_back`: this run may try the account again."""

    exit_code = 75
    what_next = "run again later, or with fewer `connections`; what the archive has is not fetched again"
    delay_seconds: float | None = None
    again_at: str | None = None
    certain: bool = True
    may_put_back: bool = True


class BudgetUsedUp(Throttled):
    """A day's budget, which the account file sets, is used up. It begins again at `again_at`."""

    may_put_back: bool = False

    def until(self, again_at: str, seconds: float) -> None:
        """It begins again at this time (UTC, ISO 8601), in `seconds`."""
        self.again_at, self.delay_seconds = again_at, seconds
        self.hint = f"a run after {again_at} goes on; what the archive has is not fetched again"


class AllRefused(TemporaryError):
    """The server refused every requested message of a folder, and does not deliver any other message of it.
    `refused` are the UIDs that were requested singly."""

    refused: Collection[int] = ()


class ServerUnavailable(TemporaryError):
    """The server cannot answer now."""

    exit_code = 5


class Unreachable(ServerUnavailable):
    """Nothing that could be logged in to answers: refused, no route, no such host, no greeting. `most_attempts` is
    how many are enough, since the server answered nobody in this run; None: as many as usual."""

    most_attempts: int | None = None


class CountsDisagree(ServerUnavailable):
    """The folder's message count does not match the UIDs that the server lists. `named` are all UIDs that it
    listed; a UID that is missing among them does not count as gone."""

    what_next = "no message is counted as vanished; the next run checks again"

    def __init__(
        self, exists: int, named: Collection[int], *, where: Where | None = None, reason: str | None = None
    ) -> None:
        told = reason or f"the server reports {exists} messages but lists {len(named)} UIDs"
        super().__init__(told, where=where)
        self.exists = exists
        self.named = named


class PermanentError(BackendError):
    """Another attempt would not help."""


class AuthenticationFailed(PermanentError):
    """The server refused the user or the password."""

    exit_code = 5


class ConnectionRefused(PermanentError):
    """No usable connection: no server there, no TLS although it is configured, or an untrusted certificate."""

    exit_code = 5


class OverQuota(PermanentError):
    """The destination has no space left. What was sent is recorded, and the next run resumes there."""

    exit_code = 3
    what_next = "free space at the destination and run again; messages that are there are not sent again"


class Unanswered(PermanentError):
    """The destination answers no APPEND in time, and does not show what was sent."""

    exit_code = 5
    what_next = "raise [destination] read_timeout and run again; late messages are found and not sent again"


class FolderRefused(PermanentError):
    """The destination does not create a folder of that name."""


class FolderNotFound(PermanentError):
    """The folder does not exist or cannot be opened."""


class PermissionDenied(PermanentError):
    """This user is not allowed to do this."""


class MessageRefused(PermanentError):
    """The server answered NO or BAD to a command about messages."""


class FolderChanged(PermanentError):
    """The folder is no longer the one that was opened: its UIDVALIDITY changed."""


#: Which exit code counts when several accounts ran: the first of these that occurred.
SEVERITY = (1, 6, 8, 2, 5, 4, 3, 7, 75)


def worst(exit_codes: Iterable[int]) -> int:
    """The exit code of several accounts: that of a signal if there was one, otherwise the first by `SEVERITY`; 0 if
    all are 0."""
    codes = set(exit_codes)
    signals = [code for code in codes if code > 128]
    if signals:
        return max(signals)
    return next((code for code in SEVERITY if code in codes), 0)


def stops_account(error: BackendError) -> bool:
    """Whether the connection or the login failed, and not one folder."""
    if isinstance(error, ConnectionLost | Throttled | AuthenticationFailed | ConnectionRefused):
        return True
    if isinstance(error, FolderChanged):
        return False
    return error.where is None or error.where.folder is None
