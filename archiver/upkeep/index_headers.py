"""Headers of messages that were archived before headers were stored: read from the store, recorded like all facts.

It may be stopped at any message and continues there the next time.
"""

from __future__ import annotations

from msgspec import Struct

from archiver.catalog.port import MessageIndex
from archiver.control.run import RunControl
from archiver.errors import IntegrityError
from archiver.events import Planned, Verified
from archiver.facts.archive import HeadersFact
from archiver.journal.recorder import Recorder
from archiver.mail.content import read_header
from archiver.mail.headers import headers_of
from archiver.mail.model import Headers, Placement
from archiver.storage.port import MessageStore

_AT_ONCE = 1000


class Indexed(Struct, frozen=True):
    """How many messages' headers were read and recorded, and how many messages could not be read."""

    messages: int = 0
    unreadable: int = 0


def index_headers(
    index: MessageIndex,
    store: MessageStore,
    recorder: Recorder,
    *,
    control: RunControl,
) -> Indexed:
    """Record the headers of all messages that are not indexed. Done again, only unreadable messages are left."""
    control.progress(Planned(index.count_unindexed(), 0))
    messages = unreadable = 0
    last = (0, 0)
    while batch := index.unindexed(last, _AT_ONCE):
        last = batch[-1].key
        facts = []
        for place in {each.placement.digest: each.placement for each in batch}.values():
            control.check_stop()
            headers = _read(store, place)
            if headers is None:
                unreadable += 1
            else:
                facts.append(HeadersFact(place.digest, headers))
        recorder.write(facts)
        messages += len(facts)
        control.progress(Verified(len(facts), 0))
    return Indexed(messages, unreadable)


def _read(store: MessageStore, placement: Placement) -> Headers | None:
    try:
        with store.open(placement) as file:
            return headers_of(read_header(file))
    except (IntegrityError, OSError):
        return None  # `verify` shows what is wrong with it
