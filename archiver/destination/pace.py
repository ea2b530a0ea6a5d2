"""How fast a destination takes mail, and what follows from it: the size of a group, and when to look again.

Pure except for a few remembered numbers. Nothing here decides whether a message arrived.
"""

from __future__ import annotations

import math

#: A group should be answered within this fraction of the time after which a server counts as silent.
_SHARE = 0.25

#: The limits of the first group, as long as the server's pace is unknown.
FIRST_MESSAGES = 10
FIRST_OCTETS = 1 << 20

_GROWTH = 10
_LOOK_SECONDS = 10.0
_FEWEST_LOOKS = 4
_SHORT_SECONDS = 5.0


class Pace:
    """The pace of one destination, shared by its connections. `limit` is the time in seconds after which it counts
    as silent."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._wanted = _SHARE * limit
        self._slow = 2 * self._wanted
        self.messages = FIRST_MESSAGES
        self.octets = FIRST_OCTETS
        self.slowest = 0.0
        self._answers = False
        self._was_silent = False

    @property
    def steady(self) -> bool:
        """Whether a second group may be sent before the first is answered: all groups so far were answered in time.
        NOTE: a server takes one after the other, so the second waits twice as long for its answer."""
        return self._answers and not self._was_silent

    def answered(self, messages: int, octets: int, seconds: float) -> None:
        """A group was answered `seconds` after it was sent.

        A group that is already small and was answered in time is not made smaller: a server may need that time for
        every command, whatever its size.
        """
        self._answers = True
        ratio = self._wanted / max(seconds, 1e-3)
        if messages <= FIRST_MESSAGES and self._wanted < seconds <= self._slow:
            return
        self.messages = max(1, min(int(messages * ratio), _GROWTH * max(messages, self.messages)))
        # NOTE: small messages say little about how many octets the server could take, so this limit falls slowly.
        self.octets = max(int(octets * ratio), self.octets // 2, 1)

    def silent(self, messages: int) -> None:
        """That many messages were not answered in time."""
        self._was_silent = True
        self.messages = max(1, min(self.messages, messages) // 4)

    def late(self, seconds: float) -> None:
        """After a silence a message was found, `seconds` after it was sent; `slowest` keeps the longest time."""
        self.slowest = max(self.slowest, seconds)


def pauses(seconds: float) -> list[float]:
    """Pauses that add up to `seconds`, with a look after each; empty if nothing is left."""
    if seconds <= 0:
        return []
    looks = 1 if seconds <= _SHORT_SECONDS else max(_FEWEST_LOOKS, math.ceil(seconds / _LOOK_SECONDS))
    return [seconds / looks] * looks
