"""APPEND to a scripted server: how it takes mail, and a command's way from the wire to the values a test sees.

Truthful by default. What one server or another does differently is an attribute of `Appending`.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from tests.servers.scripted_mail import ScriptedFolder, tokens
from tests.servers.stream import LITERAL, End

if TYPE_CHECKING:
    from tests.servers.scripted_session import Session

Reply = bytes | End
"""A tagged status; a line that begins with `* BYE`, after which the server hangs up; or an end without a word."""

AppendUidOddity = Literal[
    "",
    "missing",  # no APPENDUID, though UIDPLUS is offered
    "swapped",  # DavMail: the UID, then the UIDVALIDITY
    "wrong-count",  # one UID too few, or two for one message
    "wrong-uids",  # the UIDs after the right ones
    "wrong-uidvalidity",
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Appended:
    """A message as APPEND brought it.

    `number` is its place in the command, from 1; `literal` how it was announced, `~{310+}`; `internaldate` None if
    the command has none. `octets` (the first of them, if the server does not keep all) and `digest`, their SHA-256,
    are empty as long as the literal is only announced.
    """

    folder: bytes
    number: int
    literal: bytes
    size: int
    flags: tuple[str, ...] = ()
    internaldate: str | None = None
    octets: bytes = field(default=b"", repr=False)
    digest: str = ""

    @property
    def arrived(self) -> datetime | None:
        """The INTERNALDATE as a moment; ValueError if it is none."""
        return datetime.strptime(self.internaldate, "%d-%b-%Y %H:%M:%S %z") if self.internaldate else None


@dataclass
class Appending:
    """How a server takes mail; may be changed while it runs.

    `refuse_early` is asked when a literal is announced, and its reply comes instead of the continuation (a literal
    that did not wait is read and dropped); `refuse` is asked when the literal is read. None takes the message.
    `atomic`: a refused message keeps out the others of its command (RFC 3502); else those before it are stored.

    `rewrite` changes the octets. `drop_flags` are forgotten here, though STORE can set them. Mail dated before
    `oldest` gets the current time. What `loses` names is answered as if it were stored.
    `appenduid` lies about the UIDs.

    `quota` limits the octets of all folders; GETQUOTA reports it. `before` and `after` are called, without a
    lock, when messages are about to be stored and when they have been; other mail may arrive there, and the answer
    may be late. Of each message `keep` octets are kept, None is all.
    """

    refuse_early: Callable[[Appended], Reply | None] | None = None
    refuse: Callable[[Appended], Reply | None] | None = None
    atomic: bool = True
    rewrite: Callable[[bytes], bytes] | None = None
    drop_flags: tuple[str, ...] = ()
    oldest: datetime | None = None
    loses: Callable[[Appended], bool] | None = None
    appenduid: AppendUidOddity = ""
    quota: int | None = None
    before: Callable[[ScriptedFolder, list[Appended]], object] | None = None
    after: Callable[[ScriptedFolder, list[Appended]], object] | None = None
    keep: int | None = None


def refolded(octets: bytes) -> bytes:
    """As Gmail: in the header a fold becomes one space, and lines do not end with white space."""
    head, blank, body = octets.partition(b"\r\n\r\n")
    head = re.sub(rb"\r\n[ \t]+", b"\r\n ", head)
    return re.sub(rb"[ \t]+(?=\r\n|\Z)", b"", head) + blank + body


def with_final_crlf(octets: bytes) -> bytes:
    """As Courier: the last line has an end."""
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def without_nul(octets: bytes) -> bytes:
    """As Dovecot: NUL becomes 0x80."""
    return octets.replace(b"\0", b"\x80")


_NAME = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\s(){"]+', re.DOTALL)
_ARGUMENTS = re.compile(rb'(?: \((?P<flags>[^()]*)\))?(?: "(?P<date>[^"]*)")? (?P<utf8>UTF8 \()?')
_FLAG = re.compile(rb'\\?[^\x00-\x20(){%*"\\\]\x7f-\xff]+')
_DATE = re.compile(r"[ \d]\d-[A-Za-z]{3}-\d{4} \d\d:\d\d:\d\d [+-]\d{4}")


class Upload:
    """An APPEND under way: the messages that came, and why it cannot go well if it cannot."""

    def __init__(self, session: Session) -> None:
        self.folder = b""
        self.messages: list[Appended] = []
        self.refusal: Reply | None = None
        self._session = session

    def receive(self, line: bytes) -> bytes:
        """Read the whole command that begins with this line, and return it without the octets of the messages."""
        stream = self._session.stream
        word, part = line[: line.index(b" ", line.index(b" ") + 1) + 1], line.split(b" ", 2)[2]
        if literal := LITERAL.match(part):
            part = stream.resume(part, literal)
        name = _NAME.match(part)
        if name is None:
            self.refusal = b"BAD expected a mailbox"
        else:
            self.folder = self._session.name(tokens(name[0]))
        said, part = word + part, part[name.end() if name else 0 :]
        while literal := LITERAL.search(part):
            message = self._announced(part[: literal.start()], literal)
            if self.refusal is not None and not literal["unasked"]:
                return said
            is_utf8 = part[: literal.start()].endswith(b" UTF8 (")
            self._read(message, literal)
            part = stream.line()
            part = part.removeprefix(b")") if is_utf8 else part
            said += part
        if part or not self.messages:
            self.refusal = self.refusal or b"BAD expected a literal"
        return said

    def _announced(self, arguments: bytes, literal: re.Match[bytes]) -> Appended:
        message = Appended(self.folder, len(self.messages) + 1, literal[0], int(literal["size"]))
        found = _ARGUMENTS.fullmatch(arguments)
        flags = found["flags"].split() if found and found["flags"] else []
        if found is None or not all(_FLAG.fullmatch(flag) for flag in flags):
            self.refusal = self.refusal or b"BAD expected flags, a date and a literal"
            return message
        date = found["date"].decode("latin-1") if found["date"] is not None else None
        message = replace(message, flags=tuple(flag.decode() for flag in flags), internaldate=date)
        self.refusal = self.refusal or self._cannot(message) or _asked(self._appending.refuse_early, message)
        return message

    def _read(self, message: Appended, literal: re.Match[bytes]) -> None:
        kept, digest, most = io.BytesIO(), hashlib.sha256(), self._appending.keep
        for piece in self._session.stream.literal(literal):
            digest.update(piece)
            if self.refusal is None:
                kept.write(piece if most is None else piece[: max(0, most - kept.tell())])
        message = replace(message, octets=kept.getvalue(), digest=digest.hexdigest())
        self.refusal = self.refusal or _asked(self._appending.refuse, message)
        if self.refusal is None:
            self.messages.append(message)

    @property
    def _appending(self) -> Appending:
        return self._session.server.appending

    def _cannot(self, message: Appended) -> bytes | None:
        """Why an honest server does not take a message that is only announced."""
        session, offered = self._session, self._session.server.capabilities
        if message.number > 1 and "MULTIAPPEND" not in offered:
            return b"BAD one message at a time"
        if message.literal.startswith(b"~") and not {"BINARY", "UTF8=ONLY"} & set(offered):
            return b"BAD expected a literal"
        if message.internaldate is not None and not _is_date(message):
            return b"BAD invalid date-time"
        if refused := session.writing.unfit(self.folder):
            return refused
        if message.size == 0:
            return b"NO a message of no octets"
        limits = [int(word.partition("=")[2]) for word in offered if word.startswith("APPENDLIMIT=")]
        if any(message.size > limit for limit in limits):
            return b"NO [TOOBIG] larger than this server takes"
        return session.writing.over_quota([*self.messages, message])


def _is_date(message: Appended) -> bool:
    try:
        return bool(_DATE.fullmatch(message.internaldate or "") and message.arrived)
    except ValueError:
        return False


def _asked(refuse: Callable[[Appended], Reply | None] | None, message: Appended) -> Reply | None:
    return refuse(message) if refuse is not None else None
