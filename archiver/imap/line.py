"""The socket to a server: connects, speaks TLS, keeps a minimum pace, and can be shut down at any moment.

Every socket is registered before it connects, so that a run can be stopped while a server says nothing.
"""

from __future__ import annotations

import errno
import imaplib
import io
import os
import re
import select
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

from archiver.config.hosts import host_on_the_wire
from archiver.control.limits.port import Meter
from archiver.control.waiting import addresses_of, mail_lines

_BUFFER = 64 << 10
_PIECE = 4 << 20  # more is never read at once
#: The minimum pace of a connection, in either direction. A modem of 1,200 baud is twenty times as fast.
OCTETS_A_MINUTE = 300

_LATE = 10  # timeouts that a command may take, in addition to the time for its octets at the minimum pace
_SENT_AT_ONCE = 256 << 10
_RECORD = 16 << 10  # octets that TLS encrypts together; it does not take a part of what it is given
_GREETING = 64 << 10  # octets of a greeting
_SHOWN = 4096  # of what is none
# Octets of a line. NOTE: imaplib refuses lines over 1,000,000, which a SEARCH of some 125,000 messages has. There is
# still a limit, so that a hostile server cannot fill the memory with one line.
_LONGEST = 16 << 20
_WELCOME = re.compile(rb"\A\* +(OK|PREAUTH)\b(?: *\[CAPABILITY ([^\]]*))?", re.IGNORECASE)


def _watch(sock: socket.socket) -> None:
    mail_lines.add(sock)
    _check()


def _check() -> None:
    if mail_lines.were_shut_down:
        raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))


def dial(host: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection to the first address of `host` that answers; `timeout` in seconds for each address. If
    several are silent, the others are not tried.

    Raises:
        OSError: none answers; the error of the last address.
    """
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, address in addresses_of(host, port, timeout):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(timeout)
            _watch(sock)
            sock.connect(address)
            _check()
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def secure(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Start TLS on a connection. `sock` must not be used afterwards, even if this fails."""
    secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        _watch(secured)
        secured.do_handshake()
    except BaseException:
        secured.close()
        raise
    return secured


class TooSlow(TimeoutError):
    """The server does not fall silent, but sends or accepts fewer than `OCTETS_A_MINUTE`. `waited` is for how many
    seconds a command was unfinished; 0 if a single line or literal was too slow."""

    waited: float = 0.0


class _Wire(io.RawIOBase):
    """The reading side of a socket, which measures the time spent waiting for octets. `held` is how many of those
    received nobody has taken yet.

    A line or a literal that has begun has to continue at the minimum pace, and may be late by the socket's
    timeout. What is asked for has to come at that pace too, but may be late by many timeouts: a server that works
    on something long sends a keep-alive line now and then. Such lines gain it no time, however many there are.
    Octets that came fast do not, either: nothing may be as late after them as before.

    `meter` counts what is read and may make the next reading wait, which counts for none of these times.
    """

    meter: Meter | None = None

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.received = 0
        self.waited = 0.0
        self.held = 0
        self._late = 0.0
        self._octets = 0
        self._waited_for_unit = self._octets_of_unit = 0.0
        self._begun = False
        self._end: float | None = None

    def readable(self) -> bool:
        return True

    def after_a_command(self) -> None:
        """Begin a new measurement."""
        self.waited = self._late = 0.0
        self._octets = 0

    def at_a_response(self) -> int:
        """What was read since the last call gains time only if `progressed` was called for it; returns the number
        of octets for which it was not."""
        octets, self._octets = self._octets, 0
        return octets

    def took(self, octets: int) -> None:
        """These octets of a response are read."""
        self._octets += octets
        self.held -= octets

    def progressed(self) -> None:
        """The response that was read brings something that was asked for."""
        self._late = max(0.0, self._late - _seconds_for(self._octets))
        self._octets = 0

    def end_within(self, seconds: float) -> None:
        """Whatever arrives, reading ends after so many seconds, with a TimeoutError."""
        self._end = time.monotonic() + seconds

    def at_a_unit(self) -> None:
        """Begin to measure a line or a literal. Until its first octet arrives, only the timeout counts."""
        self._waited_for_unit = self._octets_of_unit = 0.0
        self._begun = False

    def readinto(self, buffer: Any) -> int | None:
        if self.meter is not None:
            self.meter.wait()
        began = time.monotonic()
        if self._end is not None:
            if began >= self._end:
                raise TimeoutError
            self._sock.settimeout(self._end - began)
        try:
            count = self._sock.recv_into(buffer)
        except BlockingIOError:
            return None  # the socket does not block
        waited = time.monotonic() - began
        self.received += count
        if self.meter is not None:
            self.meter.passed(count)
        self.waited += waited
        self._late += waited
        if self._begun:
            self._waited_for_unit += waited
        self._octets_of_unit += count
        self.held += count
        self._begun = True
        limit = self._sock.gettimeout() or 0.0
        if limit and _is_too_slow(self._octets_of_unit, self._waited_for_unit, limit):
            raise TooSlow
        if limit and _is_too_slow(self._octets + self._octets_of_unit, self._late, _LATE * limit):
            error = TooSlow()
            error.waited = self.waited
            raise error
        return count


def _seconds_for(octets: float) -> float:
    """How long octets may take at the minimum pace."""
    return 60 * octets / OCTETS_A_MINUTE


def _is_too_slow(octets: float, seconds: float, late: float) -> bool:
    return seconds > late + _seconds_for(octets)


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
        self._wire = _Wire(sock)
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
            if limit and _is_too_slow(sent, waited, limit):
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
