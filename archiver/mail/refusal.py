"""Why a destination refused a message: from its reply, or else from what is unusual about the message.

A refusal is one keyword, for the journal and the report. Servers give the reason in response codes (RFC 5530, RFC
7889) or in prose, and some not at all: Exchange answers "BAD Command Argument Error. 11" to a long line, a large
size and an invalid header. The texts of further servers are to be added here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal, get_args

from msgspec import Struct

Refusal = Literal[
    "too-big",
    "over-quota",
    "long-line",
    "nul",
    "bare-lf",
    "invalid-header",
    "virus",
    "throttled",
    "flags",
    "date",
    "folder",
    "empty",
    "silent",
    "unknown",
]
"""The reason as a keyword. "throttled" and "over-quota" concern the destination and every message, "folder" every
message of the folder; the others concern this message."""

REFUSALS: tuple[Refusal, ...] = get_args(Refusal)

#: A line of RFC 5322 section 2.1.1, without its CRLF.
LINE_OCTETS = 998

_EXCHANGE_LINE = 9900  # Exchange and others stop reading a line at about 10,000 octets
_EXCHANGE_SIZE = 25_000_000  # limits begin at 10 MB and are mostly 25 or 35
_LINE_KEPT = 1024  # of a header line; enough for a field's name

_CODE = re.compile(r"(?:\* *)?(?:(?:no|bad|bye)\b)? *\[([a-z0-9-]+)")

#: LIMIT is not among them: it may mean sizes, flags, too many requests, or too many equal messages (Cyrus).
_BY_CODE: dict[str, Refusal] = {
    "toobig": "too-big",
    "overquota": "over-quota",
    "trycreate": "folder",
    "nonexistent": "folder",
    "alreadyexists": "folder",
    "noperm": "folder",
    "read-only": "folder",
    "unavailable": "throttled",
    "inuse": "throttled",
    "throttled": "throttled",
    "overbandwidth": "throttled",
}

#: The order counts: a reply may quote a folder's name, which may be any word, so texts about folders come first.
_BY_WORDS: dict[Refusal, tuple[str, ...]] = {
    "folder": (
        *("mailbox does not exist", "mailbox doesn't exist", "mailbox not found", "no such mailbox"),
        *("folder could not be found", "error finding folder", "folder does not exist", "no such folder"),
        *("invalid mailbox name", "permission denied", "required permissions", "access denied", "read-only"),
    ),
    "virus": ("virus", "viruses", "malware", "infected"),
    # iCloud's "Parse Error" is about the command, in which only the flags vary.
    "flags": ("flag", "flags", "keyword", "keywords", "in atom", "bad parse error"),
    "date": ("internal date", "internaldate", "date-time", "invalid date", "bad date", "parse date"),
    "empty": ("zero-length", "zero byte", "empty message", "append aborted", "append cancelled"),
    # Gmail's "Invalid character in literal": NUL is the only octet that a literal may not contain.
    "nul": ("nul", "nuls", "null character", "null characters", "null bytes", "invalid character in literal"),
    "bare-lf": ("bare newline", "bare newlines", "bare lf", "bare line feed", "bare linefeed"),
    "long-line": (
        *("line too long", "lines too long", "line is too long", "long lines", "line length"),
        *("length limit exceeded: line", "bufio: buffer full", "token too long"),
    ),
    "invalid-header": (
        *("invalid header", "bad header", "malformed header", "malformed mime header", "header key"),
        *("header/body separator", "in headers", "invalid rfc5322", "invalid rfc822", "malformed message"),
        *("parse message", "parse the message", "parsing message", "missing header"),
    ),
    "over-quota": (
        *("quota", "overquota", "mailbox full", "mailbox is full", "mailbox size limit", "too many messages"),
        *("storage limit", "storage has been exceeded", "insufficient storage", "blocks limit", "inode limit"),
        *("no space", "not enough space", "not enough disk space", "out of space", "disk full", "disk is full"),
    ),
    "throttled": (
        *("throttled", "throttling", "rate limit", "backoff", "too many requests", "too many connections"),
        *("server unavailable", "server(s) unavailable", "service unavailable", "server busy", "overloaded"),
        *("try again", "temporary", "temporarily", "is locked", "in use"),
    ),
    "too-big": (
        *("too big", "too large", "size exceeds", "size exceeding", "size limit", "larger than the maximum"),
        *("maximum size", "maximum message size", "maximum request size", "maximum import size"),
        *("message exceeds", "literal exceeds", "command line limit exceeded"),
    ),
}


@cache  # few runs meet a refusal, and none should wait for these
def _patterns() -> Sequence[tuple[Refusal, re.Pattern[str]]]:
    return [
        (refusal, re.compile(r"\b(?:" + "|".join(map(re.escape, phrases)) + r")\b"))
        for refusal, phrases in _BY_WORDS.items()
    ]


def classify(reply: bytes | str) -> Refusal:
    """The reason in a reply to APPEND: by its response code, or else by its text, or else "unknown".

    `reply` is the text after the tag ("NO [OVERQUOTA] ..."), or after the status word.
    """
    text = (reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply).strip().lower()
    found = _CODE.match(text)
    if "bandwidth limit" in text:
        return "throttled"  # Gmail uses the code OVERQUOTA for it
    if found and found[1] in _BY_CODE:
        return _BY_CODE[found[1]]
    return next((refusal for refusal, words in _patterns() if words.search(text)), "unknown")


class Features(Struct, frozen=True):
    """What may be unusual about a message. `longest_line` does not count line ends. `header_ok`: there is a header,
    and each of its lines is a field or a continuation line. `ends_line`: its last line has a line end."""

    size: int
    has_nul: bool
    has_bare_lf: bool
    longest_line: int
    header_ok: bool
    ends_line: bool = True

    @property
    def empty(self) -> bool:
        """No octets at all: some destinations refuse it, others make it an empty line."""
        return self.size == 0


def features_of(chunks: Iterable[bytes]) -> Features:
    """The features of a message in pieces; of a long line only the beginning is kept."""
    size = line_octets = longest = 0
    has_nul = bare_lf = False
    ends_line = True
    header = _HeaderCheck()
    held = b""  # a CR at a chunk's end: only the next octet shows whether it is a bare one
    for chunk in chunks:
        size += len(chunk)
        ends_line = chunk.endswith(b"\n") if chunk else ends_line
        octets = held + chunk
        held = b"\r" if octets.endswith(b"\r") else b""
        octets = octets.removesuffix(held)
        pairs = octets.count(b"\r\n")
        has_nul = has_nul or b"\0" in octets
        bare_lf = bare_lf or octets.count(b"\n") > pairs
        first, *lines = octets.replace(b"\r\n", b"\n").split(b"\n")
        longest = max(longest, line_octets + len(first), max(map(len, lines), default=0))
        line_octets = len(lines[-1]) if lines else line_octets + len(first)
        header.feed(first, lines)
    header.end()
    return Features(size, has_nul, bare_lf, longest, header.good, ends_line)


class _HeaderCheck:
    """Checks that every line up to the first blank one belongs to a field, and that there is a field."""

    def __init__(self) -> None:
        self.good = False
        self._line = b""
        self._done = False

    def feed(self, first: bytes, lines: list[bytes]) -> None:
        """Add the rest of the open line, then further lines, of which the last is open again."""
        self._line = (self._line + first)[:_LINE_KEPT]
        for line in lines:
            if self._done:
                return
            self.end()
            self._line = line[:_LINE_KEPT]

    def end(self) -> None:
        """The open line is complete."""
        if self._done or not self._line:
            self._done = True
        elif self._line[:1] not in b" \t":
            self.good = self._line.find(b":") > 0
            self._done = not self.good


def suspect(features: Features) -> Refusal:
    """The likeliest cause of a refusal without a reason; "unknown" if nothing is unusual."""
    suspicions: tuple[tuple[Refusal, bool], ...] = (
        ("empty", features.empty),
        ("nul", features.has_nul),
        ("long-line", features.longest_line > _EXCHANGE_LINE),
        ("too-big", features.size > _EXCHANGE_SIZE),
        ("bare-lf", features.has_bare_lf),
        ("invalid-header", not features.header_ok),
        ("long-line", features.longest_line > LINE_OCTETS),
    )
    return next((refusal for refusal, odd in suspicions if odd), "unknown")


_WORDS: dict[Refusal, tuple[str, str]] = {
    "too-big": (
        "the destination does not accept messages of this size",
        "raise the destination's limit on the size of a message, then `archiver retry`",
    ),
    "over-quota": (
        "the destination has no space left",
        "free space at the destination or raise its quota, then `archiver retry`",
    ),
    "long-line": (
        "the destination does not accept lines of this length",
        'allow a copy with its lines broken: [replay] repair = ["long-lines"], then `archiver retry`',
    ),
    "nul": (
        "the destination does not accept NUL bytes in a message",
        'allow a copy without them: [replay] repair = ["nul"], then `archiver retry`',
    ),
    "bare-lf": (
        "the destination does not accept lines that end without a CR",
        'allow a copy with CRLF: [replay] repair = ["crlf"], then `archiver retry`',
    ),
    "invalid-header": (
        "the destination cannot read the message's header",
        "no repair helps; make the destination accept it, or accept the loss with `archiver retry --accept`",
    ),
    "virus": (
        "the destination considers it a virus",
        "make the destination's scanner let it pass, then `archiver retry`; otherwise `archiver retry --accept`",
    ),
    "throttled": (
        "the destination cannot accept it now or wants fewer requests",
        "run again later, or with fewer `connections`; messages that are there are not sent again",
    ),
    "flags": (
        "the destination does not accept the message's flags",
        "raise the destination's limit on keywords or delete some there, then `archiver retry`",
    ),
    "date": (
        "the destination does not accept the message's INTERNALDATE",
        "many accept none before 1970: change the destination, or accept the loss with `archiver retry --accept`",
    ),
    "folder": (
        "the destination's folder does not exist or cannot be written",
        "create the folder or give this user the right to insert into it, then `archiver retry`",
    ),
    "empty": (
        "the destination does not accept empty messages",
        "there is nothing to send; accept the loss with `archiver retry --accept`",
    ),
    "silent": (
        "the destination did not answer in time",
        "raise `[destination] read_timeout`, then `archiver retry`; if it arrives late, the next run finds it",
    ),
    "unknown": (
        "the destination does not give a reason",
        'allow repairs: [replay] repair = ["crlf", "last-line", "nul", "long-lines"], then `archiver retry`',
    ),
}


def describe(refusal: Refusal, limit: int | None = None) -> str:
    """The reason for people. `limit`: the largest size in octets that the destination accepts (RFC 7889)."""
    if refusal == "too-big" and limit is not None:
        return f"the destination does not accept messages over {limit:,} bytes"
    return _WORDS[refusal][0]


def advice(refusal: Refusal) -> str:
    """What to do about it, in one line."""
    return _WORDS[refusal][1]
