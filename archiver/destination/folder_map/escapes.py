"""Levels of folder names that a server cannot name, written so that it can, and read back.

An octet of UTF-8 is written `=XX` in upper-case hex, an empty level `=-`, and on a server without hierarchy the
step to the next level `=_`. A `=` that would read as one of these is escaped itself. So no two levels are written
alike, and `unescape_level` gives each back, whatever the server and however cautious the writing was.
"""

from __future__ import annotations

import re
from functools import lru_cache

EMPTY = "=-"

#: Between the levels of a name where the server has no hierarchy.
BETWEEN = "=_"

#: How cautious a level can be written: as the server's kind is known to need it; after a refusal with letters,
#: digits and ` _-.` alone; after another with ASCII letters, digits and ` _-` alone, and short.
CAUTIONS = (0, 1, 2)

_ALWAYS = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]"
_BLANKS = r"\A +| +\Z|(?<= ) +"
_WIDE = r"[\U00010000-\U0010ffff]"
_READABLE = r"=(?=[0-9A-Fa-f]{2}|[-_])"

#: What servers refuse inside a level, beside their delimiter.
_REFUSED = {
    # imap/mboxname.c: what is not among GOODCHARS, and "^", which stands for a dot inside.
    "cyrus": r'[!"%/;<>\\^`{|}]',
    # Folders are directories `.a.b`; names are UCS-2 inside.
    "courier": rf"/|\A\.|{_WIDE}",
    # Labels; see "Gmail doesn't allow leading or trailing whitespace" (larch, issue 20).
    "gmail": rf"\^|{_BLANKS}",
    # lib-storage: no "~" in front (a home directory), no "/", no "." and ".." (layout fs).
    "dovecot": r"/|\A~|\A\.{1,2}\Z",
    # Knowledge base Q234395: "/"; a blank at the end is dropped.
    "exchange": r"/| +\Z",
}

#: What a whole name may measure in octets: it is one directory in a Maildir++.
_LONGEST = {"courier": 250, "dovecot": 250}
_LONGEST_ANYWHERE = 1000
_LONGEST_CAUTIOUS = 100

_CAUTIOUS = {1: rf"[^\w .-]|{_WIDE}|\A\.+|{_BLANKS}", 2: rf"[^A-Za-z0-9 _-]|{_BLANKS}"}

_ESCAPED = re.compile("(?:=[0-9A-F]{2})+")


def escape_level(level: str, delimiter: str | None, vendor: str | None = None, caution: int = 0) -> str:
    """`level` as a server of this kind can name it; itself if nothing in it needs an escape. Never raises."""
    return _needing(delimiter, vendor, caution).sub(_written, level) or EMPTY


def refused_in(level: str, delimiter: str | None, vendor: str | None = None, caution: int = 0) -> list[str]:
    """The characters of `level` that `escape_level` escapes, each once, sorted."""
    return sorted({char for found in _needing(delimiter, vendor, caution).findall(level) for char in found})


def unescape_level(level: str) -> str:
    """The inverse of `escape_level`. What no escape of ours can be is left as it is. Never raises."""
    return "" if level == EMPTY else _ESCAPED.sub(_read, level)


def longest_name(vendor: str | None, caution: int = 0) -> int:
    """The octets that a whole name may have on the wire."""
    longest = _LONGEST.get((vendor or "").lower(), _LONGEST_ANYWHERE)
    return min(longest, _LONGEST_CAUTIOUS) if caution == max(CAUTIONS) else longest


@lru_cache(maxsize=64)
def _needing(delimiter: str | None, vendor: str | None, caution: int) -> re.Pattern[str]:
    kinds = [_ALWAYS, _READABLE, re.escape(delimiter) if delimiter else None, _REFUSED.get((vendor or "").lower())]
    return re.compile("|".join(filter(None, [*kinds, _CAUTIOUS.get(caution)])))


def _written(match: re.Match[str]) -> str:
    return "".join(f"={octet:02X}" for octet in match.group().encode("utf-8", "surrogatepass"))


def _read(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match.group().replace("=", "")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return match.group()
