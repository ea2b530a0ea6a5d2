"""A bare IMAP connection for tests: octets out, octets in, nothing rewritten.

It shares no code with the archiver and none with a client library, so that what a test prepares and what it
expects cannot suffer from the fault it is looking for.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

DATE = "01-Jan-2020 00:00:00 +0000"

_LITERAL_AT_END = re.compile(rb"\{(\d+)\}\r\n\Z")


class WireError(Exception):
    """The server said NO or BAD, or hung up; the text is what it said."""


@dataclass(frozen=True)
class Append:
    """A message as APPEND takes it."""

    octets: bytes
    flags: Sequence[str] = ()
    internaldate: str = DATE


@dataclass(frozen=True)
class Untagged:
    """One untagged response: `line` with `{n}` where a literal stood, and the literals."""

    line: bytes
    literals: tuple[bytes, ...]

    def number(self, item: str) -> int | None:
        """The number that follows `item`, e.g. `UIDVALIDITY`."""
        found = re.search(rb"\b" + item.encode() + rb" \(?(\d+)", self.line)
        return int(found[1]) if found else None


class Wire:
    """One connection. `command` waits for the tagged answer; everything is also a context manager.

    Literals are sent without waiting (RFC 7888), or one round trip each where `literal_plus` is False.
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None,
                 timeout: float = 30, literal_plus: bool = True) -> None:  # fmt: skip
        self._literal_plus = literal_plus
        self._socket = socket.create_connection((host, port), timeout)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
            self._reader = self._socket.makefile("rb")
            self.greeting = self._reader.readline()
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up without LOGOUT."""
        self._reader.close()
        self._socket.close()

    def logout(self) -> None:
        """LOGOUT, then wait until the server hangs up."""
        self.send(b"z LOGOUT\r\n")
        while self._reader.readline():
            pass
        self.close()

    def send(self, octets: bytes) -> None:
        """Octets as they are."""
        self._socket.sendall(octets)

    def login(self, user: str, password: str) -> Self:
        """AUTHENTICATE PLAIN, which takes any octets in user and password."""
        secret = base64.b64encode(f"\0{user}\0{password}".encode())
        self.send(b"a AUTHENTICATE PLAIN\r\n")
        if not self.readline().startswith(b"+"):
            raise WireError("no continuation for AUTHENTICATE PLAIN")
        self.send(secret + b"\r\n")
        self.answer(b"a")
        return self

    def command(self, line: str | bytes, *literals: bytes) -> list[Untagged]:
        """Send one command and return its untagged responses.

        Each NUL in the line becomes the next of `literals`.

        Raises:
            WireError: NO, BAD or the end of the connection.
        """
        parts = (line.encode() if isinstance(line, str) else line).split(b"\0")
        out, found = [b"t ", parts[0]], []
        for literal, part in zip(literals, parts[1:], strict=True):
            if self._literal_plus:
                out.append(b"{%d+}\r\n" % len(literal))
            else:
                self.send(b"".join([*out, b"{%d}\r\n" % len(literal)]))
                found += self._up_to(b"+", b"t ")
                out = []
            out += [literal, part]
        self.send(b"".join([*out, b"\r\n"]))
        return found + self.answer(b"t")

    def answer(self, tag: bytes) -> list[Untagged]:
        """The untagged responses up to the one with `tag`, which must be OK."""
        return self._up_to(tag + b" OK", tag + b" ")

    def _up_to(self, wanted: bytes, end: bytes) -> list[Untagged]:
        """The responses up to the one that begins as `wanted`; one that only begins as `end` is an error."""
        found = []
        while not (response := self.response()).line.startswith((wanted, end)):
            found.append(response)
        if not response.line.startswith(wanted):
            raise WireError(response.line.decode("latin-1").strip())
        return found

    def response(self) -> Untagged:
        """The next response with its literals."""
        line, literals = self.readline(), []
        while found := _LITERAL_AT_END.search(line):
            literals.append(self._reader.read(int(found[1])))
            line = line[: found.start()] + b"{n}" + self.readline()
        return Untagged(line.removesuffix(b"\r\n"), tuple(literals))

    def readline(self) -> bytes:
        """The next line, with its end."""
        line = self._reader.readline()
        if not line:
            raise WireError("the server hung up")
        return line


def append(wire: Wire, folder: str | bytes, messages: Iterable[Append], *, multi: bool = True) -> None:
    """APPEND octets as they are; up to 100 messages in a command where `multi` (RFC 3502)."""
    waiting = list(messages)
    step = 100 if multi else 1
    for start in range(0, len(waiting), step):
        line, literals = b"APPEND " + quoted(folder), []
        for message in waiting[start : start + step]:
            line += f' ({" ".join(message.flags)}) "{message.internaldate}" \0'.encode()
            literals.append(message.octets)
        wire.command(line, *literals)


def quoted(folder: str | bytes) -> bytes:
    """A folder name as a quoted string; text becomes modified UTF-7 first (RFC 3501 section 5.1.3)."""
    raw = folder if isinstance(folder, bytes) else wire_name(folder)
    return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def wire_name(name: str) -> bytes:
    """Modified UTF-7, written from the RFC."""

    def shifted(run: re.Match[str]) -> str:
        coded = base64.b64encode(run[0].encode("utf-16-be")).decode().rstrip("=")
        return "&" + coded.replace("/", ",") + "-"

    return re.sub(r"[^\x20-\x7e]+", shifted, name.replace("&", "&-")).encode("ascii")
