"""Whether an account is as it was when there was nothing left to do for it.

A fingerprint is made only if the plan of a run finds nothing to do for what the source listed, given the archive as
it is at the end of that run, and if it would find nothing either at the destination. The plan follows from the
listing, the settings, the journal and the program alone, so while these are the same, it would find nothing again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from archiver.account.archive import Archive
from archiver.account.archiving import rules_of
from archiver.account.note import NoteFile
from archiver.account.store import Medium
from archiver.archive.plan import chooses
from archiver.archive.run import plan_archive
from archiver.config.settings import ServerSettings, Settings
from archiver.control.run import utc_now, utc_today
from archiver.errors import ArchiverError
from archiver.fleet.fingerprint import Fingerprint, digest_of, digest_of_listing
from archiver.mail.model import Folder, Listed
from archiver.storage.maildir.format import PRESENT

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def fingerprint_of(archive: Archive, run: str, listed: Sequence[Listed], there: str | None) -> Fingerprint | None:
    """The fingerprint after `run`, which is complete, and before which the source listed these folders. `there` is
    a digest of what the destination listed, None if the run was not about it, or something may be left to do there.
    None: something may be left to do."""
    settings = archive.settings
    if settings.retention.vanished is not None:
        return None  # what is due by it changes with the day
    if not archive.is_settled or archive.stranger is not None or any(each.folder.spelled for each in listed):
        return None
    search = settings.messages.criteria(utc_today())
    plan = plan_archive(archive.catalog, listed, rules_of(settings), search=search, retry="due")
    if plan.visit or not plan.unchanged or (here := state_here(settings, archive.medium)) is None:
        return None
    return Fingerprint.of(run, utc_now(), here, shown_by_source(settings, listed), there)


def shown_by_source(settings: Settings, listed: Iterable[Listed]) -> str:
    """A digest of what a source listed. What comes into folders that are left out does not count."""
    rules = rules_of(settings)

    def is_chosen(folder: Folder) -> bool:
        return chooses(folder, rules.include, rules.exclude)

    return digest_of_listing(listed, is_chosen)


def state_here(settings: Settings, medium: Medium) -> str | None:
    """A digest of all on this side that decides what a run has to do: the program, the account's settings, and its
    archive, by the directory of its journal, to which every change comes first. None: a run has to look.

    NOTE: nothing is opened, so this must not depend on the contents of any file.
    """
    source = settings.source
    if settings.fleet is None or not isinstance(source, ServerSettings) or source.protocol != "imap":
        return None
    path = settings.archive.path
    try:
        if medium.is_remote or os.path.lexists(path / "unsettled"):
            return None
        archive, journal = os.stat(path), os.stat(medium.own_directory)
        catalog = os.stat(path / "catalog.sqlite")
    except (OSError, ArchiverError):
        return None
    if archive.st_uid != os.geteuid() or archive.st_mode & _OTHERS:
        return None  # every run warns of that
    return digest_of(
        _program(),
        settings.fleet.written,
        (str(settings.file), str(path)),
        (archive.st_dev, archive.st_ino),
        (journal.st_dev, journal.st_ino, journal.st_mtime_ns),
        (catalog.st_dev, catalog.st_ino),
        _own(NoteFile(settings, medium).path),
        [_own(path / PRESENT), _own(path / PRESENT / "cur")],
    )


def _own(path: Path) -> tuple[int, ...]:
    """What shows that a file or directory of ours is another, or changed: the note, which may be missing where
    nobody can write it; directories of messages, which may be missing while there are none."""
    try:
        its = path.lstat()
    except FileNotFoundError:
        return ()
    return its.st_ino, its.st_size, its.st_mtime_ns


@cache
def _program() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mail-archiver")
    except PackageNotFoundError:
        return ""
