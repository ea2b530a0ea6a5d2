"""What a step reports while it works, as small values that anyone may show.

A display, a log and Luigi's own UI receive the same events. Events may be dropped; a step never waits for them.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct


class Planned(Struct, frozen=True):
    """More work was found: this many messages, about this many octets (0: unknown)."""

    messages: int
    octets: int


class Working(Struct, frozen=True):
    """A connection began with this folder."""

    folder: str


class Received(Struct, frozen=True):
    """Messages were fetched and written. They are durable only after a `Stored` event."""

    messages: int
    octets: int


class Linked(Struct, frozen=True):
    """Planned messages need not be fetched, because the archive has them from other folders: how many, and of
    about how many octets."""

    messages: int
    octets: int


class Stored(Struct, frozen=True):
    """Messages became durable and recorded."""

    messages: int
    octets: int


class Sent(Struct, frozen=True):
    """Messages arrived at the destination and were recorded."""

    messages: int
    octets: int


class Verified(Struct, frozen=True):
    """Messages were checked, and this many octets of them were read."""

    messages: int
    octets: int


class Exported(Struct, frozen=True):
    """Messages were written to an export, or were found to be damaged."""

    messages: int
    octets: int


class Slowed(Struct, frozen=True):
    """A server asked to slow down, and a connection waits for that many seconds."""

    seconds: float


class Noted(Struct, frozen=True):
    """Something the user should know: a retry, a new epoch, a quarantined message."""

    text: str


Event = Planned | Working | Received | Linked | Stored | Sent | Verified | Exported | Noted | Slowed
Progress = Callable[[Event], None]


def silent(_event: Event) -> None:
    """Ignore all events."""
