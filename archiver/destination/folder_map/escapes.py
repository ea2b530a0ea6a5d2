"""Escapes for levels of folder names that a server does not support, and their inverse.

An octet of UTF-8 is written `=XX` in upper-case hex, an empty level `=-`, and on a server without hierarchy the
step to the next level `=_`. A `=` that would look like one of these is escaped itself. So two different levels are
never written the same, and `unescape_level` restores each, whatever the server and the caution.
"""

from __future__ import annotations

import re
from functools import lru_cache

from archiver.mail.folder_names import NameRules

EMPTY = "=-"

#: Between the levels of a name if the server has no hierarchy.
BETWEEN = "=_"

#: How cautiously a level can be written: as the kind of server is known to need it; after a refusal with letters,
#: digits and ` _-.` alone; after another with ASCII letters, digits and ` _-` alone, and short.
CAUTIONS = (0, 1, 2)

_ALWAYS = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]"
_BLANKS = r"\A +| +\Z|(?<= ) +"
_WIDE = r"[\U00010000-\U0010ffff]"
_READABLE = r"=(?=[0-9A-Fa-f]{2}|[-_])"

NO_RULES = NameRules()
"""Of a server of which nothing is known."""

_LONGEST_ANYWHERE = 1000
_LONGEST_CAUTIOUS = 100

_CAUTIOUS = {1: rf"[^\w .-]|{_WIDE}|\A\.+|{_BLANKS}", 2: rf"[^A-Za-z0-9 _-]|{_BLANKS}"}

_ESCAPED = re.compile("(?:=[0-9A-F]{2})+")


def escape_level(level: str, delimiter: str | None, rules: NameRules = NO_RULES, caution: int = 0) -> str:
    """`level`, escaped for this kind of server; unchanged if nothing needs an escape. Never raises."""
    return _needing(delimiter, rules, caution).sub(_written, level) or EMPTY


def refused_in(level: str, delimiter: str | None, rules: NameRules = NO_RULES, caution: int = 0) -> list[str]:
    """The characters of `level` that `escape_level` escapes, each once, sorted."""
    return sorted({char for found in _needing(delimiter, rules, caution).findall(level) for char in found})


def unescape_level(level: str) -> str:
    """The inverse of `escape_level`. Text that cannot be one of our escapes is not changed. Never raises."""
    return "" if level == EMPTY else _ESCAPED.sub(_read, level)


def longest_name(rules: NameRules, caution: int = 0) -> int:
    """The longest name on the wire, in octets."""
    longest = rules.longest or _LONGEST_ANYWHERE
    return min(longest, _LONGEST_CAUTIOUS) if caution == max(CAUTIONS) else longest


@lru_cache(maxsize=64)
def _needing(delimiter: str | None, rules: NameRules, caution: int) -> re.Pattern[str]:
    kinds = [_ALWAYS, _READABLE, re.escape(delimiter) if delimiter else None, rules.refused]
    return re.compile("|".join(filter(None, [*kinds, _CAUTIOUS.get(caution)])))


def _written(match: re.Match[str]) -> str:
    return "".join(f"={octet:02X}" for octet in match.group().encode("utf-8", "surrogatepass"))


def _read(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match.group().replace("=", "")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return match.group()
