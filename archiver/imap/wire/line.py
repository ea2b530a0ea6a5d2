"""A connection to a server: read and written at a minimum pace, and shut down at any moment."""

from __future__ import annotations

import imaplib
import io
import re
import select
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

from archiver.config.hosts import host_on_the_wire
from archiver.control.limits.port import Meter
from archiver.imap.wire.pace import PacedSocket, TooSlow, is_too_slow
from archiver.imap.wire.sockets import dial, secure

_BUFFER = 64 << 10
_PIECE = 4 << 20  # more is never read at once
_SENT_AT_ONCE = 256 << 10
_RECORD = 16 << 10  # octets that TLS encrypts together; it does not take a part of what it is given
_GREETING = 64 << 10  # octets of a greeting
_SHOWN = 4096  # of what is none
# Octets of a line. NOTE: imaplib refuses lines over 1,000,000, which a SEARCH of some 125,000 messages has. There
# is still a limit, so that a hostile server cannot fill the memory with one line.
_LONGEST = 16 << 20
_WELCOME = re.compile(rb"\A\* +(OK|PREAUTH)\b(?: *\[CAPABILITY ([^\]]*))?", re.IGNORECASE)


class SocketLine:
    """A connection to a server, whatever it speaks. It keeps a minimum pace, and can be shut down at any moment."""

    host = ""
    sock: socket.socket
    _sent = 0
    _meters: tuple[Meter, ...] = ()

    def meter(self, meter: Meter) -> None:
        """Count all octets there, and let it decide when more may pass. What has passed over a connection that has
        no meter yet counts, too."""
        if self._wire.meter is None:
            meter.passed(self._wire.received + self._sent)
        self._wire.meter = meter
        self._meters = (*self._meters, meter)

    def connect(self, host: str, port: int, tls: ssl.SSLContext | None, timeout: float) -> None:
        """Connect; with `tls`, encrypted from the first octet."""
        self.host = host_on_the_wire(host)
        sock = dial(self.host, port, timeout)
        self.speak_over(sock if tls is None else secure(sock, tls, self.host))

    def hang_up(self) -> None:
        """Close at once. Never raises; may be called twice."""
        try:
            self._reader.close()
            self.sock.close()
        except (OSError, AttributeError):  # closed already, or never opened
            pass
        self._let_go()

    def _let_go(self) -> None:
        """Nothing more passes."""
        for each in self._meters:
            each.closed()

    def read_line(self, most: int) -> bytes:
        """A line of at most `most` octets, including its end; without one if it is longer, or at the end of the
        connection."""
        self._wire.at_a_unit()
        line = self._reader.readline(most)
        self._wire.took(len(line))
        return line

    def at_a_unit(self) -> None:
        """Begin to measure what `some` and `skip` read as one thing, which has to continue at the minimum pace."""
        self._wire.at_a_unit()

    def speak_over(self, sock: socket.socket) -> None:
        """Read from and write to this socket from now on."""
        self.sock = sock
        self._wire = PacedSocket(sock)
        self._sent = 0
        self._reader = io.BufferedReader(self._wire, _BUFFER)

    def at_a_response(self) -> int:
        """Begin to read a response. It gains the server no time, unless `progressed` is called after it. Returns
        the octets of the last one if they gained none."""
        return self._wire.at_a_response()

    def progressed(self) -> None:
        """The response that was read brings something that was asked for: its octets count for the pace."""
        self._wire.progressed()

    def after_a_command(self) -> None:
        """Another command has been sent, or one of several is finished: the next one has its whole time."""
        self._wire.after_a_command()

    @property
    def waited(self) -> float:
        """For how many seconds we have waited for the answer to the command."""
        return self._wire.waited

    def end_within(self, seconds: float) -> None:
        """Whatever the server sends, reading ends after so many seconds."""
        self._wire.end_within(seconds)

    def arrived(self) -> bytes:
        """Octets that were received and not read yet."""
        return self._reader.peek() if self._wire.held else b""

    def some(self) -> bytes:
        """Octets that have arrived and are not read yet; waits if there are none. None at the end of the
        connection."""
        return self._reader.peek(1)

    def skip(self, size: int) -> None:
        """Count so many octets of those that have `arrived` as read."""
        self._wire.took(len(self._reader.read(size)))

    def unread(self) -> bytes:
        """Octets that have arrived already, without waiting for any."""
        timeout = self.sock.gettimeout()
        self.sock.settimeout(0)
        try:
            return self._reader.peek(1)
        finally:
            self.sock.settimeout(timeout)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has arrived that was not read yet, not even the end of the connection."""
        poll = select.poll()
        try:
            poll.register(self.sock, select.POLLIN)
            return not (self._wire.held or poll.poll(0))
        except (OSError, ValueError):
            return False  # it is closed

    @property
    def certificate(self) -> bytes:
        """The server's certificate (DER); empty without TLS."""
        return (self.sock.getpeercert(binary_form=True) or b"") if isinstance(self.sock, ssl.SSLSocket) else b""

    @property
    def names_of_certificate(self) -> list[str]:
        """The hosts and addresses that the server's certificate is valid for; none if it was not verified."""
        shown: Mapping[str, Any] = (isinstance(self.sock, ssl.SSLSocket) and self.sock.getpeercert()) or {}
        return [name for kind, name in shown.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]

    def send(self, data: Any) -> None:
        """Send all of it, at the minimum pace.

        NOTE: not `sendall`, whose timeout covers the whole call: a quarter of a megabyte takes long over a slow
        line.
        """
        octets, sent, waited = memoryview(data), 0, 0.0
        piece = _RECORD if isinstance(self.sock, ssl.SSLSocket) else _SENT_AT_ONCE
        limit = self.sock.gettimeout() or 0.0
        while sent < len(octets):
            if (meter := self._wire.meter) is not None:
                meter.wait()
            began = time.monotonic()
            count = self.sock.send(octets[sent : sent + piece])
            waited += time.monotonic() - began
            sent += count
            if meter is None:
                self._sent += count
            else:
                meter.passed(count)
            if limit and is_too_slow(sent, waited, limit):
                raise TooSlow
        self._wire.after_a_command()


class Line(SocketLine, imaplib.IMAP4):
    """imaplib's connection over our own socket; with `tls`, encrypted from the first octet."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, connect_timeout: float) -> None:
        self._tls = tls
        super().__init__(host, port, connect_timeout)

    def _connect(self) -> None:
        """Read the greeting. `capabilities` are what it says of them, upper-case, if it names a way to log in: then
        these are all that matter before the login.

        NOTE: not as imaplib does it, which knows `OK` in upper case alone, takes POP3's "+OK" for a continuation,
        and asks for the capabilities in its own way: an `OK` without text is none to it.
        """
        greeting = self._reader.peek(1)
        if not b"* ".startswith(greeting[:2]):
            raise self.error(greeting.partition(b"\n")[0])
        line = self.read_line(_GREETING)
        if not line:
            raise self.abort("socket error: EOF")
        self.welcome = line.rstrip(b"\r\n")
        found = _WELCOME.match(line)
        if found is None or not line.endswith(b"\n"):
            raise self.error(self.welcome[:_SHOWN])
        self.state = "AUTH" if found[1].upper() == b"PREAUTH" else "NONAUTH"
        words = (found[2] or b"").decode("ascii", "replace").upper().split()
        self.capabilities = tuple(words) if any(word.startswith("AUTH=") for word in words) else ()

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        """Connect. Called by imaplib."""
        self.port = port
        self.connect(host, port, self._tls, timeout or 0.0)

    def shutdown(self) -> None:
        """Close. Called by imapclient."""
        try:
            super().shutdown()
        finally:
            self._let_go()

    def speak_over(self, sock: socket.socket) -> None:
        """Read from and write to this socket from now on."""
        super().speak_over(sock)
        self.file = self._reader

    def readline(self) -> bytes:
        """A line including its end; without one at the end of the connection."""
        line = self.read_line(_LONGEST + 1)
        if len(line) > _LONGEST:
            raise self.error(f"got more than {_LONGEST} bytes")
        return line

    def read(self, size: int) -> bytes:
        """`size` octets; fewer at the end of the connection."""
        self._wire.at_a_unit()
        if size > _PIECE:  # imaplib reads whatever a server announces, and memory is allocated before it is filled
            raise self.abort(f"an unexpected literal of {size} bytes")
        octets = self._reader.read(size)
        self._wire.took(len(octets))
        return octets
