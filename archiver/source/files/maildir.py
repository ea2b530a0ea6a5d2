"""Maildirs: what names say, in the spellings of the programs that write them. Nothing is opened here.

Folders are directories with `cur` and `new`: those of a Maildir++ (`.Parent.Child`), nested ones, and those of
offlineimap, whose names have dots between levels. Levels are modified UTF-7 or UTF-8, and may be escaped as by
Dovecot's plugin listescape, which is also how this program writes them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from archiver.mail.flags import flags_from_letters
from archiver.mail.folder_names import decode_name
from archiver.mail.model import Flags

_INFO = re.compile(r"[:;!]2,(?P<letters>[A-Za-z,]*)\Z")
_ESCAPE = re.compile(r"\\([0-9a-f]{2})")
_SECONDS = re.compile(r"(\d{9,11})\.")
_OURS = re.compile(r"-?\d{1,15}\.V\d{1,20}U(\d{1,20})\.([0-9a-f]{16}),S=(\d{1,15}),W=\d{1,15}")
OFFLINEIMAP = re.compile(r",FMD5=[0-9a-f]{32}")
_EARLIEST = 315532800  # 1980: an earlier time is none


def split_name(name: str, keywords: Sequence[str]) -> tuple[str, Flags]:
    """The part of a file's name that stays, and the flags in the other one. "P" (passed on) is `$Forwarded`."""
    match = _INFO.search(name)
    if match is None:
        return name, frozenset()
    flags = flags_from_letters(match["letters"], keywords)
    return name[: match.start()], flags | {"$Forwarded"} if "P" in match["letters"] else flags


def arrived_of_file(base: str, modified: int) -> int:
    """When the message of a file arrived, in seconds since 1970: the earlier one of the time in its name and the
    time of its modification. Copying changes the second one, and programs that fetch mail name files by their own
    time."""
    match = _SECONDS.match(base)
    times = [each for each in ((int(match[1]) if match else 0), modified) if each >= _EARLIEST]
    return min(times, default=modified)


def ours(base: str) -> tuple[str, int, int] | None:
    """What the name of a file of this program says: the beginning of the digest, the size, the UID."""
    match = _OURS.fullmatch(base)
    return (match[2], int(match[3]), int(match[1])) if match else None


def is_maildir(directory: str) -> bool:
    """Whether a directory is a Maildir's folder. Some programs leave out what is empty."""
    return os.path.isdir(f"{directory}/cur") and (
        os.path.isdir(f"{directory}/new") or os.path.isdir(f"{directory}/tmp")
    )


def levels_of(name: str) -> tuple[str, ...]:
    """The levels of a directory `.Parent.Child` of a Maildir++; none for its INBOX."""
    return tuple(level_of(each) for each in name[1:].split(".") if each)


def level_of(name: str) -> str:
    """A level's name for people."""
    plain = "" if name == "\\-" else _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)
    return decode_name(os.fsencode(plain))
