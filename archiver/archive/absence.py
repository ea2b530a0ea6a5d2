"""Messages that a server no longer shows: which of them are gone, and which may only be hidden."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from archiver.catalog.port import CatalogMessages
from archiver.facts.archive import QuarantinedFact, ReleasedFact, VanishedFact
from archiver.facts.known import KnownEpoch, KnownFolder, Quarantined
from archiver.journal.recorder import BATCH_MESSAGES, Batch
from archiver.mail.model import Listed, Opened
from archiver.mail.uidset import UidSet
from archiver.mail.window import hidden_among, is_window


class Absence(Struct, frozen=True):
    """The messages that one folder no longer shows; their facts go into `batch`. `is_whole`: the account file says
    that the server shows the whole folder ([folders] whole)."""

    known: KnownFolder
    epoch: KnownEpoch
    messages: CatalogMessages
    batch: Batch
    now: Callable[[], str]
    is_whole: bool

    def at_window(self, listed: Listed, opened: Opened, present: UidSet) -> bool:
        """Whether any answer has a count at which providers cut a folder off. Some servers cut only one of the
        answers, and mail may come and go in between."""
        listed_count = listed.status.messages if listed.status is not None else None
        return not self.is_whole and is_window((listed_count, opened.status.messages, len(present)))

    def conclude(
        self,
        held: UidSet,
        waiting: Sequence[Quarantined],
        present: UidSet,
        *,
        at_window: bool,
        accept: bool,
    ) -> UidSet:
        """Record which messages are gone, of those that are `held` or `waiting` in quarantine. Messages that may
        only be hidden stay as they are; returns their UIDs. `accept`: the user accepts the loss of what waits in
        quarantine."""
        quarantined = UidSet(each.uid for each in waiting)
        absent = (held | quarantined) - present
        hidden = UidSet()
        if not self.is_whole:
            before = self.epoch.hidden or 0
            hidden = hidden_among(absent, present, at_window=at_window, hidden_before=before)
        self._vanish((absent & held) - hidden)
        self._release((absent & quarantined) - hidden)
        # A message that is not shown cannot be tried, so its loss can be accepted without another try.
        for each in (each for each in waiting if accept and each.uid in hidden):
            fact = QuarantinedFact(
                self.epoch.number, each.uid, each.step, each.reason, each.server_reply, True, self.now()
            )
            self.batch.fact(fact)
        return hidden

    def _vanish(self, gone: UidSet) -> None:
        for some in gone.pieces(BATCH_MESSAGES):
            moves = [
                (each, replace(each, present=False))
                for each in self.messages.placements(self.epoch.number, uids=some)
                if each.present
            ]
            self.batch.moved(VanishedFact(self.epoch.number, tuple(some), self.now()), moves)

    def _release(self, gone: UidSet) -> None:
        if gone:
            self.batch.fact(ReleasedFact(self.epoch.number, tuple(gone), self.now()))
