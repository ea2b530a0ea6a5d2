"""An archive as it was, wired: a catalog of then beside that of now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from archiver.account.opening import Archive, scratch_catalog
from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.journal.as_of import replay_past


@contextmanager
def past_catalog(
    archive: Archive, moment: str | None, word: str, check_stop: Callable[[], None]
) -> Iterator[SqlCatalog]:
    """What the folders held at `moment` (None: now), for as long as it is needed; `word` names its file.

    It needs no lock: the journal only grows, and what a run adds meanwhile is not in it. It ends where the
    archive's own catalog does, which knows where octets lie.

    Raises:
        ConfigError: the archive began later.
        IntegrityError: the journal is damaged.
    """
    with scratch_catalog(archive, word) as past:
        last, _ = archive.catalog.last_segment()
        replay_past(archive.journal, last, past, moment, check_stop)
        yield past
