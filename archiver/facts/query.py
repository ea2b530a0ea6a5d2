"""Search queries and results.

A message whose headers are not indexed, from before version 0.3.0, matches no query for header text.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from archiver.facts.replica import MessageKey
from archiver.mail.model import Headers, Placement


class Query(Struct, frozen=True):
    """A search; messages must match all conditions. None and empty sets are no conditions.

    `folders` are numbers. `sender`, `recipients`, `subject` and `text` (any of the three) are part of the header's
    text; case is ignored in every script. `since` and `before` limit when a message arrived, in seconds since 1970;
    `before` itself is excluded. `larger` and `smaller` are octets, both excluded. The case of flags is ignored.
    `labels` are Gmail's, system labels with or without their backslash. `message_id` is the whole Message-ID, with
    or without its brackets; `digest` the beginning of the digest. `vanished` includes messages that are gone from
    the source; `gone` leaves out those that their folder there still has. `limit` is the largest number of results;
    the newest are returned.

    `body` is part of a message's text, `attachment` part of the name of something in it, `attached` whether
    something is attached; only messages in the index of contents have these.
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
    labels: Collection[str] = ()
    message_id: str | None = None
    digest: str | None = None
    uid: int | None = None
    vanished: bool = False
    gone: bool = False
    limit: int = 100
    body: str | None = None
    attachment: str | None = None
    attached: bool = False

    @property
    def asks_inside(self) -> bool:
        """Whether something is asked that headers do not say."""
        return self.attached or self.body is not None or self.attachment is not None


class Found(Struct, frozen=True):
    """A message that was found: one place of its octets.

    `folder` is the decoded path with "/" between levels. `gone_at` is when it was seen to be gone from the source,
    or its epoch ended; None if it is there. `is_current`: the folder is still in the epoch of its UID. `epoch` is
    that epoch's number. `snippet` is where in its contents it has what was asked for, None if nothing was.
    """

    folder: str
    placement: Placement
    gone_at: str | None
    is_current: bool
    headers: Headers | None
    epoch: int
    snippet: str | None = None

    @property
    def key(self) -> MessageKey:
        return self.epoch, self.placement.uid


class Unindexed(Struct, frozen=True):
    """A message whose headers are not in the catalog yet."""

    key: MessageKey
    placement: Placement
