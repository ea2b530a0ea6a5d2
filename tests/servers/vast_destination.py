"""An IMAP server that takes a hundred thousand messages and keeps of each what it shows: size, flags and date.

It runs in a thread of the test. It offers LITERAL+, MULTIAPPEND and UIDPLUS, and one folder.
"""

from __future__ import annotations

import re
import socket
import threading
from dataclasses import dataclass
from typing import Self

_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\Z")
_MESSAGE = re.compile(rb'\(([^)]*)\) "([^"]*)" \Z')
_PIECE = 1 << 16


@dataclass(slots=True)
class Kept:
    """What is left of a message."""

    size: int
    flags: bytes
    date: bytes


class VastDestination:
    """A context manager; any user, any password. `messages` are in the order of their UIDs, from 1."""

    def __init__(self) -> None:
        self.messages: list[Kept] = []
        self.host = "127.0.0.1"

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=_Session(connection, self.messages).run, daemon=True).start()


class _Session:
    def __init__(self, connection: socket.socket, messages: list[Kept]) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._messages = connection, messages
        self._in, self._out = connection.makefile("rb"), connection.makefile("wb", buffering=_PIECE)

    def run(self) -> None:
        try:
            with self._socket:
                self._talk()
        except OSError:
            pass  # the client is gone

    def _talk(self) -> None:
        self._say(b"* OK ready", now=True)
        while line := self._in.readline().strip():
            tag, _, rest = line.partition(b" ")
            words = rest.upper().split(b" ")
            name = b"_".join(words[:2]) if words[0] == b"UID" else words[0]
            if name == b"AUTHENTICATE" and len(words) == 2:
                self._say(b"+ ", now=True)
                self._in.readline()
            answer = getattr(self, "do_" + name.decode().lower(), self._nothing)
            self._say(tag + b" OK " + (answer(rest) or b"") + b"done", now=True)

    def _say(self, line: bytes, *, now: bool = False) -> None:
        self._out.write(line + b"\r\n")
        if now:
            self._out.flush()

    def _nothing(self, rest: bytes) -> None:
        pass

    def do_capability(self, rest: bytes) -> None:
        self._say(b"* CAPABILITY IMAP4rev1 LITERAL+ MULTIAPPEND UIDPLUS NAMESPACE LIST-STATUS LIST-EXTENDED")

    def do_namespace(self, rest: bytes) -> None:
        self._say(b'* NAMESPACE (("" "/")) NIL NIL')

    def do_list(self, rest: bytes) -> None:
        count = len(self._messages)
        self._say(b'* LIST () "/" INBOX')
        self._say(b"* STATUS INBOX (MESSAGES %d UIDNEXT %d UIDVALIDITY 7)" % (count, count + 1))

    def do_select(self, rest: bytes) -> None:
        self._say(b"* %d EXISTS" % len(self._messages))
        self._say(b"* OK [UIDVALIDITY 7] ok")
        self._say(b"* OK [UIDNEXT %d] ok" % (len(self._messages) + 1))

    do_examine = do_select

    def do_append(self, rest: bytes) -> bytes:
        first = len(self._messages) + 1
        while literal := _LITERAL.search(rest):
            flags, date = _MESSAGE.search(rest[: literal.start()]).groups()  # type: ignore[union-attr]
            if not literal[2]:
                self._say(b"+ go on", now=True)
            left = int(literal[1])
            while left:
                left -= len(self._in.read(min(left, _PIECE)))
            self._messages.append(Kept(int(literal[1]), flags, date))
            rest = self._in.readline().removesuffix(b"\r\n")
        self.do_noop(rest)
        return b"[APPENDUID 7 %d:%d] " % (first, len(self._messages))

    def do_noop(self, rest: bytes) -> None:
        self._say(b"* %d EXISTS" % len(self._messages))

    def do_uid_search(self, rest: bytes) -> None:
        self._say(b" ".join([b"* SEARCH", *(b"%d" % uid for uid in range(1, len(self._messages) + 1))]))

    def do_uid_fetch(self, rest: bytes) -> None:
        for uid in self._uids(rest.split(b" ")[2]):
            each = self._messages[uid - 1]
            reported = (uid, uid, each.flags, each.date, each.size)
            self._say(b'* %d FETCH (UID %d FLAGS (%s) INTERNALDATE "%s" RFC822.SIZE %d)' % reported)

    def do_uid_store(self, rest: bytes) -> None:
        _, _, uids, how, flags = rest.split(b" ", 4)
        changed = set(flags.strip(b"()").split())
        for uid in self._uids(uids):
            kept = set(self._messages[uid - 1].flags.split())
            kept = kept | changed if how.startswith(b"+") else kept - changed
            self._messages[uid - 1].flags = b" ".join(sorted(kept))

    def _uids(self, uids: bytes) -> list[int]:
        found: list[int] = []
        for part in uids.split(b","):
            low, high = (part.split(b":") * 2)[:2]
            end = len(self._messages)
            found += range(int(low), 1 + (end if high == b"*" else min(int(high), end)))
        return found
