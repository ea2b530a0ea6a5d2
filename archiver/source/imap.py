"""An IMAP server as a source. Extensions are used where the server offers them; plain IMAP does the rest.

The source is never changed: folders are opened by EXAMINE, messages are read by BODY.PEEK[].
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Sequence

from msgspec.structs import replace

from archiver.config.settings import ServerSettings
from archiver.errors import FolderNotFound, Where
from archiver.imap.capabilities import ServerFacts, server_facts
from archiver.imap.fetch_row import is_fetch, parse_fetch
from archiver.imap.folder import FolderReader
from archiver.imap.listing import Abilities, list_everything
from archiver.imap.login import connect
from archiver.imap.session import Reply
from archiver.imap.tokens import Response, number, parse_vanished, quote, uid_sets
from archiver.login.port import Authenticator
from archiver.mail import folder_names
from archiver.mail.content import Spool
from archiver.mail.model import (
    Attributes,
    Changes,
    Fetched,
    Flags,
    Folder,
    FolderStatus,
    KnownState,
    Listed,
    Opened,
    Undelivered,
)
from archiver.mail.uidset import UidSet
from archiver.source.numbering import Numbering
from archiver.source.port import NextRequest

_ITEM = re.compile(rb"\[(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ) (\d+)\]", re.IGNORECASE)
_FLAGS = re.compile(rb"\A\* FLAGS \(([^)]*)\)", re.IGNORECASE)
_CLOSED = re.compile(rb"\A\* OK \[CLOSED\]", re.IGNORECASE)


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
        self._enabled: bool | None = None
        self._highestmodseq: int | None = None  # of the open folder
        self.capabilities = capabilities

    @property
    def facts(self) -> ServerFacts:
        """What the server has said about itself so far."""
        return server_facts(self._session, self.capabilities)

    def use(self, spool: Spool, numbering: Numbering) -> None:
        """Put messages that are too large for memory there from now on."""
        self._reader.spool = spool

    def list_folders(self) -> Sequence[Listed]:
        listing = list_everything(self._session, self._abilities, cautious=self._cautious)
        self._enabled = listing.enabled
        return listing.folders

    def open(
        self,
        folder: Folder,
        since: KnownState | None = None,
        ask: NextRequest | None = None,
        *,
        identify: bool = False,
        known: Collection[int] = (),
    ) -> Opened:
        self._session.where = Where(self._session.where.server, folder_names.printable(folder.name))
        how, criteria = b"", None if ask is None else "ALL"
        if since and since.highestmodseq and self._may_resynchronise:
            how = b" (QRESYNC (%d %d))" % (since.uidvalidity, since.highestmodseq)
            if ask == "new" and since.uidnext is not None:
                criteria = _came_since(since.uidnext)
        elif self._abilities.condstore:
            how = b" (CONDSTORE)"
        self._session.exists = 0
        wanted = [*itertools.islice(uid_sets(known), 1)]  # what does not fit into one command is asked for later
        if identify and self._reader.identifies:
            wanted.append(b"%d:*" % ((since.uidnext if since else None) or 1))
        reply, seen = self._examine(folder.raw, how, criteria, b",".join(wanted))
        if reply.status == b"BAD" and how:
            how = b""
            reply = self._session.command_with_name(b"EXAMINE", folder.raw)
        untagged = self._session.required(reply, FolderNotFound)
        closed = max((i for i, each in enumerate(untagged) if _CLOSED.match(each.text)), default=-1)
        # Responses before CLOSED are about the previous folder (RFC 7162 section 3.2.11).
        opened = self._opened(reply, untagged[closed + 1 :], asked="QRESYNC" in how.decode())
        shown = {} if opened.status.uidvalidity else self._shown()
        return replace(opened, identifies=self._reader.identifies, seen=seen, shown=shown)

    def _shown(self) -> dict[int, tuple[int | None, str | None]]:
        return {each.uid: (each.size, each.internaldate) for each in self._reader.scan(None)}

    def _examine(
        self, raw: bytes, how: bytes, criteria: str | None, uids: bytes
    ) -> tuple[Reply, tuple[Attributes, ...]]:
        """ENABLE, unless this connection sent it before, EXAMINE, the search, and the attributes of some messages,
        in one flight. A name that needs a literal waits for the server, so that EXAMINE goes without the others."""
        self._reader.prefetched = None
        enable = [] if self._enabled is not None or self._abilities.enable is None else [self._abilities.enable]
        name = quote(raw)
        if name is None:
            for each in enable:
                self._enabled = self._session.flight(each)[0].ok
            return self._session.command_with_name(b"EXAMINE", raw, how), ()
        commands = [*enable, b"EXAMINE %b%b" % (name, how)]
        if criteria is not None:
            commands.append(self._reader.search_command(criteria))
            if uids:
                commands.append(self._reader.attributes_command(uids))
        replies = self._session.flight(*commands)
        if enable:
            self._enabled = replies.pop(0).ok
        reply, *others = replies
        # NOTE: after a BAD the previous folder is still open, and what follows was about that one.
        if others and reply.ok:
            self._reader.prefetched = (commands[len(enable) + 1], others[0]) if others[0].ok else None
            return reply, self._reader.attributes_of(others) if len(others) > 1 else ()
        return reply, ()

    @property
    def _may_resynchronise(self) -> bool:
        """Whether QRESYNC may be asked for, if ENABLE, which perhaps goes first in the same flight, is accepted. A
        server that does not accept it refuses EXAMINE, which is then sent without."""
        return "QRESYNC" in self._abilities and self._abilities.enable is not None and self._enabled is not False

    def _opened(self, reply: Reply, untagged: Sequence[Response], *, asked: bool) -> Opened:
        items: dict[bytes, int] = {}
        keywords: tuple[str, ...] = ()
        vanished = UidSet()
        changed: list[Attributes] = []
        for response in untagged:
            for name, digits in _ITEM.findall(response.text[:200]):
                if (value := number(digits)) is not None:
                    items[name.upper()] = value
            if flags := _FLAGS.match(response.text):
                words = flags[1].decode("utf-8", "backslashreplace").split()
                keywords = tuple(word for word in words if not word.startswith("\\"))
            elif gone := parse_vanished(response):
                vanished |= gone[1]
            elif is_fetch(response.text) and (row := parse_fetch(response)).attributes:
                changed.append(row.attributes)
        uidvalidity = items.get(b"UIDVALIDITY", 0)
        status = FolderStatus(
            # NOTE: a server without UIDVALIDITY does not keep UIDs (RFC 3501 section 2.3.1.1), nor what is said of
            # them; but some keep them and forget to say so.
            uidvalidity=uidvalidity,
            uidnext=items.get(b"UIDNEXT"),
            messages=self._session.exists,
            highestmodseq=items.get(b"HIGHESTMODSEQ") or None if uidvalidity else None,
        )
        self._highestmodseq = status.highestmodseq
        resynchronised = asked and reply.ok and status.highestmodseq is not None
        return Opened(
            status=status,
            keywords=keywords,
            changes=Changes(vanished, tuple(changed)) if resynchronised else None,
        )

    def uids(self, search: str | None = None, *, since: KnownState | None = None) -> UidSet:
        if since is None or since.uidnext is None:
            return self._reader.uids(search)
        # NOTE: "n:*" names the last message even when its UID is below n (RFC 3501 section 6.4.8).
        return self._reader.uids(_came_since(since.uidnext)) - range(since.uidnext)

    def scan(self, uids: Collection[int] | None) -> Iterator[Attributes]:
        return self._reader.scan(uids)

    def flags(self, *, since: KnownState | None = None) -> Iterator[Sequence[tuple[int, Flags]]]:
        before = since.highestmodseq if since else None
        if before is None or self._highestmodseq is None:
            return self._reader.flags()
        return iter(()) if before == self._highestmodseq else self._reader.flags(changed_since=before)

    def headers(self, uids: Collection[int], field: str | None = None) -> Iterator[tuple[Attributes, bytes]]:
        return self._reader.headers(uids, field)

    def gives(self, uid: int) -> bool:
        return self._reader.gives(uid)

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        return self._reader.fetch(uids)

    def close(self) -> None:
        self._session.log_out()

    def hang_up(self) -> None:
        """Close at once, even in the middle of a response."""
        self._session.hang_up()


def _came_since(uidnext: int) -> str:
    """The SEARCH criteria for what came after a folder had this UIDNEXT."""
    return f"UID {uidnext}:*"
