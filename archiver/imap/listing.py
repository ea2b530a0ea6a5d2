"""Lists the folders in as few round trips as the server allows.

ID, NAMESPACE, ENABLE and LIST go in one flight, and with LIST-STATUS (RFC 5819) the status of each folder comes
with them. Each of these has a plain fallback, since servers advertise extensions that they do not implement.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from msgspec import Struct
from msgspec.structs import replace

from archiver.errors import ConnectionLost, ServerUnavailable, TemporaryError
from archiver.imap.replies import Reply, printable
from archiver.imap.session import Session
from archiver.imap.tokens import ListRow, parse_list, parse_namespace, parse_status
from archiver.mail.folder_names import canonical_raw, folder_path
from archiver.mail.model import SPECIAL_USES, UNSELECTABLE, Folder, FolderStatus, Listed

ID = b'ID ("name" "mail-archiver")'
_STATUS_FLIGHT = 50
_SAID = 1000  # octets

#: Attributes that say what a folder is. Others change with its messages (\\marked) or its neighbours
#: (\\haschildren).
_PERMANENT = UNSELECTABLE | {"\\noinferiors", *SPECIAL_USES}


class Abilities(Struct, frozen=True):
    """What the server offers that we use."""

    capabilities: frozenset[str]

    def __contains__(self, capability: str) -> bool:
        return capability in self.capabilities

    @property
    def condstore(self) -> bool:
        return "CONDSTORE" in self or "QRESYNC" in self

    @property
    def enable(self) -> bytes | None:
        """ENABLE, which has to come before a folder is opened (RFC 7162 section 3.2.3). None if there is nothing to
        enable."""
        if "ENABLE" not in self or not self.condstore:
            return None
        return b"ENABLE QRESYNC" if "QRESYNC" in self else b"ENABLE CONDSTORE"

    @property
    def status_items(self) -> bytes:
        items = [b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY"]
        if self.condstore:
            items.append(b"HIGHESTMODSEQ")
        if "STATUS=SIZE" in self:
            items.append(b"SIZE")
        return b"(" + b" ".join(items) + b")"

    def wants_name(self, reply: Reply) -> bool:
        """Whether a folder is refused because the connection has not said who we are (163.com). Only the one that
        lists the folders says it unasked."""
        return not reply.ok and "ID" in self and b"unsafe login" in reply.text.lower()

    @property
    def list_command(self) -> bytes:
        """One LIST that returns everything the server offers."""
        wanted = [b"SPECIAL-USE"] if "SPECIAL-USE" in self else []
        if "LIST-EXTENDED" in self:
            wanted.append(b"SUBSCRIBED")
        if "LIST-STATUS" in self:
            wanted.append(b"STATUS " + self.status_items)
        return b'LIST "" "*" RETURN (' + b" ".join(wanted) + b")" if wanted else b'LIST "" "*"'


class Listing(Struct, frozen=True):
    """What the first flight after the login returned. `enabled`: ENABLE succeeded. `prefix` and `delimiter` are
    those of the personal namespace; `said` is what the server says of itself."""

    enabled: bool
    folders: Sequence[Listed]
    prefix: bytes = b""
    delimiter: str | None = None
    said: str = ""


def list_everything(
    session: Session, abilities: Abilities, *, cautious: bool, after_a_folder: bool = False
) -> Listing:
    """The first flight after the login. `cautious` sends only a plain LIST, for servers that hang up on more.
    `after_a_folder`: one is open, and is closed first (UNSELECT, RFC 3691), because the status of an open folder
    may be an older one.

    Raises:
        ServerUnavailable: the list is empty, or incomplete because the server did not end it with OK. That is a
            failure of the server, never an account without those folders.
        Throttled: the same, because of a limit.
    """
    commands = {"list": abilities.list_command, "lsub": b'LSUB "" "*"'}
    if "LIST-EXTENDED" in abilities:
        del commands["lsub"]
    if "ID" in abilities:
        commands["id"] = ID
    if "NAMESPACE" in abilities:
        commands["namespace"] = b"NAMESPACE"
    if abilities.enable:
        commands["enable"] = abilities.enable
    if cautious:
        commands = {"list": b'LIST "" "*"'}
    if after_a_folder:
        commands["unselect"] = b"UNSELECT"
    names: list[str] = ["unselect", "id", "namespace", "enable", "list", "lsub"]
    order = [name for name in names if name in commands]
    replies = dict(zip(order, session.flight(*(commands[name] for name in order)), strict=True))
    if after_a_folder:
        session.required(replies["unselect"], ConnectionLost)
    rows = _rows(session, replies["list"])
    # LIST-EXTENDED may be advertised and missing (strato.de), or refused, at once or after some of the folders.
    if not (rows and replies["list"].ok) and not cautious:
        extended, replies["list"] = replies["list"], session.flight(b'LIST "" "*"')[0]
        replies["list"].untagged[:0] = extended.untagged
        rows = _rows(session, replies["list"])
    # NOTE: a folder that is not in the list counts as gone, so an incomplete list is an error.
    session.required(replies["list"], ServerUnavailable)
    if not rows:
        raise ServerUnavailable(
            "the server lists no folders; this is never taken for an empty account", where=session.where
        )
    if "id" in replies:
        named = [each.text for each in replies["id"].untagged if each.text[:4].upper() == b"* ID"]
        session.said_of_itself = b" ".join(named)
    prefix = session.raw_of(_personal_prefix(replies))
    folders = _folders(rows, _subscribed(session, replies, rows), prefix)
    rows_of_status = filter(None, map(parse_status, replies["list"].untagged))
    statuses = {canonical_raw(session.raw_of(name)): status for name, status in rows_of_status}
    listed = [Listed(folder, statuses.get(folder.raw)) for folder in folders]
    if not statuses:
        listed = _with_statuses(session, abilities, listed)
    return Listing(
        enabled="enable" in replies and replies["enable"].ok,
        folders=listed,
        prefix=prefix,
        delimiter=_delimiter(rows),
        said=_said(session),
    )


def _delimiter(rows: dict[bytes, ListRow]) -> str | None:
    """The hierarchy delimiter. INBOX's row may say NIL although other folders have one."""
    delimiters = [row.delimiter for row in rows.values() if row.delimiter]
    return delimiters[0].decode("latin-1") if delimiters else None


def _said(session: Session) -> str:
    """The greeting, and the answer to ID (RFC 2971)."""
    greeting = session.welcome if isinstance(session.welcome, bytes) else b""
    return printable(greeting, _SAID) + " " + printable(session.said_of_itself, _SAID)


def _rows(session: Session, reply: Reply) -> dict[bytes, ListRow]:
    """The rows by name; several rows about one folder are merged."""
    rows: dict[bytes, ListRow] = {}
    for listed in filter(None, map(parse_list, reply.untagged)):
        row = replace(listed, raw=session.raw_of(listed.raw)) if session.speaks_utf8 else listed
        known = rows.get(row.raw)
        rows[row.raw] = replace(row, attributes=_merged(row.attributes, known.attributes)) if known else row
    return rows


def _merged(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    """The attributes of a folder with two rows. If either row lets it be opened, it can be opened: pymap lists
    INBOX again as the \\Noselect parent of `inbox/sub`."""
    return (one | other) - (UNSELECTABLE - (one & other))


def _subscribed(session: Session, replies: dict[str, Reply], rows: dict[bytes, ListRow]) -> frozenset[bytes]:
    """The subscribed folders. A server that refuses LSUB has no subscriptions, unless the refusal is temporary."""
    if "lsub" in replies:
        if isinstance(error := session.refusal(replies["lsub"]), TemporaryError):
            raise error
        return frozenset(row.raw for row in _rows(session, replies["lsub"]).values())
    return frozenset(row.raw for row in rows.values() if "\\subscribed" in row.attributes)


def _personal_prefix(replies: dict[str, Reply]) -> bytes:
    """The personal namespace's prefix (`INBOX.` at Courier and Cyrus), which is left out of displayed names."""
    if "namespace" in replies:
        for response in replies["namespace"].untagged:
            if found := parse_namespace(response):
                prefix, delimiter = found
                # A prefix that does not end with the delimiter ("INBOX" alone) would cut `INBOXES` in two.
                return prefix if delimiter and prefix.endswith(delimiter) else b""
    return b""


def _folders(rows: dict[bytes, ListRow], subscribed: frozenset[bytes], prefix: bytes) -> list[Folder]:
    folders: dict[bytes, Folder] = {}
    for row in rows.values():
        delimiter = row.delimiter.decode("latin-1") if row.delimiter else None
        shown = row.raw.removeprefix(prefix) if row.raw != prefix else row.raw
        folder = Folder(
            raw=canonical_raw(row.raw),
            path=folder_path(shown, delimiter),
            delimiter=delimiter,
            attributes=row.attributes & _PERMANENT,
            subscribed=row.raw in subscribed,
        )
        known = folders.get(folder.raw)
        if known is None or (folder.selectable and not known.selectable):
            folders[folder.raw] = folder
    return sorted(folders.values(), key=lambda folder: (folder.raw != b"INBOX", folder.raw))


def _with_statuses(session: Session, abilities: Abilities, listed: Sequence[Listed]) -> list[Listed]:
    """STATUS of each folder, pipelined. A folder that refuses it has no status; opening it will show why."""
    names = {folder.folder.raw: session.quoted(folder.folder.raw) for folder in listed if folder.folder.selectable}
    plain = [(raw, name) for raw, name in names.items() if name is not None]
    statuses: dict[bytes, FolderStatus] = {}
    for start in range(0, len(plain), _STATUS_FLIGHT):
        part = plain[start : start + _STATUS_FLIGHT]
        commands = [b"STATUS %s %s" % (name, abilities.status_items) for _, name in part]
        for (raw, _), reply in zip(part, session.flight(*commands), strict=True):
            _take_status(session, statuses, raw, reply, names)
    for raw in (raw for raw, name in names.items() if name is None):
        reply = session.command_with_name(b"STATUS", raw, b" " + abilities.status_items)
        _take_status(session, statuses, raw, reply, names)
    return [Listed(each.folder, statuses.get(each.folder.raw)) for each in listed]


def _take_status(
    session: Session, statuses: dict[bytes, FolderStatus], raw: bytes, reply: Reply, asked: Container[bytes]
) -> None:
    """A row belongs to the folder that it names, if that one was requested: a server may answer several commands in
    another order. Otherwise it belongs to `raw`, which the server may spell differently."""
    if reply.ok:
        for name, status in filter(None, map(parse_status, reply.untagged)):
            named = canonical_raw(session.raw_of(name))
            statuses[named if named in asked else raw] = status
