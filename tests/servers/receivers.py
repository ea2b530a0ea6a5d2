"""Those who get notices: a mail server (aiosmtpd) with STARTTLS and AUTH, and an HTTP server for webhooks.

Both are in this process, so a test looks at what arrived as a value.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import threading
import time
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.patience import PATIENCE
from tests.servers.certificates import Certificate

USER, PASSWORD = "archiver@example.org", "the-smtp-s3cret"


@dataclass(frozen=True)
class Delivered:
    """A message as it arrived. `tls` and `user` are how its sender had connected."""

    sender: str
    to: list[str]
    message: EmailMessage
    octets: bytes
    tls: bool
    user: str | None


class MailReceiver:
    """A context manager. `tls` is "implicit", "starttls" (then no mail is taken without it and without a login) or
    "off". `answer`, if it is set, refuses every recipient."""

    host = "localhost"

    def __init__(self, certificate: Certificate, tls: str) -> None:
        self.arrived: list[Delivered] = []
        self.answer: str | None = None
        self._tls = tls
        context = certificate.server_context()
        needs_login = tls == "starttls"  # aiosmtpd warns of it with TLS from the start, which it does not see
        how: dict[str, Any] = {"authenticator": self._authenticate, "auth_required": needs_login}
        how |= {"auth_require_tls": tls == "starttls", "ident": "receiver"}
        if tls == "starttls":
            how |= {"tls_context": context, "require_starttls": True}
        self._how, self._context = how, context if tls == "implicit" else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.port = 0

    def __enter__(self) -> Self:
        self._server = self._loop.run_until_complete(
            self._loop.create_server(
                lambda: SMTP(self, loop=self._loop, **self._how), "127.0.0.1", 0, ssl=self._context
            )
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        await self._server.wait_closed()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def keys(self, **others: Any) -> dict[str, Any]:
        """The table [notify.mail] for it."""
        login = {"user": USER, "password": {"env": "SMTP_PASSWORD"}} if self._tls != "off" else {}
        table = {"host": self.host, "port": self.port, "tls": self._tls, **login}
        return table | {"from": "archiver@example.org", "to": ["ops@example.org", "root@example.org"]} | others

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, auth_data: Any
    ) -> AuthResult:
        good = isinstance(auth_data, LoginPassword) and (
            (auth_data.login, auth_data.password) == (USER.encode(), PASSWORD.encode())
        )
        return AuthResult(success=good, handled=good, auth_data=USER)

    async def handle_RCPT(  # noqa: N802  # aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.answer is not None:
            return self.answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        octets = envelope.original_content or b""
        message = email.message_from_bytes(octets, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        is_tls = self._tls == "implicit" or session.ssl is not None
        user = session.auth_data if session.authenticated else None
        self.arrived.append(
            Delivered(envelope.mail_from or "", list(envelope.rcpt_tos), message, octets, is_tls, user)
        )
        return "250 taken"


@dataclass(frozen=True)
class Request:
    """What was asked of the web receiver."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)


class WebReceiver:
    """A context manager. `status` is answered to the next requests; "silent" answers nothing until the end,
    "trickle" an octet now and then."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.asked: list[Request] = []
        self.status: int | str = 200
        self.words = b""
        self.over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = PATIENCE

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                receiver.asked.append(Request(self.path, dict(self.headers), body))
                if receiver.status == "silent":
                    receiver.over.wait(PATIENCE)
                    return
                if receiver.status == "trickle":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                    while not receiver.over.wait(0.2):
                        try:
                            self.wfile.write(b"x")
                        except OSError:
                            return
                    return
                self.send_response(int(receiver.status))
                self.send_header("Content-Length", str(len(receiver.words)))
                self.end_headers()
                self.wfile.write(receiver.words)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "http"
        if certificate is not None:
            self._scheme = "https"
            self._server.socket = certificate.server_context().wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"{self._scheme}://localhost:{self.port}"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])
