"""The questions that go out to the net to find the server of an address: DNS, and https pages of the domain."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from archiver.config.providers.discovery import Target

if TYPE_CHECKING:
    from dns.resolver import Resolver

_SECONDS = 10.0
_LARGEST = 256 << 10


class Internet:
    """DNS by the resolver of this machine, and https. Whatever goes wrong is an empty answer."""

    def __init__(self, resolver: Resolver | None = None, trust: ssl.SSLContext | None = None) -> None:
        self._resolver = resolver
        self._trust = trust

    def services(self, name: str) -> Sequence[Target]:
        return [
            Target(each.priority, each.weight, each.port, each.target.to_text(omit_final_dot=False))
            for each in self._records(name, "SRV")
        ]

    def exchangers(self, domain: str) -> Sequence[str]:
        records = sorted(self._records(domain, "MX"), key=lambda each: int(each.preference))
        return [each.exchange.to_text(omit_final_dot=True) for each in records]

    def page(self, url: str) -> bytes:
        handlers = [urllib.request.HTTPSHandler(context=self._trust or ssl.create_default_context()), _HttpsAlone()]
        try:
            with urllib.request.build_opener(*handlers).open(url, timeout=_SECONDS) as reply:
                octets: bytes = reply.read(_LARGEST + 1)
        except (OSError, HTTPException, ValueError):
            return b""
        return octets if len(octets) <= _LARGEST else b""

    def _records(self, name: str, kind: str) -> list[Any]:
        import dns.exception
        import dns.resolver

        try:
            resolver = self._resolver or dns.resolver.get_default_resolver()
            return list(resolver.resolve(name, kind, lifetime=_SECONDS))
        except (dns.exception.DNSException, OSError):
            return []


class _HttpsAlone(urllib.request.HTTPRedirectHandler):
    """NOTE: somebody in between could answer for a page that is not encrypted, so no redirection leads to one."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https://"):
            raise urllib.error.URLError("not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
