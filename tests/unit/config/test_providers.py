"""The table of providers, who is recognised, and how the server of an address is found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from archiver.config.protocols import usual_port
from archiver.config.providers.discovery import Found, Target, discover, of_autoconfig
from archiver.config.providers.table import (
    How,
    provider_of_domain,
    provider_of_exchanger,
    providers,
    recognised,
)
from archiver.mail.window import WINDOWS

ROOT = Path(__file__).parents[3]


class TestTheTable:
    def test_has_each_domain_and_host_once(self) -> None:
        domains = [domain for each in providers().values() for domain in each.domains]
        assert len(domains) == len(set(domains))
        hosts = [host for each in providers().values() for host in each.hosts]
        assert not {each.host for each in providers().values()} & set(hosts)
        assert len(hosts) == len(set(hosts))

    def test_names_headings_of_the_documents(self) -> None:
        headings = re.findall(r"(?m)^## (.*)$", (ROOT / "docs/providers.md").read_text())
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert {each.guide for each in providers().values() if each.guide} <= anchors

    def test_has_the_windows_that_a_run_knows(self) -> None:
        """A run does not read the table for every folder."""
        assert {number for each in providers().values() for number in each.limits.shows} == set(WINDOWS)

    def test_has_patterns_for_names(self) -> None:
        for each in providers().values():
            re.compile(each.names.refused)

    def test_is_lower_case_where_it_is_compared(self) -> None:
        for each in providers().values():
            words = (*each.domains, each.host, each.pop3, *each.hosts, *each.greeting)
            assert words == tuple(word.lower() for word in words)


@pytest.mark.parametrize(
    ("host", "said", "capabilities", "key", "by"),
    [
        ("imap.gmail.com", "", (), "gmail", "host"),
        ("IMAP.Mail.Yahoo.com.", "", (), "yahoo", "host"),
        ("outlook.office365.com", "The Microsoft Exchange IMAP4 service is ready.", (), "microsoft365", "host"),
        ("mail.example.org", "Gimap ready for requests from 127.0.0.1 i9if", (), "gmail", "greeting"),
        ("mail.example.org", "The Microsoft Exchange IMAP4 service is ready. [TQBX]", (), "exchange", "greeting"),
        ("mail.example.org", "mail.example.org Zimbra IMAP4rev1 server ready", (), "zimbra", "greeting"),
        ("mail.example.org", "Kerio Connect 8.5.1 IMAP4rev1 server ready", (), "kerio", "greeting"),
        ("mail.example.org", 'ready * ID ("name" "Dovecot")', (), "dovecot", "greeting"),
        (
            "mail.example.org",
            "Stalwart IMAP4rev2 at your service.",
            (),
            "stalwart",
            "greeting",
        ),
        ("mail.example.org", "IMAPrev1", (), "hmailserver", "greeting"),
        ("mail.example.org", "ready", ("IMAP4REV1", "X-GM-EXT-1"), "gmail", "capabilities"),
    ],
)
def test_whose_server_it_is(host: str, said: str, capabilities: Sequence[str], key: str, by: How) -> None:
    found = recognised(host, said, capabilities)
    assert found is not None
    assert (found.key, found.by) == (key, by)


@pytest.mark.parametrize("host", ["mail.example.org", "127.0.0.1", "localhost"])
def test_nobodys_server(host: str) -> None:
    assert recognised(host, "ready", ("IMAP4REV1",)) is None


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("aspmx.l.google.com.", "gmail"),
        ("ALT1.ASPMX.L.GOOGLE.COM", "gmail"),
        ("contoso-example.mail.protection.outlook.com", "microsoft365"),
        ("in1-smtp.messagingengine.com", "fastmail"),
        ("notgoogle.com", None),
        ("mail.example.org", None),
    ],
)
def test_where_a_domain_gets_its_mail(host: str, key: str | None) -> None:
    assert provider_of_exchanger(host) == key


class ScriptedNet:
    """A net that knows these answers and no others."""

    def __init__(self, services: Mapping[str, Sequence[Target]] = {}, exchangers: Sequence[str] = (),
                 pages: Mapping[str, bytes] = {}) -> None:  # fmt: skip
        self._services, self._exchangers, self._pages = services, exchangers, pages

    def services(self, name: str) -> Sequence[Target]:
        return self._services.get(name, ())

    def exchangers(self, domain: str) -> Sequence[str]:
        return self._exchangers

    def page(self, url: str) -> bytes:
        return self._pages.get(url, b"")


AUTOCONFIG = b"""<?xml version="1.0"?>
<clientConfig version="1.1"><emailProvider id="example.org">
  <incomingServer type="pop3">
    <hostname>pop.example.org</hostname><port>995</port><socketType>SSL</socketType>
  </incomingServer>
  <incomingServer type="imap">
    <hostname>mail.%EMAILDOMAIN%</hostname><port>143</port><socketType>STARTTLS</socketType>
    <username>%EMAILADDRESS%</username>
  </incomingServer>
  <incomingServer type="imap">
    <hostname>mail.%EMAILDOMAIN%</hostname><port>1993</port><socketType>SSL</socketType>
    <username>%EMAILLOCALPART%</username>
  </incomingServer>
</emailProvider></clientConfig>
"""


class TestAnAddress:
    ALICE = "alice@example.org"
    IMAPS, IMAP = "_imaps._tcp.example.org", "_imap._tcp.example.org"
    URL = "https://autoconfig.example.org/mail/config-v1.1.xml"

    def found(self, net: ScriptedNet | None, address: str = ALICE) -> tuple[Found | None, list[str]]:
        said: list[str] = []
        return discover(address, net, said.append), said

    def test_of_the_table_asks_nothing(self) -> None:
        found, said = self.found(ScriptedNet(), "alice@GMX.de")
        assert found == Found("imap.gmx.net", 993, "implicit", "alice@GMX.de", "the table of providers", "gmx")
        assert said == []

    def test_of_a_provider_whose_logins_are_local_parts(self) -> None:
        found, _ = self.found(None, "alice@icloud.com")
        assert found is not None
        assert found.user == "alice"

    def test_is_found_by_dns_first(self) -> None:
        targets = [Target(20, 0, 993, "b."), Target(10, 1, 993, "c."), Target(10, 5, 1993, "imap.example.org.")]
        found, said = self.found(ScriptedNet({self.IMAPS: targets}, pages={self.URL: AUTOCONFIG}))
        assert found == Found("imap.example.org", 1993, "implicit", self.ALICE, f"DNS, {self.IMAPS}")
        assert said == [f"asking DNS for {self.IMAPS}"]

    def test_of_a_domain_that_has_no_imaps_but_starttls(self) -> None:
        net = ScriptedNet({self.IMAPS: [Target(0, 0, 0, ".")], self.IMAP: [Target(0, 0, 143, "imap.example.org.")]})
        found, said = self.found(net)
        assert found == Found("imap.example.org", 143, "starttls", self.ALICE, f"DNS, {self.IMAP}")
        assert said == [f"asking DNS for {self.IMAPS}", f"asking DNS for {self.IMAP}"]

    def test_is_found_by_the_file_for_thunderbird(self) -> None:
        found, said = self.found(ScriptedNet(pages={self.URL: AUTOCONFIG}))
        assert found == Found("mail.example.org", 1993, "implicit", "alice", self.URL)
        assert said[-1] == f"asking for {self.URL}"

    def test_is_found_by_where_its_mail_goes(self) -> None:
        found, said = self.found(ScriptedNet(exchangers=["mx.example.org", "aspmx.l.google.com"]))
        assert found is not None
        assert (found.host, found.user, found.provider) == ("imap.gmail.com", self.ALICE, "gmail")
        assert len(said) == 5

    def test_for_pop3(self) -> None:
        service = "_pop3s._tcp.example.org"
        net = ScriptedNet({service: [Target(0, 0, 995, "pop.example.org.")]})
        said: list[str] = []
        found = discover(self.ALICE, net, said.append, "pop3")
        assert found == Found("pop.example.org", 995, "implicit", self.ALICE, f"DNS, {service}")
        found = discover(self.ALICE, ScriptedNet(pages={self.URL: AUTOCONFIG}), said.append, "pop3")
        assert found == Found("pop.example.org", 995, "implicit", self.ALICE, self.URL)
        assert discover("alice@icloud.com", None, said.append, "pop3") is None

    def test_that_is_nowhere(self) -> None:
        assert self.found(ScriptedNet())[0] is None
        assert self.found(None) == (None, [])
        assert self.found(ScriptedNet(), "alice@-.example")[0] is None


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html><p>not found",
        b'<!DOCTYPE x [<!ENTITY a "b">]>' + AUTOCONFIG.split(b"?>")[1],
        AUTOCONFIG.replace(b"SSL", b"plain").replace(b"STARTTLS", b"plain"),
        AUTOCONFIG.replace(b"1993", b"99999999").replace(b"143", b"-1"),
        AUTOCONFIG.replace(b'type="imap"', b'type="exchange"'),
    ],
)
def test_a_file_for_thunderbird_without_an_encrypted_imap_server(page: bytes) -> None:
    assert of_autoconfig(page, "alice@example.org", "") is None


def test_ports_of_the_table_go_with_their_tls() -> None:
    assert {key for key, each in providers().items() if each.port != usual_port("imap", each.tls)} == {"proton"}
    assert provider_of_domain("example.org") is None


def test_domains_below_one() -> None:
    assert provider_of_domain("contoso.onmicrosoft.com") == "microsoft365"
    assert provider_of_domain("notonmicrosoft.com") is None
    assert provider_of_domain("mail.gmail.com") is None
