"""A notice as JSON over HTTPS, signed by a secret that both sides know."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from msgspec import Struct

from archiver.config.references import SecretReference
from archiver.config.secrets import resolve
from archiver.control.waiting import OpenSockets
from archiver.login.web import BROKEN, request
from pipelines.notify.channel import SILENT_SECONDS, Undelivered
from pipelines.notify.notice import Notice, one_line

SIGNATURE = "X-Archiver-Signature"
_SHOWN = 200
_TLS_ADVICE = "check the address; SSL_CERT_FILE names the authority to trust, if the system does not know it"


class Webhook(Struct, frozen=True):
    """One POST to an address. A path that somebody could guess would not be part of it: no text shows it."""

    url: str
    secret: SecretReference | None

    @property
    def name(self) -> str:
        return f"webhook at {site(self.url)}" + ("" if self.secret else ", not signed")

    def deliver(self, notice: Notice) -> str:
        body = json.dumps(notice.document).encode()
        headers = {"Content-Type": "application/json"}
        if self.secret is not None:
            found = resolve(self.secret.kind, self.secret.value, user=site(self.url), what="webhook_secret")
            headers[SIGNATURE] = signature(found.reveal(), body)
        return post(self.url, headers, body)


def signature(secret: str, body: bytes) -> str:
    """What the receiver computes, too, from the octets of the body (HMAC, RFC 2104)."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def site(url: str) -> str:
    """The address without its path and its query, by which many services know who may write to them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _without(url: str, text: str) -> str:
    """A text without the parts of the address by which somebody else could write there.

    NOTE: they are not registered as secrets for all texts: a part may be an account's name, or a word.
    """
    parts = urlsplit(url)
    for secret in sorted({parts.path, *parts.path.split("/"), parts.query} - {"", "/"}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def post(url: str, headers: Mapping[str, str], body: bytes) -> str:
    """POST a body to an address whose path is secret; returns the answer's status for people.

    Raises:
        Undelivered: the answer is none, or does not say that it was accepted.
    """
    sent = {"User-Agent": "mail-archiver", "Connection": "close", **headers}
    advice = None
    try:
        status, _, octets = request(
            url, sent, body, OpenSockets(), silent=SILENT_SECONDS, in_all=6 * SILENT_SECONDS
        )
    except ssl.SSLCertVerificationError as error:
        problem, advice = f"the certificate is not trusted: {one_line(error.verify_message)}", _TLS_ADVICE
    except TimeoutError:
        problem = f"no answer for {SILENT_SECONDS:g} seconds"
    except BROKEN as error:
        # NOTE: not `from error`, whose text may have what was sent.
        problem = one_line(getattr(error, "strerror", None) or type(error).__name__)
    else:
        answer = f"HTTP status {status}"
        if 200 <= status < 300:
            return answer
        words = one_line(_without(url, " ".join(octets[:4096].decode("utf-8", "replace").split())))[:_SHOWN]
        problem = f"it answers {answer}" + (f": {words}" if words else "")
    raise Undelivered(problem, hint=advice)
