"""The table of providers as values, and who is who."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from archiver.mail.folder_names import NameRules

POP3_PORT = 995

How = Literal["account file", "host", "greeting", "capabilities"]


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What a provider allows, None where that is not known. `shows` are the numbers at which it may cut a folder
    off."""

    octets_down_in_a_day: int | None = None
    octets_up_in_a_day: int | None = None
    octets_by_pop3_in_a_day: int | None = None
    shows: tuple[int, ...] = ()


def daily(limits: Limits, side: str, protocol: str) -> int | None:
    """How many octets a day a provider takes as a destination, or gives as a source by that protocol."""
    if side == "destination":
        return limits.octets_up_in_a_day
    return limits.octets_by_pop3_in_a_day if protocol == "pop3" else limits.octets_down_in_a_day


class Provider(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of providers.toml, which says what the fields are. `host` is "" for a server that many run."""

    name: str
    domains: tuple[str, ...] = ()
    host: str = ""
    pop3: str = ""
    hosts: tuple[str, ...] = ()
    port: int = 993
    tls: Literal["implicit", "starttls"] = "implicit"
    user: Literal["address", "local part"] = "address"
    greeting: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    login: str = ""
    oauth2: Literal["microsoft", "google"] | None = None
    passwords: bool = True
    limits: Limits = Limits()
    names: NameRules = NameRules()
    notes: tuple[str, ...] = ()
    as_destination: tuple[str, ...] = ()
    guide: str = ""

    def login_of(self, address: str) -> str:
        """The user's name at the server of the mailbox with this address."""
        return address if self.user == "address" else address.rpartition("@")[0]


class Recognised(Struct, frozen=True):
    """A provider, its name in the table, and by what it was recognised."""

    key: str
    provider: Provider
    by: How


@cache
def providers() -> Mapping[str, Provider]:
    """The table, in its order."""
    text = Path(__file__).with_name("providers.toml").read_text(encoding="utf-8")
    return {key: msgspec.convert(entry, Provider) for key, entry in tomllib.loads(text).items()}


def provider_of_domain(domain: str) -> str | None:
    """The name of the provider whose addresses end in this domain."""
    wanted = domain.lower().rstrip(".")
    for key, each in providers().items():
        below = tuple(name for name in each.domains if name.startswith("."))
        if each.host and (wanted in each.domains or (below and wanted.endswith(below))):
            return key
    return None


def provider_of_exchanger(host: str) -> str | None:
    """The name of the provider whose server is in a domain's MX records."""
    wanted = host.lower().rstrip(".")
    for key, each in providers().items():
        if each.host and any(f".{wanted}".endswith(f".{name.lstrip('.')}") for name in each.domains):
            return key
    return None


def recognised(host: str, said: str, capabilities: Collection[str]) -> Recognised | None:
    """Whose server it is: by its host, else by its greeting and its answer to ID (`said`), else by its
    capabilities (upper-case)."""
    wanted, said = host.lower().rstrip("."), said.lower()
    table = providers()
    for key, each in table.items():
        # NOTE: anything may listen on this machine.
        if wanted in {each.host, each.pop3, *each.hosts} - {"", "127.0.0.1", "localhost"}:
            return Recognised(key, each, "host")
    for key, each in table.items():
        if any(words in said for words in each.greeting):
            return Recognised(key, each, "greeting")
    for key, each in table.items():
        if each.capabilities and all(name in capabilities for name in each.capabilities):
            return Recognised(key, each, "capabilities")
    return None


@cache
def name_rules(said: str) -> NameRules:
    """The rules for folder names at a server that says this of itself, or that is named like this in the table."""
    key = said.lower()
    if key in providers():
        return providers()[key].names
    found = recognised("", said, ())
    return NameRules() if found is None else found.provider.names
