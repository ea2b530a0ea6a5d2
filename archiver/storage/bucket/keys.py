"""The keys of messages in a bucket, relative to the account's prefix; docs/formats.md specifies them."""

from __future__ import annotations

import re

from archiver.mail.model import Digest

MESSAGES = "messages/"

_MESSAGE = re.compile(r"messages/([0-9a-f]{2})/(\1[0-9a-f]{62})\.eml")


def message_key(digest: Digest) -> str:
    """The key of a message's object. Keys are in the order of digests."""
    return f"{MESSAGES}{digest[:2]}/{digest}.eml"


def digest_of_key(key: str) -> Digest | None:
    """The inverse of `message_key`; None for any other key."""
    match = _MESSAGE.fullmatch(key)
    return Digest(match[2]) if match else None
