"""The port of what counts the octets of a connection, and slows it down."""

from __future__ import annotations

from typing import Protocol


class Meter(Protocol):
    """Counts what passes through a connection, in either direction. Belongs to the thread of the connection."""

    def wait(self) -> None:
        """Return when more may pass. Called before octets are sent or received, as a place where a run can be
        stopped.

        Raises:
            Interrupted: the run is to end.
        """

    def passed(self, octets: int) -> None:
        """So many octets were sent or received."""

    def closed(self) -> None:
        """The connection is over; may be called twice."""
