"""The tables [source.oauth2] and [destination.oauth2]: how a token is obtained, and where it is kept."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from archiver.config.references import KeyFile, SecretReference, TokenPlace
from archiver.config.shape import Table

Provider = Literal["microsoft", "google"]
Flow = Literal["device", "browser", "client_credentials", "service_account", "refresh_token"]

#: The flows of a person, whose refresh token is kept between runs.
OF_A_PERSON = ("device", "browser", "refresh_token")
#: Names that stand for all tenants of Microsoft.
_ANY_TENANT = ("common", "organizations", "consumers")
_URLS = ("token_url", "device_url", "authorization_url")


def is_loopback(host: str) -> bool:
    """Whether this host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def checked_url(url: str) -> str:
    """NOTE: the message does not show the value, since a URL may contain a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or not host or parts.scheme not in ("http", "https"):
        raise ValueError('must be an address, as in "https://login.example.org/token"')
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError('must be the address alone, without a user, a password or a "#"')
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError('must begin with "https://", since secrets are sent there; http only on this machine')
    return url


def _word(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be one word of ASCII")
    return text


def _tenant(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", text):
        raise ValueError('must be the tenant\'s ID or one of its domains, as in "contoso.onmicrosoft.com"')
    return text


class OAuth2Settings(Table, frozen=True, kw_only=True):
    """How to get a token. With a `provider` the endpoints and `scopes` are known; those that are given win."""

    provider: Provider | None = None
    client_id: Annotated[str, _word] | None = None
    client_secret: SecretReference | None = None
    tenant: Annotated[str, _tenant] | None = None
    flow: Flow = "device"
    token: TokenPlace | None = None
    service_account: KeyFile | None = None
    token_url: Annotated[str, checked_url] | None = None
    device_url: Annotated[str, checked_url] | None = None
    authorization_url: Annotated[str, checked_url] | None = None
    scopes: tuple[Annotated[str, _word], ...] = ()


def contradictions(server: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is missing or contradictory in the table of a server, as written: (key, what to write)."""
    table = server.get("oauth2")
    if server.get("auth") != "oauth2":
        if table is not None and "auth" not in server:
            yield "auth", 'is missing; write auth = "oauth2", or remove the table oauth2'
        elif table is not None:
            yield "oauth2", 'goes with auth = "oauth2" alone; remove the table, or change auth'
        return
    for key in ("password", "login"):
        if key in server:
            yield key, 'contradicts auth = "oauth2", which sends a token; remove one of them'
    if table is None:
        yield "oauth2", "is missing; write the table with provider, client_id and token"
    elif isinstance(table, dict):
        for key, text in _of_table(table):
            yield f"oauth2.{key}", text


def _of_table(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    provider, flow = table.get("provider"), table.get("flow", "device")
    if flow not in get_args(Flow):
        return  # its reader says what there is
    if provider is None:
        yield from _of_other_provider(table, flow)
    if "tenant" in table and provider != "microsoft":
        yield "tenant", 'goes with provider = "microsoft" alone'
    if flow == "device" and provider == "google" and "device_url" not in table:
        yield "flow", 'must be "browser" or "service_account": Google gives no access to mail by a device code'
    if flow == "client_credentials" and provider == "google":
        yield "flow", 'must be "service_account": Google knows no client credentials'
    if flow == "client_credentials":
        if "client_secret" not in table:
            yield "client_secret", 'is missing; write a reference, as in client_secret = { file = "secret" }'
        if provider == "microsoft" and "token_url" not in table and table.get("tenant", "common") in _ANY_TENANT:
            yield "tenant", 'must name the one tenant, as in tenant = "contoso.onmicrosoft.com"'
    if flow == "service_account":
        if "service_account" not in table:
            yield "service_account", 'is missing; write service_account = { file = "service-account.json" }'
        if provider != "google":
            yield "flow", '"service_account" goes with provider = "google" alone'
    else:
        if "service_account" in table:
            yield "service_account", 'goes with flow = "service_account" alone'
        if "client_id" not in table:
            yield "client_id", "is missing; write the ID of the app that you registered with the provider"
    if flow in OF_A_PERSON and "token" not in table:
        yield "token", 'is missing; write token = { file = "tokens/{account}" }'


def _of_other_provider(table: Mapping[str, Any], flow: str) -> Iterator[tuple[str, str]]:
    needed = {"device": "device_url", "browser": "authorization_url"}
    for key in ("token_url", needed.get(flow)):
        if key is not None and key not in table and flow != "service_account":
            yield key, 'is missing; write provider = "microsoft" or "google", or the address of your provider'
    if "scopes" not in table and flow in ("device", "browser"):
        yield "scopes", "is missing; write what your provider calls access to mail, as a list"
