"""Flags: one spelling for each, and their letters in a Maildir file name.

Equal sets of flags are one object, so that the flags of 100,000 messages take only a few sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from archiver.mail.model import Flags

#: System flags and their Maildir letters.
LETTERS = {"\\Draft": "D", "\\Flagged": "F", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T"}

#: A folder has this many keyword letters, a to z.
KEYWORD_LETTERS = 26

_CANONICAL = {flag.lower(): flag for flag in LETTERS}
_DROPPED = ("", "\\recent")
_REMEMBERED = 2000  # characters; longer sets are not cached, so that a server cannot fill the memory with them
_SYSTEM = {letter: flag for flag, letter in LETTERS.items()}
_ATOM = re.compile(r"[!#$&'+-\[\]-z|}~]+")  # RFC 3501 section 9, and "]", which servers allow

_SENDABLE = re.compile(r"\\?[!#$&'+-\[^-z|}~]+")  # RFC 3501 section 9, an atom with or without "\"; no "]"


def parse_flags(flags: Iterable[str]) -> Flags:
    """System flags in their canonical case, keywords unchanged, without `\\Recent`. Equal sets are one object."""
    words = tuple(flags)
    return _parsed(words) if sum(map(len, words)) <= _REMEMBERED else _canonical(words)


@lru_cache(maxsize=4096)
def _parsed(flags: tuple[str, ...]) -> Flags:
    return _interned(_canonical(flags))


def _canonical(flags: Iterable[str]) -> Flags:
    known = ((flag.lower(), flag) for flag in flags)
    return frozenset(_CANONICAL.get(lower, flag) for lower, flag in known if lower not in _DROPPED)


@lru_cache(maxsize=4096)
def _interned(flags: Flags) -> Flags:
    return flags


def is_keyword(flag: str) -> bool:
    """Whether a Maildir's list of keywords can hold `flag`: an atom that is not a system flag."""
    return not flag.startswith("\\") and _ATOM.fullmatch(flag) is not None


def sendable(flags: Flags) -> Flags:
    """The flags that can be written in a command; any other one would break its line."""
    return frozenset(flag for flag in flags if _SENDABLE.fullmatch(flag))


def respelled(shown: Flags, like: Flags) -> Flags:
    """The flags that a server shows, with keywords spelled as in `like` if they differ only in case: for a server,
    `Foo` and `foo` are the same keyword (RFC 3501 section 2.3.2), and it keeps the first spelling."""
    if shown == like:
        return shown
    lower = {flag.lower() for flag in shown}
    spelled = {flag for flag in like if flag.lower() in lower}
    known = {flag.lower() for flag in spelled}
    return frozenset(spelled | {flag for flag in shown if flag.lower() not in known})


def maildir_letters(flags: Flags, keywords: Sequence[str]) -> str:
    """The letters after `:2,`, sorted. A keyword's letter is its position in `keywords`; a keyword beyond `z` or
    not in the list has none."""
    letters = [LETTERS[flag] for flag in flags if flag in LETTERS]
    letters += [chr(97 + i) for i, keyword in enumerate(keywords[:KEYWORD_LETTERS]) if keyword in flags]
    return "".join(sorted(letters))


def flags_from_letters(letters: str, keywords: Sequence[str]) -> Flags:
    """The inverse of `maildir_letters`, for flags that have letters; letters without a meaning are ignored."""
    names = dict(zip("abcdefghijklmnopqrstuvwxyz", keywords, strict=False))
    return parse_flags(sorted(filter(None, (_SYSTEM.get(letter) or names.get(letter) for letter in letters))))


def parse_keywords(text: str) -> list[str]:
    """The keywords of a `dovecot-keywords` file by position; "" for a position without one."""
    keywords: list[str] = []
    for line in text.splitlines():
        number, _, keyword = line.partition(" ")
        if not (number.isascii() and number.isdigit() and len(number) <= 2 and int(number) < KEYWORD_LETTERS):
            continue
        keywords.extend("" for _ in range(int(number) + 1 - len(keywords)))
        keywords[int(number)] = keyword
    return keywords
