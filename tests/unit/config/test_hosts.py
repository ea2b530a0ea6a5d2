"""A host's name reaches DNS as its owner registered it."""

from __future__ import annotations

import socket

import pytest

from archiver.config.hosts import host_on_the_wire
from archiver.imap.wire.line import Line


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("imap.example.org", "imap.example.org"),
        ("IMAP.Example.org", "IMAP.Example.org"),
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("old_server.example.org", "old_server.example.org"),
        ("straße.example", "xn--strae-oqa.example"),  # IDNA 2003 made "strasse" of it
        ("ΒΌΛΟΣ.example", "xn--nxasmq6b.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),  # and of the final sigma another one
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("xn--strae-oqa.example", "xn--strae-oqa.example"),
    ],
)
def test_the_name_on_the_wire(written: str, asked: str) -> None:
    assert host_on_the_wire(written) == asked


@pytest.mark.parametrize("written", ["a..b", "ü" * 64, "a\u2044b.example", "-ü.example", "\udcff.example"])
def test_what_is_no_name(written: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (UnicodeError and idna's are two of them)
        host_on_the_wire(written)


def test_a_connection_asks_for_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def lookup(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(socket.gaierror):
        Line("straße.example", 993, None, 1.0)

    assert asked == [b"xn--strae-oqa.example"]
