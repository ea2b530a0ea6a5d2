"""The port of a source: what it has, and what has changed since a known state.

A protocol that cannot report changes leaves them out of its answers; then everything is listed and compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from archiver.control.limits.port import Meter
from archiver.facts.access import FolderAccess
from archiver.imap.capabilities import ServerFacts
from archiver.mail.content import Spool
from archiver.mail.model import Folder, KnownState, Listed, Marks, Opened
from archiver.mail.reader import MailReader
from archiver.mail.uidset import UidSet
from archiver.source.numbering import Numbering

NextRequest = Literal["all", "new"]
"""What is requested first of a folder: `uids()`, or `uids(since=...)`."""

Expected = Literal["none", "few"]
"""How many messages of a folder will be fetched, if the caller knows: none, or all that came `since`, and these are
few and small. Then nothing else of the folder will be requested, as far as anybody can tell before it is open."""


class Opening(Struct, frozen=True):
    """How a folder will be opened: the arguments of `MailSource.open`."""

    folder: Folder
    since: KnownState | None = None
    ask: NextRequest | None = None
    identify: bool = False
    known: Collection[int] = ()
    fetch: Expected | None = None


class MailSource(MailReader, Protocol):
    """One connection to a server to archive from. It never changes the server's mail."""

    def list_folders(self) -> Sequence[Listed]:
        """All folders, with their status if the server gives it without opening them.

        Raises:
            ServerUnavailable: the list is empty or incomplete. An account without folders is never assumed.
        """

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
        """Open `folder` read-only; later calls are about it. With `since`, the answer has what has changed, if the
        server can say so. `ask` is what the caller will request next, so that it can be sent along. `identify`: the
        attributes of those messages are wanted, too, if the server identifies messages across folders and can send
        them along. `known` are UIDs whose attributes will be wanted; they are in the answer, if the server could
        send them along. `fetch` are messages that will be wanted; they may be sent along, too.

        Raises:
            FolderNotFound, PermissionDenied: about this folder only.
            FolderChanged: after a reconnect the folder has another UIDVALIDITY than when it was opened.
        """

    def prepare(self, openings: Sequence[Opening]) -> None:
        """What will be opened next, in this order, so that it can be asked for behind what is requested now. May
        be called again and again, and nobody has to keep to it."""

    def uids(self, search: str | None = None, *, since: KnownState | None = None) -> UidSet:
        """The UIDs in the open folder: all of them, those that a search of the account file finds, which is in the
        words of the protocol, or those that came `since`.

        Raises:
            CountsDisagree: the answer does not agree with the number of messages the folder holds.
            MessageRefused: the server does not accept the search.
        """

    def flags(self, *, since: KnownState | None = None) -> Iterator[Sequence[Marks]]:
        """The flags of all messages of the open folder, and their labels if the server has any, some messages at a
        time, in any order, some perhaps twice: the later ones count. With `since`, messages of which nothing of
        this has changed may be left out."""

    def access(self, folders: Sequence[Folder]) -> Mapping[bytes, FolderAccess]:
        """Who may do what in these folders, and what is noted about them, by raw name; b"" is the server itself.
        Empty if the server offers neither, or the connection is lost. No folder is open afterwards."""

    def gives(self, uid: int) -> bool:
        """Whether the server delivers an octet of this message of the open folder.

        Raises:
            TemporaryError: the connection is lost, or the server refuses it because of a limit.
        """

    def close(self) -> None:
        """Log out. Never raises; may be called twice."""


class SourceConnection(MailSource, Protocol):
    """A source that can also be left in the middle of a response, and that `archiver check` can describe."""

    def use(self, spool: Spool, numbering: Numbering) -> None:
        """Put messages that are too large for memory there from now on, and get UIDs for names there, if the
        protocol has no UIDs."""

    def meter(self, meter: Meter) -> None:
        """Count the octets of the connection there from now on, and let it decide when more may pass."""

    @property
    def facts(self) -> ServerFacts:
        """What the server has said about itself so far."""

    def hang_up(self) -> None:
        """Close at once. Never raises; may be called twice."""
