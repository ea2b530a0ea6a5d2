"""How long to wait before another attempt at a server, and when to give up."""

from __future__ import annotations

from msgspec import Struct

from archiver.errors import TemporaryError, Throttled, Unreachable, followed_by

_FIRST_SECONDS = 0.25
_LONGEST_SECONDS = 30.0
_LONGEST_THROTTLE_SECONDS = 10  # a worker with other accounts does not wait longer
_PATIENT_THROTTLE_SECONDS = 300


class Backoff(Struct):
    """The attempts of one connection, which belongs to one thread.

    `attempts` counts those without progress in between. A `patient` one waits up to five minutes for a server that
    throttles; any other gives up then, so that other accounts can go on.
    """

    attempts: int
    patient: bool = False
    failures: int = 0

    def progressed(self) -> None:
        """Progress was made: the next failure counts as the first one."""
        self.failures = 0

    def delay_after(self, error: TemporaryError) -> float:
        """Count a failure; the seconds to wait before the next attempt.

        Raises:
            TemporaryError: `error`, if no attempt is left.
        """
        self.failures += 1
        delay = min(_FIRST_SECONDS * 4.0 ** (self.failures - 1), _LONGEST_SECONDS)
        if isinstance(error, Throttled):
            delay = error.delay_seconds if error.delay_seconds is not None else 4 * delay
            if delay > (_PATIENT_THROTTLE_SECONDS if self.patient else _LONGEST_THROTTLE_SECONDS):
                raise error
        if self.failures >= self._most(error):
            raise error
        return delay

    def notice(self, error: TemporaryError, delay: float) -> str:
        """The text about the pause after a failure, with what the user can do meanwhile."""
        hint = error.hint if error.hint != type(error).what_next else None
        again = f"attempt {self.failures + 1} of {self._most(error)} in {delay:g} seconds"
        return followed_by(followed_by(error.message, hint), again)

    def _most(self, error: TemporaryError) -> int:
        most = error.most_attempts if isinstance(error, Unreachable) else None
        return self.attempts if most is None else min(self.attempts, most)
