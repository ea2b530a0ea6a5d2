"""An IMAP server as a destination. Extensions are used where the server offers them; plain IMAP does the rest.

The extensions are MULTIAPPEND, LITERAL+, UIDPLUS and CREATE-SPECIAL-USE.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from archiver.config.tables.server import ServerSettings
from archiver.control.limits.port import Meter
from archiver.destination.flags import FlagCommands
from archiver.destination.folders import FolderCommands
from archiver.destination.labels import LabelCommands
from archiver.destination.rights import RightsChange
from archiver.errors import FolderChanged, FolderNotFound, FolderRefused, PermissionDenied, ServerUnavailable, Where
from archiver.facts.access import Rights
from archiver.facts.mailbox import Appended, AppendMessage, DestinationFolders, FolderStat, SelectedFolder
from archiver.imap.append import AppendStream
from archiver.imap.capabilities import DESTINATION_CAPABILITIES, ServerFacts, server_facts
from archiver.imap.fetch_row import is_fetch, parse_fetch
from archiver.imap.folder import ATTRIBUTES, FolderReader
from archiver.imap.listing import ID, Abilities, list_everything
from archiver.imap.login import connect
from archiver.imap.replies import Reply
from archiver.imap.tokens import number, parse_status, uid_sets
from archiver.login.port import Authenticator
from archiver.mail import folder_names
from archiver.mail.content import Spool
from archiver.mail.flags import parse_flags
from archiver.mail.model import Attributes, Fetched, Flags, Undelivered
from archiver.mail.uidset import UidSet

_ITEM = re.compile(rb"\A\* OK \[(UIDVALIDITY|UIDNEXT) (\d+)\]", re.IGNORECASE)
_EXISTS = re.compile(rb"\A\* (\d+) EXISTS\b", re.IGNORECASE)
_PERMANENT = re.compile(rb"\A\* OK \[PERMANENTFLAGS \(([^)]*)\)\]", re.IGNORECASE)
_FLAG = re.compile(r'\\\*|\\?[^\x00-\x20\x7f(){%*"\\\]]+')
_READ_ONLY = re.compile(rb"\A\[READ-ONLY\]", re.IGNORECASE)
_LIMIT = re.compile(r"APPENDLIMIT=(\d+)")
_QUOTA = re.compile(rb"\A\* QUOTA .*\(([^()]*)\)\s*\Z", re.IGNORECASE)
_STORAGE = re.compile(rb"STORAGE (\d+) (\d+)", re.IGNORECASE)


class ImapDestination:
    """A logged-in connection; implements `MailDestination`. Belongs to one thread."""

    def __init__(self, server: ServerSettings, authenticator: Authenticator, spool: Spool) -> None:
        self._session, self.capabilities = connect(server, authenticator)
        self._provider = server.provider
        self._abilities = Abilities(self.capabilities)
        self._folder_reader = FolderReader(self._session, self._abilities, spool)
        self._flags = FlagCommands(self._session)
        self._folders = FolderCommands(self._session, self._abilities)
        self._appends: AppendStream | None = None
        self._uidvalidity = 0  # of the open folder
        self._ahead: tuple[bytes, Reply] | None = None  # the next folder, if it was opened already
        self._is_in_folder = False
        self._held = 0  # how many messages the open folder held when it was last listed

    def meter(self, meter: Meter) -> None:
        self._session.line.meter(meter)

    @property
    def facts(self) -> ServerFacts:
        """What the server has said about itself so far."""
        return server_facts(self._session, self.capabilities, tuple(DESTINATION_CAPABILITIES))

    @property
    def most_in_flight(self) -> int:
        return self._stream.most_in_flight

    @property
    def can_expunge(self) -> bool:
        return "UIDPLUS" in self._abilities

    def list_folders(self) -> DestinationFolders:
        self._appends = self._ahead = None
        listing = list_everything(
            self._session, self._abilities, cautious=False, after_a_folder=self._is_in_folder and self.can_wait
        )
        self._is_in_folder = False
        found = filter(None, map(_LIMIT.fullmatch, self.capabilities))
        limits = [limit for each in found if (limit := number(each[1].encode())) is not None]
        return DestinationFolders(
            listed=listing.folders,
            prefix=listing.prefix,
            delimiter=listing.delimiter,
            said=self._provider or listing.said,
            append_limit=min(limits, default=None),
        )

    def free_octets(self) -> int | None:
        """The free space in INBOX's quota root (RFC 2087), in octets; None if there is no limit or it is not
        known."""
        if "QUOTA" not in self._abilities:
            return None
        (reply,) = self._session.flight(b'GETQUOTAROOT "INBOX"')
        quotas = filter(None, (_QUOTA.match(each.text) for each in reply.untagged))
        storages = filter(None, (_STORAGE.search(each[1]) for each in quotas))
        said = [(number(each[1]), number(each[2])) for each in storages]
        free = [1024 * max(0, most - used) for used, most in said if used is not None and most is not None]
        return min(free, default=None)

    def create(self, raw: bytes, use: str | None) -> None:
        self._folders.create(raw, use)

    def create_all(
        self, folders: Sequence[tuple[bytes, str | None]]
    ) -> Iterator[tuple[bytes, FolderRefused | None]]:
        return self._folders.create_all(folders)

    def rename(self, raw: bytes, to: bytes) -> None:
        self.open(b"INBOX", readonly=True)  # some servers do not rename the open folder
        self._appends = None
        self._session.where = Where(self._session.where.server)
        self._folders.rename(raw, to)

    def rights(self, raws: Sequence[bytes]) -> dict[bytes, Rights]:
        self._appends = self._ahead = None
        return self._folders.rights(raws)

    def change_rights(self, changes: Sequence[tuple[bytes, RightsChange]]) -> list[str | None]:
        return self._folders.change_rights(changes)

    def subscribe(self, raws: Collection[bytes]) -> None:
        self._folders.subscribe(raws)

    def open(self, raw: bytes, *, readonly: bool = False) -> SelectedFolder:
        name = folder_names.printable(folder_names.decode_name(raw))
        self._session.where = Where(self._session.where.server, name)
        self._is_in_folder = True
        self._appends = AppendStream(self._session, self._abilities, raw)
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == raw and not readonly:
            reply = ahead[1]
            counts = [number(found[1]) or 0 for each in reply.untagged if (found := _EXISTS.match(each.text))]
            self._session.exists = counts[-1] if counts else 0
        else:
            self._session.exists = 0
            reply = self._selected(raw, readonly=readonly)
        if self._abilities.wants_name(reply):
            self._session.flight(ID)
            reply = self._selected(raw, readonly=readonly)
        self._session.required(reply, FolderNotFound)
        self._held = self._session.exists
        if not readonly and _READ_ONLY.match(reply.text):
            raise PermissionDenied("the server opens it read-only", where=self._session.where)
        return self._opened(reply)

    def _selected(self, raw: bytes, *, readonly: bool) -> Reply:
        return self._session.command_with_name(b"EXAMINE" if readonly else b"SELECT", raw)

    def _opened(self, reply: Reply) -> SelectedFolder:
        items: dict[bytes, int] = {}
        permanent: list[str] | None = None
        for response in reply.untagged:
            if (item := _ITEM.match(response.text)) and (value := number(item[2])) is not None:
                items[item[1].upper()] = value
            elif flags := _PERMANENT.match(response.text):
                permanent = flags[1].decode("utf-8", "backslashreplace").split(" ")
                # NOTE: of a garbled list nobody knows what the folder keeps; what it shows afterwards says it.
                garbled = any(each and not _FLAG.fullmatch(each) for each in permanent)
                permanent = None if garbled else [each for each in permanent if each]
        uidnext = items.get(b"UIDNEXT") or self._uidnext_of_status()
        if uidnext is None:
            uidnext = self._reader.uids().last + 1
        self._uidvalidity = items.get(b"UIDVALIDITY", 0)
        return SelectedFolder(
            uidvalidity=self._uidvalidity,
            uidnext=uidnext,
            messages=self._session.exists,
            permanent=None if permanent is None else parse_flags(flag for flag in permanent if flag != "\\*"),
            any_keyword=permanent is None or "\\*" in permanent,
        )

    def _uidnext_of_status(self) -> int | None:
        reply = self._session.command_with_name(b"STATUS", self._stream.raw, b" (UIDNEXT UIDVALIDITY MESSAGES)")
        rows = map(parse_status, reply.untagged) if reply.ok else ()
        return next((row[1].uidnext for row in rows if row), None)

    def _return(self) -> None:
        """Open the present folder again, if the next one was opened meanwhile.

        Raises:
            FolderChanged: its UIDVALIDITY is another one now.
        """
        if self._ahead is not None:
            before = self._uidvalidity
            if self.open(self._stream.raw).uidvalidity != before:
                raise FolderChanged("UIDVALIDITY changed at the destination", where=self._session.where)

    @property
    def _reader(self) -> FolderReader:
        """For the present folder."""
        self._return()
        return self._folder_reader

    def stat(
        self, folders: Sequence[tuple[bytes, Collection[int]]], *, since: Mapping[bytes, int] | None = None
    ) -> list[FolderStat | None]:
        self._appends = self._ahead = None
        self._is_in_folder = True
        self._session.where = Where(self._session.where.server)
        commands = [self._stat_commands(raw, uids, since.get(raw) if since else None) for raw, uids in folders]
        flight = [line for lines in commands for line in lines]
        answers = self._session.flight(*flight)
        if any(map(self._abilities.wants_name, answers)):
            answers = self._session.flight(ID, *flight)[1:]
        replies = iter(answers)
        return [_folder_stat([next(replies) for _ in lines]) for lines in commands]

    def _stat_commands(self, raw: bytes, uids: Collection[int], since: int | None) -> list[bytes]:
        """The commands for one folder; none if its name needs a literal, which would have to wait for the
        server."""
        if (name := self._session.quoted(raw)) is None:
            return []
        items = self._folder_reader.compared_items
        fetches = [b"UID FETCH %b %b" % (chunk, items) for chunk in uid_sets(uids)]
        if since is not None:
            fetches.append(b"UID FETCH 1:* %b (CHANGEDSINCE %d)" % (items, since))
        return [b"EXAMINE " + name, *fetches]

    @property
    def _stream(self) -> AppendStream:
        if self._appends is None:
            raise RuntimeError("no folder is open")
        return self._appends

    def begin_append(self, messages: Sequence[AppendMessage]) -> None:
        self._return()
        self._stream.begin(messages)

    def end_append(self) -> Sequence[Appended]:
        return self._stream.end()

    def begin_look(self, uids: Sequence[int]) -> None:
        self._return()
        self._stream.begin_look(uids)

    def end_look(self) -> Mapping[int, Attributes]:
        shown = self._stream.end_look()
        self._held += len(shown)
        return shown

    @property
    def unanswered(self) -> Sequence[AppendMessage]:
        return self._appends.unanswered if self._appends else ()

    def list_since(self, uid: int, *, taken: int = 0, then: bytes | None = None) -> dict[int, Attributes]:
        self._return()
        if not taken or self._session.exists < self._held + taken:
            # Only after an OK does a list without new messages mean that none arrived.
            self._session.required(self._session.flight(b"NOOP")[0], ServerUnavailable)
        # NOTE: "n:*" includes the last message even if its UID is below n (RFC 3501 section 6.4.8).
        rows: Iterable[Attributes] = ()
        if self._session.exists:
            name = None if then is None else self._session.quoted(then)
            rows = self._rows_and_open(uid, then, name) if then and name else self._reader.rows_from(uid)
        shown: dict[int, Attributes] = {}
        for row in rows:
            if row.uid >= uid:
                shown[row.uid] = shown[row.uid].updated(row) if row.uid in shown else row
        self._held = self._session.exists
        return shown

    def _rows_and_open(self, uid: int, then: bytes, name: bytes) -> Iterator[Attributes]:
        """The rows, and the folder to be opened next, in one flight."""
        listed, selected = self._session.flight(b"UID FETCH %d:* %b" % (uid, ATTRIBUTES), b"SELECT " + name)
        self._ahead = (then, selected)
        responses = self._session.required(listed, ServerUnavailable)
        rows = (parse_fetch(each).attributes for each in responses if is_fetch(each.text))
        return (row for row in rows if row is not None)

    def store(self, changes: Mapping[tuple[Flags, Flags], Collection[int]]) -> dict[int, Flags]:
        self._return()
        return self._flags.store(changes)

    def flags(self, uids: Collection[int]) -> dict[int, Flags]:
        self._return()
        return self._flags.read(uids)

    @property
    def labels(self) -> LabelCommands | None:
        self._return()
        return LabelCommands(self._session) if "X-GM-EXT-1" in self._abilities else None

    def expunge(self, uids: Collection[int]) -> None:
        if not self.can_expunge:  # a plain EXPUNGE would also remove mail that is not ours
            raise PermissionDenied("the destination does not offer UID EXPUNGE", where=self._session.where)
        for chunk in uid_sets(uids):
            self._session.required(self._session.flight(b"UID EXPUNGE " + chunk)[0])

    def uids(self) -> UidSet:
        return self._reader.uids()

    def scan(self, uids: Collection[int] | None) -> Iterator[Attributes]:
        return self._reader.scan(uids)

    def headers(self, uids: Collection[int], field: str | None = None) -> Iterator[tuple[Attributes, bytes]]:
        return self._reader.headers(uids, field)

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        return self._reader.fetch(uids)

    @property
    def can_wait(self) -> bool:
        return "UNSELECT" in self._abilities

    def use(self, spool: Spool) -> bool:
        self._folder_reader.spool = spool
        return self._session.line.is_quiet

    def close(self) -> None:
        self._session.log_out()

    def hang_up(self) -> None:
        self._session.hang_up()


def _folder_stat(replies: Sequence[Reply]) -> FolderStat | None:
    """What EXAMINE and FETCH returned, if all of them succeeded."""
    if not replies or not all(reply.ok for reply in replies):
        return None
    items = [found for each in replies[0].untagged if (found := _ITEM.match(each.text))]
    values = {found[1].upper(): number(found[2]) for found in items}
    rows = [parse_fetch(each).attributes for reply in replies[1:] for each in reply.untagged if is_fetch(each.text)]
    counts = [number(found[1]) or 0 for each in replies[0].untagged if (found := _EXISTS.match(each.text))]
    seen = [row for row in rows if row is not None]
    return FolderStat(values.get(b"UIDVALIDITY") or 0, counts[-1] if counts else 0, seen)
