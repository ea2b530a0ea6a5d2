"""Checks the order of a listing that is merged with another list.

Some endpoints list in no order at all (directory buckets of S3 Express). With such a listing, intact messages would
look lost, and named objects unnamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from archiver.errors import ConfigError
from archiver.mail.folder_names import printable
from archiver.storage.bucket.port import ObjectFacts


def in_order(listing: Iterable[ObjectFacts], place: str) -> Iterator[ObjectFacts]:
    """The same objects, each key greater than the one before; `place` is where they are, for people.

    Raises:
        ConfigError: they are not in order.
    """
    last = ""
    for facts in listing:
        if facts.key <= last:
            raise ConfigError(
                place,
                [f"the endpoint lists objects in no order ({printable(facts.key)} after {printable(last)})"],
                hint="use a general purpose bucket; nothing was changed",
            )
        last = facts.key
        yield facts
