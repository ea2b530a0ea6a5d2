"""Finding the server of an address, with a real resolver and real https."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer

import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from archiver.config.providers.discovery import Target
from archiver.config.providers.lookup import Internet
from tests.servers.certificates import Certificate, Certificates

ZONE = {
    ("_imaps._tcp.example.org.", "SRV"): ["20 0 993 backup.example.org.", "10 5 1993 imap.example.org."],
    ("_imap._tcp.example.org.", "SRV"): ["0 0 0 ."],
    ("example.org.", "MX"): ["20 mx.example.org.", "10 aspmx.l.google.com."],
}


@pytest.fixture
def resolver() -> Iterator[dns.resolver.Resolver]:
    """A resolver that asks a server of this test's own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_answer, args=(server,))
        thread.start()
        found = dns.resolver.Resolver(configure=False)
        found.nameservers, found.port = ["127.0.0.1"], server.getsockname()[1]
        yield found
        server.sendto(b"", server.getsockname())
        thread.join()


def _answer(server: socket.socket) -> None:
    while True:
        octets, client = server.recvfrom(4096)
        if not octets:
            return
        query = dns.message.from_wire(octets)
        (asked,) = query.question
        reply = dns.message.make_response(query)
        kind = dns.rdatatype.to_text(asked.rdtype)
        if records := ZONE.get((asked.name.to_text(), kind)):
            reply.answer.append(dns.rrset.from_text(asked.name, 60, "IN", kind, *records))
        else:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        server.sendto(reply.to_wire(), client)


def test_records_of_services(resolver: dns.resolver.Resolver) -> None:
    net = Internet(resolver)
    assert sorted(net.services("_imaps._tcp.example.org"), key=lambda each: each.priority) == [
        Target(10, 5, 1993, "imap.example.org."),
        Target(20, 0, 993, "backup.example.org."),
    ]
    assert net.services("_imap._tcp.example.org") == [Target(0, 0, 0, ".")]
    assert net.services("_imaps._tcp.example.net") == []


def test_servers_that_receive_mail(resolver: dns.resolver.Resolver) -> None:
    net = Internet(resolver)
    assert net.exchangers("example.org") == ["aspmx.l.google.com", "mx.example.org"]
    assert net.exchangers("example.net") == []


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        pages = {"/page": b"<clientConfig/>", "/large": b"x" * (300 << 10)}
        if self.path in ("/away", "/plain"):
            port = self.server.server_address[1]
            self.send_response(302)
            self.send_header("Location", f"{'https' if self.path == '/away' else 'http'}://localhost:{port}/page")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        page = pages.get(self.path)
        self.send_response(200 if page else 404)
        self.send_header("Content-Length", str(len(page or b"")))
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[Callable[[Certificate], str]]:
    """Start a server of pages that shows this certificate."""
    with ExitStack() as stack:

        def start(certificate: Certificate) -> str:
            server = stack.enter_context(HTTPServer(("127.0.0.1", 0), _Pages))
            server.socket = certificate.server_context().wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"https://localhost:{server.server_address[1]}"

        yield start


def test_pages(pages: Callable[[Certificate], str], certificates: Certificates) -> None:
    net = Internet(trust=ssl.create_default_context(cafile=str(certificates.good.ca)))
    here, expired = pages(certificates.good), pages(certificates.expired)

    assert [net.page(f"{here}/{path}") for path in ("page", "away")] == [b"<clientConfig/>"] * 2
    assert [net.page(f"{here}/{path}") for path in ("plain", "large", "nothing")] == [b""] * 3
    assert net.page(f"{expired}/page") == b""
    assert net.page("https://localhost:1/page") == b""
