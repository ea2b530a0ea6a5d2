"""What `init --from-csv` writes: what is new, each file completely or not at all; what is there is compared and
stays as it is."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from archiver.config.fleet.made import PASSWORDS, Made
from archiver.config.fleet.rows import Problem
from archiver.config.fleet.toml import differing, text_of
from archiver.config.layers import anchored, read_toml
from archiver.errors import ArchiveNotWritable, ConfigError
from archiver.storage.files import make_directory, private_file, sync_paths

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Compared(Struct, frozen=True):
    """An account beside what is on the disk: `is_new` if it has no file yet; else the keys that `differ`.
    `passwords` are those whose files are missing."""

    made: Made
    is_new: bool
    differ: tuple[str, ...]
    passwords: Mapping[Path, str]

    @property
    def state(self) -> str:
        return "new" if self.is_new else "differs" if self.differ else "same"


def compare(accounts: Iterable[Made]) -> tuple[list[Compared], list[Problem]]:
    """Each account beside its files, and the password files that stand in the way of new accounts."""
    compared: list[Compared] = []
    problems: list[Problem] = []
    for each in accounts:
        is_new = not os.path.lexists(each.file)
        missing = {place: text for place, text in each.passwords.items() if not os.path.lexists(place)}
        other = [place for place, text in each.passwords.items() if place not in missing and not _has(place, text)]
        if is_new and other:
            problem = f"{' and '.join(map(str, other))}: is there with another password; remove it, or correct it"
            problems.append(Problem(each.line, problem))
        differ = [] if is_new else [*_differing(each), *(f"the password in {place}" for place in other)]
        compared.append(Compared(each, is_new, tuple(differ), {} if differ else missing))
    return compared, problems


def require_private(folder: Path) -> None:
    """
    Raises:
        ConfigError: others can look into the directories for passwords.
    """
    for path in (folder / PASSWORDS, folder / PASSWORDS / "source", folder / PASSWORDS / "destination"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            raise ConfigError(str(path), ["is a file, where a directory for passwords has to be"])
        if status.st_mode & 0o077:
            problem = f"other users can enter it (mode {stat.S_IMODE(status.st_mode):o})"
            raise ConfigError(str(path), [problem], hint=f"`chmod 700 {path}` keeps it private")


def write(folder: Path, compared: Sequence[Compared], defaults: str | None) -> None:
    """Write what is new: files of passwords first, so that no account file refers to one that is not there, then
    `defaults.toml`, then account files. What is there already stays, also if it has appeared since it was looked
    for.

    Raises:
        ArchiveNotWritable: the folder cannot be written. What was written is complete; the next call goes on.
    """
    files: dict[Path, str] = {}
    for each in compared:
        files |= {place: f"{text}\n" for place, text in each.passwords.items()}
    if defaults is not None:
        files[folder / "defaults.toml"] = defaults
    files |= {each.made.file: text_of(each.made.tree) for each in compared if each.is_new}
    if not files:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(each.passwords for each in compared):
            make_directory(str(folder / PASSWORDS))
        for parent in sorted({file.parent for file in files} - {folder}):
            make_directory(str(parent))
        _write_all(folder, files)
    except OSError as error:
        where = error.filename2 or error.filename or folder
        hint = "what was written is complete; correct this and run again"
        raise ArchiveNotWritable(f"{os.fsdecode(where)}: {error.strerror}", hint=hint) from error


def _write_all(folder: Path, files: Mapping[Path, str]) -> None:
    scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".init-"))
    try:
        drafts = {file: scratch / str(number) for number, file in enumerate(files)}
        for file, text in files.items():
            with private_file(str(drafts[file])) as out:
                out.write(text.encode())
        # NOTE: one sync for all: an empty file is a valid account if the defaults say enough.
        os.sync()
        for file, draft in drafts.items():
            _put(draft, file)
        sync_paths(sorted({str(file.parent) for file in files} | {str(folder)}))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _put(draft: Path, file: Path) -> None:
    try:
        os.link(draft, file)
    except OSError as error:
        if error.errno not in _NO_LINKS or os.path.lexists(file):
            raise
        os.rename(draft, file)


def _has(place: Path, text: str) -> bool:
    try:
        return place.read_bytes().rstrip(b"\r\n") == text.encode()
    except OSError:
        return False


def _differing(made: Made) -> list[str]:
    """The keys in which an account's file is not what its row says; paths are compared as they are meant."""
    try:
        there = read_toml(made.file)
    except ConfigError as error:
        return [error.problems[0]]
    here = made.file.parent
    return list(differing(anchored(there, here), anchored(made.tree, here)))
