"""The octets of one connection of a scripted server: what was said together, what is said, and how it ends."""

from __future__ import annotations

import contextlib
import enum
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

_GRACE = 0.002  # how long to wait for more of the same flight, in seconds
_HANDSHAKE = 10.0


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
    commands sent together, without waiting, are one flight.
    """

    def __init__(self, connection: socket.socket, on_flight: Callable[[], None]) -> None:
        self.limit: After | None = None
        self._socket = connection
        self._on_flight = on_flight
        self._read = b""
        self._out = bytearray()
        self._spoke = True

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Negotiate TLS; what was sent in clear text after the command is dropped."""
        self._socket.settimeout(_HANDSHAKE)
        self._socket = context.wrap_socket(self._socket, server_side=True)
        self._socket.settimeout(None)
        self._read = b""

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
        while b"\n" not in self._read:
            self._fill()
        line, _, self._read = self._read.partition(b"\n")
        return line.removesuffix(b"\r")

    def command(self) -> bytes:
        """The next command; its literals become quoted strings (RFC 3501 section 4.3, RFC 7888)."""
        line = self.line()
        while found := re.search(rb"\{(\d+)(\+?)\}\Z", line):
            if not found[2]:
                self.send(b"+ go on\r\n")
                self.flush()
            size = int(found[1])
            while len(self._read) < size:
                self._fill()
            literal, self._read = self._read[:size], self._read[size:]
            line = line[: found.start()] + b'"' + re.sub(rb'(["\\])', rb"\\\1", literal) + b'"' + self.line()
        return line

    def _fill(self) -> None:
        """Read, and what follows at once with it: together they are one flight."""
        octets = self._socket.recv(1 << 20)
        if not octets:
            raise HungUp
        if self._spoke:
            self._spoke = False
            self._on_flight()
        self._socket.settimeout(_GRACE)
        try:
            while octets:
                self._read += octets
                octets = self._socket.recv(1 << 20)
        except TimeoutError:
            pass
        finally:
            self._socket.settimeout(None)
