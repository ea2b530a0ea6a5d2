"""A rate, as a bucket of tokens that is filled evenly."""

from __future__ import annotations

from msgspec import Struct

_ROUNDING = 1e-9  # of numbers that are as large as what one second gives


class TokenBucket(Struct):
    """At most `rate` a second, and what one second gives at once. What was taken beyond that is owed: the next one
    waits for it. Times are seconds of any clock that does not go back; not safe for threads."""

    rate: float
    _held: float | None = None
    _at: float = 0.0

    @property
    def _most(self) -> float:
        return max(1.0, self.rate)

    def take(self, amount: float, now: float) -> None:
        """So much was used, whether it was there or not."""
        self._fill(now)
        assert self._held is not None
        self._held -= amount

    def delay(self, now: float, amount: float = 0.0) -> float:
        """In how many seconds `amount` is there; of 0, when nothing is owed."""
        self._fill(now)
        assert self._held is not None
        lacking = min(amount, self._most) - self._held
        return lacking / self.rate if lacking > _ROUNDING * self._most else 0.0

    def _fill(self, now: float) -> None:
        if self._held is None:
            self._held = self._most
        else:
            self._held = min(self._most, self._held + self.rate * max(0.0, now - self._at))
        self._at = now
