"""Which folders lie below a path: Maildirs, mboxes and directories of single files, however they are nested.

| what | is recognised by |
|---|---|
| a Maildir and a Maildir++ | `cur` with `new` or `tmp`; `.Parent.Child` next to it |
| a Thunderbird profile | mboxes without an ending, `NAME.sbd` with the subfolders of NAME |
| imap-backup | `NAME.mbox` with `NAME.imap` |
| our own exports and archives | `export.json`; `Maildir` next to `journal` |
| single files | `NAME.eml` |
| packed ones | `.zip`, `.tar`, `.tar.gz` |

Links are not followed: they may lead in a circle, or to mail of somebody else. Each is an `Unreadable`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from archiver.mail.folder_names import decode_name
from archiver.source.files.found import FolderOnDisk, Kind, Unreadable
from archiver.source.files.indexes import index_of_directory, index_of_mbox
from archiver.source.files.maildir import OFFLINEIMAP, is_maildir, level_of, levels_of
from archiver.source.files.packed import kind_of_packed
from archiver.source.files.reading import is_message_name, looks_like_mbox

INBOX = ("INBOX",)
#: What mail programs keep next to mail.
_NOT_MAIL = (
    ".msf", ".dat", ".json", ".jsonl", ".imap", ".index", ".log", ".lock", ".sqlite", ".html", ".txt", ".js", ".db",
    ".ini", ".xml", ".css", ".png", ".jpg", ".gif", ".pdf", ".csv", ".rc", ".idx", ".cache",
)  # fmt: skip
_DEEPEST = 60
_MBOX_ENDINGS = (".mbox", ".mbx", ".mbs")


def folders_below(path: str, wanted: str) -> Iterator[FolderOnDisk | Unreadable]:
    """The folders at and below a path, in the order of their names. `wanted` is `auto`, or the only format to take:
    `maildir`, `mbox` or `eml`."""
    try:
        status = os.stat(path)
    except OSError as error:
        yield Unreadable(path, (error.strerror or "cannot be read").lower())
        return
    if stat.S_ISDIR(status.st_mode):
        root = f"{path}/Maildir" if _is_archive(path) else path
        yield from _Walk(wanted).directory(root, (), 0)
    else:
        yield from _Walk(wanted).file(path, (), is_root=True)


def _is_archive(path: str) -> bool:
    """Whether this is an archive of ours, or an export as a Maildir."""
    beside = os.path.isdir(f"{path}/journal") or os.path.isfile(f"{path}/export.json")
    return beside and is_maildir(f"{path}/Maildir")


class _Walk:
    def __init__(self, wanted: str) -> None:
        self._wanted = wanted

    def _takes(self, kind: Kind) -> bool:
        return self._wanted in ("auto", kind) or (self._wanted == "eml" and kind in ("zip", "tar"))

    def directory(self, path: str, levels: tuple[str, ...], depth: int) -> Iterator[FolderOnDisk | Unreadable]:
        """The folders at and below a directory, which is the folder `levels`."""
        if depth > _DEEPEST:
            yield Unreadable(path, "is nested too deeply")
            return
        try:
            entries = sorted(os.scandir(path), key=lambda each: each.name)
        except OSError as error:
            yield Unreadable(path, (error.strerror or "cannot be read").lower())
            return
        here = is_maildir(path)
        if here and self._takes("maildir"):
            yield FolderOnDisk(levels or INBOX, path, "maildir")
        if not here and self._takes("eml") and any(_is_single(each, self._wanted) for each in entries):
            index = index_of_directory(path)
            yield FolderOnDisk((index.path if index else None) or levels or INBOX, path, "eml")
        for each in entries:
            if here and each.name in ("cur", "new", "tmp"):
                continue
            if each.is_symlink():
                if _may_be_mail(each):
                    yield Unreadable(each.path, "is a symbolic link, which is not followed", lasting=True)
            elif each.is_dir(follow_symlinks=False):
                yield from self.directory(each.path, _below(levels, each, in_maildir=here), depth + 1)
            elif each.is_file(follow_symlinks=False) and not here:
                yield from self.file(each.path, levels)

    def file(
        self, path: str, levels: tuple[str, ...], *, is_root: bool = False
    ) -> Iterator[FolderOnDisk | Unreadable]:
        """The folder that a file is, if it is one."""
        name = os.path.basename(path)
        packed = kind_of_packed(name)
        if packed is not None:
            if self._takes(packed):
                yield FolderOnDisk(levels or INBOX, path, packed)
            return
        if is_message_name(name) or (self._wanted == "eml"):
            if is_root:
                yield FolderOnDisk(INBOX, path, "eml")
            return
        if not self._takes("mbox") or (not is_root and (name.startswith(".") or name.lower().endswith(_NOT_MAIL))):
            return
        if is_root or looks_like_mbox(path) or self._is_empty_mbox(path, name):
            yield FolderOnDisk(self._levels_of_mbox(path, name, levels, is_root=is_root), path, "mbox")

    def _is_empty_mbox(self, path: str, name: str) -> bool:
        if self._wanted == "mbox":
            return True
        known = name.lower().endswith(_MBOX_ENDINGS) or os.path.exists(f"{path}.msf")
        return known and os.path.getsize(path) == 0

    def _levels_of_mbox(self, path: str, name: str, levels: tuple[str, ...], *, is_root: bool) -> tuple[str, ...]:
        index = index_of_mbox(path) if name.endswith(".mbox") else None
        if index is not None and index.path:
            return index.path
        stem = name[: name.rindex(".")] if name.lower().endswith(_MBOX_ENDINGS) else "" if is_root else name
        return _named((*levels, _decoded(stem))) if stem else INBOX


def _below(levels: tuple[str, ...], entry: os.DirEntry[str], *, in_maildir: bool) -> tuple[str, ...]:
    """The levels of a directory."""
    name = entry.name
    if in_maildir and name.startswith("."):
        # A Maildir++ in which each folder is next to INBOX.
        return _named((*(() if levels == INBOX else levels), *levels_of(name)))
    if name.endswith(".sbd"):
        name = name[:-4]
    if "." in name and is_maildir(entry.path) and _is_of_offlineimap(entry.path):
        return _named((*levels, *(level_of(each) for each in name.split(".") if each)))
    return _named((*levels, level_of(name) if in_maildir or is_maildir(entry.path) else _decoded(name)))


def _named(levels: tuple[str, ...]) -> tuple[str, ...]:
    """INBOX in any case is INBOX, as in IMAP."""
    return (*INBOX, *levels[1:]) if levels and levels[0].upper() == "INBOX" else levels


def _decoded(name: str) -> str:
    """The name of a file or a directory for people."""
    return decode_name(os.fsencode(name))


def _is_of_offlineimap(directory: str) -> bool:
    for part in ("cur", "new"):
        try:
            with os.scandir(f"{directory}/{part}") as entries:
                if (first := next(iter(entries), None)) is not None:
                    return OFFLINEIMAP.search(first.name) is not None
        except OSError:
            continue
    return False


def _is_single(entry: os.DirEntry[str], wanted: str) -> bool:
    if not entry.is_file(follow_symlinks=False) or entry.name.startswith("."):
        return False
    if wanted == "eml":
        return kind_of_packed(entry.name) is None and not entry.name.endswith((".json", ".jsonl"))
    return is_message_name(entry.name)


def _may_be_mail(entry: os.DirEntry[str]) -> bool:
    """Whether a link leads to something that is not among what mail programs keep next to mail."""
    if entry.name.startswith(".") and not entry.is_dir():
        return False
    if not os.path.exists(entry.path):
        return False
    return entry.is_dir() or is_message_name(entry.name) or looks_like_mbox(os.path.realpath(entry.path))
