"""The Maildir on disk, as pure text: file names, directories, and the files that Dovecot reads besides the
messages.

docs/formats.md specifies it. A message's file is found, checked and placed by its name alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from archiver.mail.model import Placement

PRESENT, VANISHED = "Maildir", "vanished"

KEYWORDS_FILE, UIDLIST_FILE, SUBSCRIPTIONS_FILE = "dovecot-keywords", "dovecot-uidlist", "subscriptions"
FOLDER_FILE = "archiver-folder.json"
CONTROL_FILES = (KEYWORDS_FILE, UIDLIST_FILE, SUBSCRIPTIONS_FILE, FOLDER_FILE)

_BASE = re.compile(r"(-?\d{1,15})\.V(\d{1,20})U(\d{1,20})\.([0-9a-f]{16}),S=(\d{1,15}),W=(\d{1,15})")
_HIGHEST = 2**63 - 1  # the largest integer of a database
_EPOCH = re.compile(r"(.*)\.V(\d{1,20})(?:-(\d{1,9}))?", re.DOTALL)


def base_name(placement: Placement) -> str:
    """A message's file name without its flags."""
    p = placement
    return f"{p.arrived}.V{p.uidvalidity}U{p.uid}.{p.digest[:16]},S={p.size},W={p.crlf_size}"


def folder_name(placement: Placement) -> str:
    """The folder's directory, relative to the archive. One of vanished messages has the epoch as a further
    level."""
    p = placement
    if p.present:
        return f"{PRESENT}/{p.directory}" if p.directory else PRESENT
    generation = f"-{p.generation}" if p.generation > 1 else ""
    return f"{VANISHED}/{p.directory or '.INBOX'}.V{p.uidvalidity}{generation}"


def other_folder_name(placement: Placement) -> str:
    """Where the message would be if `present` had the other value."""
    return folder_name(replace(placement, present=not placement.present))


class MessageName(Struct, frozen=True):
    """The parts of a message's file name; `digest` is its first 16 digits."""

    arrived: int
    uidvalidity: int
    uid: int
    digest: str
    size: int
    crlf_size: int


def parse_base_name(base: str) -> MessageName | None:
    """The inverse of `base_name`; None for any other name."""
    match = _BASE.fullmatch(base)
    if match is None:
        return None
    arrived, uidvalidity, uid, digest, size, crlf_size = match.groups()
    if max(int(uidvalidity), int(uid)) > _HIGHEST:
        return None
    return MessageName(int(arrived), int(uidvalidity), int(uid), digest, int(size), int(crlf_size))


class DirectoryName(Struct, frozen=True):
    """The parts of a folder's directory; the epoch only for vanished messages."""

    directory: str
    present: bool
    uidvalidity: int | None = None
    generation: int = 1


def parse_folder_name(name: str) -> DirectoryName | None:
    """The inverse of `folder_name`; None for any other name."""
    tree, _, directory = name.partition("/")
    if tree == PRESENT:
        return DirectoryName(directory, present=True)
    match = _EPOCH.fullmatch(directory)
    if tree != VANISHED or match is None:
        return None
    inner = "" if match[1] == ".INBOX" else match[1]
    return DirectoryName(inner, present=False, uidvalidity=int(match[2]), generation=int(match[3] or 1))


def format_keywords(keywords: Sequence[str]) -> str:
    """A `dovecot-keywords` file."""
    return "".join(f"{i} {keyword}\n" for i, keyword in enumerate(keywords) if keyword)


def format_subscriptions(directories: Iterable[str]) -> str:
    """A `subscriptions` file, version 2: levels between tabs, escaped as in the directories' names."""
    names = (directory[1:].replace(".", "\t") if directory else "INBOX" for directory in directories)
    return "V\t2\n\n" + "".join(f"{name}\n" for name in names)


def format_folder(raw: bytes, path: Sequence[str]) -> str:
    """A file with the folder's real name; its octets are written as Latin-1."""
    return json.dumps({"name": raw.decode("latin-1"), "path": list(path)}, ensure_ascii=True) + "\n"
