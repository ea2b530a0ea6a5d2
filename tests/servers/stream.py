"""The octets of one connection of a scripted server: what was said together, what is said, and how it ends."""

from __future__ import annotations

import contextlib
import enum
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

_GRACE = 0.002  # how long to wait for more of the same flight, in seconds
_HANDSHAKE = 10.0
_PIECE = 1 << 20
_AHEAD = 1 << 24  # how many octets of a flight are read before their turn

LITERAL = re.compile(rb"(?P<binary>~?)\{(?P<size>\d+)(?P<unasked>\+?)\}\Z")
"""A literal as a line's end announces it; `unasked`: it does not wait (RFC 7888); `binary`: a literal8."""


class HungUp(Exception):
    """The connection is over."""


class End(enum.Enum):
    """How a connection ends: closed, or open and dumb until the client leaves."""

    DROP = enum.auto()
    STALL = enum.auto()


DROP, STALL = End.DROP, End.STALL


@dataclass(frozen=True)
class After:
    """The usual answer up to so many octets, then the end."""

    octets: int
    then: End = DROP


class Stream:
    """A server's side of a connection. Answers are queued until `flush`.

    With a `limit`, once so many octets are queued, they are sent and the connection ends.
    `on_flight` is called when the client speaks for the first time, and whenever it speaks after an answer;
    commands sent together, without waiting, are one flight. `unasked` is the size of the largest literal that came
    without waiting once it is set to -1. `go_ahead` is the line that asks for a literal that waits.
    """

    def __init__(self, connection: socket.socket, on_flight: Callable[[], None]) -> None:
        self.limit: After | None = None
        self.unasked = -1
        self.go_ahead = b"+ go on"
        self._socket = connection
        self._on_flight = on_flight
        self._read = bytearray()
        self._out = bytearray()
        self._spoke = True

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Negotiate TLS; what was sent in clear text after the command is dropped."""
        self._socket.settimeout(_HANDSHAKE)
        self._socket = context.wrap_socket(self._socket, server_side=True)
        self._socket.settimeout(None)
        self._read.clear()

    def send(self, octets: bytes) -> None:
        """Queue octets, as far as the limit allows."""
        if self.limit is not None and len(self._out) + len(octets) >= self.limit.octets:
            limit, self.limit = self.limit, None
            self._out += octets[: limit.octets - len(self._out)]
            self.end(limit.then)
        self._out += octets

    def flush(self) -> None:
        """Send what is queued."""
        if self._out:
            self._socket.sendall(self._out)
            self._out.clear()
            self._spoke = True

    def end(self, how: End = DROP) -> NoReturn:
        """Send what is queued, then hang up, or say nothing more until the client does.

        Raises:
            HungUp: always.
        """
        self.flush()
        while how is STALL and self._socket.recv(1 << 16):
            pass
        raise HungUp

    def hang_up(self) -> None:
        """End the connection, from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection and give its socket back."""
        self.hang_up()
        self._socket.close()

    def line(self) -> bytes:
        """The next line without its end."""
        while (end := self._read.find(b"\n")) < 0:
            self._fill()
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return line.removesuffix(b"\r")

    def command(self, line: bytes) -> bytes:
        """The whole command that begins with this line; its literals become quoted strings."""
        while found := LITERAL.search(line):
            line = self.resume(line, found)
        return line

    def resume(self, line: bytes, announced: re.Match[bytes]) -> bytes:
        """The line with the literal at its end as a quoted string, and what follows (RFC 3501 section 4.3)."""
        literal = re.sub(rb'(["\\])', rb"\\\1", b"".join(self.literal(announced)))
        return line[: announced.start()] + b'"' + literal + b'"' + self.line()

    def literal(self, announced: re.Match[bytes]) -> Iterator[bytes]:
        """The octets that follow, in pieces; a client that waits for it first gets permission to continue."""
        left = int(announced["size"])
        if announced["unasked"]:
            self.unasked = max(self.unasked, left)
        else:
            self.send(self.go_ahead + b"\r\n")
            self.flush()
        while left:
            piece = bytes(self._read[: min(left, _PIECE)]) or self._receive(min(left, _PIECE))
            del self._read[: len(piece)]
            left -= len(piece)
            yield piece

    def _receive(self, most: int) -> bytes:
        octets = self._socket.recv(most)
        if not octets:
            raise HungUp
        if self._spoke:
            self._spoke = False
            self._on_flight()
        return octets

    def _fill(self) -> None:
        """Read, together with what follows without a pause; both are one flight."""
        self._read += self._receive(_PIECE)
        self._socket.settimeout(_GRACE)
        try:
            while len(self._read) < _AHEAD and (octets := self._socket.recv(_PIECE)):
                self._read += octets
        except TimeoutError:
            pass
        finally:
            self._socket.settimeout(None)
