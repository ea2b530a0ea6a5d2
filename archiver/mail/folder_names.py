"""Folder names: the octets on the wire, the decoded path for people, the directory in the store.

A name's octets are its identity and are never re-encoded to address a server. Everything derived from them is for
people or for the disk, and must be safe whatever a hostile server lists.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence

from msgspec import Struct

from archiver.mail.model import INBOX

#: The longest name of a directory, in octets; the epoch of a vanished folder is added to it.
DIRECTORY_OCTETS = 200

_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")
_UNPRINTABLE = re.compile("[^\x20-\x7e]+")


def decode_name(raw: bytes) -> str:
    """The name for people: decoded from modified UTF-7 (RFC 3501 section 5.1.3) as far as possible.

    Raw 8-bit names are UTF-8 (RFC 9051) or else Latin-1. Invalid modified UTF-7 (`AT&T`, a truncated run) is shown
    unchanged. Never raises.
    """
    if not raw.isascii():
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    if b"&" not in raw:
        return raw.decode("ascii")
    if b"&" in _SHIFTED.sub(b"", raw):
        return raw.decode("ascii")
    try:
        return _decode_shifted(raw)
    except (binascii.Error, UnicodeDecodeError):
        return raw.decode("ascii")


def _decode_shifted(raw: bytes) -> str:
    """Decode alternating ASCII and base64 runs, as `re.split` with one group returns them."""
    parts = []
    for index, part in enumerate(_SHIFTED.split(raw)):
        if index % 2 == 0:
            parts.append(part.decode("ascii"))
        elif not part:
            parts.append("&")
        else:
            octets = base64.b64decode(part.replace(b",", b"/") + b"=" * (-len(part) % 4), validate=True)
            parts.append(octets.decode("utf-16-be"))
    return "".join(parts)


def encode_name(text: str) -> bytes:
    """Modified UTF-7, the inverse of `decode_name` for any text; the result is printable ASCII."""
    return _UNPRINTABLE.sub(_shift, text.replace("&", "&-")).encode("ascii")


def _shift(match: re.Match[str]) -> str:
    octets = match.group().encode("utf-16-be", "surrogatepass")
    return "&" + base64.b64encode(octets).decode("ascii").rstrip("=").replace("/", ",") + "-"


def utf8_name(raw: bytes) -> bytes:
    """A name in UTF-8 instead of modified UTF-7, as IMAP4rev2 has it, and every server after ENABLE UTF8=ACCEPT
    (RFC 9051 section 5.1, RFC 6855 section 3)."""
    return decode_name(raw).encode("utf-8") if raw.isascii() else raw


def name_of_utf8(name: bytes) -> bytes:
    """The inverse of `utf8_name`: a name in modified UTF-7. What is no UTF-8 stays as it is."""
    try:
        return encode_name(name.decode("utf-8"))
    except UnicodeDecodeError:
        return name


def other_spelling(raw: bytes) -> bytes | None:
    """The same name in UTF-8 if it is in modified UTF-7, and the other way round; None if both are alike."""
    other = utf8_name(raw) if raw.isascii() else name_of_utf8(raw)
    return other if other != raw and other.isascii() != raw.isascii() else None


def canonical_raw(raw: bytes) -> bytes:
    """`b"INBOX"` for INBOX in any case (RFC 3501 section 5.1), otherwise `raw`."""
    return INBOX if raw.upper() == INBOX else raw


def folder_path(raw: bytes, delimiter: str | None) -> tuple[str, ...]:
    """The decoded levels of a name, split on its raw octets; None or "" as delimiter: a flat name.

    INBOX in any case, alone or as the first level, becomes "INBOX". Empty levels are kept.
    """
    levels = raw.split(delimiter.encode("utf-8")) if delimiter else [raw]
    return tuple(decode_name(level) for level in (canonical_raw(levels[0]), *levels[1:]))


class NameRules(Struct, frozen=True, forbid_unknown_fields=True):
    """What a server takes for folder names, besides its delimiter: a pattern for what it refuses in a level, the
    longest name in octets (0: not known), and whether names that differ only in case are the same."""

    refused: str = ""
    longest: int = 0
    ignores_case: bool = False


class DirectoryNames(Struct, frozen=True):
    """Which names the place of an archive has room for: `octets` long at most. `folds_case`: "A" and "a" are the
    same name there."""

    octets: int = DIRECTORY_OCTETS
    folds_case: bool = False

    def includes(self, directory: str, taken: Collection[str]) -> bool:
        """Whether this name is among `taken`."""
        if not self.folds_case:
            return directory in taken
        return directory.lower() in {each.lower() for each in taken}


UNIX_NAMES = DirectoryNames()


def directory_of(
    path: Sequence[str], raw: bytes, taken: Collection[str], names: DirectoryNames = UNIX_NAMES
) -> str:
    """A new folder's directory in the store, not among `taken`: "" for INBOX, otherwise `.Parent.Child`.

    Levels are modified UTF-7. Characters that a Maildir++ level cannot hold are escaped as by Dovecot's listescape
    plugin (a dot is `\\2e`); an empty level is `\\-`, which no other level produces. A name that is longer than
    `names` has room for, or already taken by a folder that decodes to the same, ends with a digest of `raw`
    instead.
    """
    if canonical_raw(raw) == INBOX:
        return ""
    directory = _directory(path)
    # NOTE: another name that decodes to INBOX must not look like INBOX's own directory.
    fits = len(directory) <= names.octets and not names.includes(directory, (".INBOX",))
    if fits and not names.includes(directory, taken):
        return directory
    return next(name for name in _shortened(path, raw, names.octets) if not names.includes(name, taken))


def is_directory(directory: str) -> bool:
    """Whether this can be a folder's directory: one name, so that it leads nowhere else."""
    return directory not in (".", "..") and not any(char in directory for char in "/\0")


def _shortened(path: Sequence[str], raw: bytes, octets: int) -> Iterator[str]:
    """An infinite sequence of candidates: a hostile server may have named folders after our digests."""
    suffix = "-" + hashlib.sha256(raw).hexdigest()[:12]
    for attempt in itertools.count(1):
        ending = suffix if attempt == 1 else f"{suffix}-{attempt}"
        yield _cut(path, octets - len(ending)) + ending


def _cut(path: Sequence[str], room: int) -> str:
    """The directory of the longest prefix of `path`, in whole characters, that fits into `room` octets."""
    for length in range(room, 0, -1):
        levels, left = [], length
        for level in path:
            if left <= 0:
                break
            levels.append(level[:left])
            left -= len(level) + 1
        directory = _directory(levels)
        if len(directory) <= room:
            return directory
    return "."


def _directory(path: Iterable[str]) -> str:
    return "." + ".".join(_escaped(level) for level in path)


def _escaped(level: str) -> str:
    """One level, escaped for Maildir++. Escapes begin with a backslash, which is itself escaped."""
    if not level:
        return "\\-"
    text = encode_name(level).decode("ascii")
    text = text.replace("\\", "\\5c").replace(".", "\\2e").replace("/", "\\2f")
    return "\\7e" + text[1:] if text.startswith("~") else text


def matches(path: Sequence[str], globs: Iterable[str]) -> bool:
    """Whether one of `globs` matches the decoded path with "/" between its levels.

    `*` matches any characters, also across levels, `?` matches one; all others match themselves (`[Gmail]/*` is
    literal). Case matters, except for INBOX as the first level.
    """
    name = unicodedata.normalize("NFC", "/".join(path))
    return any(_pattern(glob).fullmatch(name) for glob in globs)


def _pattern(glob: str) -> re.Pattern[str]:
    first, slash, rest = unicodedata.normalize("NFC", glob).partition("/")
    if first.upper() == "INBOX":
        first = "INBOX"
    start, *parts = (re.escape(part).replace(r"\?", ".") for part in (first + slash + rest).split("*"))
    # Each part except the last is matched where it first fits, without backtracking, which would be slow.
    middle = "".join(f"(?>.*?{part})" for part in parts[:-1] if part)
    return re.compile(start + (f"{middle}.*{parts[-1]}" if parts else ""), re.DOTALL)


_DECEPTIVE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def printable(text: str) -> str:
    """`text` for a terminal or a log: control characters, bidirectional overrides and lone surrogates escaped."""
    return _DECEPTIVE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)
