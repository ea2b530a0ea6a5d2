"""The words of a search: what is asked of the archive's messages, and what is found.

A message without headers in the catalog, from before they were kept, matches no text of a header.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from archiver.facts.replica import MessageKey
from archiver.mail.model import Headers, Placement


@dataclass(frozen=True, slots=True)
class Query:
    """What messages have to be, all of it. None and empty sets ask for nothing.

    `folders` are numbers. `sender`, `recipients`, `subject` and `text` (any of the three) are part of the header's
    text; case counts in no script. `since` and `before` are of when a message arrived, in seconds since 1970, the
    second one excluded. `larger` and `smaller` are octets, both excluded. Flags are compared without case.
    `message_id` is the whole, with or without its brackets; `digest` its beginning. `vanished`: also messages that
    are gone from the source. `limit`: no more than so many, the newest.
    """

    folders: Collection[int] | None = None
    sender: str | None = None
    recipients: str | None = None
    subject: str | None = None
    text: str | None = None
    since: int | None = None
    before: int | None = None
    larger: int | None = None
    smaller: int | None = None
    flagged: Collection[str] = ()
    unflagged: Collection[str] = ()
    message_id: str | None = None
    digest: str | None = None
    uid: int | None = None
    vanished: bool = False
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A message that was found: one place of its octets.

    `folder` is the decoded path with "/" between levels. `gone_at` is when it was seen to be gone from the source,
    or its epoch ended; None if it is there. `is_current`: the folder is still in the epoch of its UID.
    """

    folder: str
    placement: Placement
    gone_at: str | None
    is_current: bool
    headers: Headers | None


@dataclass(frozen=True, slots=True)
class Unindexed:
    """A message of which the catalog does not know what its header says."""

    key: MessageKey
    placement: Placement
