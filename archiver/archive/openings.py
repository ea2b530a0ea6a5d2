"""How one connection will open the folders that it scans, and which ones it announces to the source ahead."""

from __future__ import annotations

from msgspec import Struct

from archiver.archive.context import Context
from archiver.archive.plan.amounts import few_arrived, few_to_fetch
from archiver.archive.plan.same import PROBED
from archiver.archive.queue import Member
from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.mail.model import Listed
from archiver.mail.uidset import UidSet
from archiver.source.port import Expected, MailSource, NextRequest, Opening

_AHEAD = 8  # folders that are announced together


class Prepared(Struct, frozen=True):
    """A folder that will be scanned: its epoch, the UIDs that the archive has of it, and how it will be opened."""

    known: KnownFolder
    epoch: KnownEpoch | None
    recorded: UidSet
    opening: Opening


class Openings:
    """Those of one connection. Belongs to its thread."""

    def __init__(self, context: Context, member: Member, source: MailSource) -> None:
        self._context = context
        self._member = member
        self._source = source
        self._prepared: dict[bytes, Prepared] = {}  # of reserved folders, by raw name

    def take(self, listed: Listed) -> Prepared:
        """What is prepared of a folder that is scanned now. It is announced, with those behind it."""
        raw = listed.folder.raw
        prepared = self._prepared.pop(raw) if raw in self._prepared else self._prepare(listed)
        self.announce(prepared.opening)
        return prepared

    def announce(self, *first: Opening) -> None:
        """Tell the source what will be opened next, so that it can ask for that in time: `first`, or what comes
        after the slice that is fetched now, and more behind those of which nothing else will be requested."""
        openings = [*first, *(self._prepared[each.folder.raw].opening for each in self._member.reserved)]
        while len(openings) < _AHEAD and (not openings or openings[-1].fetch is not None):
            if (listed := self._member.queue.reserve(self._member)) is None:
                break
            self._prepared[listed.folder.raw] = prepared = self._prepare(listed)
            openings.append(prepared.opening)
        self._source.prepare(openings)

    def _prepare(self, listed: Listed) -> Prepared:
        known = self._context.folders[listed.folder.raw]
        again = self._member.queue.is_scanned_again(listed)  # it may have begun an epoch
        epochs = self._context.catalog.account.epochs() if again else self._context.epochs
        epoch = epochs.get(known.number)
        since = epoch.known_state if epoch else None
        recorded = UidSet() if epoch is None else self._context.catalog.messages.uids(epoch.number)
        opening = Opening(
            listed.folder,
            since,
            first_request(epoch, self._context.search),
            identify=self._context.identify and few_arrived(listed.status, since),
            known=recorded.newest(2 * PROBED),  # some may be gone
            fetch=self._expected(listed, known, epoch),
        )
        return Prepared(known, epoch, recorded, opening)

    def _expected(self, listed: Listed, known: KnownFolder, epoch: KnownEpoch | None) -> Expected | None:
        """What will be fetched, if the folder is what it was; None if that is not known."""
        search = self._context.search
        if search is not None or (epoch is None and self._context.rematch):
            return None
        if epoch is not None and (
            first_request(epoch, search) != "new"
            or self._context.unrecorded.of(known.directory, epoch)
            or self._context.catalog.account.quarantined(epoch.number)
        ):
            return None
        return few_to_fetch(listed.status, epoch)


def first_request(epoch: KnownEpoch | None, search: str | None) -> NextRequest:
    """Which UIDs will be needed first: all, or the new ones if the others are known from the last pass."""
    state = epoch.state if epoch else None
    if state is None or state.uidnext is None or state.filter is not None or search is not None:
        return "all"
    return "new"
