"""The mail of a scripted server: plain values a test builds and changes, and how they look on the wire.

Nothing here does IO. Every oddity that concerns one message is a word in `ScriptedMessage.fetch`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from archiver.mail.folder_names import encode_name

FetchOddity = Literal[
    "",
    "missing",  # no row at all when the body is asked for, and an OK
    "no-body",  # a row with the UID, but without the body that was asked for
    "nil",  # BODY[] NIL
    "empty-string",  # BODY[] ""
    "no",  # the whole command is refused, no row is delivered
    "no-partway",  # the rows before this one are delivered, then NO
    "no-at-end",  # all other rows are delivered, then NO
    "short-literal",  # half of the announced octets, then the connection is lost
    "wrong-literal",  # more octets than announced: the stream is out of step
    "wrong-size",  # RFC822.SIZE is not the literal's length
    "bye",  # BYE and the connection is lost
    "uid-after-body",  # UID and the rest stand behind the literal
    "twice",  # the whole row comes twice
    "split",  # a row with everything else, then a row with the body
    "no-nul",  # Dovecot: 0x80 in place of NUL in BODY[], while BINARY[] has the octets
    "decoded",  # the same, and BINARY[] is decoded: Dovecot, where a part is in base64
    "placeholder",  # Exchange's substitute for a message it cannot read
]

PLACEHOLDER = (
    b"From: Microsoft Exchange Server 2010\r\nTo: user@example.org\r\n"
    b"Subject: Retrieval using the IMAP4 protocol failed for the following\r\n message: %d\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
    b'The server couldn\'t retrieve the following message:\r\n\r\nSubject: "lost"\r\n'
)


SYSTEM_FLAGS = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")

_CHANGING = threading.Lock()


class Refused(Exception):
    """The command's answer is this tagged status, e.g. `NO [NONEXISTENT] no such mailbox`; or a line that begins
    with `* BYE`, after which the server hangs up."""

    def __init__(self, status: bytes) -> None:
        super().__init__(status)
        self.status = status


@dataclass
class ScriptedMessage:
    """A message; `size` replaces RFC822.SIZE (bytes: verbatim), `internaldate` None is NIL. `labels` and `thrid`
    are Gmail's, and `labels_as` the exact wire form of the labels. At Gmail one message is in several folders."""

    octets: bytes = b""
    flags: tuple[str, ...] = ()
    internaldate: str | None = "01-Jan-2020 00:00:00 +0000"
    size: int | bytes | None = None
    modseq: int = 1
    emailid: str | None = None
    fetch: FetchOddity = ""
    labels: frozenset[str] = frozenset()
    thrid: str | None = None
    labels_as: bytes | None = None

    @property
    def header(self) -> bytes:
        """The octets up to and with the first blank line."""
        end = re.search(rb"\A\r?\n|\n\r?\n", self.octets)
        return self.octets[: end.end()] if end else self.octets


@dataclass
class ScriptedFolder:
    """A folder. `uidvalidity` None: the server gives none. `listed_as` is the name's exact wire form in LIST, LSUB
    and STATUS rows; `refuse` is the tagged status that SELECT, EXAMINE, STATUS and APPEND give instead of an
    answer; `exists` lies about the count; `vanished` are expunged UIDs with their modseq, for QRESYNC;
    `permanentflags` are the flags that a client can set, `\\*` any keyword; `label` is the label that the folder
    shows at Gmail, which its own messages do not list."""

    uidvalidity: int | None = 1
    messages: dict[int, ScriptedMessage] = field(default_factory=dict)
    uidnext: int | None = None
    highestmodseq: int | None = None
    attributes: tuple[str, ...] = ()
    subscribed: bool = False
    delimiter: bytes | None = None
    listed_as: bytes | None = None
    refuse: bytes | None = None
    exists: int | None = None
    vanished: dict[int, int] = field(default_factory=dict)
    permanentflags: tuple[str, ...] = (*SYSTEM_FLAGS, "\\*")
    label: str | None = None

    @property
    def uids(self) -> list[int]:
        """Ascending; the position is the sequence number less one."""
        return sorted(self.messages)

    def facts(self) -> dict[str, int]:
        """The items of STATUS."""
        messages = list(self.messages.values())
        modseqs = [*(message.modseq for message in messages), *self.vanished.values(), 1]
        facts = {
            "MESSAGES": len(self.messages) if self.exists is None else self.exists,
            "UIDNEXT": self.uidnext or max([*self.messages, *self.vanished, 0]) + 1,
            "HIGHESTMODSEQ": self.highestmodseq or max(modseqs),
            "SIZE": sum(len(message.octets) for message in messages),
            "UNSEEN": sum("\\Seen" not in message.flags for message in messages),
            "RECENT": 0,
        }
        return facts if self.uidvalidity is None else {**facts, "UIDVALIDITY": self.uidvalidity}

    def keywords(self) -> list[str]:
        """The flags in use or permanent, after the system flags."""
        used = {flag for message in list(self.messages.values()) for flag in message.flags}
        used |= set(self.permanentflags)
        return [*SYSTEM_FLAGS, *sorted(used - set(SYSTEM_FLAGS) - {"\\Recent", "\\*"})]

    def kept(self, flags: Iterable[str]) -> tuple[str, ...]:
        """Those of the flags that can be set here, the system flags as the RFC writes them."""
        permanent = {flag.lower() for flag in self.permanentflags}
        found = [_SYSTEM.get(flag.lower(), flag) for flag in flags]
        return tuple(
            flag
            for flag in dict.fromkeys(found)
            if flag.lower() in permanent or ("\\*" in permanent and not flag.startswith("\\"))
        )

    # -- changes as a server makes them; UIDNEXT and HIGHESTMODSEQ are set from then on ----------------------------

    def add(self, *messages: ScriptedMessage) -> list[int]:
        """Append messages, all at the same time. → their UIDs"""
        with _CHANGING:
            first = max(self.uidnext or self.facts()["UIDNEXT"], next(reversed(self.messages), 0) + 1)
            modseq = self._next_modseq()
            for message in messages:
                message.modseq = modseq
            self.messages.update(enumerate(messages, first))
            self.uidnext = first + len(messages)
            return list(range(first, self.uidnext))

    def mark(self, uid: int, flags: Iterable[str]) -> None:
        """Replace a message's flags."""
        with _CHANGING:
            message = self.messages[uid]
            message.flags, message.modseq = tuple(flags), self._next_modseq()

    def relabel(self, uid: int, labels: Iterable[str]) -> None:
        """Replace a message's labels."""
        with _CHANGING:
            message = self.messages[uid]
            message.labels, message.modseq = frozenset(labels), self._next_modseq()

    def expunge(self, uids: Iterable[int]) -> None:
        """Remove messages."""
        with _CHANGING:
            self.uidnext = self.facts()["UIDNEXT"]
            modseq = self._next_modseq()
            for uid in uids:
                del self.messages[uid]
                self.vanished[uid] = modseq

    def _next_modseq(self) -> int:
        self.highestmodseq = (self.highestmodseq or self.facts()["HIGHESTMODSEQ"]) + 1
        return self.highestmodseq


_SYSTEM = {flag.lower(): flag for flag in SYSTEM_FLAGS}


def name_on_wire(raw: bytes) -> bytes:
    """An astring: as an atom where legal, quoted where it is printable ASCII, otherwise a literal."""
    if re.fullmatch(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+", raw) and raw.upper() != b"NIL":
        return raw
    if re.fullmatch(rb"[\x20-\x7e]*", raw):
        return b'"' + re.sub(rb'(["\\])', rb"\\\1", raw) + b'"'
    return b"{%d}\r\n%s" % (len(raw), raw)


def tokens(arguments: bytes) -> list[object]:
    """A command's arguments as nested lists of octets; strings are unquoted, `BODY[...]` is one atom."""
    stack: list[list[object]] = [[]]
    for found in _TOKEN.finditer(arguments):
        if found["open"]:
            stack.append([])
        elif found["close"]:
            inner = stack.pop()
            if not stack:
                raise Refused(b"BAD unbalanced parenthesis")
            stack[-1].append(inner)
        elif found["quoted"] is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", found["quoted"], flags=re.DOTALL))
        else:
            stack[-1].append(found["atom"])
    if len(stack) != 1:
        raise Refused(b"BAD unbalanced parenthesis")
    return stack[0]


_TOKEN = re.compile(
    rb'"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<open>\()|(?P<close>\))|(?P<atom>[A-Za-z.]+\[[^\]]*\](?:<[\d.]+>)?|[^\s()"]+)',
    re.DOTALL,
)


def uids_in(uidset: bytes, present: list[int]) -> list[int]:
    """The present UIDs that a set names; `*` is the highest (RFC 3501 section 6.4.8)."""
    if not re.fullmatch(rb"(\d+|\*)(:(\d+|\*))?(,(\d+|\*)(:(\d+|\*))?)*", uidset):
        raise Refused(b"BAD invalid sequence set")
    top = present[-1] if present else 0
    wanted: set[int] = set()
    for part in uidset.split(b","):
        low, high = sorted(top if end == b"*" else int(end) for end in (part.split(b":") * 2)[:2])
        wanted.update(uid for uid in present if low <= uid <= high)
    return sorted(wanted)


def ranges(uids: Iterable[int]) -> bytes:
    """A set of UIDs, compressed."""
    found: list[list[int]] = []
    for uid in sorted(uids):
        if found and uid == found[-1][1] + 1:
            found[-1][1] = uid
        else:
            found.append([uid, uid])
    return b",".join(b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in found)


def fetch_rows(
    folder: ScriptedFolder, uid: int, items: list[bytes], sequence: int | None = None
) -> Iterator[bytes]:
    """The untagged FETCH rows for a message, its oddity applied where it concerns the row alone. `sequence` is its
    number, if the caller knows it."""
    message = folder.messages[uid]
    sequence = folder.uids.index(uid) + 1 if sequence is None else sequence
    facts, body = _facts(uid, message, items, folder.label), _body(uid, message, items)
    if not body:
        yield b"* %d FETCH (%s)\r\n" % (sequence, b" ".join(facts))
        return
    match message.fetch:
        case "missing":
            rows = []
        case "no-body":
            rows = [facts]
        case "uid-after-body":
            rows = [[*body, *facts]]
        case "split":
            rows = [facts, [b"UID %d" % uid, *body]]
        case "twice":
            rows = [[*facts, *body]] * 2
        case _:
            rows = [[*facts, *body]]
    for row in rows:
        yield b"* %d FETCH (%s)\r\n" % (sequence, b" ".join(row))


def _facts(uid: int, message: ScriptedMessage, items: list[bytes], own_label: str | None) -> list[bytes]:
    size = len(message.octets) + (1000 if message.fetch == "wrong-size" else 0)
    size_text = message.size if isinstance(message.size, bytes) else b"%d" % (message.size or size)
    date = f'"{message.internaldate}"' if message.internaldate is not None else "NIL"
    said = {
        b"UID": b"%d" % uid,
        b"FLAGS": b"(%s)" % " ".join(message.flags).encode(),
        b"INTERNALDATE": date.encode(),
        b"RFC822.SIZE": size_text,
        b"MODSEQ": b"(%d)" % message.modseq,
        b"EMAILID": f"({message.emailid})".encode() if message.emailid else b"NIL",
        b"X-GM-MSGID": (message.emailid or "0").encode(),
        b"X-GM-THRID": (message.thrid or message.emailid or "0").encode(),
        b"X-GM-LABELS": b"(%s)" % _labels(message, own_label),
    }
    unknown = [item for item in items if item not in said and not item.startswith((b"BODY", b"BINARY"))]
    if unknown:
        raise Refused(b"BAD unknown item " + unknown[0])
    return [b"%s %s" % (item, said[item]) for item in dict.fromkeys([b"UID", *items]) if item in said]


def _labels(message: ScriptedMessage, own: str | None) -> bytes:
    """As Gmail writes them: system labels quoted, so that their backslash is doubled; others as astrings."""
    if message.labels_as is not None:
        return message.labels_as
    return b" ".join(name_on_wire(encode_name(label)) for label in sorted(message.labels) if label != own)


def _body(uid: int, message: ScriptedMessage, items: list[bytes]) -> list[bytes]:
    found = []
    for item in items:
        if item == b"BINARY.PEEK[]":
            octets = message.octets.replace(b"base64", b"binary") if message.fetch == "decoded" else message.octets
            found.append(b"BINARY[] ~{%d}\r\n%s" % (len(octets), octets))
        if not item.startswith(b"BODY"):
            continue
        asked = re.fullmatch(rb"BODY(?:\.PEEK)?\[(HEADER(?:\.FIELDS \(([^()]+)\))?)?\](?:<(\d+)\.(\d+)>)?", item)
        if asked is None:
            raise Refused(b"BAD unknown item " + item)
        octets = message.header if asked[1] else message.octets
        if asked[2]:
            octets = _fields(octets, asked[2].lower().split())
        if message.fetch == "placeholder":
            octets = PLACEHOLDER % uid
        if message.fetch in ("no-nul", "decoded"):
            octets = octets.replace(b"\0", b"\x80")
        name = b"BODY[%s]" % (asked[1] or b"")
        if asked[3]:
            start, count = int(asked[3]), int(asked[4])
            octets, name = octets[start : start + count], b"%s<%d>" % (name, start)
        found.append(name + b" " + _literal(octets, message.fetch))
    return found


def _fields(header: bytes, names: list[bytes]) -> bytes:
    """The fields of these names, with the blank line (RFC 3501 section 6.4.5)."""
    fields = re.findall(rb"^[^\s:]+:.*\r?\n(?:[ \t].*\r?\n)*", header, re.MULTILINE)
    return b"".join(each for each in fields if each.partition(b":")[0].lower() in names) + b"\r\n"


def _literal(octets: bytes, oddity: FetchOddity) -> bytes:
    match oddity:
        case "nil":
            return b"NIL"
        case "empty-string":
            return b'""'
        case "wrong-literal":
            return b"{%d}\r\n%s" % (max(0, len(octets) - 5), octets)
        case _:
            return b"{%d}\r\n%s" % (len(octets), octets)


def matches(message: ScriptedMessage, uid: int, folder: ScriptedFolder, keys: list[object]) -> bool:
    """Whether a message matches all keys of a SEARCH (RFC 3501 section 6.4.4; the common ones)."""
    waiting = list(keys)
    result = True
    while waiting:
        result = _key(message, uid, folder, waiting) and result
    return result


def _key(message: ScriptedMessage, uid: int, folder: ScriptedFolder, waiting: list[object]) -> bool:
    """Take one key with its arguments from `waiting`."""

    def argument() -> bytes:
        if not waiting or not isinstance(waiting[0], bytes):
            raise Refused(b"BAD missing search argument")
        taken: object = waiting.pop(0)
        assert isinstance(taken, bytes)
        return taken

    key = waiting.pop(0)
    if isinstance(key, list):
        return matches(message, uid, folder, key)
    assert isinstance(key, bytes)
    name = key.upper().decode("latin-1")
    if name.removeprefix("UN") in _FLAG_KEYS:
        return (_FLAG_KEYS[name.removeprefix("UN")] in message.flags) != name.startswith("UN")
    match name:
        case "ALL":
            return True
        case "NOT":
            return not _key(message, uid, folder, waiting)
        case "OR":
            one, other = _key(message, uid, folder, waiting), _key(message, uid, folder, waiting)
            return one or other
        case "UID":
            return uid in uids_in(argument(), folder.uids)
        case "KEYWORD" | "UNKEYWORD":
            return (argument().decode() in message.flags) == (name == "KEYWORD")
        case "LARGER":
            return len(message.octets) > int(argument())
        case "SMALLER":
            return len(message.octets) < int(argument())
        case "MODSEQ":
            return message.modseq >= int(argument())
        case "SINCE" | "BEFORE":
            limit = datetime.strptime(argument().decode(), "%d-%b-%Y").replace(tzinfo=UTC).date()
            day = datetime.strptime((message.internaldate or "01-Jan-1970").split()[0], "%d-%b-%Y").date()
            return day >= limit if name == "SINCE" else day < limit
        case _:
            raise Refused(b"BAD unknown search key " + key)


_FLAG_KEYS: Mapping[str, str] = {flag[1:].upper(): flag for flag in SYSTEM_FLAGS}
