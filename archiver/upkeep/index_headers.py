"""The headers of messages that were archived before they were kept: read from the store, recorded like all facts.

It may be stopped at any message and goes on there the next time.
"""

from __future__ import annotations

from dataclasses import dataclass

from archiver.catalog.port import MessageIndex
from archiver.control import RunControl
from archiver.errors import IntegrityError
from archiver.events import Planned, Verified
from archiver.facts.archive import HeadersFact
from archiver.journal.recorder import Recorder
from archiver.mail.content import read_header
from archiver.mail.headers import headers_of
from archiver.mail.model import Headers, Placement
from archiver.storage.port import MessageStore

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Indexed:
    """How many messages' headers were read and recorded, and of how many the octets could not be read."""

    messages: int = 0
    unreadable: int = 0


def index_headers(
    index: MessageIndex,
    store: MessageStore,
    recorder: Recorder,
    *,
    control: RunControl,
) -> Indexed:
    """Record the headers of all messages whose are not known. Done again, there is nothing left to do but what
    cannot be read."""
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
        return None  # `verify` says what is wrong with it
