"""The port of an export: folders and their messages, one after the other, written in some form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from archiver.facts.replica import Outgoing
from archiver.mail.model import KnownEpoch, KnownFolder, Placement


@dataclass(frozen=True, slots=True)
class ExportedFolder:
    """A folder that is written, its epoch then, and the UIDNEXT with which its UIDs may go on. `placements` are the
    messages of that epoch, in UID order, of which not all need to be written."""

    known: KnownFolder
    epoch: KnownEpoch
    uidnext: int
    placements: Callable[[], Iterator[Placement]]

    @property
    def name(self) -> str:
        """The decoded path with "/" between levels."""
        return self.known.folder.name


class ExportWriter(Protocol):
    """Writes into a directory that was empty. One thread, one folder after the other.

    Raises (all): OSError, or ArchiveNotWritable, when that cannot be written; what was begun stays.
    """

    def begin(self, folder: ExportedFolder) -> str:
        """Begin a folder; returns its place, relative to the export."""

    def write(self, message: Outgoing, octets: Iterable[bytes]) -> None:
        """Write a message to the folder that was begun. What `octets` raises is passed on, and then nothing of the
        message is left."""

    def end(self) -> None:
        """The folder is complete; its messages are seen now at the latest."""

    def close(self) -> None:
        """Let go of everything, whether complete or not. Never raises, may be called twice."""

    def finish(self) -> None:
        """All folders are complete."""
