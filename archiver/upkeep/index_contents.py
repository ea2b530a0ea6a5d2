"""What messages say, read from the store into the index of contents.

It may be stopped or killed at any message and continues there the next time: what a batch added is kept. A store
far away gets to know in advance what will be read.
"""

from __future__ import annotations

from msgspec import Struct

from archiver.catalog.port import ContentIndex
from archiver.control.run import RunControl
from archiver.errors import IntegrityError
from archiver.events import Planned, Verified
from archiver.mail.model import Placement
from archiver.mail.parts.contents import TEXT_LENGTH, Contents, Documents, contents_of
from archiver.storage.port import MessageStore, Prefetch

_AT_ONCE = 1000
_ADDED = 4_000_000  # characters that are held in memory


class ContentsIndexed(Struct, frozen=True):
    """How many messages were read, how many of them could not be, and of how many some was left out."""

    messages: int = 0
    unreadable: int = 0
    cut: int = 0


def index_contents(
    index: ContentIndex,
    store: MessageStore,
    prefetch: Prefetch | None,
    control: RunControl,
    documents: Documents | None = None,
) -> ContentsIndexed | None:
    """Read all messages that are not in the index, with attached documents if `documents` reads them; None: this
    user cannot, or another process is just doing it.

    Raises:
        ArchiverError: the store or the index cannot be used; what was added before stays.
    """
    with_documents = documents is not None
    missing = index.count_missing(documents=with_documents)
    if not missing:
        return ContentsIndexed()
    control.progress(Planned(missing, 0))
    messages = unreadable = cut = 0
    with index.extending(documents=with_documents) as extension:
        if extension is None:
            return None
        size = _AT_ONCE
        while batch := extension.next(size):
            if prefetch is not None:
                prefetch.prefetch(batch)
            contents = {}
            for place in batch:
                control.check_stop()
                contents[place.digest] = _read(store, place, documents)
            extension.add(contents)
            read = [each for each in contents.values() if each is not None]
            messages += len(contents)
            unreadable += len(contents) - len(read)
            cut += sum(each.cut for each in read)
            control.progress(Verified(len(contents), 0))
            size = _next_size(sum(len(each.text) for each in read), len(contents))
    return ContentsIndexed(messages, unreadable, cut)


def _next_size(characters: int, messages: int) -> int:
    """How many messages of that length are held at once."""
    return min(_AT_ONCE, max(_ADDED // TEXT_LENGTH, _ADDED * messages // max(1, characters)))


def _read(store: MessageStore, placement: Placement, documents: Documents | None) -> Contents | None:
    try:
        with store.open(placement) as file:
            return contents_of(file, documents)
    except (IntegrityError, OSError):
        return None  # `verify` shows what is wrong with it
