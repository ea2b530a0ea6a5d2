"""An archive as it was: a catalog of a past moment next to the present one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from archiver.account.opening import Archive
from archiver.catalog.port import Catalog
from archiver.journal.as_of import replay_past


@contextmanager
def past_catalog(
    archive: Archive, moment: str | None, word: str, check_stop: Callable[[], None]
) -> Iterator[Catalog]:
    """What the folders held at `moment` (None: now), for as long as it is needed; `word` is its name.

    It needs no lock: the journal only grows, and what a run adds in the meantime is not in it. It ends where the
    archive's own catalog does, which knows where octets lie.

    Raises:
        ConfigError: the archive began later.
        IntegrityError: the journal is damaged.
    """
    with archive.place.scratch(word) as past:
        last, _ = archive.catalog.last_segment()
        replay_past(archive.journal, last, past, moment, check_stop)
        yield past
