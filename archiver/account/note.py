"""Whether an archive may be begun: the note next to an account file says which archive is the account's.

If a disk is not mounted, there is an empty directory where the archive should be, just as before a first run. So
the note that tells the two apart is kept elsewhere, next to the account file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from archiver.account.catalog import catalog_place
from archiver.account.medium import medium_of
from archiver.config.load import Settings
from archiver.errors import ArchiveMissing, ArchiveNotWritable, ArchiverError, ConfigError
from archiver.facts.archive import ArchiveFact
from archiver.storage.files import make_directories, replace_file

FORMAT = "archiver-note/1"
SUFFIX = ".archive"
_HINT = "give this user access to the archive, or change [archive] path"

Begin = Literal["never", "first", "confirmed"]
"""Whether an archive may be begun: "never"; "first": if none is known; "confirmed": the user says that the place is
right."""


@dataclass(frozen=True, slots=True)
class Note:
    """Which archive is the account's, where it was last, and since when; empty where the note cannot be read."""

    archive_id: str = ""
    place: str = ""
    since: str = ""


def note_file(settings: Settings) -> Path:
    """Where the note of an account is."""
    return settings.file.with_name(settings.account + SUFFIX)


def read_note(settings: Settings) -> Note | None:
    """The account's note; None if there is none. One that cannot be read still says that there was an archive."""
    try:
        record = json.loads(note_file(settings).read_bytes())
        return Note(*(str(record[name]) for name in ("archive_id", "place", "since")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Note()


def leave_note(settings: Settings, identity: ArchiveFact) -> bool:
    """Note that this archive is the account's; does nothing if the note says so. False where it cannot be written,
    as in a folder that belongs to another user."""
    known, place = read_note(settings), medium_of(settings).name
    if known is not None and (known.archive_id, known.place) == (identity.archive_id, place):
        return True
    since = known.since if known is not None and known.archive_id == identity.archive_id else identity.at
    note = Note(identity.archive_id, place, since)
    text = json.dumps({"format": FORMAT, "account": settings.account, **asdict(note)}, indent=1) + "\n"
    file = os.fspath(note_file(settings))
    try:
        replace_file(file, f"{file}.tmp", text.encode("ascii"), sync=True)
    except OSError:
        return False
    return True


def why_not_begin(settings: Settings, begin: Begin) -> ArchiverError | None:
    """Why no archive may be begun where there is none; None if one may."""
    if begin == "confirmed":
        return None
    medium, note = medium_of(settings), read_note(settings)
    place = medium.name
    begin_again = f"`archiver run --new-archive {settings.file}` begins a new one"
    if note is not None:
        file = note_file(settings)
        if note.place and note.place != place:
            told = f"{place}: no archive here; {file} says that it is at {note.place}"
            return ArchiveMissing(told, hint=f"move the archive here, or change [archive] back; {begin_again}")
        since = f" since {note.since[:10]}" if note.since else ""
        told = f"{place}: no archive here; {file} says that there is one{since}"
        return ArchiveMissing(told, hint=f"is the {medium.wanted}? {begin_again}")
    if settings.archive.must_exist:
        hint = f"is the {medium.wanted}? No run begins one, since [archive] must_exist is set; {begin_again}"
        return ArchiveMissing(f"{place}: no archive here", hint=hint)
    if begin == "first":
        return None
    return ConfigError(place, ["there is no archive here yet"], hint="`archiver run` makes one")


def why_not_this(settings: Settings, identity: ArchiveFact, begin: Begin) -> ArchiverError | None:
    """Why the archive that is there is not the account's; None if it is, or if there is no note."""
    note = read_note(settings)
    if begin == "confirmed" or note is None or note.archive_id in ("", identity.archive_id):
        return None
    medium = medium_of(settings)
    place = medium.name
    there = f"{place}: holds another archive, of {identity.at[:10]}"
    told = f"{there}, than the one of {note.since[:10]} that {note_file(settings)} names"
    hint = f"is the right {medium.wanted}? `archiver run --new-archive {settings.file}` goes on with this one"
    return ArchiveMissing(told, hint=hint)


def require_archive(settings: Settings) -> None:
    """
    Raises:
        ArchiveMissing: there is none, and there should be one.
        ConfigError: there is none yet.
    """
    path = settings.archive.path
    if has_archive(settings):
        return
    if medium_of(settings).is_remote:
        hint = "`archiver rebuild` makes one here from what is in the bucket; `archiver run` does so too"
        raise ConfigError(str(path), ["there is no archive here yet"], hint=hint)
    if (reason := why_not_begin(settings, "never")) is not None:
        raise reason


def has_archive(settings: Settings) -> bool:
    """Whether something of an archive is at its path; of one in a bucket, what is local of it.

    Raises:
        ArchiveNotWritable: this user may not look, or the path is no folder.
    """
    path = settings.archive.path
    if _is_there(path) and not path.is_dir():
        raise ArchiveNotWritable(f"{path}: is not a folder", hint=_HINT)
    return catalog_place(settings).exists() or _is_there(medium_of(settings).own_directory)


def _is_there(path: Path) -> bool:
    """Whether the file or folder is there. What cannot be looked at is neither there nor missing.

    Raises:
        ArchiveNotWritable: this user may not look, or something on the way is no folder.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ArchiveNotWritable(f"{path}: {error.strerror}", hint=_HINT) from error
    return True


def make_archive(settings: Settings, begin: Begin) -> None:
    """Make the archive's directory, private; fine if it is there. `begin` says whether there may be none yet; what
    is in a bucket is looked at by `writing`.

    Raises:
        ArchiveMissing, ConfigError: there is none, and none is to be begun; nothing was made.
    """
    path, medium = settings.archive.path, medium_of(settings)
    is_checked_later = medium.is_remote or has_archive(settings)
    if not is_checked_later and (reason := why_not_begin(settings, begin)) is not None:
        raise reason
    try:
        make_directories(medium.own_directory)
    except OSError as error:
        what = "is not a folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise ArchiveNotWritable(
            f"{path}: {what}", hint="give this user write access, or change [archive] path"
        ) from error
