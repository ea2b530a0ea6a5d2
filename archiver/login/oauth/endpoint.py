"""One request to an OAuth endpoint: a form is sent, a JSON object comes back.

`archiver.login.web` sends it, so no redirect takes the secrets along, and a signal ends the wait.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from msgspec import Struct

from archiver.config.secrecy import redacted
from archiver.control.waiting import token_requests
from archiver.errors import BackendError, ConnectionRefused, ServerUnavailable, Throttled, Where
from archiver.login.web import BROKEN, basic, request
from archiver.mail.folder_names import printable

_SECONDS = 20.0  # without an octet
_SECONDS_IN_ALL = 60.0
_SHOWN = 300


class Answer(Struct, frozen=True):
    """What an endpoint answered: `ahead` is by how many seconds its clock is ahead of ours, if it told."""

    status: int
    fields: Mapping[str, Any]
    ahead: float | None = None

    @property
    def error(self) -> str | None:
        """The error code (RFC 6749 section 5.2), for people and for comparison; None if it is no refusal."""
        if self.status < 400 and "error" not in self.fields:
            return None
        return text_of(self.fields.get("error")) or f"HTTP status {self.status}"

    @property
    def description(self) -> str:
        """What the endpoint says about the error."""
        return text_of(self.fields.get("error_description"))


def text_of(value: object) -> str:
    """An endpoint's text for people: one line, without our secrets; "" if it is no text."""
    words = value if isinstance(value, str) else ""
    return printable(" ".join(redacted(words[:4096]).split()))[:_SHOWN]


def ask(url: str, form: Mapping[str, str], where: Where, login: tuple[str, str] | None = None) -> Answer:
    """Send a form, with a user and a password if given, and return the answer, which may be a refusal.

    Raises:
        ServerUnavailable, Throttled: another attempt may succeed; the endpoint may have heard this one.
        ConnectionRefused: the certificate is not trusted, or this is no such endpoint.
    """
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    headers |= {"User-Agent": "mail-archiver", "Connection": "close"}
    if login is not None:
        headers["Authorization"] = basic(*login)
    try:
        body = urlencode(form).encode()
        status, read, octets = request(url, headers, body, token_requests, silent=_SECONDS, in_all=_SECONDS_IN_ALL)
        if status == 200 and not octets:
            raise http.client.IncompleteRead(b"")
    except ssl.SSLCertVerificationError as error:
        hint = "check the address; SSL_CERT_FILE names the authority to trust, if the system does not know it"
        problem = f"the certificate is not trusted: {text_of(error.verify_message)}"
    except BROKEN as error:
        # NOTE: not `from error`, whose context may show what was sent.
        reason = text_of(getattr(error, "strerror", None)) or type(error).__name__
        raise ServerUnavailable(f"the token endpoint cannot be asked: {reason}", where=where) from None
    else:
        return _understood(status, read, octets, where)
    raise ConnectionRefused(problem, where=where, hint=hint)


def _understood(status: int, headers: Mapping[str, str], octets: bytes, where: Where) -> Answer:
    if status == 429:
        throttled = Throttled("the token endpoint asks to slow down (HTTP status 429)", where=where)
        delay = headers.get("retry-after", "")
        throttled.delay_seconds = float(delay) if re.fullmatch(r"\d{1,6}", delay) else None
        raise throttled
    if status >= 500:
        raise ServerUnavailable(f"the token endpoint answers HTTP status {status}", where=where)
    fields = _object(octets)
    if fields is None or 300 <= status < 400 or status < 200:
        raise _no_endpoint(status, headers, where)
    return Answer(status, fields, _ahead(headers.get("date", "")))


def _object(octets: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(octets)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no_endpoint(status: int, headers: Mapping[str, str], where: Where) -> BackendError:
    what = f"HTTP status {status}"
    if there := urlsplit(headers.get("location", "")).netloc:
        what += f" and points to {text_of(there)}"
    problem = f"this is no OAuth endpoint: it answers {what} and no JSON"
    return ConnectionRefused(problem, where=where, hint="check the address in the table oauth2 of the account file")


def _ahead(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
