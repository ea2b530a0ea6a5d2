"""A connection that one step of a run leaves open for the next one: to connect and to log in takes six round trips.

At most one is kept in a process, and only where the next step is in this process, too: a forked worker cannot share
it, and the server would count one connection more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from archiver.source.port import SourceConnection
from archiver.waiting import lock_free_after_fork

_SECONDS = 60.0  # after that somebody in between may have dropped it


class _Kept(Struct, frozen=True):
    whose: Hashable
    connection: SourceConnection
    at: float


_kept: _Kept | None = None
_process: int | None = None  # that keeps connections
_lock = lock_free_after_fork()


@contextmanager
def keeping(allowed: bool) -> Iterator[None]:
    """Within this block, and if it is `allowed`, `keep` keeps a connection of this process. At its end none is
    left."""
    global _process
    _process = os.getpid() if allowed else None
    try:
        yield
    finally:
        _process = None
        _replace(None)


def keep(whose: Hashable, connection: SourceConnection) -> None:
    """Keep a connection that is in the middle of nothing, in place of the one that was kept before; or close it."""
    if os.getpid() == _process:
        _replace(_Kept(whose, connection, time.monotonic()))
    else:
        connection.close()


def take(whose: Hashable) -> SourceConnection | None:
    """The connection that was kept for these settings, if there is one; it is the caller's then."""
    global _kept
    with _lock:
        kept = _kept
        if kept is None or os.getpid() != _process or kept.whose != whose or time.monotonic() > kept.at + _SECONDS:
            return None
        _kept = None
    return kept.connection


def _replace(new: _Kept | None) -> None:
    global _kept
    with _lock:
        before, _kept = _kept, new
    if before is not None:
        before.connection.close()
