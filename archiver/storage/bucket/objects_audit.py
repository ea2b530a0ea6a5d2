"""Compares a bucket with the catalog: a merge of two lists in the order of digests.

One listing shows for every message that it exists and how long it is; nothing is downloaded for that, and neither
list is completely in memory. Octets are read only if requested, many at a time, since each request takes 20 to 50
ms.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from itertools import groupby
from typing import Protocol

from msgspec import Struct

from archiver.errors import ArchiveNotWritable, IntegrityError
from archiver.mail.model import Placement
from archiver.storage.audit import NOBODYS, NOT_THERE, Audited, Fault, Looked, Stray, fault_in, wrong_size
from archiver.storage.bucket.keys import MESSAGES, message_key
from archiver.storage.bucket.order import in_order
from archiver.storage.bucket.port import Bucket, ObjectFacts

#: What else an archive has below its prefix; the modules that write these check them themselves.
_OTHERS = re.compile(r"archive\.json|journal/\d{8,}\.jsonl\.gz|(kept|lease|packs|probe)/.+", re.DOTALL)
_LAST = "\U0010ffff"


class Submit(Protocol):
    """Runs a function in another thread."""

    def __call__(self, work: Callable[[], Fault | None]) -> Future[Fault | None]: ...


class _Reading(Struct, frozen=True):
    """All messages of one digest, whose object is being read."""

    placements: Sequence[Placement]
    fault: Future[Fault | None]


def audit_objects(
    bucket: Bucket,
    rows: Iterator[Placement],
    reads: Callable[[Placement], bool],
    submit: Submit,
    ahead: int,
    elsewhere: Callable[[str], bool] = lambda key: False,
) -> Generator[Audited, None, None]:
    """Every message of `rows`, which are in the order of digests, and every object below `messages/` that none of
    them names. An object is read once, for however many messages; `ahead` of them are read concurrently.
    `elsewhere` returns whether the message of a key belongs to the archive, which also has it in another place."""
    reading: deque[_Reading] = deque()
    try:
        for facts, placements in _side_by_side(in_order(bucket.list(MESSAGES), bucket.place(MESSAGES)), rows):
            if not placements:
                assert facts is not None
                if not elsewhere(facts.key):
                    yield Stray(bucket.place(facts.key), f"{NOBODYS}; written {since(facts)}")
            elif facts is not None and facts.size == placements[0].size and reads(placements[0]):
                reading.append(_Reading(placements, submit(_reader(bucket, placements[0]))))
            else:
                yield from (Looked(each, reads(each), _fault(facts, each)) for each in placements)
            while reading and (len(reading) >= ahead or reading[0].fault.done()):
                yield from _looked(reading.popleft())
        while reading:
            yield from _looked(reading.popleft())
    finally:
        for each in reading:
            each.fault.cancel()


def audit_elsewhere(bucket: Bucket) -> Iterator[Stray]:
    """Objects below the prefix that are neither messages nor anything else of an archive."""
    for facts in _but_messages(bucket):
        if not _OTHERS.fullmatch(facts.key):
            yield Stray(bucket.place(facts.key), f"it does not belong to an archive; written {since(facts)}")


def since(facts: ObjectFacts) -> str:
    """When an object was written, by the endpoint's clock."""
    return datetime.fromtimestamp(facts.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _side_by_side(
    listing: Iterator[ObjectFacts], rows: Iterator[Placement]
) -> Iterator[tuple[ObjectFacts | None, Sequence[Placement]]]:
    """Each object that exists or should exist, and its messages, if there are any."""
    objects = iter(listing)
    facts = next(objects, None)
    for digest, equal in groupby(rows, key=lambda placement: placement.digest):
        key = message_key(digest)
        while facts is not None and facts.key < key:
            yield facts, ()
            facts = next(objects, None)
        if facts is not None and facts.key == key:
            yield facts, tuple(equal)
            facts = next(objects, None)
        else:
            yield None, tuple(equal)
    while facts is not None:
        yield facts, ()
        facts = next(objects, None)


def _fault(facts: ObjectFacts | None, placement: Placement) -> Fault | None:
    if facts is None:
        return NOT_THERE
    return None if facts.size == placement.size else wrong_size(facts.size, placement)


def _looked(reading: _Reading) -> Iterator[Looked]:
    fault = reading.fault.result()
    return (Looked(each, True, fault) for each in reading.placements)


def _reader(bucket: Bucket, placement: Placement) -> Callable[[], Fault | None]:
    def read() -> Fault | None:
        try:
            with bucket.read(message_key(placement.digest)) as file:
                return fault_in(file, placement)
        except (IntegrityError, ArchiveNotWritable) as error:  # gone meanwhile; or this one object is kept from us
            return Fault("damaged", f"cannot be read: {error.message}")

    return read


def _but_messages(bucket: Bucket) -> Iterator[ObjectFacts]:
    """All objects outside `messages/`, whose many pages are not listed."""
    for facts in bucket.list():
        if facts.key.startswith(MESSAGES):
            break
        yield facts
    yield from bucket.list(after=MESSAGES + _LAST)
