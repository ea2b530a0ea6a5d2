"""The servers of an account, from its settings: how each is connected to.

The connections that one value makes share an `Authenticator`, so a password is looked up once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import asdict

from archiver.config.settings import Settings
from archiver.config.tables.server import (
    DestinationSettings,
    FilesSettings,
    LimitsSettings,
    ServerSettings,
    SharedLimits,
    SourceSettings,
)
from archiver.control.limits.limiter import UNLIMITED, Limiter, Limits
from archiver.control.limits.port import Meter
from archiver.control.run import RunControl
from archiver.destination.open import open_destination
from archiver.destination.port import MailDestination
from archiver.errors import ConfigError, Where
from archiver.login.choose import authenticator_of
from archiver.login.port import Authenticator
from archiver.login.refused import RefusedLogins
from archiver.mail.content import Spool
from archiver.replay.connection import DestinationConnection
from archiver.source.kept import KeptConnection, keep, take
from archiver.source.numbering import Numbering
from archiver.source.open import doubts_in_files, open_files, open_source
from archiver.source.port import SourceConnection
from archiver.source.retry import RetryingSource

if TYPE_CHECKING:
    from archiver.fleet.shared import Seat, SharedServer

#: What was read of an account's files, in the archive's directory.
FILES_CACHE = "files.sqlite"


def no_spool() -> BinaryIO:
    """A look at a server fetches no messages."""
    raise RuntimeError("a look at a server needs no spool")


class Metered(Protocol):
    """A connection whose octets can be counted."""

    def meter(self, meter: Meter) -> None:
        """Count them there from now on."""


C = TypeVar("C", bound=Metered)


class Share(Struct, frozen=True):
    """What an account may use of a server: by its own limits, and together with others of its fleet."""

    account: Path
    limits: Limiter = UNLIMITED
    server: SharedServer | None = None

    def connected(self, connect: Callable[[], C], control: RunControl) -> C:
        """What `connect` returns, when the account may have a connection; it counts for the limits.

        Raises:
            BudgetUsedUp: nothing is left of the account's day.
            Throttled: others of the fleet have all connections, and the account has one already.
        """
        self.limits.require()
        seat = None if self.server is None else self.server.seat(self.account, control)
        try:
            connection = connect()
        except BaseException:
            if seat is not None:
                seat.leave()
            raise
        return self._metered(connection, control, seat)

    def kept(self, connection: C, control: RunControl) -> C:
        """The same for a connection that an earlier step left."""
        if self.server is None or self.server.has_seat(self.account):
            return self._metered(connection, control, None)
        return self.connected(lambda: connection, control)

    def _metered(self, connection: C, control: RunControl, seat: Seat | None) -> C:
        meter: Meter | None = self.limits.meter(control)
        if self.server is not None:
            from archiver.fleet.shared import SharedMeter

            meter = SharedMeter(meter, self.server, seat, control)
        if meter is not None:
            connection.meter(meter)
        return connection


class OpenSource(Protocol):
    """Opens a connection in a single attempt; without `control` for a look that fetches no message."""

    def __call__(
        self,
        spool: Spool,
        numbering: Numbering,
        control: RunControl | None,
        *,
        fallback: bool = False,
        accept: bool = False,
    ) -> SourceConnection: ...


class SourceServer(Struct, frozen=True):
    """The server that an account is archived from, or the files."""

    account: Path
    settings: SourceSettings
    open: OpenSource
    share: Share
    logins: RefusedLogins | None = None

    def connect(
        self,
        spool: Spool = no_spool,
        *,
        numbering: Numbering,
        control: RunControl,
        accept: bool = False,
        attempts: int | None = None,
        leave: Callable[[], bool] = lambda: False,
        patient: bool = False,
        extra: bool = False,
    ) -> RetryingSource:
        """A connection that is opened when it is first used, unless an earlier step left one, which an `extra`
        connection leaves to the first one. `numbering` gives UIDs to messages of a protocol that has none. `accept`
        takes placeholders for messages. `leave` and `patient` are those of `RetryingSource`."""
        attempts = attempts or self.settings.attempts

        def connect(*, fallback: bool) -> SourceConnection:
            kept = None if fallback or accept or extra else take(self._whose)
            if kept is not None:
                kept.use(spool, numbering)
                return self.share.kept(kept, control)

            def opened() -> SourceConnection:
                return self.open(spool, numbering, control, fallback=fallback, accept=accept)

            return self.share.connected(lambda: self.guarded(opened), control)

        return RetryingSource(
            connect, attempts=attempts, control=control, leave=leave, patient=patient, limits=self.share.limits
        )

    def guarded(self, connect: Callable[[], SourceConnection], *, anyway: bool = False) -> SourceConnection:
        """The connection, unless its login was refused before; `anyway`: it is tried all the same."""
        return connect() if self.logins is None else self.logins.guard(connect, anyway=anyway)

    def leave_open(self, source: RetryingSource) -> None:
        """Leave a connection of this server's to the next step, or close it."""
        if (connection := source.give_up()) is not None:
            keep(self._whose, connection)

    @property
    def _whose(self) -> tuple[Path, SourceSettings]:
        return self.account, self.settings

    def connect_once(
        self, numbering: Numbering, *, fallback: bool = False, control: RunControl | None = None
    ) -> SourceConnection:
        """A single attempt at a logged-in connection, for a look that fetches no message. Without a `control` it is
        a person's look, which keeps to no limits, and tries a login that was refused before."""

        def connect() -> SourceConnection:
            opens = partial(self.open, no_spool, numbering, None, fallback=fallback)
            return self.guarded(opens, anyway=control is None)

        return connect() if control is None else self.share.connected(connect, control)


_destination = KeptConnection[MailDestination]()


class DestinationServer(Struct, frozen=True):
    """The server that an account is replayed to."""

    account: Path
    settings: DestinationSettings
    authenticator: Authenticator
    share: Share
    logins: RefusedLogins

    def connect(self, spool: Spool, control: RunControl, *, patient: bool) -> DestinationConnection:
        """A connection that is opened when it is first used. A `patient` one waits for a server that throttles."""
        policy = _ConnectPolicy(
            lambda: self.connect_or_take(spool, control), self.settings.attempts, control, patient
        )
        return DestinationConnection(policy)

    def connect_once(self, spool: Spool = no_spool, *, anyway: bool = False) -> MailDestination:
        """A single attempt at a logged-in connection; without a `spool` for a look that fetches no message.
        `anyway`: a login that was refused before is tried all the same."""
        return self.logins.guard(lambda: open_destination(self.settings, self.authenticator, spool), anyway=anyway)

    def connect_or_take(self, spool: Spool, control: RunControl) -> MailDestination:
        """The connection that an earlier step left, if it still stands; otherwise as `connect_once`. It keeps to
        the account's limits.

        Raises:
            BudgetUsedUp: nothing is left of this day.
        """
        self.share.limits.require()
        connection = _destination.take(self._whose)
        if connection is not None and not connection.use(spool):
            connection.hang_up()
            connection = None
        if connection is not None:
            return self.share.kept(connection, control)
        return self.share.connected(lambda: self.connect_once(spool), control)

    def leave_open(self, connection: MailDestination) -> None:
        """Leave a connection that is in the middle of nothing to the next step, or close it."""
        if connection.can_wait:
            _destination.keep(self._whose, connection)
        else:
            connection.close()

    @property
    def _whose(self) -> tuple[Path, DestinationSettings]:
        return self.account, self.settings


class _ConnectPolicy(Struct, frozen=True):
    """How a connection is made, and how often it is tried."""

    connect: Callable[[], MailDestination]
    attempts: int
    control: RunControl
    patient: bool


def source_of(settings: Settings) -> SourceServer:
    """The account's source."""
    source = settings.source
    if isinstance(source, FilesSettings):
        opens = _files(source, settings.archive.path / FILES_CACHE)
        return SourceServer(settings.file, source, opens, Share(settings.file))
    authenticator = authenticator_of(source)

    def connect(
        spool: Spool,
        numbering: Numbering,
        control: RunControl | None,
        *,
        fallback: bool = False,
        accept: bool = False,
    ) -> SourceConnection:
        return open_source(source, authenticator, spool, numbering, fallback=fallback, accept=accept)

    logins = _logins_of(settings, source, authenticator)
    return SourceServer(settings.file, source, connect, _share_of(settings, source), logins)


def _logins_of(settings: Settings, server: ServerSettings, authenticator: Authenticator) -> RefusedLogins:
    return RefusedLogins(settings.archive.path / f"refused-at-{server.side}", server, authenticator)


_limiters: dict[tuple[Path, str, LimitsSettings], Limiter] = {}


_shared: dict[tuple[str, str, str, SharedLimits], SharedServer] = {}


def _share_of(settings: Settings, server: ServerSettings) -> Share:
    limits, place = settings.servers.get(server.host.lower()), settings.fleet
    if limits is None or place is None:
        return Share(settings.file, _limits_of(settings, server))
    key = place.ledger, place.name, server.host.lower(), limits
    if key not in _shared:
        from archiver.fleet.open import open_ledger
        from archiver.fleet.shared import SharedServer

        _shared[key] = SharedServer(open_ledger(place), server.host.lower(), limits)
    return Share(settings.file, _limits_of(settings, server), _shared[key])


def _limits_of(settings: Settings, server: ServerSettings) -> Limiter:
    """The limits of an account at one side: one value in a process, whichever step connects."""
    if server.limits is None:
        return UNLIMITED
    key = settings.file, server.side, server.limits
    if key not in _limiters:
        used = settings.archive.path / f"used-at-{server.side}"
        where = Where(server=server.address)
        limits = Limits(**asdict(server.limits))
        _limiters[key] = Limiter(limits, f"[{server.side}.limits]", where, used)
    return _limiters[key]


def _files(source: FilesSettings, cache: Path) -> OpenSource:
    def connect(
        spool: Spool,
        numbering: Numbering,
        control: RunControl | None,
        *,
        fallback: bool = False,
        accept: bool = False,
    ) -> SourceConnection:
        check_stop = (lambda: None) if control is None else control.check_stop
        return open_files(source, cache, spool, numbering, looks=control is None, check_stop=check_stop)

    return connect


def destination_of(settings: Settings) -> DestinationServer:
    """The account's destination.

    Raises:
        ConfigError: it has none.
    """
    if settings.destination is None:
        raise ConfigError(str(settings.file), ["has no [destination] to replay to"], hint="add that table")
    server = settings.destination
    authenticator = authenticator_of(server)
    logins = _logins_of(settings, server, authenticator)
    return DestinationServer(settings.file, server, authenticator, _share_of(settings, server), logins)


def doubts_of(settings: Settings) -> Mapping[bytes, Mapping[str, tuple[int, str]]]:
    """How many messages of each folder of files could be read in another way, and their UIDs, by the folder's raw
    name and by what is doubtful."""
    return doubts_in_files(settings.archive.path / FILES_CACHE)
