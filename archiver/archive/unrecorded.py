"""Messages that a crashed run stored durably but could not record.

They are never fetched again, and never stay without a row: each belongs to the epoch that its folder was in when
the run crashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from archiver.facts.archive import StoredFact
from archiver.facts.known import KnownEpoch
from archiver.mail.content import read_header, with_header
from archiver.mail.headers import headers_of
from archiver.mail.model import Attributes, Placement
from archiver.storage.port import MessageStore


class UnrecordedFiles:
    """The messages that `MessageStore.recover` found without a row. Shared by the connections of one account."""

    def __init__(self, placements: Iterable[Placement] = ()) -> None:
        self._left: dict[tuple[str, int], dict[int, Placement]] = {}
        for each in placements:
            self._left.setdefault((each.directory, each.uidvalidity), {})[each.uid] = each

    def of(self, directory: str, epoch: KnownEpoch) -> dict[int, Placement]:
        """Those of the current epoch of the folder in `directory`, by UID."""
        here = self._left.get((directory, epoch.uidvalidity), {})
        # NOTE: a list, because another connection may record some of the same folder at the same time.
        # A vanished file's name has its generation; a present one belongs to the current generation.
        return {
            uid: each for uid, each in list(here.items()) if each.present or each.generation == epoch.generation
        }

    def mark_recorded(self, placement: Placement) -> None:
        """Its fact is about to be written; it is not returned again."""
        self._left[placement.directory, placement.uidvalidity].pop(placement.uid, None)

    def left(self) -> list[Placement]:
        """Those that are not recorded yet."""
        return [placement for here in self._left.values() for placement in here.values()]


def unrecorded_fact(
    store: MessageStore,
    epoch: KnownEpoch,
    placement: Placement,
    attributes: Attributes | None,
    now: Callable[[], str],
) -> StoredFact:
    """The fact of an unrecorded message; `attributes` are the server's, None if it cannot be asked."""
    with store.open(placement) as file:
        header = read_header(file)
    message = with_header(placement.message, header)
    if attributes is not None:
        message = message.seen_as(attributes)
    return StoredFact(epoch.number, message, None, now(), headers_of(header))
