"""One connection of a scripted server: an honest little IMAP server until a test's script says otherwise."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Callable
from fnmatch import translate
from typing import TYPE_CHECKING

from tests.servers.scripted_append import Appended, Upload
from tests.servers.scripted_mail import (
    Refused,
    ScriptedFolder,
    fetch_rows,
    matches,
    name_on_wire,
    ranges,
    tokens,
    uids_in,
)
from tests.servers.scripted_writing import Writing
from tests.servers.stream import STALL, End, HungUp, Stream

if TYPE_CHECKING:
    from tests.servers.scripted import ScriptedServer

_GMAIL = (b"X-GM-MSGID", b"X-GM-THRID", b"X-GM-LABELS")
_BEFORE_LOGIN = {"CAPABILITY", "ID", "NOOP", "LOGOUT", "STARTTLS", "LOGIN", "AUTHENTICATE"}


class Session:
    """A client's connection: what it said, where it is, and the answers. `upload` is the APPEND under way."""

    def __init__(self, server: ScriptedServer, connection: socket.socket) -> None:
        self.server = server
        self.commands: list[bytes] = []
        self.user: str | None = None
        self.folder: ScriptedFolder | None = None
        self.read_only = True
        self.upload: Upload | None = None
        self.enabled: set[bytes] = set()
        self.encrypted = server.implicit_tls
        self.stream = Stream(connection, server.count_flight)
        self.stream.go_ahead = server.go_ahead
        self.writing = Writing(self)
        self._rows = 0
        self._injections: list[tuple[int, bytes]] = []

    def run(self) -> None:
        """Talk until one side hangs up."""
        try:
            if self.server.implicit_tls:
                self._encrypt()
            if self.server.silent:
                self.stream.end(STALL)
            self.stream.send(self.server.greeting_line())
            self.stream.flush()
            while True:
                self._command(self.stream.line())
        except (HungUp, OSError):
            pass
        finally:
            self.stream.close()

    @property
    def appended(self) -> list[Appended]:
        """The messages of the APPEND that is being answered, without those that cannot be taken."""
        return self.upload.messages if self.upload is not None else []

    def row(self, octets: bytes) -> None:
        """Queue an untagged response, and what was to be injected after so many."""
        self.stream.send(octets)
        self._rows += 1
        for _, lines in [entry for entry in self._injections if entry[0] == self._rows]:
            self.stream.send(lines)
        self._injections = [entry for entry in self._injections if entry[0] > self._rows]

    # -- commands --------------------------------------------------------------------------------------------

    def _command(self, first: bytes) -> None:
        self.upload, self.stream.unasked = None, -1
        if self.server.writable and re.match(rb"\S+ APPEND ", first, re.IGNORECASE):
            self.upload = Upload(self)
            line = self.upload.receive(first)
        else:
            line = self.stream.command(first)
        tag, _, rest = line.partition(b" ")
        self.commands.append(rest)
        name, _, arguments = rest.partition(b" ")
        if name.upper() == b"UID":
            second, _, arguments = arguments.partition(b" ")
            name += b" " + second
        name = name.upper()
        self._rows, self._injections = 0, self.server.injections_for(name)
        answer = self.server.script_for(name, line, tag, self)
        if isinstance(answer, bytes):
            self.stream.send(answer)
        else:
            if isinstance(answer, End):
                self.stream.end(answer)
            self.stream.limit = answer
            self._default(tag, name.decode("latin-1"), arguments)
        self.stream.limit = None
        self.stream.flush()
        if name == b"LOGOUT":
            raise HungUp

    def _default(self, tag: bytes, word: str, arguments: bytes) -> None:
        try:
            method = self._method(word)
            if word.startswith("UID"):
                self.writing.tell()
            status = method(tag, arguments)
        except Refused as refusal:
            status = refusal.status
        self.writing.tell()
        for _, lines in self._injections:
            self.stream.send(lines)
        if status.startswith(b"* "):
            self.stream.send(status + b"\r\n")
            self.stream.end()
        self.stream.send(tag + b" " + status + b"\r\n")
        if word == "STARTTLS" and status.startswith(b"OK"):
            self.stream.flush()
            self._encrypt()

    def _method(self, word: str) -> Callable[[bytes, bytes], bytes]:
        name = "do_" + word.lower().replace(" ", "_")
        method = getattr(self.writing, name, None) if self.server.writable else None
        method = method or getattr(self, name, None)
        if method is None:
            raise Refused(b"BAD unknown command")
        if self.user is None and word not in _BEFORE_LOGIN:
            raise Refused(b"BAD not logged in")
        if self.server.writable and self.stream.unasked > self.server.largest_unasked():
            raise Refused(b"BAD a literal that nobody asked for")
        found: Callable[[bytes, bytes], bytes] = method
        return found

    def _encrypt(self) -> None:
        assert self.server.certificate is not None
        self.stream.encrypt(self.server.certificate.server_context())
        self.encrypted = True

    def do_capability(self, tag: bytes, arguments: bytes) -> bytes:
        self.row(b"* CAPABILITY " + self.server.capability_line(self) + b"\r\n")
        return b"OK CAPABILITY completed"

    def do_noop(self, tag: bytes, arguments: bytes) -> bytes:
        return b"OK NOOP completed"

    def do_id(self, tag: bytes, arguments: bytes) -> bytes:
        self._offered("ID")
        self.row(b'* ID ("name" "scripted")\r\n')
        return b"OK ID completed"

    def do_logout(self, tag: bytes, arguments: bytes) -> bytes:
        self.row(b"* BYE logging out\r\n")
        return b"OK LOGOUT completed"

    def do_starttls(self, tag: bytes, arguments: bytes) -> bytes:
        self._offered("STARTTLS")
        return b"OK begin TLS negotiation"

    def do_login(self, tag: bytes, arguments: bytes) -> bytes:
        found = tokens(arguments)
        if len(found) != 2:
            raise Refused(b"BAD expected user and password")
        return self._log_in(*(word.decode() for word in found if isinstance(word, bytes)))

    def do_authenticate(self, tag: bytes, arguments: bytes) -> bytes:
        words = arguments.split()
        if not words or words[0].upper() != b"PLAIN":
            raise Refused(b"NO unsupported mechanism")
        if len(words) == 1:
            self.stream.send(self.server.go_ahead.removesuffix(b"go on") + b"\r\n")
            self.stream.flush()
            initial = self.stream.line()
        else:
            self._offered("SASL-IR")
            initial = words[1]
        _, user, password = base64.b64decode(initial).decode().split("\0")
        return self._log_in(user, password)

    def _log_in(self, user: str, password: str) -> bytes:
        if self.server.login_reply is not None:
            return self.server.login_reply
        if self.server.users.get(user) != password:
            return b"NO [AUTHENTICATIONFAILED] invalid credentials"
        self.user = user
        return b"OK logged in"

    def do_enable(self, tag: bytes, arguments: bytes) -> bytes:
        self._offered("ENABLE")
        known = {*self.server.capabilities, *(["UTF8=ACCEPT"] if "UTF8=ONLY" in self.server.capabilities else ())}
        taken = [word for word in arguments.upper().split() if word.decode() in known]
        self.enabled |= set(taken)
        self.row(b" ".join([b"* ENABLED", *taken]) + b"\r\n")
        return b"OK ENABLE completed"

    def do_namespace(self, tag: bytes, arguments: bytes) -> bytes:
        self._offered("NAMESPACE")
        self.row(b'* NAMESPACE (("%s" %s)) NIL NIL\r\n' % (self.server.prefix, self._delimiter(None)))
        return b"OK NAMESPACE completed"

    # -- folders ---------------------------------------------------------------------------------------------

    def do_list(self, tag: bytes, arguments: bytes) -> bytes:
        words, selection = tokens(arguments), []
        if words and isinstance(words[0], list):
            self._offered("LIST-EXTENDED")
            selection, words = words[0], words[1:]
        returns = self._list_returns(words)
        if words[1] == b"":
            self.row(b'* LIST (\\Noselect) %s ""\r\n' % self._delimiter(None))
            return b"OK LIST completed"
        for raw, folder in self._matching(words):
            if b"SUBSCRIBED" in selection and not folder.subscribed:
                continue
            attributes = list(folder.attributes)
            if folder.subscribed and b"SUBSCRIBED" in returns:
                attributes.append("\\Subscribed")
            self.row(b"* LIST " + self._listed(raw, folder, attributes))
            if (
                b"STATUS" in returns
                and "\\noselect" not in [word.lower() for word in attributes]
                and not folder.refuse
            ):
                self._status_row(raw, folder, returns[returns.index(b"STATUS") + 1])
        return b"OK LIST completed"

    def _list_returns(self, words: list[object]) -> list[object]:
        if len(words) < 2 or not isinstance(words[1], bytes):
            raise Refused(b"BAD expected reference and pattern")
        if len(words) == 2:
            return []
        if len(words) != 4 or words[2] != b"RETURN" or not isinstance(words[3], list):
            raise Refused(b"BAD unknown LIST argument")
        for option, capability in ((b"STATUS", "LIST-STATUS"), (b"SPECIAL-USE", "SPECIAL-USE")):
            if option in words[3]:
                self._offered(capability)
        if not {"LIST-EXTENDED", "LIST-STATUS"} & set(self.server.capabilities):
            raise Refused(b"BAD unknown LIST argument")
        return words[3]

    def do_lsub(self, tag: bytes, arguments: bytes) -> bytes:
        for raw, folder in self._matching(tokens(arguments)):
            if folder.subscribed:
                self.row(b"* LSUB " + self._listed(raw, folder, list(folder.attributes)))
        return b"OK LSUB completed"

    def _matching(self, words: list[object]) -> list[tuple[bytes, ScriptedFolder]]:
        reference, pattern = words[0], words[1]
        assert isinstance(reference, bytes)
        assert isinstance(pattern, bytes)
        glob = (reference + pattern).decode("latin-1").replace("%", "*").replace("[", "[[]")
        wanted = re.compile(translate(glob), re.DOTALL)
        return [(raw, folder) for raw, folder in self.server.folders.items() if wanted.match(raw.decode("latin-1"))]

    def _delimiter(self, folder: ScriptedFolder | None) -> bytes:
        delimiter = (
            folder.delimiter if folder is not None and folder.delimiter is not None else self.server.delimiter
        )
        return b"NIL" if delimiter is None else b'"' + delimiter.replace(b"\\", b"\\\\") + b'"'

    def _listed(self, raw: bytes, folder: ScriptedFolder, attributes: list[str]) -> bytes:
        name = name_on_wire(raw) if folder.listed_as is None else folder.listed_as
        return b"(%s) %s %s\r\n" % (" ".join(attributes).encode(), self._delimiter(folder), name)

    def do_status(self, tag: bytes, arguments: bytes) -> bytes:
        words = tokens(arguments)
        raw, folder = self._folder(words)
        if len(words) != 2:
            raise Refused(b"BAD expected items")
        self._status_row(raw, folder, words[1])
        return b"OK STATUS completed"

    def _status_row(self, raw: bytes, folder: ScriptedFolder, items: object) -> None:
        assert isinstance(items, list)
        facts, reported = folder.facts(), []
        for item in items:
            name = item.upper().decode()
            needed = {"HIGHESTMODSEQ": "CONDSTORE", "SIZE": "STATUS=SIZE"}.get(name)
            if name == "UIDVALIDITY" and folder.uidvalidity is None:
                continue
            if name not in facts or (needed and needed not in self.server.capabilities):
                raise Refused(b"BAD unknown STATUS item " + item)
            reported.append(f"{name} {facts[name]}")
        name_octets = name_on_wire(raw) if folder.listed_as is None else folder.listed_as
        self.row(b"* STATUS %s (%s)\r\n" % (name_octets, " ".join(reported).encode()))

    def name(self, words: list[object]) -> bytes:
        """The name that a command's arguments begin with; INBOX as the server writes it."""
        raw = words[0] if words else None
        if not isinstance(raw, bytes):
            raise Refused(b"BAD expected a mailbox")
        if raw.upper() == b"INBOX":
            return next((name for name in self.server.folders if name.upper() == b"INBOX"), raw)
        return raw

    def _folder(self, words: list[object]) -> tuple[bytes, ScriptedFolder]:
        raw = self.name(words)
        if raw not in self.server.folders:
            raise Refused(b"NO [NONEXISTENT] no such mailbox")
        folder = self.server.folders[raw]
        if folder.refuse is not None:
            raise Refused(folder.refuse)
        return raw, folder

    def do_examine(self, tag: bytes, arguments: bytes) -> bytes:
        return self.open(arguments, read_only=True)

    def open(self, arguments: bytes, *, read_only: bool) -> bytes:
        """EXAMINE or SELECT."""
        words = tokens(arguments)
        self.folder, self.read_only = None, read_only
        self.folder = folder = self._folder(words)[1]
        self.writing.reported(folder)
        facts, mode = folder.facts(), b"READ-ONLY" if read_only else b"READ-WRITE"
        permanent = "" if read_only else " ".join(folder.permanentflags)
        self.row(b"* FLAGS (%s)\r\n" % " ".join(folder.keywords()).encode())
        self.row(b"* OK [PERMANENTFLAGS (%s)] %s\r\n" % (permanent.encode(), mode.lower()))
        self.row(b"* %d EXISTS\r\n* 0 RECENT\r\n" % facts["MESSAGES"])
        if folder.uidvalidity is not None:
            self.row(b"* OK [UIDVALIDITY %d] valid\r\n" % folder.uidvalidity)
        self.row(b"* OK [UIDNEXT %d] predicted\r\n" % facts["UIDNEXT"])
        if "CONDSTORE" in self.server.capabilities:
            self.row(b"* OK [HIGHESTMODSEQ %d] highest\r\n" % facts["HIGHESTMODSEQ"])
        parameters = words[1] if len(words) > 1 else []
        if isinstance(parameters, list) and b"QRESYNC" in parameters:
            self._resynchronise(folder, parameters[parameters.index(b"QRESYNC") + 1])
        return b"OK [%s] opened" % mode

    def _resynchronise(self, folder: ScriptedFolder, known: object) -> None:
        """RFC 7162 section 3.2.5."""
        if b"QRESYNC" not in self.enabled:
            raise Refused(b"BAD QRESYNC was not enabled")
        assert isinstance(known, list)
        uidvalidity, modseq = int(known[0]), int(known[1])
        if uidvalidity != folder.uidvalidity:
            return
        if gone := [uid for uid, when in folder.vanished.items() if when > modseq]:
            self.row(b"* VANISHED (EARLIER) %s\r\n" % ranges(gone))
        for uid in folder.uids:
            if folder.messages[uid].modseq > modseq:
                for row in fetch_rows(folder, uid, [b"UID", b"FLAGS", b"MODSEQ"]):
                    self.row(row)

    def do_close(self, tag: bytes, arguments: bytes) -> bytes:
        self.folder = None
        return b"OK closed"

    do_unselect = do_close

    # -- messages --------------------------------------------------------------------------------------------

    def _opened(self) -> ScriptedFolder:
        if self.folder is None:
            raise Refused(b"BAD no mailbox selected")
        return self.folder

    def do_uid_search(self, tag: bytes, arguments: bytes) -> bytes:
        folder, words = self._opened(), tokens(arguments)
        returns: list[object] | None = None
        if words[:1] == [b"RETURN"] and isinstance(words[1], list):
            self._offered("ESEARCH")
            returns, words = words[1], words[2:]
        if words[:1] == [b"CHARSET"]:
            words = words[2:]
        if len(words) == 1 and isinstance(words[0], bytes) and re.fullmatch(rb"[\d:,*]+", words[0]):
            raise Refused(b"BAD sequence numbers are not supported here")
        found = [uid for uid in folder.uids if matches(folder.messages[uid], uid, folder, words)]
        if returns is None:
            self.row(b" ".join([b"* SEARCH", *(b"%d" % uid for uid in found)]) + b"\r\n")
        else:
            answer = b'* ESEARCH (TAG "%s") UID' % tag
            if b"COUNT" in returns:
                answer += b" COUNT %d" % len(found)
            if found and (b"ALL" in returns or not returns):
                answer += b" ALL " + ranges(found)
            self.row(answer + b"\r\n")
        return b"OK SEARCH completed"

    def do_fetch(self, tag: bytes, arguments: bytes) -> bytes:
        """Of one message, by its number."""
        number, _, items = arguments.partition(b" ")
        uids = self._opened().uids
        if not number.isdigit() or not 0 < int(number) <= len(uids):
            raise Refused(b"BAD no such message")
        return self.do_uid_fetch(tag, b"%d %s" % (uids[int(number) - 1], items))

    def do_uid_fetch(self, tag: bytes, arguments: bytes) -> bytes:
        folder, words = self._opened(), tokens(arguments)
        if len(words) < 2 or not isinstance(words[0], bytes):
            raise Refused(b"BAD expected a set and items")
        asked = words[1] if isinstance(words[1], list) else [words[1]]
        items = [word.upper() for word in asked if isinstance(word, bytes)]
        self._supported(items)
        since = self._changed_since(words, items, folder)
        uids = [uid for uid in uids_in(words[0], folder.uids) if folder.messages[uid].modseq > since]
        bodies = any(item.startswith((b"BODY", b"BINARY")) for item in items)
        odd = {folder.messages[uid].fetch for uid in uids} if bodies else set()
        if "no" in odd:
            raise Refused(b"NO [UNAVAILABLE] UID FETCH Server error while fetching messages")
        numbers = {uid: number for number, uid in enumerate(folder.uids, 1)}
        for uid in uids:
            self._message(folder, uid, items, bodies, numbers[uid])
        if "no-at-end" in odd:
            raise Refused(b"NO Some messages could not be FETCHed (Failure)")
        return b"OK FETCH completed"

    def _message(self, folder: ScriptedFolder, uid: int, items: list[bytes], bodies: bool, number: int) -> None:
        oddity = folder.messages[uid].fetch if bodies else ""
        if oddity == "no-partway":
            raise Refused(b"NO [UNAVAILABLE] UID FETCH Server error while fetching messages")
        if oddity == "bye":
            self.stream.send(b"* BYE server is going away\r\n")
            self.stream.end()
        if oddity == "no-at-end":
            return
        for row in fetch_rows(folder, uid, items, number):
            if oddity == "short-literal":
                self.stream.send(row[: len(row) - len(folder.messages[uid].octets) // 2 - 3])
                self.stream.end()
            self.row(row)

    def _supported(self, items: list[bytes]) -> None:
        known = ((b"MODSEQ", "CONDSTORE"), (b"EMAILID", "OBJECTID"), (b"BINARY.PEEK[]", "BINARY"),
                 *((item, "X-GM-EXT-1") for item in _GMAIL))  # fmt: skip
        for item, capability in known:
            if item in items:
                self._offered(capability)

    def _changed_since(self, words: list[object], items: list[bytes], folder: ScriptedFolder) -> int:
        """RFC 7162 sections 3.1.4.1 and 3.2.6; -1 when everything is wanted."""
        if len(words) < 3:
            return -1
        self._offered("CONDSTORE")
        modifiers = words[2]
        if not isinstance(modifiers, list) or modifiers[:1] != [b"CHANGEDSINCE"]:
            raise Refused(b"BAD unknown FETCH modifier")
        since = int(modifiers[1])
        if b"MODSEQ" not in items:
            items.append(b"MODSEQ")
        if b"VANISHED" in modifiers:
            if b"QRESYNC" not in self.enabled:
                raise Refused(b"BAD QRESYNC was not enabled")
            if gone := [uid for uid, when in folder.vanished.items() if when > since]:
                self.row(b"* VANISHED (EARLIER) %s\r\n" % ranges(gone))
        return since

    def _offered(self, capability: str) -> None:
        if capability not in self.server.capabilities:
            raise Refused(b"BAD unknown command or argument")
