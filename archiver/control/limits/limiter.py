"""The limits of one account at one side, for all of its connections in this process.

What really passes counts, as the sockets give it, whatever was asked for. Before messages are asked for, room for
them is reserved, so that several connections do not use the same rest of a day.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from msgspec import Struct

from archiver.control.limits.bucket import TokenBucket
from archiver.control.limits.used import UsedOctets
from archiver.control.run import RunControl, utc_now
from archiver.control.waiting import lock_free_after_fork
from archiver.errors import BudgetUsedUp, Where

#: What a message costs on the wire besides its own octets, at most: the response around it, or the command.
_AROUND = 512


class Limits(Struct, frozen=True, kw_only=True):
    """Messages and octets a second, and octets on a day (UTC). None: as much as can be."""

    messages_per_second: float | None = None
    octets_per_second: int | None = None
    octets_per_day: int | None = None


class Limiter:
    """`limits` are those of one table of an account file, `table`. `used` counts the day's octets in that file.
    `clock` are seconds that do not go back. Without limits all calls are free. Safe for threads."""

    def __init__(
        self,
        limits: Limits,
        table: str = "",
        where: Where | None = None,
        used: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._table = table
        self._where = where
        self._clock = clock
        self._lock = lock_free_after_fork()
        rate, pace = limits.messages_per_second, limits.octets_per_second
        self._messages = None if rate is None else TokenBucket(rate)
        self._octets = None if pace is None else TokenBucket(pace)
        self._used = None
        if limits.octets_per_day is not None:
            assert used is not None
            self._used = UsedOctets(used, lambda: date.fromisoformat(utc_now()[:10]))
        self._reserved = 0

    @property
    def most(self) -> int | None:
        """How large a message may be, since it has to fit into a day; None: of any size."""
        return None if self._limits.octets_per_day is None else self._limits.octets_per_day - _AROUND

    def meter(self, control: RunControl) -> WireMeter | None:
        """What counts the octets of a connection; None if nobody has to."""
        return WireMeter(self, control) if self._octets or self._used else None

    def require(self) -> None:
        """
        Raises:
            BudgetUsedUp: nothing is left of this day.
        """
        if self._used is not None and self._left() <= 0:
            raise self.used_up()

    def fits(self, sizes: Sequence[int]) -> bool:
        """Whether messages of these sizes fit into what is left of the day."""
        return self._used is None or self._cost(sizes) <= self._left()

    def reserve(self, sizes: Sequence[int]) -> bool:
        """Reserve room for messages of these sizes, if they fit; `release` follows when they have passed, or when
        they do not come."""
        with self._lock:
            if not self.fits(sizes):
                return False
            self._reserved += self._cost(sizes)
            return True

    def release(self, sizes: Sequence[int]) -> None:
        """They are counted, or do not come."""
        with self._lock:
            self._reserved -= self._cost(sizes)

    def pass_messages(self, count: int, control: RunControl) -> None:
        """Wait until that many messages may pass; they count as passed then."""
        if self._messages is None:
            return
        while True:
            with self._lock:
                delay = self._messages.delay(self._clock(), count)
                if not delay:
                    self._messages.take(count, self._clock())
                    return
            control.pause(delay)

    def wait(self, control: RunControl) -> None:
        """Wait until octets may pass."""
        if self._octets is None:
            return
        while True:
            with self._lock:
                delay = self._octets.delay(self._clock())
            if not delay:
                return
            control.pause(delay)

    def passed(self, octets: int) -> None:
        """Count octets that were sent or received."""
        if self._octets is not None:
            with self._lock:
                self._octets.take(octets, self._clock())
        if self._used is not None:
            self._used.add(octets)

    def used_up(self) -> BudgetUsedUp:
        """The error that ends the account until the next day."""
        assert self._used is not None
        midnight = datetime.combine(self._used.ends(), datetime.min.time(), UTC)
        now = datetime.fromisoformat(utc_now())
        error = BudgetUsedUp(
            f"the {self._limits.octets_per_day:,} bytes of {self._table} octets_per_day are used up",
            where=self._where,
        )
        error.until(midnight.strftime("%Y-%m-%dT%H:%M:%SZ"), max(0.0, (midnight - now).total_seconds()))
        return error

    def _cost(self, sizes: Sequence[int]) -> int:
        return sum(sizes) + _AROUND * len(sizes)

    def _left(self) -> int:
        assert self._used is not None
        return (self._limits.octets_per_day or 0) - self._used.add(0) - self._reserved


class WireMeter(Struct, frozen=True):
    """Counts the octets of a connection. Implements `Meter`."""

    limiter: Limiter
    control: RunControl

    def wait(self) -> None:
        self.limiter.wait(self.control)

    def passed(self, octets: int) -> None:
        self.limiter.passed(octets)

    def closed(self) -> None:
        pass


UNLIMITED = Limiter(Limits())
