"""A deterministic account of any size: a home that Dovecot serves as it stands, and what it must serve.

Sizes are log-normal as in real accounts, text compresses, attachments do not. Some messages are odd in the
ways real ones are, and some stand in several folders. The same arguments give the same octets, UIDs and dates.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import random
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from tests.servers.wire import wire_name

KEYWORDS = ("$Forwarded", "$MDNSent", "NonJunk", "Junk", "$label1", "project-x", "todo/today", "$Phishing")

SMALL_FOLDERS = {
    "INBOX": 34, "Sent": 14, "Drafts": 1, "Archive": 8, "Archive/2019": 12, "Archive/2020/Q1 invoices": 8,
    "Work/Project Ünïcode": 7, "日本語": 4, "R&D": 4, "Lists/dovecot.users": 6, "Trash": 2, "Empty one": 0,
}  # fmt: skip
LARGE_FOLDERS = SMALL_FOLDERS | {f"Archive/{year}": 3 for year in range(2008, 2019)} | {
    "Kunder/Ærø & Sønner/2021": 2, "Kunder/Ελλάδα": 1, "Личное": 1, "😀 emoji": 1, "Lists/linux-kernel": 10,
    'He said "hi"': 1, "a/very/deeply/nested/folder/here": 1,
}  # fmt: skip

_LETTERS = {"S": ("\\Seen", 0.80), "R": ("\\Answered", 0.18), "F": ("\\Flagged", 0.06), "D": ("\\Draft", 0.01),
            "T": ("\\Deleted", 0.01)}  # fmt: skip
_NOW = 1_763_000_000
_MONTH = 30 * 86400


@dataclass(frozen=True)
class Shape:
    """How many messages in which folders (name → weight), and how large; sizes in octets."""

    messages: int
    median: int
    sigma: float
    folders: dict[str, int] = field(hash=False)
    largest: int = 5_000_000


TINY = Shape(120, 1500, 1.0, SMALL_FOLDERS, 60_000)
SMALL = Shape(2_000, 8192, 1.914, SMALL_FOLDERS)
LARGE = Shape(20_000, 4096, 1.626, LARGE_FOLDERS)


@dataclass(frozen=True)
class GeneratedMessage:
    """A message as IMAP must serve it: digest and size of its CRLF form, `arrived` in seconds since 1970."""

    folder: str
    uid: int
    digest: str
    size: int
    flags: frozenset[str]
    arrived: int
    kind: str


@dataclass(frozen=True)
class GeneratedAccount:
    """`home` is for `Dovecot.install`; `messages` are in folder and UID order, `folders` names empty ones too."""

    home: Path
    folders: tuple[str, ...]
    messages: tuple[GeneratedMessage, ...]


@dataclass(frozen=True)
class _Draft:
    kind: str
    octets: bytes
    arrived: int
    letters: str
    keywords: tuple[int, ...]


def generate(directory: Path, shape: Shape = TINY, seed: int = 1) -> GeneratedAccount:
    """Write the home under `directory` and say what it holds."""
    chance = random.Random(f"{shape.messages}-{seed}")
    folders = _deal(chance, shape)
    home, messages = directory / "home", []
    for number, (name, drafts) in enumerate(folders.items()):
        drafts.sort(key=lambda draft: draft.arrived + chance.randint(0, _MONTH))
        path = home / "Maildir"
        if name != "INBOX":
            path = path.joinpath(*(os.fsdecode(wire_name(part)) for part in name.split("/")))
        messages += _write_folder(chance, path, name, drafts, uidvalidity=1_600_000_000 + 100 * seed + number)
    return GeneratedAccount(home, tuple(folders), tuple(messages))


def _deal(chance: random.Random, shape: Shape) -> dict[str, list[_Draft]]:
    """Messages into folders: nearly all new, 5 % again in another folder, 0.3 % again in the same one."""
    author = _Author(chance, shape)
    folders: dict[str, list[_Draft]] = {name: [] for name in shape.folders}
    names, weights = list(shape.folders), list(shape.folders.values())
    again, twice = shape.messages // 20, math.ceil(shape.messages * 0.003)
    made = []
    for number in range(shape.messages - again - twice):
        name = chance.choices(names, weights)[0]
        made.append((name, author.message(number)))
        folders[name].append(made[-1][1])
    for _ in range(again):
        name, draft = chance.choice(made)
        other = chance.choice([other for other in ("INBOX", "Archive", "Sent") if other != name])
        folders[other].append(author.again(draft, "in-two-folders", chance.randint(0, 1)))
    for _ in range(twice):
        name, draft = chance.choice(made)
        folders[name].append(author.again(draft, "twice-in-folder", 5))
    return folders


class _Author:
    """Writes messages with LF line ends, the way Dovecot keeps them."""

    def __init__(self, chance: random.Random, shape: Shape) -> None:
        self._chance, self._shape = chance, shape
        letters = "etaoinshrdlucmfwypvbgkqjxz"
        self._words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(4000)]
        lines = (" ".join(chance.choices(self._words, k=9)) for _ in range(20_000))
        self._text = "\n".join(lines).encode() + b"\n"
        self._noise = base64.encodebytes(chance.randbytes(shape.largest + 100_000))

    def message(self, number: int) -> _Draft:
        """A new message; about one in seventeen is odd."""
        chance, shape = self._chance, self._shape
        size = int(min(shape.largest, max(200, chance.lognormvariate(math.log(shape.median), shape.sigma))))
        arrived = _NOW - chance.randint(0, 15 * 365 * 86400)
        kind = chance.choice(_KINDS) if chance.random() < 0.06 else "plain"
        header = self._header(number, arrived, kind)
        body = self._body(header, kind, size - sum(len(line) + 1 for line in header))
        octets = b"\n" + body if kind == "no-header" else b"\n".join(header) + b"\n\n" + body
        return self._received(_Draft(kind, octets, arrived + chance.randint(0, 90), "", ()))

    def again(self, draft: _Draft, kind: str, later: int) -> _Draft:
        """The same octets with other flags."""
        return self._received(_Draft(kind, draft.octets, draft.arrived + later, "", ()))

    def _received(self, draft: _Draft) -> _Draft:
        chance = self._chance
        letters = "".join(sorted(letter for letter, (_, share) in _LETTERS.items() if chance.random() < share))
        keywords = tuple(index for index in range(len(KEYWORDS)) if chance.random() < (0.06 if index < 4 else 0.02))
        return _Draft(draft.kind, draft.octets, draft.arrived, letters, keywords)

    def _header(self, number: int, arrived: int, kind: str) -> list[bytes]:
        chance = self._chance
        lines = [b"From u1@host Mon Jan  1 00:00:00 2018"] if kind == "mbox-from" else []
        for hop in range(chance.randint(1, 4)):
            origin = f"{self._host()} ({chance.choice(self._words)} [192.0.2.{chance.randint(1, 254)}])"
            ticket = f"{chance.getrandbits(32):08X}; {formatdate(arrived - hop)}"
            lines.append(f"Received: from {origin}\n\tby mx{hop}.example with ESMTPS id {ticket}".encode())
        if kind == "bad-date":
            lines.append(b"Date: Tue, 99 Foo 20x7 25:61")
        elif kind != "no-date":
            lines.append(f"Date: {formatdate(arrived)}".encode())
        lines += [f"From: {self._host()}".encode(), f"To: a@{self._host()}".encode()]
        if kind != "no-message-id":
            lines.append(f"Message-ID: <{number}.{chance.getrandbits(64):x}@{self._host()}>".encode())
        lines.append(b"Subject: " + self._subject(kind))
        if chance.random() < 0.3:
            known = [f"<{chance.getrandbits(64):x}@{self._host()}>" for _ in range(chance.randint(1, 12))]
            lines.append(("References: " + "\n ".join(known)).encode())
        return lines

    def _subject(self, kind: str) -> bytes:
        odd = {"latin1-header": "Grüße aus Köln é".encode("latin-1"), "utf8-header": "Ærø 日本語 😀".encode(),
               "empty-subject": b""}  # fmt: skip
        plain = " ".join(self._chance.choices(self._words, k=self._chance.randint(1, 9))).encode()
        return odd.get(kind, plain)

    def _body(self, header: list[bytes], kind: str, size: int) -> bytes:
        match kind:
            case "header-only":
                return b""
            case "latin1-body":
                return ("é à ü ß " * 10 + "\n").encode("latin-1") * max(1, size // 90)
            case "long-line":
                return b"x" * max(3000, size) + b"\n"
            case "bare-cr":
                return b"line one\rline two\rthree\n" * max(1, size // 24)
            case "no-final-newline":
                return self._cut(self._text, size)[:-1]
            case "from-lines":
                return b"From someone at Mon\n>From quoted\n.\n..\n. dot\n" + self._cut(self._text, size)
        if size < 12_000:
            header += [b"MIME-Version: 1.0", b"Content-Type: text/plain; charset=utf-8"]
            return self._cut(self._text, size)
        boundary = b"=_%016x" % self._chance.getrandbits(64)
        header += [b"MIME-Version: 1.0", b'Content-Type: multipart/mixed; boundary="%s"' % boundary]
        text = self._cut(self._text, self._chance.randint(500, 4000))
        kinds = (b"Content-Type: text/plain", b"Content-Type: application/pdf\nContent-Transfer-Encoding: base64")
        parts = zip(kinds, (text, self._cut(self._noise, size - len(text) - 300)), strict=True)
        return b"".join(b"--%s\n%s\n\n%s" % (boundary, head, part) for head, part in parts) + b"--%s--\n" % boundary

    def _host(self) -> str:
        one, two = self._chance.choices(self._words, k=2)
        return f"{one}@{two}.example"

    def _cut(self, pool: bytes, size: int) -> bytes:
        """About so many octets of whole lines."""
        size = max(80, min(size, len(pool) - 400))
        start = pool.index(b"\n", self._chance.randrange(len(pool) - size - 200)) + 1
        return pool[start : pool.index(b"\n", start + size) + 1]


_KINDS = ("latin1-header", "utf8-header", "no-message-id", "no-date", "bad-date", "latin1-body", "long-line",
          "bare-cr", "no-final-newline", "header-only", "from-lines", "no-header", "mbox-from",
          "empty-subject")  # fmt: skip


def _write_folder(chance: random.Random, path: Path, name: str, drafts: list[_Draft], *,
                  uidvalidity: int) -> list[GeneratedMessage]:  # fmt: skip
    for part in ("cur", "new", "tmp"):
        (path / part).mkdir(parents=True)
    uid, rows, messages = 0, [], []
    for number, draft in enumerate(drafts):
        uid += 1 if chance.random() > 0.05 else chance.randint(2, 40)
        served = draft.octets.replace(b"\n", b"\r\n")
        base = f"{draft.arrived}.M{number}P{uidvalidity}.host,S={len(draft.octets)},W={len(served)}"
        letters = draft.letters + "".join(chr(ord("a") + index) for index in draft.keywords)
        file = path / "cur" / f"{base}:2,{letters}"
        file.write_bytes(draft.octets)
        os.utime(file, (draft.arrived, draft.arrived))
        rows.append(f"{uid} :{base}\n")
        flags = {_LETTERS[letter][0] for letter in draft.letters} | {KEYWORDS[index] for index in draft.keywords}
        digest = hashlib.sha256(served).hexdigest()
        messages.append(
            GeneratedMessage(name, uid, digest, len(served), frozenset(flags), draft.arrived, draft.kind)
        )
    guid = hashlib.md5(f"{uidvalidity}{name}".encode()).hexdigest()
    (path / "dovecot-uidlist").write_text(f"3 V{uidvalidity} N{uid + 3} G{guid}\n" + "".join(rows))
    (path / "dovecot-keywords").write_text("".join(f"{index} {word}\n" for index, word in enumerate(KEYWORDS)))
    return messages
