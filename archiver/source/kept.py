"""A connection that one step of a run leaves open for the next one: to connect and to log in takes six round trips.

At most one to a source and one to a destination are kept in a process, and only where the next step is in this
process, too: a forked worker cannot share them, and the server would count one connection more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from archiver.control.waiting import lock_free_after_fork
from archiver.source.port import SourceConnection

_SECONDS = 60.0  # after that somebody in between may have dropped it


class Closable(Protocol):
    """A connection that can be ended."""

    def close(self) -> None:
        """Log out. Never raises; may be called twice."""


C = TypeVar("C", bound=Closable)

_process: int | None = None  # that keeps connections
_lock = lock_free_after_fork()


class KeptConnection(Generic[C]):
    """The place of one connection."""

    def __init__(self) -> None:
        self._held: tuple[Hashable, C, float] | None = None
        _places.append(self)

    def keep(self, whose: Hashable, connection: C) -> None:
        """Keep a connection that is in the middle of nothing, in place of the one that was kept before; or close
        it."""
        if is_keeping():
            self._replace((whose, connection, time.monotonic()))
        else:
            connection.close()

    def take(self, whose: Hashable) -> C | None:
        """The connection that was kept for these settings, if there is one; it is the caller's then."""
        with _lock:
            held = self._held
            if held is None or os.getpid() != _process or held[0] != whose:
                return None
            self._held = None
        _, connection, at = held
        if time.monotonic() > at + _SECONDS:
            connection.close()
            return None
        return connection

    def drop(self) -> None:
        """Close the one that is kept."""
        self._replace(None)

    def _replace(self, new: tuple[Hashable, C, float] | None) -> None:
        with _lock:
            before, self._held = self._held, new
        if before is not None:
            before[1].close()


_places: list[KeptConnection[Any]] = []
_source = KeptConnection[SourceConnection]()
keep, take = _source.keep, _source.take


def is_keeping() -> bool:
    """Whether this process keeps connections: the steps of an account follow each other in it."""
    return os.getpid() == _process


@contextmanager
def keeping(allowed: bool) -> Iterator[None]:
    """Within this block, and if it is `allowed`, a connection of this process is kept. At its end none is left."""
    global _process
    _process = os.getpid() if allowed else None
    try:
        yield
    finally:
        _process = None
        for place in _places:
            place.drop()
