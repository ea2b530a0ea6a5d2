"""A POP3 server as a source: one folder, no flags, no dates, and UIDs that are given here.

The source is never changed: DELE is not sent, messages are read by TOP where that is possible, since RETR marks
them as read, and after RETR a session ends without QUIT, at which some servers delete what was read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from archiver.config.tables.server import ServerSettings
from archiver.control.limits.port import Meter
from archiver.errors import CountsDisagree, FolderNotFound, MessageRefused, ServerUnavailable, TemporaryError, Where
from archiver.facts.access import FolderAccess
from archiver.imap.capabilities import ServerFacts, tls_facts
from archiver.imap.replies import printable
from archiver.login.port import Authenticator
from archiver.mail.content import REFUSED, Spool
from archiver.mail.counts import counted
from archiver.mail.model import (
    INBOX,
    Attributes,
    Digest,
    Fetched,
    Folder,
    FolderStatus,
    KnownState,
    Listed,
    Marks,
    Opened,
    Undelivered,
)
from archiver.mail.uidset import UidSet
from archiver.source.numbering import Numbering
from archiver.source.pop3.login import connect
from archiver.source.pop3.maildrop import Maildrop, maildrop_of
from archiver.source.pop3.naming import Naming, shown_uids
from archiver.source.pop3.replies import error_of, is_ok
from archiver.source.pop3.retrieve import Retriever, Wanted
from archiver.source.pop3.session import Session
from archiver.source.port import Expected, NextRequest, Opening

_FOLDER = Folder(INBOX, ("INBOX",), "/", subscribed=True)

#: The capabilities that matter for archiving, and why.
USED_CAPABILITIES = {
    "UIDL": "messages are recognised without being read",
    "PIPELINING": "many messages in one round trip",
    "TOP": "a message's header without its body",
}

#: How few messages maildrops showed lately, by server and user.
_shown: dict[tuple[str, str], int] = {}


class Pop3Source:
    """A logged-in connection; implements `MailSource`. Belongs to one thread.

    A maildrop does not change as long as a session lasts (RFC 1939 section 3): it is listed once. `accept` stores a
    server's placeholder as the message.
    """

    def __init__(
        self,
        server: ServerSettings,
        authenticator: Authenticator,
        spool: Spool,
        numbering: Numbering,
        *,
        accept: bool = False,
    ) -> None:
        self._connect = partial(connect, server, authenticator)
        self._numbering = numbering
        self._maildrop: Maildrop | None = None
        self._digests: dict[int, Digest] = {}
        self._whose = server.address, server.user
        self._wanted: dict[int, Wanted] = {}
        self._retriever = Retriever(self._connect(), spool, accept)
        self._meter: Meter | None = None

    @property
    def _session(self) -> Session:
        return self._retriever.session

    @property
    def facts(self) -> ServerFacts:
        """What the server has said about itself so far."""
        return ServerFacts(
            greeting=printable(self._session.greeting.removeprefix(b"+OK"), 200),
            capabilities=frozenset(each.partition(" ")[0] for each in self._session.capabilities),
            tls=tls_facts(self._session.line.sock),
            wanted=tuple(USED_CAPABILITIES),
            login=self._session.way,
        )

    def meter(self, meter: Meter) -> None:
        self._meter = meter
        self._session.line.meter(meter)

    def use(self, spool: Spool, numbering: Numbering) -> None:
        """Put messages that are too large for memory there from now on, and get UIDs there."""
        self._retriever.spool, self._numbering = spool, numbering

    def list_folders(self) -> Sequence[Listed]:
        maildrop, known = self._listed(), self._numbering.known(INBOX)
        shown = shown_uids(maildrop, self._numbering)
        if shown is None or not maildrop.agrees:
            modseq = 1 + ((known.state.highestmodseq if known.state else None) or 0)
            status = FolderStatus(known.uidvalidity, known.uidnext, maildrop.exists, modseq, maildrop.octets)
        else:
            status = known.status(*shown, size=maildrop.octets)
        return [Listed(_FOLDER, status)]

    def prepare(self, openings: Sequence[Opening]) -> None:
        pass  # there is one folder

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
        if folder.raw != INBOX:
            where = Where(self._session.where.server, printable(folder.raw))
            raise FolderNotFound("POP3 has no folders but INBOX", where=where)
        before, maildrop = self._numbering.known(INBOX), self._listed()
        self._believe(maildrop.exists, len(before.held))
        self._find_uids()
        new = UidSet(self._wanted) - range(before.uidnext)
        status = before.status(UidSet(self._wanted) - new, len(new))
        return Opened(FolderStatus(status.uidvalidity, status.uidnext, maildrop.exists, status.highestmodseq))

    def _find_uids(self) -> None:
        maildrop = self._listed()
        uids = Naming(maildrop, self._numbering, self._retriever, self._digests).uids()
        self._wanted = {uid: Wanted(uid, number, maildrop.sizes[number]) for number, uid in uids.items()}

    def _believe(self, exists: int, held: int) -> None:
        """Believe a maildrop that shows less than half of what the archive has only if the next session shows the
        same: servers show an empty one while they move a mailbox, or cannot read it.

        Raises:
            ServerUnavailable: this is the first session that shows it.
        """
        before = _shown.pop(self._whose, None)
        if 2 * exists >= held or before == exists:
            return
        _shown[self._whose] = exists
        what = f"the maildrop shows {counted(exists, 'message')}, the archive has {held:,} of it"
        raise ServerUnavailable(f"{what}: asking again before the others count as gone", where=self._session.where)

    def _listed(self) -> Maildrop:
        if self._maildrop is None:
            self._maildrop = self._list()
            self._retriever.others = list(self._maildrop.sizes)
        return self._maildrop

    def _list(self) -> Maildrop:
        session = self._session
        (stat, _), (listing, sizes), (has_uidls, uidls) = session.flight(
            (b"STAT", False), (b"LIST", True), (b"UIDL", True)
        )
        session.required(stat, ServerUnavailable)
        if not is_ok(listing) and stat.split()[1:2] != [b"0"]:  # some refuse to list nothing
            session.required(listing, ServerUnavailable)
        if not is_ok(has_uidls) and isinstance(error := error_of(has_uidls, session.where), ServerUnavailable):
            raise error  # not that it has no UIDL
        return maildrop_of(stat, sizes, uidls, session.where)

    def uids(self, search: str | None = None, *, since: KnownState | None = None) -> UidSet:
        if search is not None:
            raise MessageRefused("POP3 has no search", where=self._session.where)
        maildrop = self._listed()
        if len(self._wanted) != maildrop.exists:
            raise CountsDisagree(maildrop.exists, list(self._wanted), where=self._session.where)
        uids = UidSet(self._wanted)
        return uids if since is None or since.uidnext is None else uids - range(since.uidnext)

    def scan(self, uids: Collection[int] | None) -> Iterator[Attributes]:
        for each in self._those(self._wanted if uids is None else uids):
            yield Attributes(each.uid, size=each.size)

    def flags(self, *, since: KnownState | None = None) -> Iterator[Sequence[Marks]]:
        """None: there are no flags, so what is known of them stays."""
        return iter(())

    def headers(self, uids: Collection[int], field: str | None = None) -> Iterator[tuple[Attributes, bytes]]:
        for each, header in self._retriever.headers(self._those(uids)):
            yield Attributes(each.uid, size=each.size), header

    def access(self, folders: Sequence[Folder]) -> Mapping[bytes, FolderAccess]:
        return {}

    def gives(self, uid: int) -> bool:
        return any(self._retriever.gives(each) for each in self._those([uid]))

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        for uid in uids:
            if uid not in self._wanted:
                yield Undelivered(uid, "the message is no longer there", gone=True)
        refused: list[Undelivered] = []
        for outcome in self._retriever.messages(self._those(uids)):
            if isinstance(outcome, Undelivered) and outcome.reason == REFUSED:
                refused.append(outcome)
            else:
                yield outcome
        if refused:
            yield from self._refused(refused)

    def _refused(self, refused: Sequence[Undelivered]) -> Iterator[Undelivered]:
        """NOTE: servers answer for a message that another client has removed as for an unreadable one. Only another
        session shows whether it is still there."""
        retriever, failure = self._retriever, None
        self._session.log_out()
        try:
            self._retriever = Retriever(self._connect(), retriever.spool, retriever.accept)
            if self._meter is not None:
                self._session.line.meter(self._meter)
            self._maildrop, self._digests = None, {}
            self._find_uids()
        except TemporaryError as error:
            failure = error
        for each in refused:
            yield each if failure or each.uid in self._wanted else replace(each, gone=True)
        if failure:
            raise failure

    def _those(self, uids: Collection[int]) -> list[Wanted]:
        return [self._wanted[uid] for uid in sorted(uids) if uid in self._wanted]

    def close(self) -> None:
        self._session.log_out()

    def hang_up(self) -> None:
        """Close at once, even in the middle of an answer."""
        self._session.hang_up()
