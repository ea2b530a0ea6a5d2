"""What a server does not show any more: what of it is gone, and what may only be hidden."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from archiver.catalog.port import Catalog
from archiver.facts.archive import QuarantinedFact, ReleasedFact, VanishedFact
from archiver.journal.recorder import BATCH_MESSAGES, Batch
from archiver.mail.model import KnownEpoch, KnownFolder, Listed, Opened, Quarantined
from archiver.mail.window import hidden_among, is_window


@dataclass(frozen=True, slots=True)
class Absence:
    """One folder's messages that it does not show; the facts go into `batch`. `is_whole`: a person says that the
    server shows all there is."""

    known: KnownFolder
    epoch: KnownEpoch
    catalog: Catalog
    batch: Batch
    now: Callable[[], str]
    is_whole: bool

    def at_window(self, listed: Listed, opened: Opened, present: Collection[int]) -> bool:
        """Whether the folder shows a number at which providers cut, in any answer: some cut one and not the other,
        and mail may come and go in between."""
        told = listed.status.messages if listed.status is not None else None
        return not self.is_whole and is_window((told, opened.status.messages, len(present)))

    def conclude(
        self,
        held: Collection[int],
        waiting: Sequence[Quarantined],
        present: Collection[int],
        *,
        at_window: bool,
        accept: bool,
    ) -> set[int]:
        """Record what is gone of the messages that are `held`, or `waiting` in quarantine. What may only be
        hidden stays as it is, and is returned. `accept`: a person accepts what waits in quarantine."""
        quarantined = {each.uid for each in waiting}
        absent = {*held, *quarantined}.difference(present)
        hidden: set[int] = set()
        if not self.is_whole:
            before = self.epoch.hidden or 0
            hidden = hidden_among(absent, present, at_window=at_window, hidden_before=before)
        self._vanish(absent.difference(hidden, quarantined - set(held)))
        self._release(absent & quarantined - hidden)
        # What is not shown cannot be tried, so a person may accept its loss without that.
        for each in (each for each in waiting if accept and each.uid in hidden):
            fact = QuarantinedFact(
                self.epoch.number, each.uid, each.step, each.reason, each.server_reply, True, self.now()
            )
            self.batch.fact(fact)
        return hidden

    def _vanish(self, gone: Iterable[int]) -> None:
        uids = tuple(sorted(gone))
        for start in range(0, len(uids), BATCH_MESSAGES):
            some = uids[start : start + BATCH_MESSAGES]
            moves = [
                (each, replace(each, present=False))
                for each in self.catalog.placements(self.epoch.number, uids=some)
                if each.present
            ]
            self.batch.moved(VanishedFact(self.epoch.number, some, self.now()), moves)

    def _release(self, gone: Iterable[int]) -> None:
        uids = tuple(sorted(gone))
        if uids:
            self.batch.fact(ReleasedFact(self.epoch.number, uids, self.now()))
