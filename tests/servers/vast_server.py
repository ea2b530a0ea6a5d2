"""An IMAP server of its own process whose only folder may hold a hundred thousand messages: it keeps none of them.

Message n follows from n, so the server needs no memory and no set-up. It knows QRESYNC and all that is fast, or
CONDSTORE alone, or next to nothing. To change the mail, stop it and start another one.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

_PROJECT = Path(__file__).resolve().parents[2]
_OFFERED = {
    "qresync": b"ID ENABLE NAMESPACE LIST-EXTENDED LIST-STATUS STATUS=SIZE ESEARCH CONDSTORE QRESYNC LITERAL+",
    "condstore": b"ID ENABLE NAMESPACE LIST-STATUS LIST-EXTENDED ESEARCH CONDSTORE",
    "plain": b"",
}
_LINE = b"All work and no play makes Jack a dull boy, says line after line of this one.\r\n"
_PIECE = _LINE * 4096
_DATES = [b'"%02d-Jan-2020 10:00:00 +0000"' % day for day in range(1, 29)]
_FIRST_MODSEQ = 10
NEW = 500
"""How many messages every generation adds."""


@dataclass(frozen=True)
class Mail:
    """What the folder holds: `messages` small ones, or a single one of `large` octets. SELECT is EXAMINE.

    Each `generation` adds `NEW` messages and flags one in a hundred of the first ones. `read`: somebody marked them
    all as read. `offers`: what the server can do.
    """

    messages: int = 0
    generation: int = 0
    read: bool = False
    large: int = 0
    uidvalidity: int = 1
    offers: str = "qresync"

    @property
    def count(self) -> int:
        return 1 if self.large else self.messages + NEW * self.generation

    @property
    def highestmodseq(self) -> int:
        return _FIRST_MODSEQ + self.generation + self.read

    def modseq(self, uid: int) -> int:
        """When its flags changed last."""
        if self.read:
            return self.highestmodseq
        if uid > self.messages:
            return _FIRST_MODSEQ + 1 + (uid - self.messages - 1) // NEW
        return _FIRST_MODSEQ + (uid % 100 if self._is_flagged(uid) else 0)

    def _is_flagged(self, uid: int) -> bool:
        return uid <= self.messages and 1 <= uid % 100 <= self.generation

    def size(self, uid: int) -> int:
        return self.large or len(self.octets(uid))

    def octets(self, uid: int) -> bytes:
        """A small message."""
        head = b"Message-ID: <%d@vast.example>\r\nFrom: a@b.example\r\nSubject: number %d\r\n\r\n" % (uid, uid)
        return head + _LINE * (1 + uid % 5) + b"x" * (uid % 991) + b"\r\n"

    def pieces(self, uid: int) -> Iterator[bytes]:
        """A message's octets, a large one bit by bit."""
        if not self.large:
            yield self.octets(uid)
            return
        head = b"Message-ID: <large@vast.example>\r\nSubject: large\r\n\r\n"
        yield head
        left = self.large - len(head)
        while left > 0:
            yield _PIECE[:left]
            left -= len(_PIECE)

    def flags(self, uid: int) -> bytes:
        flags = [b"\\Seen"] if self.read or uid % 5 else []
        flags += [b"keyword-%d" % (uid % 7)] if uid % 3 == 0 else []
        flags += [b"\\Flagged"] if self._is_flagged(uid) else []
        return b" ".join(flags)


class VastServer:
    """The server as a child process; a context manager. User "u1", any password."""

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        self.host = "127.0.0.1"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.vast_server", json.dumps(asdict(self.mail))],
            cwd=_PROJECT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class _Session:
    """One connection's talk."""

    def __init__(self, connection: socket.socket, mail: Mail) -> None:
        self._mail = mail
        self._in = connection.makefile("rb")
        self._out = connection.makefile("wb", buffering=1 << 16)

    def run(self) -> None:
        """Answer until LOGOUT or the end."""
        self._say(b"* OK ready")
        self._out.flush()
        while line := self._in.readline():
            tag, _, rest = line.strip().partition(b" ")
            words = rest.split(b" ")
            name = (b"_".join(words[:2]) if words[0].upper() == b"UID" else words[0]).upper()
            if name == b"AUTHENTICATE" and len(words) == 2:
                self._say(b"+ ")
                self._out.flush()
                self._in.readline()
            answer = getattr(self, "do_" + name.decode().lower(), self._nothing)
            answer(rest)
            self._say(tag + b" OK done")
            self._out.flush()
            if name == b"LOGOUT":
                return

    def _say(self, line: bytes) -> None:
        self._out.write(line + b"\r\n")

    def _nothing(self, rest: bytes) -> None:
        pass

    def do_capability(self, rest: bytes) -> None:
        self._say(b"* CAPABILITY IMAP4rev1 " + _OFFERED[self._mail.offers])

    def do_enable(self, rest: bytes) -> None:
        self._say(b"* ENABLED QRESYNC CONDSTORE")

    def do_namespace(self, rest: bytes) -> None:
        self._say(b'* NAMESPACE (("" "/")) NIL NIL')

    def do_list(self, rest: bytes) -> None:
        self._say(b'* LIST () "/" INBOX')
        if b"STATUS" in rest:
            self.do_status(rest)

    def do_status(self, rest: bytes) -> None:
        mail = self._mail
        reported = b"MESSAGES %d UIDNEXT %d UIDVALIDITY %d" % (mail.count, mail.count + 1, mail.uidvalidity)
        if mail.offers != "plain":
            size = mail.large or mail.count * len(mail.octets(2))
            reported += b" HIGHESTMODSEQ %d SIZE %d" % (mail.highestmodseq, size)
        self._say(b"* STATUS INBOX (%s)" % reported)

    def do_examine(self, rest: bytes) -> None:
        mail = self._mail
        self._say(b"* FLAGS (\\Seen \\Flagged %s)" % b" ".join(b"keyword-%d" % number for number in range(7)))
        self._say(b"* %d EXISTS" % mail.count)
        self._say(b"* OK [UIDVALIDITY %d] ok" % mail.uidvalidity)
        self._say(b"* OK [UIDNEXT %d] ok" % (mail.count + 1))
        if mail.offers == "plain":
            return
        self._say(b"* OK [HIGHESTMODSEQ %d] ok" % mail.highestmodseq)
        asked = re.search(rb"QRESYNC \((\d+) (\d+)", rest)
        if asked and int(asked[1]) == mail.uidvalidity:
            self._rows(range(1, mail.count + 1), b"UID FLAGS MODSEQ", since=int(asked[2]))

    do_select = do_examine

    def do_uid_search(self, rest: bytes) -> None:
        start, end = 1, self._mail.count
        if asked := re.search(rb"UID (\d+):\*", rest[len(b"UID SEARCH") :]):
            start = min(int(asked[1]), end)
        if b"RETURN" in rest:
            self._say(b'* ESEARCH (TAG "x") UID ALL %d:%d' % (start, end))
        else:
            self._say(b"* SEARCH " + b" ".join(b"%d" % uid for uid in range(start, end + 1)))

    def do_uid_fetch(self, rest: bytes) -> None:
        _, _, uid_set, items = rest.split(b" ", 3)
        since = re.search(rb"CHANGEDSINCE (\d+)", items)
        self._rows(self._uids(uid_set), items, since=int(since[1]) if since else 0)

    def _uids(self, uid_set: bytes) -> Iterator[int]:
        for part in uid_set.split(b","):
            low, high = (part.split(b":") * 2)[:2]
            end = self._mail.count if high == b"*" else int(high)
            yield from range(int(low), min(end, self._mail.count) + 1)

    def _rows(self, uids: Iterable[int], items: bytes, *, since: int) -> None:
        mail = self._mail
        with_body, with_header = b"BODY.PEEK[]" in items, b"BODY.PEEK[HEADER]" in items
        with_name = b"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]" in items
        for uid in uids:
            if since and mail.modseq(uid) <= since:
                continue
            reported = b"UID %d FLAGS (%s)" % (uid, mail.flags(uid))
            if b"MODSEQ" in items or since:
                reported += b" MODSEQ (%d)" % mail.modseq(uid)
            if b"INTERNALDATE" in items:
                reported += b" INTERNALDATE %s RFC822.SIZE %d" % (_DATES[uid % len(_DATES)], mail.size(uid))
            if with_header:
                head = next(mail.pieces(uid)).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                reported += b" BODY[HEADER] {%d}\r\n%s" % (len(head), head)
            if with_name:
                name = next(mail.pieces(uid)).partition(b"\r\n")[0] + b"\r\n\r\n"
                reported += b" BODY[HEADER.FIELDS (MESSAGE-ID)] {%d}\r\n%s" % (len(name), name)
            self._out.write(b"* %d FETCH (%s" % (uid, reported))
            if with_body:
                self._out.write(b" BODY[] {%d}\r\n" % mail.size(uid))
                for piece in mail.pieces(uid):
                    self._out.write(piece)
            self._say(b")")


def _serve(mail: Mail) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_talk, args=(connection, mail), daemon=True).start()


def _talk(connection: socket.socket, mail: Mail) -> None:
    try:
        with connection:
            _Session(connection, mail).run()
    except OSError:
        pass  # the client is gone


if __name__ == "__main__":
    _serve(Mail(**json.loads(sys.argv[1])))
