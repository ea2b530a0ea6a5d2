"""The prune step: messages that the archive has are removed from the source.

A message is removed only if its octets were read from the store in this run and have its digest, and if the source
shows it under its UIDVALIDITY and UID with the recorded size and INTERNALDATE. The intent is in the journal before
anything is sent, and the outcome after the source was asked what is left. Wherever that is cut off, the next prune
asks again: what is gone then was removed by us, as far as anybody can tell."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

from msgspec import Struct, field

from archiver.catalog.port import Catalog
from archiver.control.run import RunControl
from archiver.destination.port import FlagStore
from archiver.errors import (
    ArchiverError,
    BackendError,
    FolderChanged,
    IntegrityError,
    MessageRefused,
    PermissionDenied,
    Where,
    stops_account,
)
from archiver.events import Noted, Planned, Verified, Working
from archiver.facts.known import KnownFolder
from archiver.facts.pruning import PrunedFact, PruningFact, UnprunedFact
from archiver.journal.recorder import Recorder
from archiver.mail.content import header_block, is_placeholder
from archiver.mail.folder_names import printable
from archiver.mail.model import Attributes, Flags, Placement
from archiver.storage.port import MessageStore, Prefetch
from archiver.upkeep.prune_plan import FolderPlan, standing_of

_TOGETHER = 500  # messages
_PIECE = 1 << 20
_SURE_SECONDS = 600  # what a lost connection sent is done by then, or never will be
_DELETED: Flags = frozenset({"\\Deleted"})
_NONE: Flags = frozenset()

T = TypeVar("T")


class Mailbox(FlagStore, Protocol):
    """The source, as far as messages are removed from it."""

    def scan(self, uids: Collection[int] | None) -> Iterator[Attributes]:
        """The attributes of these messages of the open folder."""


class Retrying(Protocol):
    """Does something over a connection, and again over a new one if it is lost."""

    def __call__(self, work: Callable[[Mailbox], T]) -> T: ...


class Damaged(Struct, frozen=True):
    """A message whose octets are missing in the store, or are others; it stays at the source."""

    folder: str
    uid: int
    reason: str


class FolderOutcome(Struct):
    """What became of a folder's messages, by UID: `pruned`, `gone` before without our doing, kept since they are
    `flagged` now, kept since the archive has only one of the `placeholders` of the server's, kept since the source
    shows something else (`other`), or `refused` by the server. `error` is why the folder could not be finished."""

    plan: FolderPlan
    pruned: set[int] = field(default_factory=set)
    octets: int = 0
    gone: set[int] = field(default_factory=set)
    flagged: set[int] = field(default_factory=set)
    placeholders: set[int] = field(default_factory=set)
    other: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    error: str | None = None


class PruneResult(Struct):
    """What was done. `error` ended it early."""

    folders: list[FolderOutcome] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)
    error: ArchiverError | None = None


class PruneStep(Struct):
    """Removes messages of one archive from its source. `over` does something over a connection; `list_pruned` notes
    messages in the list for people, durably; `by` is who asked for it."""

    store: MessageStore
    prefetch: Prefetch | None
    catalog: Catalog
    recorder: Recorder
    over: Retrying
    list_pruned: Callable[[KnownFolder, Sequence[Placement], str], None]
    keep_flagged: bool
    by: str
    control: RunControl
    _result: PruneResult = field(default_factory=PruneResult)

    def run(self, plans: Sequence[FolderPlan]) -> PruneResult:
        """Do what is planned; a folder that fails does not stop the others. Never raises for a failure that is
        foreseen."""
        doing = [each for each in plans if not each.beyond_limit]
        self.control.progress(Planned(sum(len(each.uids) for each in doing), sum(each.octets for each in doing)))
        try:
            self._list_late()
            for plan in plans:
                self._folder(plan)
        except ArchiverError as error:
            self._result.error = error
        return self._result

    def _list_late(self) -> None:
        """What a killed prune removed, and a run saw to be gone before the next prune."""
        folders = {each.directory: each for each in self.catalog.account.folders().values()}
        for epoch, uids in self.catalog.prunes.unlisted().items():
            for some in uids.pieces(_TOGETHER):
                places, now = list(self.catalog.messages.placements(epoch, uids=some)), self.control.now()
                if places:  # those that were forgotten since are in no list
                    self.list_pruned(folders[places[0].directory], places, now)
                self.recorder.write([PrunedFact(epoch, tuple(some), now)])

    def _folder(self, plan: FolderPlan) -> None:
        outcome = FolderOutcome(plan)
        self._result.folders.append(outcome)
        self.control.progress(Working(plan.known.folder.name))
        try:
            for uids in () if plan.beyond_limit else plan.uids.pieces(_TOGETHER):
                if places := self._proved(outcome, uids):
                    self.over(partial(self._remove, outcome, places))
            if self.catalog.prunes.begun(plan.epoch.number):
                self.over(partial(self._give_up_rest, outcome))
        except BackendError as error:
            if stops_account(error):
                raise
            name = printable(plan.known.folder.name)
            outcome.error = error.within(name)
            self.control.progress(Noted(f'folder "{name}": {outcome.error}'))

    def _proved(self, outcome: FolderOutcome, uids: Collection[int]) -> list[Placement]:
        """Those of these messages whose octets are in the store: read now, from the first to the last. A
        placeholder that a server sent, and somebody accepted, is not the message that the source may still have."""
        plan = outcome.plan
        places = [each for each in self.catalog.messages.placements(plan.epoch.number, uids=uids) if each.present]
        if self.prefetch is not None:
            self.prefetch.prefetch(places)
        proved = []
        for each in places:
            self.control.check_stop()
            problem, header = self._read(each)
            if problem is None and is_placeholder(header):
                outcome.placeholders.add(each.uid)
            elif problem is None:
                proved.append(each)
            else:
                self._result.damaged.append(Damaged(plan.known.folder.name, each.uid, problem))
        self.control.progress(Verified(len(places), sum(each.size for each in places)))
        return proved

    def _read(self, place: Placement) -> tuple[str | None, bytes]:
        """What is wrong with a message's octets, None if nothing is; and its header."""
        digest, first = hashlib.sha256(), b""
        try:
            with self.store.open(place) as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    first = first or piece
        except IntegrityError as error:
            return str(error), b""
        except OSError as error:
            return f"{self.store.display_path(place)}: {error.strerror}", b""
        if digest.hexdigest() != place.digest:
            return f"{self.store.display_path(place)}: its bytes are not those that were stored", b""
        return None, header_block(first)

    # -- over a connection, perhaps not for the first time --------------------------------------------------------

    def _remove(self, outcome: FolderOutcome, places: Sequence[Placement], mailbox: Mailbox) -> None:
        """Remove those of these messages that the source shows as they were recorded."""
        number = outcome.plan.epoch.number
        self._open(outcome, mailbox)
        self._settle(outcome, mailbox)
        wanted = {each.uid: each for each in places if each.uid not in outcome.pruned}
        shown: dict[int, Attributes] = {}
        for each in mailbox.scan(wanted) if wanted else ():
            shown[each.uid] = shown.get(each.uid, each).updated(each)
        same: list[int] = []
        for uid, place in wanted.items():
            match standing_of(place.message, shown.get(uid), keep_flagged=self.keep_flagged):
                case "same":
                    same.append(uid)
                case "gone":
                    outcome.gone.add(uid)
                case "flagged":
                    outcome.flagged.add(uid)
                case "other":
                    outcome.other.add(uid)
        if not same:
            return
        begun = self.catalog.prunes.begun(number)
        had = {uid for uid in same if _is_marked(shown[uid].flags)}
        marked = tuple(uid for uid in same if uid in had and (uid not in begun or begun[uid].marked))
        self.control.check_stop()
        self.recorder.write([PruningFact(number, tuple(same), marked, self.by, self.control.now())])
        try:
            flags = mailbox.store({(_DELETED, _NONE): same})
            ready = [uid for uid in same if _is_marked(flags.get(uid))]
            if ready:
                mailbox.expunge(ready)
        except (MessageRefused, PermissionDenied):
            self._end(outcome, mailbox, same, marked)
            raise
        self._end(outcome, mailbox, same, marked)

    def _end(
        self, outcome: FolderOutcome, mailbox: Mailbox, uids: Collection[int], marked: Collection[int]
    ) -> None:
        """Record what became of messages that were to be removed; those that are left lose our mark."""
        left = mailbox.flags(uids)
        self._gone(outcome, [uid for uid in uids if uid not in left])
        if left:
            ours = {uid for uid, flags in left.items() if _is_marked(flags) and uid not in marked}
            if ours:
                mailbox.store({(_NONE, _DELETED): ours})
            outcome.refused |= left.keys()
            self.recorder.write([UnprunedFact(outcome.plan.epoch.number, tuple(sorted(left)), self.control.now())])

    def _settle(self, outcome: FolderOutcome, mailbox: Mailbox) -> None:
        """Find out what became of messages that were about to be removed when something was cut off."""
        begun = self.catalog.prunes.begun(outcome.plan.epoch.number)
        if begun:
            there = mailbox.flags(begun.keys())
            self._gone(outcome, [uid for uid in begun if uid not in there])

    def _give_up_rest(self, outcome: FolderOutcome, mailbox: Mailbox) -> None:
        """Messages of an earlier attempt that are still there, and not wanted any more: they lose our mark."""
        number = outcome.plan.epoch.number
        self._open(outcome, mailbox)
        self._settle(outcome, mailbox)
        begun = self.catalog.prunes.begun(number)
        there = mailbox.flags(begun.keys()) if begun else {}
        ours = {uid for uid, flags in there.items() if _is_marked(flags) and not begun[uid].marked}
        if ours:
            mailbox.store({(_NONE, _DELETED): ours})
        now = self.control.now()
        over = tuple(uid for uid in sorted(there) if _seconds(begun[uid].at, now) > _SURE_SECONDS)
        if over:
            self.recorder.write([UnprunedFact(number, over, now)])

    def _open(self, outcome: FolderOutcome, mailbox: Mailbox) -> None:
        """
        Raises:
            FolderChanged: its UIDs may name other messages than those that were archived.
        """
        folder, epoch = outcome.plan.known.folder, outcome.plan.epoch
        opened = mailbox.open(folder.wire)
        if opened.uidvalidity != epoch.uidvalidity:
            where = Where(folder=printable(folder.name))
            hint = "nothing more is removed there; `archiver run` archives it under its new UIDVALIDITY"
            raise FolderChanged("UIDVALIDITY changed", where=where, hint=hint)

    def _gone(self, outcome: FolderOutcome, uids: Collection[int]) -> None:
        """Record that these messages are gone by our doing: first in the list, so that it never lacks one."""
        if not uids:
            return
        number, now = outcome.plan.epoch.number, self.control.now()
        places = list(self.catalog.messages.placements(number, uids=uids))
        self.list_pruned(outcome.plan.known, places, now)
        self.recorder.write([PrunedFact(number, tuple(sorted(uids)), now)])
        outcome.octets += sum(each.size for each in places if each.uid not in outcome.pruned)
        outcome.pruned |= set(uids)


def _is_marked(flags: Flags | None) -> bool:
    return flags is not None and flags >= _DELETED


def _seconds(one: str, other: str) -> float:
    return (datetime.fromisoformat(other) - datetime.fromisoformat(one)).total_seconds()
