"""One connection to a POP3 server: commands, several in one flight where the server allows it, and their answers.

A multi-line answer ends with a line that is a single dot; a line that begins with a dot comes with another one
before it (RFC 1939 section 3). Both are undone here, in pieces as they arrive, so that no message has to fit into
the memory.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress

from archiver.config.tables.server import ServerSettings
from archiver.errors import (
    BackendError,
    ConnectionLost,
    ConnectionRefused,
    MessageRefused,
    ServerUnavailable,
    Where,
)
from archiver.imap.replies import printable
from archiver.imap.wire.line import SocketLine
from archiver.imap.wire.pace import OCTETS_A_MINUTE, TooSlow
from archiver.source.pop3.replies import error_of, is_ok, not_pop3

_STATUS_LINE = 8 << 10  # octets; RFC 2449 section 4 allows 512
_LISTING = 128 << 20  # octets of a listing: a million messages with UIDLs of the longest kind
_GOODBYE_SECONDS = 5.0
_END = b"\r\n.\r\n"


class Undotted:
    """A multi-line answer as it arrives: finds its end, and removes the dots that the protocol added."""

    def __init__(self) -> None:
        self.ended = False
        self._kept = b"\r\n"  # the end of the status line, which is not part of the answer
        self._is_first = True

    def feed(self, arrived: bytes) -> tuple[bytes, int]:
        """The next octets of the answer, and how many of those that arrived belong to it."""
        octets, kept = self._kept + arrived, len(self._kept)
        end = octets.find(_END)
        if end >= 0:
            self.ended, used, cut = True, end + len(_END) - kept, end + 2
        else:
            # What may be the beginning of an end, or of a dot to remove, waits for more; both begin with CR.
            used, cut = len(arrived), octets.find(b"\r", max(0, len(octets) - len(_END) + 1))
            cut = len(octets) if cut < 0 else cut
        self._kept, octets = octets[cut:], octets[:cut]
        begin = 2 if self._is_first else 0
        self._is_first = self._is_first and not octets
        return octets.replace(b"\r\n..", b"\r\n.")[begin:], used


class Session:
    """A connection to a POP3 server, after its greeting. Belongs to one thread.

    Answers are read in the order of their commands; a multi-line one has to be read to its end. `capabilities` are
    those that CAPA gave last, upper-case words with their parameters. `way` is how it was logged in.
    """

    way = ""

    def __init__(self, server: ServerSettings, where: Where, tls: ssl.SSLContext | None, seconds: float) -> None:
        self.where = where
        self.line = SocketLine()
        self.capabilities: frozenset[str] = frozenset()
        self._timeout = server.read_timeout
        self._unread = 0  # answers that were not read
        self._has_read = False
        self.line.connect(server.host, server.port, tls, seconds)
        try:
            self.greeting = self._greeting()
        except BaseException:
            self.line.hang_up()
            raise
        self.line.sock.settimeout(self._timeout)

    def _greeting(self) -> bytes:
        greeting = self.line.read_line(_STATUS_LINE)
        if not greeting:
            raise ConnectionLost("the server closed the connection instead of a greeting", where=self.where)
        if is_ok(greeting):
            return greeting.strip()
        if greeting[:4].upper() == b"-ERR":
            raise error_of(greeting.strip(), self.where, ServerUnavailable)
        hint = "this is an IMAP server: check `protocol` and `port`" if greeting.startswith(b"* ") else None
        raise ConnectionRefused(
            f"this is not a POP3 server: {printable(greeting, 80)}",
            where=self.where,
            hint=hint or "check `port` and `tls`",
        )

    @property
    def pipelines(self) -> bool:
        """Whether several commands may be sent at once (RFC 2449 section 6.6)."""
        return "PIPELINING" in self.capabilities

    def parameter(self, name: str) -> str | None:
        """The words after a capability; None if the server does not have it."""
        words = (each.partition(" ") for each in self.capabilities)
        return next((rest for word, _, rest in words if word == name), None)

    def ask_capabilities(self) -> None:
        """Ask for the capabilities that hold now. A server that does not know CAPA has none."""
        if not self.ask(b"CAPA"):
            self.capabilities = frozenset()
            return
        lines = (each.decode("ascii", "replace").upper().split() for each in self.lines(_STATUS_LINE * 8))
        self.capabilities = frozenset(" ".join(words) for words in lines if words)

    # Sending

    def send(self, *commands: bytes) -> None:
        """Send commands in one flight, without reading."""
        try:
            self.line.send(b"".join(each + b"\r\n" for each in commands))
        except TimeoutError as error:
            raise self._silent(error) from error
        except OSError as error:
            raise ConnectionLost(f"connection lost while sending: {error}", where=self.where) from error
        self._unread += len(commands)
        self._has_read = self._has_read or any(each.startswith(b"RETR") for each in commands)

    def ask(self, command: bytes) -> bool:
        """Send one command and read its status line; whether it is a positive one."""
        self.send(command)
        return is_ok(self.status())

    def require(self, command: bytes, otherwise: type[BackendError] = MessageRefused) -> bytes:
        """Send one command; its status line. A refusal is raised."""
        self.send(command)
        return self.required(self.status(), otherwise)

    def required(self, line: bytes, otherwise: type[BackendError] = MessageRefused) -> bytes:
        """A status line that has to be a positive one."""
        if not is_ok(line):
            raise error_of(line, self.where, otherwise)
        return line

    def flight(self, *commands: tuple[bytes, bool]) -> list[tuple[bytes, list[bytes]]]:
        """Run commands, each with whether its answer has several lines: in one flight if the server allows it. The
        status line and the lines of each."""
        if self.pipelines:
            self.send(*(command for command, _ in commands))
        answers = []
        for command, has_lines in commands:
            if not self.pipelines:
                self.send(command)
            status = self.status()
            answers.append((status, self.lines(_LISTING) if has_lines and is_ok(status) else []))
        return answers

    # Reading

    def status(self) -> bytes:
        """The next status line, without its end."""
        line = self.read_line(_STATUS_LINE)
        if not (is_ok(line) or line[:4].upper() == b"-ERR"):
            raise not_pop3(line, self.where)
        self._unread -= 1
        self.line.after_a_command()
        return line

    def continuation(self) -> bytes:
        """The next line in an AUTH exchange: `+ ` and a challenge, or a status line."""
        line = self.read_line(_STATUS_LINE)
        if line[:1] == b"+" and not is_ok(line):
            return line
        if not (is_ok(line) or line[:4].upper() == b"-ERR"):
            raise not_pop3(line, self.where)
        self._unread -= 1
        self.line.after_a_command()
        return line

    def answer(self, line: bytes) -> None:
        """Answer a challenge."""
        self.send(line)
        self._unread -= 1

    def read_line(self, most: int) -> bytes:
        """A line without its end."""
        line = self._reading(lambda: self.line.read_line(most))
        if not line.endswith(b"\n"):
            if len(line) == most:
                raise ConnectionLost(f"an unexpected line of {most} bytes or more", where=self.where)
            raise ConnectionLost("the server closed the connection", where=self.where)
        return line.rstrip(b"\r\n")

    def lines(self, most: int) -> list[bytes]:
        """The lines of a multi-line answer, without their ends. Together they may have `most` octets."""
        pieces = []
        for piece in self.octets():
            pieces.append(piece)
            most -= len(piece)
            if most < 0:
                raise ConnectionLost("the server's answer does not end", where=self.where)
        octets = b"".join(pieces)
        return octets.removesuffix(b"\r\n").split(b"\r\n") if octets else []

    def octets(self) -> Iterator[bytes]:
        """The octets of a multi-line answer in pieces, without the dots of the protocol; the end of the last line
        is part of them."""
        self.line.at_a_response()
        self.line.at_a_unit()
        undotted = Undotted()
        while not undotted.ended:
            arrived = self._reading(self.line.some)
            if not arrived:
                raise ConnectionLost("the connection ended in the middle of an answer", where=self.where)
            octets, used = undotted.feed(arrived)
            self.line.skip(used)
            self.line.progressed()
            if octets:
                yield octets
        self.line.after_a_command()

    def _reading(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except TimeoutError as error:
            raise self._silent(error) from error
        except (OSError, ValueError) as error:
            raise ConnectionLost(f"connection lost: {error}", where=self.where) from error

    def _silent(self, error: TimeoutError) -> ConnectionLost:
        said = f"the server was silent for {self._timeout:g} seconds"
        if isinstance(error, TooSlow):
            said = f"the server sends or accepts fewer than {OCTETS_A_MINUTE} bytes a minute"
        lost = ConnectionLost(said, where=self.where)
        lost.silence = self._timeout
        return lost

    # Ending

    def log_out(self) -> None:
        """Send QUIT and close; never raises, and takes a few seconds at most.

        NOTE: not in the middle of an answer, and not after RETR: some servers delete or mark at QUIT what was read
        (EXPIRE 0, RFC 2449 section 6.7), and a session that ends without it changes nothing (RFC 1939 section 6).
        """
        if not (self._unread or self._has_read):
            with suppress(BackendError, OSError):
                self.line.sock.settimeout(_GOODBYE_SECONDS)
                self.line.end_within(_GOODBYE_SECONDS)
                self.ask(b"QUIT")
        self.hang_up()

    def hang_up(self) -> None:
        """Close without QUIT. Never raises; may be called twice."""
        self.line.hang_up()
