"""The port for reading the messages of one open folder, of a source or of a destination."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from archiver.mail.model import Attributes, Fetched, Undelivered
from archiver.mail.uidset import UidSet


class MailReader(Protocol):
    """Reads the folder that is open."""

    def uids(self) -> UidSet:
        """All UIDs in the open folder.

        Raises:
            CountsDisagree: the answer does not agree with the folder's number of messages.
        """

    def scan(self, uids: Collection[int] | None) -> Iterator[Attributes]:
        """Flags, date of arrival and size of `uids` (None: all), in any order, each at least once. UIDs that are
        gone are left out."""

    def headers(self, uids: Collection[int], field: str | None = None) -> Iterator[tuple[Attributes, bytes]]:
        """The header blocks of `uids` with the blank line, as the server returns them; or only that field."""

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        """The messages, streamed: exactly one outcome for each of `uids`, in any order.

        A message is returned only if its octets are complete. One message's failure is an Undelivered, never an
        exception. After a TemporaryError, the UIDs without an outcome may be requested again. One with `breaks` may
        come if it is requested by itself.
        """
