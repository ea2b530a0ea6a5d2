"""What no client can beat: the same octets sent by the server to nobody, written to files, and appended raw."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measured import Measured
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.wire import quoted, wire_name

_TAG = b"drain-finished"
_ITEMS = b"(UID FLAGS INTERNALDATE BODY.PEEK[])"
_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_DATE = re.compile(rb'INTERNALDATE "([^"]+)"')
_GROUP, _GROUP_OCTETS = 100, 32_000_000


def timed(work: Callable[[], object]) -> Measured:
    """A piece of work in this process."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return Measured(time.perf_counter() - began, time.process_time() - cpu)


def drain(port: int, user: str, folders: Iterable[str]) -> None:
    """Have everything sent over one connection, all commands in one flight, and do nothing with it."""
    with _asked_for(port, user, folders) as (connection, count):
        piece, finished, end = bytearray(1 << 18), 0, b""
        while finished < count:
            size = connection.recv_into(piece)
            if not size:
                raise ConnectionError("the server hung up")
            octets = end + piece[:size]
            finished += octets.count(_TAG)
            end = octets[-(len(_TAG) - 1) :]


def drain_and_write(port: int, user: str, folders: Iterable[str], directory: Path) -> None:
    """The same, with each message written to a file of its own, not synced."""
    with _asked_for(port, user, folders) as (connection, count), connection.makefile("rb", 1 << 20) as reader:
        number = 0
        while count:
            line = reader.readline()
            if not line:
                raise ConnectionError("the server hung up")
            if line.startswith(_TAG):
                count -= 1
            elif found := _LITERAL.search(line):
                number += 1
                octets = reader.read(int(found[1]))
                descriptor = os.open(directory / str(number), os.O_WRONLY | os.O_CREAT, 0o600)
                os.write(descriptor, octets)
                os.close(descriptor)


@contextmanager
def _asked_for(port: int, user: str, folders: Iterable[str]) -> Iterator[tuple[socket.socket, int]]:
    """A connection on which everything is on its way, and how many answers end with the tag."""
    names = [quoted(folder) for folder in folders]
    commands = b"".join(b"b EXAMINE %s\r\n%s UID FETCH 1:* %s\r\n" % (name, _TAG, _ITEMS) for name in names)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"a LOGIN %s %s\r\n%s" % (user.encode(), PASSWORD.encode(), commands))
        yield connection, len(names)


@dataclass(frozen=True)
class Commands:
    """APPEND commands for all mail of a user, each of up to 100 messages (RFC 3502), and the folders."""

    folders: Sequence[bytes]
    commands: Sequence[bytes]


def appends_of(server: Dovecot, user: str, folders: Iterable[str]) -> Commands:
    """What must be sent to have the mail of a user in another mailbox."""
    names, commands = [wire_name(folder) for folder in folders], []
    with server.wire(user) as wire:
        for name in names:
            wire.command(b"EXAMINE " + quoted(name))
            group, octets = b"", 0
            rows = wire.command("UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])")
            for number, row in enumerate(rows):
                flags, date = _FLAGS.search(row.line), _DATE.search(row.line)
                assert flags, row.line
                assert date, row.line
                (message,) = row.literals
                kept = b" ".join(each for each in flags[1].split() if each != b"\\Recent")
                group += b' (%s) "%s" {%d+}\r\n%s' % (kept, date[1], len(message), message)
                octets += len(message)
                if number % _GROUP == _GROUP - 1 or octets > _GROUP_OCTETS or number == len(rows) - 1:
                    commands.append(b"y APPEND " + quoted(name) + group + b"\r\n")
                    group, octets = b"", 0
        wire.logout()
    return Commands(names, commands)


def append_raw(server: Dovecot, user: str, mail: Commands) -> Measured:
    """Send the commands without waiting for an answer, over one connection, into folders that are there."""
    server.create(user, *(name for name in mail.folders if name != b"INBOX"))
    server.wait_idle(user)
    with server.wire(user) as wire:

        def send() -> None:
            sender = threading.Thread(target=lambda: [wire.send(each) for each in mail.commands])
            sender.start()
            for _ in mail.commands:
                wire.answer(b"y")
            sender.join()

        return timed(send)
