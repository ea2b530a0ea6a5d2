"""What an archive knows of its source: its folders and their epochs, what could not be fetched, and the totals.

An *epoch* is a folder under one UIDVALIDITY.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct

from archiver.mail.model import Folder, KnownState


class KnownFolder(Struct, frozen=True):
    """A folder as the catalog knows it."""

    number: int
    folder: Folder
    directory: str
    listed: bool = True

    @property
    def holds_mail(self) -> bool:
        """Whether the source still has it as a folder with messages, and not only as the parent of others."""
        return self.listed and self.folder.selectable


class FolderState(Struct, frozen=True):
    """The state of a folder at its last complete pass; read before its UIDs and flags, committed after them. `size`
    is that of STATUS, None if STATUS had none."""

    uidnext: int | None
    highestmodseq: int | None
    messages: int
    filter: str | None
    size: int | None = None


class KnownEpoch(Struct, frozen=True):
    """A folder under one UIDVALIDITY. `generation` counts the times a server reused a UIDVALIDITY for other mail.
    `state` is None until a pass over it was complete. `other_source`: it belongs to a former source of the archive,
    so its UIDs are void at the present one. `failed`: the newest pass over it failed. `hidden`: its last good pass
    found that the server shows only a part of the folder, and hides that many messages that it showed before; None:
    it shows all of them. `unlabelled`: it has messages of Gmail whose labels are not recorded, from before that was
    done."""

    number: int
    folder: int
    uidvalidity: int
    generation: int = 1
    state: FolderState | None = None
    other_source: bool = False
    failed: bool = False
    hidden: int | None = None
    unlabelled: bool = False

    @property
    def known_state(self) -> KnownState | None:
        """What the source may be asked for changes since; None if no pass was complete, or at another source."""
        if self.other_source or self.state is None:
            return None
        return KnownState(self.uidvalidity, self.state.uidnext, self.state.highestmodseq)


class FolderNumbering(Struct, frozen=True):
    """A folder's present epoch, the UIDVALIDITYs of all its epochs, and the next UID for each UIDVALIDITY under
    which names got UIDs here. `by_digest`: how many present messages are named by their octets alone."""

    epoch: KnownEpoch | None
    uidvalidities: frozenset[int]
    uidnexts: Mapping[int, int]
    by_digest: int = 0


class Numbers(NamedTuple):
    """The next numbers for new folders, epochs, destinations and targets, and the highest generation so far of each
    (folder number, uidvalidity)."""

    folder: int
    epoch: int
    generations: Mapping[tuple[int, int], int]
    destination: int
    target: int


#: A message that was quarantined or refused is tried again in this many later runs.
RETRY_RUNS = 3


class Quarantined(Struct, frozen=True):
    """A message that could not be fetched or stored, with the reason and the step that failed."""

    folder: str
    epoch: int
    uid: int
    step: str
    reason: str
    server_reply: str | None
    tries: int
    accepted: bool
    since: str


class Tally(Struct, frozen=True):
    """One folder's terms of the equation and this run's work, in messages and octets. `visited`: the run opened it
    and recorded its totals; otherwise the terms are those of the last run that did. `shown` is set if the server
    probably shows only a part of the folder: the number that it shows; `on_server` also counts those that it showed
    before. `forgotten` are on the server and must not be in the archive."""

    name: str
    uidvalidity: int | None
    on_server: int
    stored: int
    excluded: int
    quarantined: int
    fetched: int = 0
    fetched_bytes: int = 0
    flags_changed: int = 0
    vanished: int = 0
    error: str | None = None
    visited: bool = True
    stored_bytes: int = 0
    shown: int | None = None
    forgotten: int = 0

    @property
    def balanced(self) -> bool:
        """on server = stored + excluded + quarantined + forgotten."""
        return self.on_server == self.stored + self.excluded + self.quarantined + self.forgotten
