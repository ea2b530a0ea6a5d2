"""The pace at which a server sends, measured while its octets are read."""

from __future__ import annotations

import io
import socket
import time
from typing import Any

from archiver.control.limits.port import Meter

#: The minimum pace of a connection, in either direction. A modem of 1,200 baud is twenty times as fast.
OCTETS_A_MINUTE = 300

_LATE = 10  # timeouts that a command may take, in addition to the time for its octets at the minimum pace


class TooSlow(TimeoutError):
    """The server does not fall silent, but sends or accepts fewer than `OCTETS_A_MINUTE`. `waited` is for how many
    seconds a command was unfinished; 0 if a single line or literal was too slow."""

    waited: float = 0.0


class PacedSocket(io.RawIOBase):
    """The reading side of a socket, which measures the time spent waiting for octets. `held` is how many of those
    received nobody has taken yet.

    A line or a literal that has begun has to continue at the minimum pace, and may be late by the socket's
    timeout. What is asked for has to come at that pace too, but may be late by many timeouts: a server that works
    on something long sends a keep-alive line now and then. Such lines gain it no time, however many there are.
    Octets that came fast do not, either: nothing may be as late after them as before.

    `meter` counts what is read and may make the next reading wait, which counts for none of these times.
    """

    meter: Meter | None = None

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.received = 0
        self.waited = 0.0
        self.held = 0
        self._late = 0.0
        self._octets = 0
        self._waited_for_unit = self._octets_of_unit = 0.0
        self._begun = False
        self._end: float | None = None

    def readable(self) -> bool:
        return True

    def after_a_command(self) -> None:
        """Begin a new measurement."""
        self.waited = self._late = 0.0
        self._octets = 0

    def at_a_response(self) -> int:
        """What was read since the last call gains time only if `progressed` was called for it; returns the number
        of octets for which it was not."""
        octets, self._octets = self._octets, 0
        return octets

    def took(self, octets: int) -> None:
        """These octets of a response are read."""
        self._octets += octets
        self.held -= octets

    def progressed(self) -> None:
        """The response that was read brings something that was asked for."""
        self._late = max(0.0, self._late - _seconds_for(self._octets))
        self._octets = 0

    def end_within(self, seconds: float) -> None:
        """Whatever arrives, reading ends after so many seconds, with a TimeoutError."""
        self._end = time.monotonic() + seconds

    def at_a_unit(self) -> None:
        """Begin to measure a line or a literal. Until its first octet arrives, only the timeout counts."""
        self._waited_for_unit = self._octets_of_unit = 0.0
        self._begun = False

    def readinto(self, buffer: Any) -> int | None:
        if self.meter is not None:
            self.meter.wait()
        began = time.monotonic()
        if self._end is not None:
            if began >= self._end:
                raise TimeoutError
            self._sock.settimeout(self._end - began)
        try:
            count = self._sock.recv_into(buffer)
        except BlockingIOError:
            return None  # the socket does not block
        waited = time.monotonic() - began
        self.received += count
        if self.meter is not None:
            self.meter.passed(count)
        self.waited += waited
        self._late += waited
        if self._begun:
            self._waited_for_unit += waited
        self._octets_of_unit += count
        self.held += count
        self._begun = True
        limit = self._sock.gettimeout() or 0.0
        if limit and is_too_slow(self._octets_of_unit, self._waited_for_unit, limit):
            raise TooSlow
        if limit and is_too_slow(self._octets + self._octets_of_unit, self._late, _LATE * limit):
            error = TooSlow()
            error.waited = self.waited
            raise error
        return count


def _seconds_for(octets: float) -> float:
    """How long octets may take at the minimum pace."""
    return 60 * octets / OCTETS_A_MINUTE


def is_too_slow(octets: float, seconds: float, late: float) -> bool:
    """Whether octets take longer than at the minimum pace, and that by more than `late` seconds."""
    return seconds > late + _seconds_for(octets)
