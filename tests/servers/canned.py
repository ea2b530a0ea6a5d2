"""An HTTP server that gives every request the same answer: what some endpoint far away says, or no S3 at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.servers.s3_endpoint import Endpoint


def error(code: str, message: str = "as it says", **details: str) -> bytes:
    """The XML in which S3 refuses."""
    reported = "".join(f"<{name}>{value}</{name}>" for name, value in details.items())
    return f"<Error><Code>{code}</Code><Message>{message}</Message>{reported}</Error>".encode()


@contextmanager
def canned(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Iterator[Endpoint]:
    """Serve it; the body is XML unless `headers` say something else, and not given to a HEAD."""
    fields = {"Content-Type": "application/xml", "Content-Length": str(len(body)), **(headers or {})}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response_only(status)
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that hangs up

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield Endpoint(f"http://127.0.0.1:{server.server_address[1]}", "AKIAEXAMPLEEXAMPLE00", "secret of nobody")
        server.shutdown()
