"""A ping for a service that raises an alarm if none comes: at the start, and at the end with its result.

The addresses are those of healthchecks.io: URL/start, URL for success, URL/fail; URL/log changes nothing there.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from pipelines.notify.notice import Notice
from pipelines.notify.webhook import post, site

Signal = Literal["start", "fail", "log", ""]
_MOST_OCTETS = 10_000


class Ping(Struct, frozen=True):
    """One address; `signal` is what is added to its path."""

    url: str
    signal: Signal = ""

    @property
    def name(self) -> str:
        return f"ping of {site(self.url)}"

    def deliver(self, notice: Notice) -> str:
        parts = urlsplit(self.url)
        path = parts.path.rstrip("/") + (f"/{self.signal}" if self.signal else "")
        body = notice.text.encode("utf-8", "replace")[:_MOST_OCTETS]
        return post(
            urlunsplit(parts._replace(path=path or "/")), {"Content-Type": "text/plain; charset=utf-8"}, body
        )
