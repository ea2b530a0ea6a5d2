"""What can go wrong, as one hierarchy with exit codes.

Every foreseen failure is one of these, so that the command line can say *where: what; what next* in one line
and give the exit code without a traceback. Anything else is a bug and keeps its traceback.

    ArchiverError (1)
    ├ ConfigError (2)            every mistake of the file at once
    ├ ArchiveNotWritable (8)
    │ └ ArchiveMissing           there was an archive, or has to be one, and none is there
    ├ ArchiveUnreachable (5)     the bucket cannot be reached, or does not let us in
    ├ ArchiveThrottled (75)      the bucket asks us to slow down
    ├ BackendError (1)           carries where: account, server, folder, uid, operation
    │ ├ TemporaryError           retried with backoff
    │ │ ├ ConnectionLost (5)
    │ │ │ └ NothingDelivered     it broke at every message that was asked for
    │ │ ├ Throttled (75)         honours the server's hint
    │ │ ├ AllRefused             of a folder; of the account, where nothing else is given either
    │ │ └ ServerUnavailable (5)
    │ │   └ CountsDisagree       the folder's number of messages and the UIDs that are named
    │ └ PermanentError
    │   ├ AuthenticationFailed (5)
    │   ├ ConnectionRefused (5)  nobody listens, no TLS, a certificate that is not trusted
    │   ├ OverQuota (3)          the destination is full; resumable
    │   ├ Unanswered (5)         the destination answers no APPEND in time
    │   ├ FolderNotFound
    │   ├ FolderRefused          the destination does not want a folder of that name
    │   ├ PermissionDenied
    │   ├ MessageRefused         the server answered NO or BAD to a command about messages
    │   └ FolderChanged          the folder is no longer the one that was opened
    ├ IntegrityError (6)         bytes missing or different
    ├ Locked (7)
    ├ Incomplete (3)             everything possible was done, the rest is listed
    └ Interrupted (128+N)        a signal asked for an end, the current batch was finished
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


class ArchiverError(Exception):
    """A foreseen failure: one line for people, a hint at what to do next, an exit code."""

    exit_code = 1
    what_next: str | None = None  # the hint where nobody gave a better one

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.what_next

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.__dict__, self.args))


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
    """The archive path is read-only, full, or not ours; the bucket is not there, or lets us not write."""

    exit_code = 8


class ArchiveMissing(ArchiveNotWritable):
    """No archive is where the account's should be: a disk that is not mounted, a folder that was moved."""


class ArchiveUnreachable(ArchiverError):
    """The bucket cannot be reached, or refuses our credentials."""

    exit_code = 5
    what_next = "run again later; what the archive has is not fetched again"


class ArchiveThrottled(ArchiverError):
    """The bucket still asks us to slow down, after we did."""

    exit_code = 75
    what_next = "run again later, or with fewer [archive.s3] connections; what the archive has is not fetched again"


class IntegrityError(ArchiverError):
    """Stored bytes are missing or are not the bytes that were recorded."""

    exit_code = 6


class Locked(ArchiverError):
    """Another run holds the account's lock."""

    exit_code = 7


class Incomplete(ArchiverError):
    """Everything possible was done; what is left is listed in the report."""

    exit_code = 3


class Interrupted(ArchiverError):
    """A signal asked for an end; the current batch was finished first."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}", hint="run again to go on where it stopped")
        self.exit_code = 128 + signal_number


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a failure at a server, as far as it is known."""

    server: str | None = None
    folder: str | None = None
    uid: int | None = None
    operation: str | None = None

    def __str__(self) -> str:
        parts = [self.server or "server"]
        if self.folder is not None:
            parts.append(f'folder "{self.folder}"')
        if self.uid is not None:
            parts.append(f"uid {self.uid}")
        if self.operation:
            parts.append(self.operation)
        return ", ".join(parts)


class BackendError(ArchiverError):
    """A server failed us; `where` says at what, `server_reply` in its own words."""

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


class TemporaryError(BackendError):
    """Worth trying again."""

    what_next = "run again later; what the archive has is not fetched again"


class ConnectionLost(TemporaryError):
    """The connection broke, stalled, or spoke something that is not the protocol.

    `silence` is how many seconds the server said nothing, 0 if the connection ended for another reason. NOTE: a
    silent server may still be at work on what it was sent, and finish it long after we hung up.
    """

    exit_code = 5
    silence: float = 0.0


class NothingDelivered(ConnectionLost):
    """The connection broke at every message that was asked for, and none was delivered."""


class Throttled(TemporaryError):
    """The server asks us to slow down; `delay_seconds` is its own hint, if it gave one. `again_at` is when another
    attempt is worth while, UTC, ISO 8601, once somebody read a clock. One that is not `certain` was read from words
    that may be about one message or one folder. `may_put_back`: this run may try the account again."""

    exit_code = 75
    what_next = "run again later, or with fewer `connections`; what the archive has is not fetched again"
    delay_seconds: float | None = None
    again_at: str | None = None
    certain: bool = True
    may_put_back: bool = True


class AllRefused(TemporaryError):
    """The server refuses each message of a folder that was asked for, and gives no other one of it. `refused` are
    the UIDs that were asked for by themselves."""

    refused: Collection[int] = ()


class ServerUnavailable(TemporaryError):
    """The server says that it cannot answer now."""

    exit_code = 5


class CountsDisagree(ServerUnavailable):
    """The server says one number of messages and names another one of UIDs. `named` are all that it named; that
    others are not among them says nothing about them."""

    what_next = "nothing is taken for vanished; the next run looks again"

    def __init__(self, exists: int, named: Collection[int], *, where: Where | None = None) -> None:
        super().__init__(f"the server says {exists} messages and names {len(named)}", where=where)
        self.exists = exists
        self.named = frozenset(named)


class PermanentError(BackendError):
    """Trying again would not help."""


class AuthenticationFailed(PermanentError):
    """The server refused the user or the password."""

    exit_code = 5


class ConnectionRefused(PermanentError):
    """No usable connection: nobody listens, no TLS where it was asked for, an untrusted certificate."""

    exit_code = 5


class OverQuota(PermanentError):
    """The destination has no room left. What was sent is recorded; another run goes on there."""

    exit_code = 3
    what_next = "make room at the destination and run again; what is there is not sent again"


class Unanswered(PermanentError):
    """The destination answers no APPEND in time, and does not show what was sent."""

    exit_code = 5
    what_next = (
        "raise [destination] read_timeout and run again; what arrives until then is found and not sent again"
    )


class FolderRefused(PermanentError):
    """The destination does not make a folder of that name."""


class FolderNotFound(PermanentError):
    """The folder is not there or cannot be opened."""


class PermissionDenied(PermanentError):
    """The server does not let this user do it."""


class MessageRefused(PermanentError):
    """The server answered NO or BAD to a command about messages."""


class FolderChanged(PermanentError):
    """The folder is not the one that was opened: its UIDVALIDITY changed meanwhile."""


#: Which exit code counts when several accounts ran: the first of these that occurred.
SEVERITY = (1, 6, 8, 2, 5, 4, 3, 7, 75)


def worst(exit_codes: Iterable[int]) -> int:
    """The exit code of several accounts: a signal before all, then by `SEVERITY`, 0 if all are 0."""
    codes = set(exit_codes)
    signals = [code for code in codes if code > 128]
    if signals:
        return max(signals)
    return next((code for code in SEVERITY if code in codes), 0)
