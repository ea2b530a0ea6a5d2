"""The vocabulary: messages, folders and their states, as small frozen values.

Terms of the RFCs are lower-case words without underscores (`uidvalidity`, `internaldate`), so that a grep finds
them. The values do not depend on servers, files or databases.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NewType

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from archiver.mail.uidset import UidSet

Digest = NewType("Digest", str)
"""Hex SHA-256 of a message's octets: its identity."""

Signed = Annotated[int, "may be negative"]
"""A number of a fact that may be negative, as a time before 1970; others never are."""

Flags = frozenset[str]
"""System flags (`\\Seen`) and keywords (`$Forwarded`) together; never `\\Recent`."""

Labels = frozenset[str]
"""Labels of Gmail (X-GM-LABELS), decoded; system labels have a backslash (`\\Inbox`). In a folder, its own label
is missing."""

INBOX = b"INBOX"

HIGHEST_UID = 2**32 - 1
"""The highest UID and UIDVALIDITY (RFC 3501 section 9, nz-number)."""

IMPORTED = "\\imported"
"""An attribute of our own: the folder holds what was imported from files, and is not the source's."""

UNSELECTABLE = frozenset({"\\noselect", "\\nonexistent"})

SPECIAL_USES = ("\\all", "\\archive", "\\drafts", "\\flagged", "\\junk", "\\sent", "\\trash", "\\important")


class Folder(Struct, frozen=True):
    """What RFC 3501 calls a mailbox: `raw` is its identity on the wire, `path` is for people.

    `raw` holds the octets of the name as the server lists it (unquoted, undecoded); INBOX in any case is
    `b"INBOX"`. From a connection that speaks UTF-8 it is the name in modified UTF-7, so that a folder stays the
    same when a server begins or ceases to. `attributes` are lower-case (`\\noselect`). `spelled` is set if the
    server spells the name otherwise now than when the folder became known.
    """

    raw: bytes
    path: tuple[str, ...]
    delimiter: str | None = None
    attributes: frozenset[str] = frozenset()
    subscribed: bool = False
    spelled: bytes | None = None

    @property
    def wire(self) -> bytes:
        """The name as the server spells it now."""
        return self.raw if self.spelled is None else self.spelled

    @property
    def name(self) -> str:
        """The decoded path with "/" between levels."""
        return "/".join(self.path)

    @property
    def selectable(self) -> bool:
        """RFC 3501 section 7.2.2, RFC 5258 section 3."""
        return not self.attributes & UNSELECTABLE

    @property
    def is_imported(self) -> bool:
        """Whether it is none of the source's, but was imported from files."""
        return IMPORTED in self.attributes

    @property
    def special_use(self) -> str | None:
        """RFC 6154, lower-case with its backslash."""
        return next((use for use in SPECIAL_USES if use in self.attributes), None)


class FolderStatus(Struct, frozen=True):
    """The answer to STATUS or EXAMINE; `size` is in octets. Missing items are None; `uidvalidity` is then 0, which
    RFC 3501 does not allow, and some servers give: their UIDs may name other messages in every session."""

    uidvalidity: int
    uidnext: int | None
    messages: int
    highestmodseq: int | None = None
    size: int | None = None


class Listed(Struct, frozen=True):
    """A listed folder; `status` is None if it cannot be opened or the server did not report it. `doubts`: how many
    of its messages could be read in another way, by what is doubtful; only files have such."""

    folder: Folder
    status: FolderStatus | None = None
    doubts: Mapping[str, int] = field(default_factory=dict)


class KnownState(Struct, frozen=True):
    """The state of a folder at its last complete pass, in the numbers that its source gave then. Only the source's
    adapter interprets them: it answers with what has changed since, if its protocol can report that."""

    uidvalidity: int
    uidnext: int | None
    highestmodseq: int | None = None


class Attributes(Struct, frozen=True):
    """What FETCH returns about a message besides its octets. `size` is RFC822.SIZE, a hint; `internaldate` the
    server's text, verbatim; `emailid` EMAILID (RFC 8474), or "gm:" and X-GM-MSGID, the same in all folders. `thrid`
    and `labels` are X-GM-THRID and X-GM-LABELS, which only Gmail has."""

    uid: int
    flags: Flags | None = None
    internaldate: str | None = None
    size: int | None = None
    modseq: int | None = None
    emailid: str | None = None
    thrid: str | None = None
    labels: Labels | None = None

    def updated(self, later: Attributes) -> Attributes:
        """With the values of a later row about the same message; a row about changed flags has nothing else."""
        return replace(self, **{name: value for name, value in asdict(later).items() if value is not None})


class Marks(Struct, frozen=True, gc=False):
    """What may change about a message: its flags, and at Gmail its labels and its thread; None if the server has
    none, or was not asked."""

    uid: int
    flags: Flags
    labels: Labels | None = None
    thrid: str | None = None


class Changes(Struct, frozen=True):
    """What happened in a folder since a `KnownState`: the UIDs that are gone, and the messages whose flags changed.
    What came since is not in it."""

    vanished: UidSet
    changed: tuple[Attributes, ...]


class Opened(Struct, frozen=True):
    """A folder opened read-only. `changes` is None if the source was not asked for them, or cannot tell.
    `identifies`: messages have EMAILIDs; `labels`: they have labels, as at Gmail. `seen` are attributes that were
    asked for together with the folder.
    `shown` are size and INTERNALDATE of each UID in a folder without UIDVALIDITY; empty if it has one."""

    status: FolderStatus
    keywords: tuple[str, ...] = ()
    changes: Changes | None = None
    identifies: bool = False
    labels: bool = False
    seen: tuple[Attributes, ...] = ()
    shown: Mapping[int, tuple[int | None, str | None]] = field(default_factory=dict)


class Body(Struct, frozen=True):
    """A message's octets, complete and hashed: in memory if small, otherwise in a spool file.

    `crlf_size` is the size if every bare LF were a CRLF. `header` is the octets up to and including the first blank
    line, cut off at 1 MiB. The receiver of a spool file moves or removes it.
    """

    digest: Digest
    size: int
    crlf_size: int
    header: bytes
    octets: bytes | None
    spool: Path | None = None

    def discard(self) -> None:
        """Remove the spool file, if there is one, of a body that is not used. May be called twice."""
        if self.spool is not None:
            self.spool.unlink(missing_ok=True)


class Fetched(Struct, frozen=True):
    """A message as the source delivered it."""

    attributes: Attributes
    body: Body


class Undelivered(Struct, frozen=True):
    """A message that the source did not deliver. `gone`: it was expunged in the meantime, which is not a failure.
    `breaks`: how often the connection broke at it; it may come if it is requested by itself."""

    uid: int
    reason: str
    server_reply: str | None = None
    gone: bool = False
    breaks: int = 0


class StoredMessage(Struct, frozen=True):
    """A message of the archive: its octets by their digest, and what is known about it in its folder.

    Every fact, row, placement and copy of a message has one of these: the fields are those of a `stored` line of
    the journal, in its order, and columns of the catalog's table `message`. To add a field, add it here with a
    default, so that older lines can be read, and to the table with a migration.

    `size` and `crlf_size` count the stored octets, as in `Body`; `server_size` is RFC822.SIZE. `internaldate` is
    the server's text, verbatim, and `arrived` the same moment in seconds since 1970. Values that the server did not
    report are None; `thrid` and `labels` are not even written then.
    """

    uid: int
    digest: Digest
    size: int
    crlf_size: int
    server_size: int | None
    internaldate: str | None
    arrived: Signed
    flags: Flags
    message_id: str | None
    header_digest: Digest | None
    emailid: str | None
    thrid: str | None = None
    labels: Labels | None = None

    @classmethod
    def bare(
        cls, uid: int, digest: Digest, size: int, crlf_size: int, arrived: int, flags: Flags = frozenset()
    ) -> StoredMessage:
        """A message about which nothing else is known: without a server's attributes, its header not read."""
        return cls(uid, digest, size, crlf_size, None, None, arrived, flags, None, None, None)

    def seen_as(self, seen: Attributes) -> StoredMessage:
        """With a server's attributes: under its UID, with its flags, if the protocol has any."""
        return replace(
            self,
            uid=seen.uid,
            server_size=seen.size,
            internaldate=seen.internaldate,
            flags=self.flags if seen.flags is None else seen.flags,
            emailid=seen.emailid,
            thrid=seen.thrid,
            labels=seen.labels,
        )

    @property
    def attributes(self) -> Attributes:
        """The server's attributes, without the MODSEQ."""
        return Attributes(
            self.uid,
            self.flags,
            self.internaldate,
            size=self.server_size,
            emailid=self.emailid,
            thrid=self.thrid,
            labels=self.labels,
        )


class Placement(Struct, frozen=True):
    """Where a message is in a store: everything that a store needs to name its place.

    `directory` is the folder's directory in the store, assigned once and kept in the catalog. `present` is False
    once the message vanished or its epoch ended.
    """

    directory: str
    uidvalidity: int
    generation: int
    message: StoredMessage
    present: bool = True

    @property
    def uid(self) -> int:
        return self.message.uid

    @property
    def digest(self) -> Digest:
        return self.message.digest

    @property
    def size(self) -> int:
        return self.message.size

    @property
    def crlf_size(self) -> int:
        return self.message.crlf_size

    @property
    def arrived(self) -> int:
        return self.message.arrived

    @property
    def flags(self) -> Flags:
        return self.message.flags

    def with_flags(self, flags: Flags) -> Placement:
        """The same message with other flags."""
        return replace(self, message=replace(self.message, flags=flags))


class Frame(Struct, frozen=True):
    """Where a message is in a pack: `length` octets from `offset`, as the pack's format encodes them. `pack` is the
    digest of the pack's octets."""

    pack: Digest
    offset: int
    length: int


class Headers(Struct, frozen=True):
    """The searchable headers of a message, decoded as far as possible and cut to a bounded length.

    `sender` is From, `recipients` are To, Cc and Bcc, one after the other; "" if the message has none. `sent` is
    Date in UTC, `2026-01-05T01:30:00Z`, or None if it is not valid. No text contains a control character.
    """

    sender: str
    recipients: str
    subject: str
    sent: str | None
