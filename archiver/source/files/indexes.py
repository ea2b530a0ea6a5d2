"""What other files beside an mbox or single files say about the messages: our own exports, and imap-backup's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from msgspec import Struct

from archiver.mail.dates import internaldate_seconds
from archiver.mail.flags import parse_flags
from archiver.mail.model import Flags

INDEX = "index.jsonl"
_FORMAT = "archiver-index/1"
_BACKUP_VERSION = 3
_LONGEST = 1 << 20  # octets of a line


class Indexed(Struct, frozen=True):
    """A line about a message: where it is (its offset, or its file's name), its UID there, and what is known.
    `size` and `digest` are None if the index does not say them; `length` counts its octets in the file with the
    line "From "."""

    offset: int | None
    file: str | None
    uid: int
    flags: Flags
    internaldate: str | None
    size: int | None
    digest: str | None
    length: int | None = None


class FolderIndex(Struct, frozen=True):
    """The index of a folder; `path` are its levels, if it says them. `quotes_all`: each line that begins with
    "From" has a ">" too many, whatever follows it."""

    path: tuple[str, ...] | None
    messages: Iterator[Indexed]
    quotes_all: bool = False


def index_of_mbox(path: str) -> FolderIndex | None:
    """The index of an mbox; None if it has none, or one in a form that is not known."""
    return _ours(f"{path}.index.jsonl") or _backup(f"{path.removesuffix('.mbox')}.imap")


def index_of_directory(directory: str) -> FolderIndex | None:
    """The index of a directory of single files."""
    return _ours(f"{directory}/{INDEX}")


def _ours(path: str) -> FolderIndex | None:
    try:
        with open(path, encoding="ascii") as file:
            first = json.loads(file.readline(_LONGEST))
        if first["format"] != _FORMAT:
            return None
        levels = tuple(map(str, first["path"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return FolderIndex(levels, _lines(path))


def _lines(path: str) -> Iterator[Indexed]:
    with open(path, encoding="ascii", errors="replace") as file:
        file.readline(_LONGEST)
        while line := file.readline(_LONGEST):
            try:
                each = json.loads(line)
                yield Indexed(
                    offset=each.get("offset"),
                    file=each.get("file"),
                    uid=int(each["uid"]),
                    flags=parse_flags(map(str, each["flags"])),
                    internaldate=_date(each["internaldate"]),
                    size=int(each["size"]),
                    digest=str(each["digest"]),
                )
            except (ValueError, KeyError, TypeError, AttributeError):
                continue


def _date(text: object) -> str | None:
    return text if isinstance(text, str) and internaldate_seconds(text) is not None else None


def _backup(path: str) -> FolderIndex | None:
    try:
        if os.path.getsize(path) > 1 << 28:
            return None
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        if record["version"] != _BACKUP_VERSION:
            return None
        rows = [
            Indexed(
                offset=int(each["offset"]),
                file=None,
                uid=int(each["uid"]),
                flags=parse_flags(_with_backslash(str(flag)) for flag in each.get("flags", ())),
                internaldate=None,
                size=None,
                digest=None,
                length=int(each["length"]),
            )
            for each in record["messages"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return FolderIndex(None, iter(rows), quotes_all=True)


def _with_backslash(flag: str) -> str:
    return f"\\{flag}" if flag in ("Seen", "Answered", "Flagged", "Deleted", "Draft") else flag
