"""An IMAP server as a source. Extensions are used where the server offers them; plain IMAP does the rest.

The source is never changed: folders are opened by EXAMINE, messages are read by BODY.PEEK[].
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from archiver.config.tables.server import ServerSettings
from archiver.control.limits.port import Meter
from archiver.facts.access import FolderAccess
from archiver.imap.capabilities import ServerFacts, server_facts
from archiver.imap.extensions.looking import look
from archiver.imap.folder import FolderReader
from archiver.imap.listing import Abilities, list_everything
from archiver.imap.login import connect
from archiver.login.port import Authenticator
from archiver.mail.content import Spool
from archiver.mail.model import Attributes, Fetched, Folder, KnownState, Listed, Marks, Opened, Undelivered
from archiver.mail.uidset import UidSet
from archiver.source.days import EVERY_DAY, days_of
from archiver.source.numbering import Numbering
from archiver.source.opener import Opener
from archiver.source.opening import came_since
from archiver.source.port import Expected, NextRequest, Opening


class ImapSource:
    """A logged-in connection; implements `MailSource`. Belongs to one thread.

    `cautious` leaves out what some servers hang up on: ID, NAMESPACE, ENABLE, extended LIST. `accept` stores a
    server's placeholder as the message.
    """

    def __init__(
        self,
        server: ServerSettings,
        authenticator: Authenticator,
        spool: Spool,
        *,
        cautious: bool = False,
        accept: bool = False,
    ) -> None:
        self._session, capabilities = connect(server, authenticator)
        self._abilities = Abilities(frozenset() if cautious else capabilities)
        self._cautious = cautious
        self._reader = FolderReader(self._session, self._abilities, spool, accept=accept)
        self._opener = Opener(self._session, self._abilities, self._reader, alone=cautious)
        self._highestmodseq: int | None = None  # of the open folder
        self._searches_days: bool | None = None  # whether the server finds messages by dates; None: not tried
        self.capabilities = capabilities

    @property
    def facts(self) -> ServerFacts:
        """What the server has said about itself so far."""
        return server_facts(self._session, self.capabilities)

    def meter(self, meter: Meter) -> None:
        self._session.line.meter(meter)

    def use(self, spool: Spool, numbering: Numbering) -> None:
        """Put messages that are too large for memory there from now on."""
        self._reader.spool = spool

    def list_folders(self) -> Sequence[Listed]:
        listing = list_everything(self._session, self._abilities, cautious=self._cautious)
        self._opener.note_enabled(enabled=listing.enabled)
        return listing.folders

    def open(
        self,
        folder: Folder,
        since: KnownState | None = None,
        ask: NextRequest | None = None,
        *,
        identify: bool = False,
        known: Collection[int] = (),
        fetch: Expected | None = None,
    ) -> Opened:
        opened = self._opener.open(Opening(folder, since, ask, identify, known, fetch))
        self._highestmodseq = opened.status.highestmodseq
        return opened

    def prepare(self, openings: Sequence[Opening]) -> None:
        self._opener.prepare(openings)

    def uids(self, search: str | None = None, *, since: KnownState | None = None) -> UidSet:
        if search is not None:
            return self._found(search)
        if since is None or since.uidnext is None:
            return self._reader.uids()
        # NOTE: "n:*" names the last message even when its UID is below n (RFC 3501 section 6.4.8).
        return self._reader.uids(came_since(since.uidnext)) - range(since.uidnext)

    def _found(self, search: str) -> UidSet:
        """What the server finds; or if it finds nothing by dates, what has them."""
        found, days = self._reader.uids(search), days_of(search)
        if found or days is None or not self._session.exists:
            return found
        if self._searches_days is None:
            self._searches_days = bool(self._reader.uids(EVERY_DAY))
        if self._searches_days:
            return found
        others = self._reader.uids(days.rest)
        return UidSet(each.uid for each in self._reader.scan(others) if days.include(each.internaldate)) & others

    def scan(self, uids: Collection[int] | None) -> Iterator[Attributes]:
        return self._reader.scan(uids)

    def flags(self, *, since: KnownState | None = None) -> Iterator[Sequence[Marks]]:
        before = since.highestmodseq if since else None
        if before is None or self._highestmodseq is None:
            return self._reader.flags()
        return iter(()) if before == self._highestmodseq else self._reader.flags(changed_since=before)

    def headers(self, uids: Collection[int], field: str | None = None) -> Iterator[tuple[Attributes, bytes]]:
        return self._reader.headers(uids, field)

    def access(self, folders: Sequence[Folder]) -> Mapping[bytes, FolderAccess]:
        raws = {each.wire: each.raw for each in folders}
        found = look(self._session, self._abilities, list(raws))
        return {raws.get(wire, wire): access for wire, access in found.items()}

    def gives(self, uid: int) -> bool:
        return self._reader.gives(uid)

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        return self._reader.fetch(uids)

    def close(self) -> None:
        if self._opener.is_in_flight:
            self.hang_up()
        else:
            self._session.log_out()

    def hang_up(self) -> None:
        """Close at once, even in the middle of a response."""
        self._opener.abandon()
        self._session.hang_up()
