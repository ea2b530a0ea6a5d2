"""What a client may do to a writable scripted server, in one session: folders, APPEND, STORE and EXPUNGE."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from archiver.mail.folder_names import decode_name
from tests.servers.scripted_append import Appended, Reply
from tests.servers.scripted_mail import (
    Refused,
    ScriptedFolder,
    ScriptedMessage,
    fetch_rows,
    name_on_wire,
    ranges,
    tokens,
    uids_in,
)
from tests.servers.stream import End

if TYPE_CHECKING:
    from tests.servers.scripted_session import Session

_NEW_USES = (b"\\Archive", b"\\Drafts", b"\\Junk", b"\\Sent", b"\\Trash")
_STORE = re.compile(rb"([+-]?)(?:FLAGS|(?P<labels>X-GM-LABELS))(?P<silent>\.SILENT)?", re.IGNORECASE)


class Writing:
    """The commands that write, and what the session has reported about its folder."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: list[int] = []
        self._old: set[int] = set()

    # -- telling ---------------------------------------------------------------------------------------------

    def reported(self, folder: ScriptedFolder) -> None:
        """The session opened a folder and knows what is in it."""
        self._known = folder.uids
        self._old = set(self._known)

    def tell(self) -> None:
        """Say what changed in the open folder: what went, then what came (RFC 3501 section 7.3 and 7.4.1)."""
        session = self._session
        if session.folder is None or not session.server.writable:
            return
        before, now = self._known, session.folder.uids
        gone, self._known = set(before) - set(now), now
        if gone and b"QRESYNC" in session.enabled:
            session.row(b"* VANISHED %s\r\n" % ranges(gone))
        else:
            for number in [number for number, uid in enumerate(before, 1) if uid in gone][::-1]:
                session.row(b"* %d EXPUNGE\r\n" % number)
        if set(now) - set(before):
            session.row(b"* %d EXISTS\r\n" % session.folder.facts()["MESSAGES"])
            session.row(b"* %d RECENT\r\n" % len(set(now) - self._old))

    # -- folders ---------------------------------------------------------------------------------------------

    def do_select(self, tag: bytes, arguments: bytes) -> bytes:
        folder = self._session.server.folders.get(self._session.name(tokens(arguments)))
        if folder is not None and _is_noselect(folder):
            raise Refused(b"NO [CANNOT] it holds no messages")
        return self._session.open(arguments, read_only=False)

    def do_create(self, tag: bytes, arguments: bytes) -> bytes:
        server, words = self._session.server, tokens(arguments)
        name, delimiter = self._session.name(words), server.delimiter
        levels = [name] if delimiter is None else name.removesuffix(delimiter).split(delimiter)
        name = (delimiter or b"").join(levels)
        if not all(levels) or not name.startswith(server.prefix):
            raise Refused(b"NO [CANNOT] no folder can have this name")
        with server.changing:
            uses = self._uses(words[1:])
            if name in server.folders and not _is_noselect(server.folders[name]):
                raise Refused(b"NO [ALREADYEXISTS] it exists")
            for depth in range(1, len(levels)):
                parent = (delimiter or b"").join(levels[:depth])
                if self._session.name([parent]) not in server.folders:
                    self._create(parent)
            self._create(name, *uses)
        return b"OK CREATE completed"

    def _create(self, name: bytes, *uses: str) -> None:
        """The dictionary is replaced, since another session may be reading it."""
        server = self._session.server
        if name in server.folders:
            old = server.folders[name]
            old.attributes = (*(word for word in old.attributes if word.lower() != "\\noselect"), *uses)
        else:
            server.folders = {**server.folders, name: ScriptedFolder(server.new_uidvalidity(), attributes=uses)}

    def _uses(self, words: list[object]) -> list[str]:
        """RFC 6154 section 3."""
        if not words:
            return []
        server, (parameters, *more) = self._session.server, words
        if "CREATE-SPECIAL-USE" not in server.capabilities or more:
            raise Refused(b"BAD unknown argument")
        if not isinstance(parameters, list) or len(parameters) != 2 or parameters[0].upper() != b"USE":
            raise Refused(b"BAD expected (USE (...))")
        taken = {word.lower() for folder in server.folders.values() for word in folder.attributes}
        for use in parameters[1]:
            if use not in _NEW_USES or use.decode().lower() in taken:
                raise Refused(b"NO [USEATTR] not for this folder")
        return [use.decode() for use in parameters[1]]

    def do_rename(self, tag: bytes, arguments: bytes) -> bytes:
        server, words = self._session.server, tokens(arguments)
        old, new = (self._session.name([word]) for word in words)
        with server.changing:
            self._existing(old)
            if old.upper() == b"INBOX":
                raise Refused(b"NO [CANNOT] INBOX stays")
            if new in server.folders:
                raise Refused(b"NO [ALREADYEXISTS] it exists")
            below = old + (server.delimiter or b"/")
            server.folders = {
                new + name.removeprefix(old) if name == old or name.startswith(below) else name: each
                for name, each in server.folders.items()
            }
        return b"OK RENAME completed"

    def do_delete(self, tag: bytes, arguments: bytes) -> bytes:
        server, name = self._session.server, self._session.name(tokens(arguments))
        with server.changing:
            folder = self._existing(name)
            below = name + server.delimiter if server.delimiter is not None else None
            if name.upper() == b"INBOX":
                raise Refused(b"NO [CANNOT] INBOX stays")
            if below is None or not any(other.startswith(below) for other in server.folders):
                server.folders = {other: each for other, each in server.folders.items() if other != name}
            elif _is_noselect(folder):
                raise Refused(b"NO [HASCHILDREN] there are folders below it")
            else:
                left = ScriptedFolder(server.new_uidvalidity(), attributes=("\\Noselect",))
                server.folders = {**server.folders, name: left}
        return b"OK DELETE completed"

    def do_subscribe(self, tag: bytes, arguments: bytes) -> bytes:
        self._existing(self._session.name(tokens(arguments))).subscribed = True
        return b"OK SUBSCRIBE completed"

    def do_unsubscribe(self, tag: bytes, arguments: bytes) -> bytes:
        self._existing(self._session.name(tokens(arguments))).subscribed = False
        return b"OK UNSUBSCRIBE completed"

    def _existing(self, name: bytes) -> ScriptedFolder:
        folder = self._session.server.folders.get(name)
        if folder is None:
            raise Refused(b"NO [NONEXISTENT] no such mailbox")
        return folder

    # -- APPEND ----------------------------------------------------------------------------------------------

    def unfit(self, name: bytes) -> bytes | None:
        """Why the folder of this name takes no mail, as a tagged status."""
        folder = self._session.server.folders.get(name)
        if folder is None or _is_noselect(folder):
            return b"NO [TRYCREATE] no such mailbox"
        return folder.refuse

    def over_quota(self, messages: list[Appended]) -> bytes | None:
        """Why there is no room for them, as a tagged status."""
        quota = self._session.server.appending.quota
        if quota is None or self._used() + sum(message.size for message in messages) <= quota:
            return None
        return b"NO [OVERQUOTA] Quota exceeded"

    def _used(self) -> int:
        return sum(folder.facts()["SIZE"] for folder in self._session.server.folders.values())

    def do_append(self, tag: bytes, arguments: bytes) -> bytes:
        upload = self._session.upload
        if upload is None:
            raise Refused(b"BAD expected a mailbox and a message")
        if upload.refusal is None or (upload.messages and not self._session.server.appending.atomic):
            uids = self.store(upload.messages)
        if upload.refusal is not None:
            self._refuse(upload.refusal)
        return b"OK %sAPPEND completed" % self._appenduid(self._existing(upload.folder).uidvalidity, uids)

    def _refuse(self, reply: Reply) -> None:
        if isinstance(reply, End):
            self._session.stream.end(reply)
        raise Refused(reply)

    def store(self, messages: list[Appended]) -> list[int]:
        """Put messages of one command into their folder, as the server does it; their UIDs.

        Raises:
            Refused: the folder is gone, or the quota is reached.
        """
        if not messages:
            return []
        server, appending = self._session.server, self._session.server.appending
        folder = self._existing(messages[0].folder)
        if appending.before is not None:
            appending.before(folder, messages)
        with server.changing:
            if refused := self.unfit(messages[0].folder) or self.over_quota(messages):
                raise Refused(refused)
            uids = folder.add(*(self._kept(folder, message) for message in messages))
            for uid, message in zip(uids, messages, strict=True):
                if appending.loses is not None and appending.loses(message):
                    del folder.messages[uid]
            server.appended += messages
        if appending.after is not None:
            appending.after(folder, messages)
        return uids

    def _kept(self, folder: ScriptedFolder, message: Appended) -> ScriptedMessage:
        appending = self._session.server.appending
        dropped = {flag.lower() for flag in appending.drop_flags}
        arrived, date = message.arrived, message.internaldate
        if arrived is None or (appending.oldest is not None and arrived < appending.oldest):
            date = f"{datetime.now(UTC):%d-%b-%Y %H:%M:%S +0000}"
        return ScriptedMessage(
            message.octets if appending.rewrite is None else appending.rewrite(message.octets),
            folder.kept(flag for flag in message.flags if flag.lower() not in dropped),
            date,
            size=None if appending.keep is None else message.size,
        )

    def _appenduid(self, uidvalidity: int | None, uids: list[int]) -> bytes:
        if "UIDPLUS" not in self._session.server.capabilities or uidvalidity is None:
            return b""
        match self._session.server.appending.appenduid:
            case "missing":
                return b""
            case "swapped":
                return b"[APPENDUID %s %d] " % (ranges(uids), uidvalidity)
            case "wrong-count":
                uids = uids[:-1] or [uids[0], uids[0] + 1]
            case "wrong-uids":
                uids = [uid + len(uids) for uid in uids]
            case "wrong-uidvalidity":
                uidvalidity += 1
        return b"[APPENDUID %d %s] " % (uidvalidity, ranges(uids))

    # -- the open folder -------------------------------------------------------------------------------------

    def _opened(self) -> ScriptedFolder:
        if self._session.folder is None:
            raise Refused(b"BAD no mailbox selected")
        if self._session.read_only:
            raise Refused(b"NO the mailbox is read-only")
        return self._session.folder

    def do_uid_store(self, tag: bytes, arguments: bytes) -> bytes:
        folder, words = self._opened(), tokens(arguments)
        found = _STORE.fullmatch(words[1]) if len(words) > 2 and isinstance(words[1], bytes) else None
        if found is None or not isinstance(words[0], bytes):
            raise Refused(b"BAD expected a set, an item and flags")
        asked = words[2] if isinstance(words[2], list) else words[2:]
        if found["labels"]:
            return self._label(folder, uids_in(words[0], folder.uids), found[1], asked)
        flags = folder.kept(flag.decode("latin-1") for flag in asked if isinstance(flag, bytes))
        items = [] if found["silent"] else [b"UID", b"FLAGS"]
        if self._session.enabled & {b"CONDSTORE", b"QRESYNC"}:
            items += [b"MODSEQ"]
        for uid in uids_in(words[0], folder.uids):
            before = folder.messages[uid].flags
            match found[1]:
                case b"+":
                    after = tuple(dict.fromkeys([*before, *flags]))
                case b"-":
                    after = tuple(flag for flag in before if flag not in flags)
                case _:
                    after = flags
            if set(after) != set(before):
                folder.mark(uid, after)
            for row in fetch_rows(folder, uid, items) if items else ():
                self._session.row(row)
        return b"OK STORE completed"

    def _label(self, folder: ScriptedFolder, uids: list[int], sign: bytes, asked: list[object]) -> bytes:
        """X-GM-LABELS, as at Gmail."""
        if "X-GM-EXT-1" not in self._session.server.capabilities:
            raise Refused(b"BAD unknown item")
        labels = frozenset(decode_name(each) for each in asked if isinstance(each, bytes))
        for uid in uids:
            before = folder.messages[uid].labels
            after = before | labels if sign == b"+" else before - labels if sign == b"-" else labels
            if after != before:
                self._session.server.relabel(folder, uid, after)
        return b"OK STORE completed"

    def do_expunge(self, tag: bytes, arguments: bytes) -> bytes:
        folder = self._opened()
        self._expunge(folder, folder.uids)
        return b"OK EXPUNGE completed"

    def do_uid_expunge(self, tag: bytes, arguments: bytes) -> bytes:
        if "UIDPLUS" not in self._session.server.capabilities:
            raise Refused(b"BAD unknown command")
        folder = self._opened()
        self._expunge(folder, uids_in(arguments, folder.uids))
        return b"OK EXPUNGE completed"

    def do_close(self, tag: bytes, arguments: bytes) -> bytes:
        if self._session.folder is not None and not self._session.read_only:
            self._expunge(self._session.folder, self._session.folder.uids)
        self._session.folder = None
        return b"OK closed"

    def _expunge(self, folder: ScriptedFolder, uids: list[int]) -> None:
        deleted = [uid for uid in uids if "\\Deleted" in folder.messages[uid].flags]
        if deleted:
            folder.expunge(deleted)

    # -- QUOTA -----------------------------------------------------------------------------------------------

    def do_getquotaroot(self, tag: bytes, arguments: bytes) -> bytes:
        self._offers_quota()
        name = self._session.name(tokens(arguments))
        self._existing(name)
        limited = self._session.server.appending.quota is not None
        self._session.row(b"* QUOTAROOT %s%s\r\n" % (name_on_wire(name), b' ""' if limited else b""))
        if limited:
            self._quota()
        return b"OK GETQUOTAROOT completed"

    def do_getquota(self, tag: bytes, arguments: bytes) -> bytes:
        self._offers_quota()
        if tokens(arguments) != [b""] or self._session.server.appending.quota is None:
            raise Refused(b"NO [NONEXISTENT] no such quota root")
        self._quota()
        return b"OK GETQUOTA completed"

    def _offers_quota(self) -> None:
        if "QUOTA" not in self._session.server.capabilities:
            raise Refused(b"BAD unknown command")

    def _quota(self) -> None:
        """In units of 1,024 octets (RFC 9208 section 5.1)."""
        quota = self._session.server.appending.quota or 0
        self._session.row(b'* QUOTA "" (STORAGE %d %d)\r\n' % (-(-self._used() // 1024), quota // 1024))


def _is_noselect(folder: ScriptedFolder) -> bool:
    return any(word.lower() in ("\\noselect", "\\nonexistent") for word in folder.attributes)
