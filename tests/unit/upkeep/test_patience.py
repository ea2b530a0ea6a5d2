"""How long both sides wait before they try a server again, and when they give up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from archiver.control.run import RunControl
from archiver.destination.port import MailDestination
from archiver.errors import ConnectionLost, TemporaryError, Throttled
from archiver.replay.connection import DestinationConnection
from archiver.source.port import SourceConnection
from archiver.source.retry import RetryingSource
from tests.accounts import UNSTOPPED


@dataclass
class Server:
    """One that never lets anybody in; `paused` are the seconds that were waited for it."""

    says: Callable[[], TemporaryError]
    attempts: int = 5
    patient: bool = False
    paused: list[float] = field(default_factory=list)

    def connect(self) -> MailDestination:
        raise self.says()

    def connect_source(self, *, fallback: bool) -> SourceConnection:
        raise self.says()

    @property
    def control(self) -> RunControl:
        return replace(UNSTOPPED, pause=self._pause)

    def _pause(self, seconds: float) -> None:
        if seconds:
            self.paused.append(seconds)


def at_source(server: Server) -> None:
    RetryingSource(
        server.connect_source,
        attempts=server.attempts,
        control=server.control,
        patient=server.patient,
    ).list_folders()


def at_destination(server: Server) -> None:
    DestinationConnection(server).with_retries(lambda destination: destination.list_folders())


def throttled(seconds: float | None) -> Callable[[], Throttled]:
    def says() -> Throttled:
        error = Throttled("slowly")
        error.delay_seconds = seconds
        return error

    return says


both_sides = pytest.mark.parametrize("reach", [at_source, at_destination])


@both_sides
def test_a_broken_line_is_tried_again_as_often_as_the_account_file_says(reach: Callable[[Server], None]) -> None:
    server = Server(lambda: ConnectionLost("broke"), attempts=6)
    with pytest.raises(ConnectionLost):
        reach(server)
    assert server.paused == [0.25, 1, 4, 16, 30]


@both_sides
def test_a_worker_with_other_accounts_waits_for_a_short_limit_alone(reach: Callable[[Server], None]) -> None:
    short, long = Server(throttled(9), attempts=3), Server(throttled(60))
    for server in (short, long):
        with pytest.raises(Throttled):
            reach(server)
    assert (short.paused, long.paused) == ([9, 9], [])


@both_sides
def test_a_single_command_waits_for_minutes_and_not_for_hours(reach: Callable[[Server], None]) -> None:
    minutes = Server(throttled(240), attempts=3, patient=True)
    hours = Server(throttled(3600), attempts=3, patient=True)
    for server in (minutes, hours):
        with pytest.raises(Throttled):
            reach(server)
    assert (minutes.paused, hours.paused) == ([240, 240], [])
