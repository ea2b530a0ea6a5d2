"""The files of a folder on a disk, as they are now: names and stamps, without opening them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from archiver.mail.flags import parse_keywords
from archiver.mail.model import Flags
from archiver.source.files.found import FolderOnDisk, Found, FoundFile, Stamp, Unreadable
from archiver.source.files.maildir import split_name
from archiver.source.files.packed import kind_of_packed
from archiver.source.files.reading import is_message_name, opened

_LISTINGS = 10  # of a directory that changes while it is listed


def files_of(folder: FolderOnDisk, wanted: str) -> Found:
    """The files of a folder. One that a program renames meanwhile may come twice, with the same `base` and
    inode."""
    if folder.kind == "maildir":
        keywords = _keywords(folder.path)
        for part in ("new", "cur"):
            yield from _listed(f"{folder.path}/{part}", keywords)
    elif folder.kind == "eml" and os.path.isdir(folder.path):
        yield from _singles(folder.path, wanted)
    else:
        yield _file(folder.path, os.path.basename(folder.path), folder)


def _file(path: str, base: str, folder: FolderOnDisk, flags: Flags | None = None) -> FoundFile | Unreadable:
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError as error:
        return Unreadable(path, (error.strerror or "cannot be read").lower())
    if not stat.S_ISREG(status.st_mode):
        return Unreadable(path, "is not a file", lasting=True)
    return FoundFile(path, base, folder.kind, Stamp.of(status), flags)


def _listed(directory: str, keywords: list[str]) -> Found:
    """The messages in one of a Maildir's directories. A listing may miss a file that is renamed meanwhile, so that
    one during which something changed is repeated."""
    for _ in range(_LISTINGS):
        before = _changed_at(directory)
        yield from _entries(directory, keywords)
        if _changed_at(directory) == before:
            return


def _changed_at(directory: str) -> int:
    try:
        return os.stat(directory).st_mtime_ns
    except OSError:
        return 0


def _entries(directory: str, keywords: list[str]) -> Found:
    try:
        entries = os.scandir(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        yield Unreadable(directory, (error.strerror or "cannot be read").lower())
        return
    with entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            base, flags = split_name(entry.name, keywords)
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # renamed meanwhile: the directory is listed again
            except OSError as error:
                yield Unreadable(entry.path, (error.strerror or "cannot be read").lower())
                continue
            if stat.S_ISREG(status.st_mode):
                yield FoundFile(entry.path, base, "maildir", Stamp.of(status), flags)
            elif stat.S_ISLNK(status.st_mode):
                yield Unreadable(entry.path, "is a symbolic link, which is not followed", lasting=True)


def _singles(directory: str, wanted: str) -> Found:
    with os.scandir(directory) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(".") or (wanted != "eml" and not is_message_name(name)):
                continue
            if kind_of_packed(name) is not None or name.endswith((".json", ".jsonl")):
                continue
            if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and not is_message_name(name)):
                continue
            found = _file(entry.path, name, FolderOnDisk((), directory, "eml"))
            if entry.is_symlink():
                found = Unreadable(entry.path, "is a symbolic link, which is not followed", lasting=True)
            yield found


def _keywords(directory: str) -> list[str]:
    try:
        with open(f"{directory}/dovecot-keywords", encoding="utf-8", errors="replace") as file:
            return parse_keywords(file.read(1 << 16))
    except OSError:
        return []


@contextlib.contextmanager
def opened_wherever(file: FoundFile) -> Iterator[int]:
    """The descriptor of a file, also if a program renames it in its Maildir all the time.

    Raises:
        OSError: it is gone, or cannot be read.
    """
    with contextlib.ExitStack() as stack:
        yield _descriptor(file, stack)


def _descriptor(file: FoundFile, stack: contextlib.ExitStack) -> int:
    paths = [file.path]
    for _ in range(_LISTINGS if file.kind == "maildir" else 1):
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                return stack.enter_context(opened(path))
        if file.kind == "maildir":
            paths = list(_renamed(file))
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file.path)


def _renamed(file: FoundFile) -> Iterator[str]:
    """Where a file of a Maildir may be now."""
    directory = os.path.dirname(os.path.dirname(file.path))
    for part in ("cur", "new"):
        with contextlib.suppress(OSError), os.scandir(f"{directory}/{part}") as entries:
            for entry in entries:
                if split_name(entry.name, ())[0] == file.base:
                    yield entry.path
