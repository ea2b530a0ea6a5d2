"""From an address to the server of its mailbox.

The table is asked first, and nothing else if it knows the domain. Then the domain itself: its DNS (RFC 6186), the
file that it publishes for Thunderbird, and at last whether its mail lies with a provider of the table (MX).
"""

from __future__ import annotations

import typing
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from archiver.config.hosts import host_on_the_wire
from archiver.config.providers.table import POP3_PORT, provider_of_domain, provider_of_exchanger, providers

Say = Callable[[str], None]

Protocol = Literal["imap", "pop3"]
Encryption = Literal["implicit", "starttls"]

_SERVICES: dict[Protocol, tuple[tuple[str, Encryption], ...]] = {
    "imap": (("_imaps", "implicit"), ("_imap", "starttls")),
    "pop3": (("_pop3s", "implicit"), ("_pop3", "starttls")),
}
_SOCKETS: dict[str, Encryption] = {"SSL": "implicit", "STARTTLS": "starttls"}


class Target(Struct, frozen=True):
    """A server of a service, as DNS names it (RFC 2782): the lowest priority first, then the largest weight."""

    priority: int
    weight: int
    port: int
    host: str


class Net(typing.Protocol):
    """What may be asked. An empty answer is one, too: there is nothing, or nobody answered."""

    def services(self, name: str) -> Sequence[Target]:
        """The SRV records of a name."""

    def exchangers(self, domain: str) -> Sequence[str]:
        """The hosts in a domain's MX records, the preferred one first."""

    def page(self, url: str) -> bytes:
        """What an https address shows."""


class Found(Struct, frozen=True):
    """A server for an account file, and where it was found, for people."""

    host: str
    port: int
    tls: Encryption
    user: str
    where: str
    provider: str | None = None


def discover(address: str, net: Net | None, say: Say, protocol: Protocol = "imap") -> Found | None:
    """The server of a mailbox; None if it is not found. Each question that goes to the net is said before it is
    asked; without a `net` only the table is."""
    domain = address.rpartition("@")[2]
    if (key := provider_of_domain(domain)) is not None:
        return _at(key, address, "the table of providers", protocol)
    if net is None:
        return None
    try:
        wire = host_on_the_wire(domain)
    except ValueError:
        return None
    return next(filter(None, _asked(address, wire, net, say, protocol)), None)


def _asked(address: str, domain: str, net: Net, say: Say, protocol: Protocol) -> Iterator[Found | None]:
    for service, tls in _SERVICES[protocol]:
        name = f"{service}._tcp.{domain}"
        say(f"asking DNS for {name}")
        yield _of_services(net.services(name), tls, address, f"DNS, {name}")
    for url in (
        f"https://autoconfig.{domain}/mail/config-v1.1.xml",
        f"https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml",
    ):
        say(f"asking for {url}")
        yield of_autoconfig(net.page(url), address, url, protocol)
    say(f"asking DNS where {domain} gets its mail (MX)")
    for host in net.exchangers(domain):
        if (key := provider_of_exchanger(host)) is not None:
            yield _at(key, address, f"the table of providers, because mail of {domain} goes to {host}", protocol)


def _at(key: str, address: str, where: str, protocol: Protocol) -> Found | None:
    provider = providers()[key]
    user = provider.login_of(address)
    if protocol == "imap":
        return Found(provider.host, provider.port, provider.tls, user, where, key)
    return Found(provider.pop3, POP3_PORT, "implicit", user, where, key) if provider.pop3 else None


def _of_services(targets: Sequence[Target], tls: Encryption, address: str, where: str) -> Found | None:
    """NOTE: the target "." means that the service is not offered (RFC 2782)."""
    there = [each for each in targets if each.host.rstrip(".")]
    best = min(there, key=lambda each: (each.priority, -each.weight), default=None)
    if best is None:
        return None
    return Found(best.host.rstrip("."), best.port, tls, address, where)


def of_autoconfig(page: bytes, address: str, where: str, protocol: Protocol = "imap") -> Found | None:
    """The server in a file for Thunderbird; only an encrypted one, TLS from the start before STARTTLS."""
    if not page or b"<!DOCTYPE" in page or b"<!ENTITY" in page:
        return None
    try:
        servers = ET.fromstring(page).findall(f".//incomingServer[@type='{protocol}']")
    except ET.ParseError:
        return None
    found = filter(None, (_of_server(server, address, where) for server in servers))
    return min(found, key=lambda each: each.tls != "implicit", default=None)


def _of_server(server: ET.Element, address: str, where: str) -> Found | None:
    local, _, domain = address.rpartition("@")
    known = {"%EMAILADDRESS%": address, "%EMAILLOCALPART%": local, "%EMAILDOMAIN%": domain}

    def text(tag: str) -> str:
        words = (server.findtext(tag) or "").strip()
        for placeholder, value in known.items():
            words = words.replace(placeholder, value)
        return words

    tls, port = _SOCKETS.get(text("socketType").upper()), text("port")
    if tls is None or not port.isdigit() or not 0 < int(port) < 65536 or not text("hostname"):
        return None
    return Found(text("hostname"), int(port), tls, text("username") or address, where)
