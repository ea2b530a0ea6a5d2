"""A person logs in with a browser, which is sent back to a port of this machine (RFC 8252), with PKCE (RFC 7636).

What comes back by another address, or with another state, is not ours and is not read: another program of this
machine, or a web page, may send whatever it likes to the port.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import queue
import secrets
import socketserver
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from archiver.config.secrecy import keep_secret
from archiver.errors import AuthenticationFailed
from archiver.login.oauth.device import Prompt, Show
from archiver.login.oauth.endpoint import Answer
from archiver.login.oauth.grants import Client
from archiver.login.oauth.keeping import Pause
from archiver.login.oauth.refusals import AGAIN
from archiver.login.oauth.tokens import Token

_SECONDS = 600.0
_LOOK_SECONDS = 0.05
_REQUEST_SECONDS = 10.0
_PAGE = (
    "<!doctype html><meta charset=utf-8><title>archiver</title>"
    "<p>The archiver has the answer. You can close this window; the rest is in the terminal."
)


class _Redirect(BaseHTTPRequestHandler):
    """Takes the one request that has our state. Nothing is logged: its address has the code."""

    timeout = _REQUEST_SECONDS
    server: _Listener

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        found = {name: values[0] for name, values in parse_qs(parts.query).items()}
        is_ours = parts.path == "/" and hmac.compare_digest(found.get("state", "").encode(), self.server.state)
        page = _PAGE.encode() if is_ours else b""
        self.send_response(200 if is_ours else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(page)
        if is_ours:
            self.server.answers.put(found)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Listener(socketserver.ThreadingTCPServer):
    """NOTE: threads, since browsers open connections in advance and send nothing over them."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, state: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Redirect)
        self.state = state
        self.answers: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()
        self.timeout = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # the browser hung up

    def answer(self, pause: Pause) -> Mapping[str, str] | None:
        """What the browser brings back; None if it took too long."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            self.handle_request()
            try:
                return self.answers.get_nowait()
            except queue.Empty:
                pause(_LOOK_SECONDS)
        return None


def log_in(client: Client, show: Show, pause: Pause) -> Token:
    """Show the address to open, and wait until the browser comes back. `pause` waits, and raises if the run has to
    end.

    Raises:
        AuthenticationFailed: the person did not allow it, or nobody came back.
        ServerUnavailable, Throttled, ConnectionRefused: the endpoint cannot be asked.
    """
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
    keep_secret(verifier)
    with _Listener(state.encode()) as listener:
        redirect = f"http://{client.endpoints.redirect_host}:{listener.port}"
        show(Prompt(_address(client, redirect, state, verifier), None, _SECONDS, listener.port))
        found = listener.answer(pause)
    if found is None:
        raise AuthenticationFailed("nobody logged in with the browser in time", where=client.where, hint=AGAIN)
    if "error" in found or "code" not in found:
        error = {"error": found.get("error", "invalid_request")}
        raise client.refusal(Answer(400, error | {"error_description": found.get("error_description", "")}))
    keep_secret(found["code"])
    form = {"grant_type": "authorization_code", "code": found["code"], "redirect_uri": redirect}
    return client.token(form | {"code_verifier": verifier})


def _address(client: Client, redirect: str, state: str, verifier: str) -> str:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": client.settings.client_id or "",
        "redirect_uri": redirect,
        "scope": client.endpoints.scope,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "login_hint": client.user,
        **client.endpoints.parameters,
    }
    url = client.endpoints.authorization_url or ""
    return url + ("&" if urlsplit(url).query else "?") + urlencode(asked)
