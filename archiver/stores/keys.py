"""The keys of messages in a bucket, relative to the account's place there; docs/formats.md specifies them."""

from __future__ import annotations

from archiver.model import Digest

MESSAGES = "messages/"


def message_key(digest: Digest) -> str:
    """The key of a message's object. Keys are in the order of digests."""
    return f"{MESSAGES}{digest[:2]}/{digest}.eml"


def digest_of_key(key: str) -> Digest | None:
    """The inverse of `message_key`; None for a key that no message has."""
    digest = Digest(key.rpartition("/")[2].removesuffix(".eml"))
    return digest if len(digest) == 64 and key == message_key(digest) else None
