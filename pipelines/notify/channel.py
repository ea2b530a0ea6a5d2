"""What a channel is. A delivery runs in a process of its own, so it may block; it is killed in time."""

from __future__ import annotations

from typing import Protocol

from archiver.errors import ArchiverError
from pipelines.notify.notice import Notice

#: For how long a server may say nothing.
SILENT_SECONDS = 10.0


class Undelivered(ArchiverError):
    """A notice did not arrive, as far as is known."""

    exit_code = 5


class Channel(Protocol):
    """One way to one receiver, as a frozen value: accounts with equal channels share a notice."""

    @property
    def name(self) -> str:
        """What it is and where it leads, for people and without a secret."""

    def deliver(self, notice: Notice) -> str:
        """Deliver a notice and return what the other side answered, for people.

        Raises:
            Undelivered: it did not arrive, and why.
            ConfigError: a password or a secret cannot be found.
        """
