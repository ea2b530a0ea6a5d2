"""UIDs for messages that have names at their source, and no numbers: a UIDL in POP3, a digest in files.

A name gets a UID once. It is recorded before the message is asked for, so that no octets ever lie under a UID that
the journal does not have, wherever a run is cut off; and a UID is never given to a second message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from archiver.facts.known import FolderState
from archiver.mail.model import FolderStatus, StoredMessage
from archiver.mail.uidset import UidSet


class KnownNumbers(Struct, frozen=True):
    """What is recorded of a folder. `uidvalidity` and `uidnext` are our own. `state` is that of the last complete
    pass, None if there was none under this UIDVALIDITY. `held` are the UIDs of the messages that the archive has as
    present, or in quarantine."""

    uidvalidity: int = 1
    uidnext: int = 1
    state: FolderState | None = None
    held: UidSet = UidSet()

    def status(
        self, shown: UidSet, new: int, *, size: int | None = None, flags_changed: bool = False
    ) -> FolderStatus:
        """The status of the folder if the source shows these messages, and so many `new` ones that have no UID yet.
        HIGHESTMODSEQ is counted here: it is another one if anything changed since the last complete pass."""
        modseq = self.state.highestmodseq if self.state is not None else None
        if modseq is None or new or flags_changed or shown != self.held:
            modseq = (modseq or 0) + 1
        return FolderStatus(self.uidvalidity, self.uidnext + new, len(shown) + new, modseq, size)


class Numbering(Protocol):
    """What gives names their UIDs. Folders are meant by their raw names. All connections of an account share one,
    in several threads."""

    def known(self, raw: bytes) -> KnownNumbers:
        """What is recorded of this folder now."""

    def uids(self, raw: bytes, names: Sequence[str]) -> Mapping[str, int]:
        """The UIDs of those of `names` that have one."""

    def number(self, raw: bytes, names: Sequence[str]) -> Mapping[str, int]:
        """The UIDs of all `names`. New ones are numbered in this order from UIDNEXT on, durable on return, where
        something may be recorded. May be called several times for a folder, with some of the names each time."""

    def rename(self, raw: bytes, names: Mapping[str, int]) -> None:
        """From now on these names mean these UIDs, whatever they meant before; durable on return. A name has one
        UID; a UID may have several names."""

    def recorded(self, raw: bytes, uids: Collection[int]) -> Iterator[StoredMessage]:
        """What the archive has under these UIDs, present and vanished, in UID order."""


class UnrecordedNumbers:
    """Implements `Numbering` where there is no archive: nothing is known, and what is numbered is remembered."""

    def __init__(self) -> None:
        self._uids: dict[bytes, dict[str, int]] = {}

    def known(self, raw: bytes) -> KnownNumbers:
        return KnownNumbers(uidnext=1 + max(self._uids.get(raw, {}).values(), default=0))

    def uids(self, raw: bytes, names: Sequence[str]) -> Mapping[str, int]:
        known = self._uids.get(raw, {})
        return {name: known[name] for name in names if name in known}

    def number(self, raw: bytes, names: Sequence[str]) -> Mapping[str, int]:
        known, uidnext = self._uids.setdefault(raw, {}), self.known(raw).uidnext
        for name in names:
            if name not in known:
                known[name], uidnext = uidnext, uidnext + 1
        return self.uids(raw, names)

    def rename(self, raw: bytes, names: Mapping[str, int]) -> None:
        self._uids.setdefault(raw, {}).update(names)

    def recorded(self, raw: bytes, uids: Collection[int]) -> Iterator[StoredMessage]:
        return iter(())
