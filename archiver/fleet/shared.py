"""What all accounts of a fleet share at a server, as the connections of this process use it: seats and a pace.

Seats end by themselves, so that a process that was killed gives its own back; as long as a process lives, a thread
keeps them. Without the ledger nobody could connect at all, so what it cannot say is allowed, with one warning.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from archiver.config.tables.server import SharedLimits
from archiver.control.limits.port import Meter
from archiver.control.run import RunControl
from archiver.control.waiting import lock_free_after_fork
from archiver.errors import LedgerUnavailable, Throttled, Where
from archiver.events import Noted
from archiver.fleet.port import FleetLedger

log = logging.getLogger("archiver")

SEAT_SECONDS = 60.0
_KEEP_SECONDS = 15.0
_ASK_SECONDS = 0.5  # between two tries to get a seat
_AGAIN_SECONDS = 5.0  # until an account that has a seat asks for another one again
_TELL_SECONDS = 0.25  # octets are told to the ledger at least so often,
_TELL_SHARE = 0.1  # or when they are so much of a second's

_lock = lock_free_after_fork()
_seats: set[Seat] = set()
_keeper: threading.Thread | None = None
_owner = ""


class SharedServer:
    """A server at which the accounts of a fleet share `limits`. Safe for threads."""

    def __init__(self, ledger: FleetLedger, host: str, limits: SharedLimits) -> None:
        self.ledger, self.host, self.limits = ledger, host, limits
        self._pace_lock = lock_free_after_fork()
        self._untold, self._told_at, self._free_at = 0, 0.0, 0.0
        self._is_warned = False

    def seat(self, account: Path, control: RunControl) -> Seat | None:
        """A seat for a connection of this account, for which it waits; None if there is no limit.

        Raises:
            Throttled: none is free, and the account has one: it must not wait while it holds that.
        """
        if self.limits.connections is None:
            return None
        is_told = False
        while True:
            try:
                number = self.ledger.servers.take_seat(self.host, self.limits.connections, _me(), SEAT_SECONDS)
            except LedgerUnavailable as error:
                self._warn(error)
                return None
            if number is not None:
                return Seat(self, account, number)
            if self.has_seat(account):
                taken = Throttled(f"all {self._of_these} are in use", where=Where(self.host))
                taken.delay_seconds = _AGAIN_SECONDS
                raise taken
            if not is_told:
                is_told = True
                control.progress(Noted(f"waits for one of {self._of_these}"))
            control.pause(_ASK_SECONDS)

    def has_seat(self, account: Path) -> bool:
        """Whether a connection of this account has a seat, in this process."""
        with _lock:
            return any(each.server is self and each.account == account for each in _seats)

    @property
    def _of_these(self) -> str:
        return f"{self.limits.connections} connections to {self.host}"

    def passed(self, octets: int) -> None:
        """So many octets passed over a connection of this process."""
        if self.limits.octets_per_second is not None:
            with self._pace_lock:
                self._untold += octets

    def wait(self, control: RunControl) -> None:
        """Wait until octets may pass."""
        rate = self.limits.octets_per_second
        if rate is None:
            return
        with self._pace_lock:
            now = time.monotonic()
            if self._untold and (self._untold >= _TELL_SHARE * rate or now >= self._told_at + _TELL_SECONDS):
                untold, self._untold, self._told_at = self._untold, 0, now
                try:
                    self._free_at = now + self.ledger.servers.pass_octets(self.host, untold, rate)
                except LedgerUnavailable as error:
                    self._warn(error)
            delay = self._free_at - now
        if delay > 0:
            control.pause(delay)

    def _warn(self, error: LedgerUnavailable) -> None:
        if not self._is_warned:
            self._is_warned = True
            log.warning("%s; until it is back, the limits of %s do not hold", error.message, self.host)


class Seat:
    """A connection's seat at a server, until it leaves."""

    def __init__(self, server: SharedServer, account: Path, number: int) -> None:
        self.server, self.account, self._number = server, account, number
        _keep(self)

    def leave(self) -> None:
        """Give it up; may be called twice."""
        with _lock:
            if self not in _seats:
                return  # it has left, or it is the parent's
            _seats.discard(self)
        with suppress(LedgerUnavailable):  # then it runs out
            self.server.ledger.servers.leave_seat(self.server.host, self._number, _me())


class SharedMeter:
    """Counts the octets of a connection for the fleet, and gives its seat back at the end. Implements `Meter`, for
    that of the account, too."""

    def __init__(self, own: Meter | None, server: SharedServer, seat: Seat | None, control: RunControl) -> None:
        self._own, self._server, self._seat, self._control = own, server, seat, control

    def wait(self) -> None:
        if self._own is not None:
            self._own.wait()
        self._server.wait(self._control)

    def passed(self, octets: int) -> None:
        if self._own is not None:
            self._own.passed(octets)
        self._server.passed(octets)

    def closed(self) -> None:
        if self._seat is not None:
            self._seat.leave()


def _me() -> str:
    """What this process is called, which no other one ever is."""
    global _owner
    with _lock:
        if not _owner:
            _owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        return _owner


def _keep(seat: Seat) -> None:
    global _keeper
    with _lock:
        _seats.add(seat)
        if _keeper is None:
            _keeper = threading.Thread(target=_keep_all, name="seats", daemon=True)
            _keeper.start()


def _keep_all() -> None:
    global _keeper
    while True:
        time.sleep(_KEEP_SECONDS)
        with _lock:
            ledgers = {each.server.ledger for each in _seats}
            if not ledgers:
                _keeper = None
                return
        for ledger in ledgers:
            with suppress(LedgerUnavailable):
                ledger.servers.keep_seats(_me(), SEAT_SECONDS)


def _in_child() -> None:
    """The seats are the parent's."""
    global _keeper, _owner
    _keeper, _owner = None, ""
    _seats.clear()


os.register_at_fork(after_in_child=_in_child)
