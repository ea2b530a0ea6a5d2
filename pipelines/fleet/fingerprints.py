"""Whether an account is as it was when there was nothing left to do for it.

A fingerprint is made only if the plan of a run finds nothing to do for what the source listed, given the archive as
it is at the end of that run, and if it would find nothing either at the destination. The plan follows from the
listing, the settings, the journal and the program alone, so while these are the same, it would find nothing again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import cache

from archiver.account.archive import Archive
from archiver.account.archiving import rules_of
from archiver.account.note import NoteFile
from archiver.account.store import Ends, Medium
from archiver.account.upkeep.retention import next_day
from archiver.archive.plan.folders import chooses
from archiver.archive.run import plan_archive
from archiver.config.settings import Settings
from archiver.config.tables.server import ServerSettings
from archiver.control.run import utc_now, utc_today
from archiver.errors import ArchiverError
from archiver.fleet.fingerprint import MOST_DAYS, Fingerprint, digest_of, digest_of_listing
from archiver.mail.model import Folder, Listed
from archiver.storage.files import shown_by

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def fingerprint_of(archive: Archive, run: str, listed: Sequence[Listed], there: str | None) -> Fingerprint | None:
    """The fingerprint after `run`, which is complete, and before which the source listed these folders. `there` is
    a digest of what the destination listed, None if the run was not about it, or something may be left to do there.
    None: something may be left to do."""
    settings, today = archive.settings, utc_today()
    if settings.messages.search is not None:
        return None  # what it finds the server alone knows: by its clock, by an index, by flags that no list shows
    if not archive.is_settled or archive.stranger is not None or any(each.folder.spelled for each in listed):
        return None
    search = settings.messages.criteria(today)
    plan = plan_archive(archive.catalog, listed, rules_of(settings), search=search, retry="due", by_age=True)
    ends = _ends_of(archive)
    if plan.visit or not plan.unchanged or (here := state_here(settings, archive.medium, ends)) is None:
        return None
    days = [_next_to_fetch(archive, today), next_day(archive, MOST_DAYS + 1)]
    until = min((day for day in days if day is not None), default=None)
    return Fingerprint.of(run, utc_now(), here, shown_by_source(settings, listed), there, until, ends)


def _ends_of(archive: Archive) -> tuple[int, int] | None:
    """Where an archive in a bucket ends."""
    if not archive.medium.is_remote:
        return None
    number, _ = archive.catalog.last_segment()
    return number, 0 if archive.storage.lease is None else archive.storage.lease.fence


def _next_to_fetch(archive: Archive, today: date) -> date | None:
    """The day on which a message that the source has may become old enough; None: none will. One that is too old
    never becomes young again."""
    if archive.settings.messages.older_than is None:
        return None
    return today + timedelta(1) if any(each.excluded for each in archive.catalog.account.tallies()) else None


def shown_by_source(settings: Settings, listed: Iterable[Listed]) -> str:
    """A digest of what a source listed. What comes into folders that are left out does not count."""
    rules = rules_of(settings)

    def is_chosen(folder: Folder) -> bool:
        return chooses(folder, rules.include, rules.exclude)

    return digest_of_listing(listed, is_chosen)


def state_here(settings: Settings, medium: Medium, ends: tuple[int, int] | None) -> str | None:
    """A digest of all on this side that decides what a run has to do: the program, the account's settings, and its
    archive, by what a glance at its journal shows, to which every change comes first. `ends`: where it ended, in a
    bucket. None: a run has to look.

    NOTE: nothing is opened, so this must not depend on the contents of any file.
    """
    source = settings.source
    if settings.fleet is None or not isinstance(source, ServerSettings) or source.protocol != "imap":
        return None
    path = settings.archive.path
    try:
        if os.path.lexists(path / "unsettled"):
            return None
        archive, catalog = os.stat(path), os.stat(path / "catalog.sqlite")
        if archive.st_uid != os.geteuid() or archive.st_mode & _OTHERS:
            return None  # every run warns of that
        shown = medium.shown(None if ends is None else Ends(*ends))
    except (OSError, ArchiverError):
        return None
    if shown is None:
        return None
    return digest_of(
        _program(),
        settings.fleet.written,
        (str(settings.file), str(path)),
        (archive.st_dev, archive.st_ino),
        (catalog.st_dev, catalog.st_ino),
        shown_by(NoteFile(settings, medium).path),
        shown,
    )


@cache
def _program() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mail-archiver")
    except PackageNotFoundError:
        return ""
