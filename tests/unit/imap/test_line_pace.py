"""The least pace of a connection, on a clock that is set by how long each octet takes."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from archiver.control import waiting
from archiver.imap.wire import line
from archiver.imap.wire.line import Line
from archiver.imap.wire.pace import OCTETS_A_MINUTE, TooSlow

LIMIT = 120.0


class Slow:
    """A socket that gives `octets`, so many at a time and after so many seconds each time, or takes as many."""

    def __init__(self, octets: bytes, at_once: int, seconds: float) -> None:
        self.octets, self.at_once, self.seconds, self.now = octets, at_once, seconds, 0.0

    def gettimeout(self) -> float:
        return LIMIT

    def recv_into(self, buffer: Any) -> int:
        self.now += self.seconds
        piece, self.octets = self.octets[: self.at_once], self.octets[self.at_once :]
        buffer[: len(piece)] = piece
        return len(piece)

    def send(self, octets: memoryview) -> int:
        self.now += self.seconds
        return min(len(octets), self.at_once)


def over(sock: Slow, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setattr(line.time, "monotonic", lambda: sock.now)
    found: Line = Line.__new__(Line)
    found.speak_over(sock)  # type: ignore[arg-type]
    return found


def for_ever(wire: Line) -> None:
    while True:
        wire.readline()


@pytest.mark.parametrize("literal", [False, True])
def test_an_octet_a_second_ends(monkeypatch: pytest.MonkeyPatch, literal: bool) -> None:
    sock = Slow(b"x" * 100_000, 1, 1.0)
    with pytest.raises(TooSlow):
        over(sock, monkeypatch).read(100_000) if literal else over(sock, monkeypatch).readline()
    assert sock.now < 2 * LIMIT


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 60 / OCTETS_A_MINUTE), (100, 1.0), (1000, 100.0)])
def test_a_slow_line_does_not(monkeypatch: pytest.MonkeyPatch, at_once: int, seconds: float) -> None:
    sock = Slow(b"x" * 20_000, at_once, seconds)
    assert len(over(sock, monkeypatch).read(20_000)) == 20_000


def test_a_server_that_says_a_word_now_and_then_has_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty minutes, again for each command."""
    word = b"* OK Hang in there..\r\n"
    sock = Slow(word * 10_000, len(word), 30.0)
    wire = over(sock, monkeypatch)
    for _ in range(3):
        wire.send(b"A1 UID SEARCH ALL\r\n")
        began = sock.now
        for _ in range(38):
            assert wire.readline() == word
        assert sock.now - began >= 19 * 60
    wire.send(b"A2 NOOP\r\n")
    began = sock.now
    with pytest.raises(TooSlow):
        for_ever(wire)
    assert sock.now - began < 25 * 60


def read_on(wire: Line, octets: int, *, times: int, news: bool) -> None:
    """Read so many responses of so many octets."""
    for _ in range(times):
        wire.at_a_response()
        wire.read(octets)
        if news:
            wire.progressed()


def test_rows_that_bring_something_have_as_long_as_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    sock = Slow(b"x" * 100_000, 50, 9.0)
    wire = over(sock, monkeypatch)
    read_on(wire, 50, times=2000, news=True)
    assert sock.now == 5 * 3600


def test_rows_that_bring_nothing_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sock = Slow(b"x" * 100_000, 50, 9.0)
    wire = over(sock, monkeypatch)
    with pytest.raises(TooSlow):
        read_on(wire, 50, times=2000, news=False)
    assert sock.now < 25 * 60


def test_octets_that_came_fast_gain_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty megabytes at once would be seventy days."""
    sock = Slow(bytes(32 << 20), 4 << 20, 0.1)
    wire = over(sock, monkeypatch)
    wire.at_a_response()
    for _ in range(8):
        wire.read(4 << 20)
    wire.progressed()
    sock.octets, sock.at_once, sock.seconds, began = b"* OK still here\r\n" * 1000, 17, 10.0, sock.now
    with pytest.raises(TooSlow):
        read_on(wire, 17, times=1000, news=False)
    assert sock.now - began < 25 * 60


def test_answers_that_come_late_are_no_trickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each command, of few octets, just in time."""
    word = b"A1 OK APPEND completed\r\n"
    sock = Slow(word * 100, len(word), LIMIT - 1)
    wire = over(sock, monkeypatch)
    for _ in range(100):
        wire.send(b"A1 APPEND\r\n")
        assert wire.readline() == word


def test_what_is_sent_has_the_same_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of four megabytes over a modem takes its time; an octet a second is too slow."""
    over(Slow(b"", 1_000, 1.0), monkeypatch).send(bytes(4 << 20))
    with pytest.raises(TooSlow):
        over(Slow(b"", 1, 1.0), monkeypatch).send(bytes(4 << 20))


@pytest.mark.parametrize("silent", [True, False])
def test_a_host_with_many_addresses_is_not_looked_for_at_all_of_them(
    monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    """Those that refuse take no time, so all of them are tried."""
    now, tried = [0.0], []

    def connect(_: socket.socket, address: tuple[str, int]) -> None:
        tried.append(address)
        now[0] += LIMIT if silent else 0.0
        raise TimeoutError if silent else ConnectionRefusedError

    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{number}", 143)) for number in range(200)]
    monkeypatch.setattr(waiting.socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(TimeoutError if silent else ConnectionRefusedError):
        line.dial("host.example", 143, LIMIT)
    assert len(tried) == (4 if silent else 200)


def test_a_real_socket_is_read_to_its_end() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(5)
        found: Line = Line.__new__(Line)
        found.speak_over(here)
        there.sendall(b"* OK\r\n1234567890")
        there.shutdown(socket.SHUT_WR)
        assert (found.readline(), found.read(4), found.read(100), found.readline()) == (
            b"* OK\r\n",
            b"1234",
            b"567890",
            b"",
        )
