"""The port of an export format: folders and their messages, written one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from msgspec import Struct

from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.facts.outgoing import Outgoing
from archiver.mail.model import Placement
from archiver.mail.uidset import UidSet


class ExportedFolder(Struct, frozen=True):
    """A folder to write, its epoch at that moment, and a UIDNEXT above its UIDs. `placements` returns some
    messages of that epoch by their UIDs."""

    known: KnownFolder
    epoch: KnownEpoch
    uidnext: int
    placements: Callable[[UidSet], Iterator[Placement]]

    @property
    def name(self) -> str:
        """The decoded path with "/" between levels."""
        return self.known.folder.name


class ExportWriter(Protocol):
    """Writes into a directory that was empty. One thread, one folder after the other.

    Raises (all): OSError or ArchiveNotWritable if the directory cannot be written; unfinished files stay.
    """

    def begin(self, folder: ExportedFolder) -> str:
        """Begin a folder; returns its path, relative to the export."""

    def write(self, message: Outgoing, octets: Iterable[bytes]) -> None:
        """Write a message to the current folder. Errors that `octets` raises are passed on, and then nothing of the
        message is left."""

    def end(self) -> None:
        """The folder is complete; all its messages are visible on return."""

    def close(self) -> None:
        """Release everything, whether complete or not. Never raises, may be called twice."""

    def finish(self) -> None:
        """All folders are complete."""
