"""A POP3 server that says what a test wants it to say, in this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Self

CAPABILITIES = ("TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "USER")

#: Replies to a command with its arguments; None: as usual, b"": hang up.
Mood = Callable[[list[bytes]], bytes | None]


def stuffed(octets: bytes) -> bytes:
    """A multi-line answer after its status line (RFC 1939 section 3)."""
    lines = (octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n").split(b"\r\n")[:-1]
    return b"".join((b"." if each.startswith(b".") else b"") + each + b"\r\n" for each in lines) + b".\r\n"


class ScriptedPop3:
    """A maildrop. `messages` and `uidls` may be changed between sessions; without `uidls` they are made of the
    octets. `moods` are tried before what is usual, by command. `sessions` counts the logins; `commands` are those
    that came."""

    def __init__(
        self,
        messages: Sequence[bytes],
        *,
        uidls: Sequence[bytes] | None = None,
        capabilities: Sequence[str] = CAPABILITIES,
        moods: dict[bytes, Mood] | None = None,
        greeting: bytes = b"+OK ready",
    ) -> None:
        self.messages, self.uidls, self.capabilities = list(messages), uidls, capabilities
        self.moods, self.greeting = moods or {}, greeting
        self.commands: list[bytes] = []
        self.sessions = 0
        self.host = "127.0.0.1"
        self._listener = socket.create_server((self.host, 0))
        self.port = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._connections):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()
        for thread in self._threads:
            thread.join()

    def asked(self, *names: bytes) -> list[bytes]:
        """The commands of these names that came."""
        return [each for each in self.commands if each.split(b" ")[0].upper() in names]

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._begin(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                connection.sendall(self.greeting + b"\r\n")
                for line in lines:
                    self.commands.append(line.strip())
                    answer = self._answer(line.strip())
                    connection.sendall(answer)
                    if not answer.endswith(b"\r\n") or self.commands[-1].upper() == b"QUIT":
                        return
        except OSError:
            pass

    def _answer(self, line: bytes) -> bytes:
        name, *arguments = line.split()
        name = name.upper()
        if (mood := self.moods.get(name)) is not None and (said := mood(arguments)) is not None:
            return said
        match name:
            case b"CAPA" if self.capabilities:
                return b"+OK\r\n" + stuffed("\r\n".join(self.capabilities).encode())
            case b"USER" | b"QUIT" | b"NOOP":
                return b"+OK\r\n"
            case b"PASS":
                self.sessions += 1
                return b"+OK\r\n"
            case b"STAT":
                return b"+OK %d %d\r\n" % (len(self.messages), sum(map(len, self.messages)))
            case b"LIST":
                return b"+OK\r\n" + stuffed(b"".join(b"%d %d\r\n" % (n, len(m)) for n, m in self._numbered()))
            case b"UIDL" if "UIDL" in self.capabilities or not self.capabilities:
                rows = zip(self._numbered(), self._uidls(), strict=False)
                return b"+OK\r\n" + stuffed(b"".join(b"%d %b\r\n" % (n, uidl) for (n, _), uidl in rows))
            case b"TOP" if "TOP" in self.capabilities or not self.capabilities:
                head, blank, body = self.messages[int(arguments[0]) - 1].partition(b"\r\n\r\n")
                kept = b"\r\n".join(body.split(b"\r\n")[: int(arguments[1])]) if int(arguments[1]) else b""
                whole = self.messages[int(arguments[0]) - 1] if int(arguments[1]) > 10_000 else head + blank + kept
                return b"+OK\r\n" + stuffed(whole)
            case b"RETR":
                return b"+OK\r\n" + stuffed(self.messages[int(arguments[0]) - 1])
            case _:
                return b"-ERR unknown command\r\n"

    def _numbered(self) -> list[tuple[int, bytes]]:
        return list(enumerate(self.messages, 1))

    def _uidls(self) -> Sequence[bytes]:
        return self.uidls if self.uidls is not None else [b"uid-%08x" % hash(each) for each in self.messages]
