"""Octets that a crashed run made durable and could not record.

They are never fetched again, and never left lying without a row: each belongs to the epoch in which its folder
was when the run crashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from archiver.facts.archive import StoredFact
from archiver.mail.content import read_header, with_header
from archiver.mail.headers import headers_of
from archiver.mail.model import Attributes, KnownEpoch, Placement
from archiver.storage.port import MessageStore


class Orphans:
    """What `MessageStore.settle` found without a row. Shared by the connections of one account."""

    def __init__(self, placements: Iterable[Placement] = ()) -> None:
        self._left: dict[tuple[str, int], dict[int, Placement]] = {}
        for each in placements:
            self._left.setdefault((each.directory, each.uidvalidity), {})[each.uid] = each

    def of(self, directory: str, epoch: KnownEpoch) -> dict[int, Placement]:
        """Those of the current epoch of the folder in `directory`, by UID."""
        here = self._left.get((directory, epoch.uidvalidity), {})
        # NOTE: a list, because another connection may adopt some of the same folder meanwhile.
        # What lies among the vanished names its generation, what lies among the present is of the current one.
        return {
            uid: each for uid, each in list(here.items()) if each.present or each.generation == epoch.generation
        }

    def adopt(self, placement: Placement) -> None:
        """A fact of it is on its way."""
        self._left[placement.directory, placement.uidvalidity].pop(placement.uid, None)

    def left(self) -> list[Placement]:
        """Those nobody adopted."""
        return [placement for here in self._left.values() for placement in here.values()]


def adopted(
    store: MessageStore,
    epoch: KnownEpoch,
    placement: Placement,
    attributes: Attributes | None,
    now: Callable[[], str],
) -> StoredFact:
    """The fact of an orphan; `attributes` is what the server says of it, None where it cannot be asked."""
    with store.open(placement) as file:
        header = read_header(file)
    message = with_header(placement.message, header)
    if attributes is not None:
        message = message.seen_as(attributes)
    return StoredFact(epoch.number, message, None, now(), headers_of(header))
