"""The list of what was removed from a source, in the archive's directory."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from archiver.facts.known import KnownFolder
from archiver.mail.model import Placement
from archiver.storage.files import FILE_MODE, Writing, make_directories, sync_paths, write_all

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def list_path(archive: Path, run: str) -> Path:
    """Where the list of what a run removed lies, if it removed anything. `archive` is the archive's directory."""
    return archive / "pruned" / f"{run}.jsonl"


class PrunedList:
    """The list of what a run removed, for people and programs: one line of JSON for each message. It is written
    before the journal says so, so that it lacks none; a message may be in it twice, or in the lists of two runs."""

    def __init__(self, archive: Path, run: str) -> None:
        self.path = list_path(archive, run)

    def add(self, known: KnownFolder, places: Sequence[Placement], at: str) -> None:
        """Add messages, durable on return.

        Raises:
            ArchiveNotWritable: there is no room for it.
        """
        lines = [
            json.dumps(
                {
                    "folder": known.folder.name,
                    "uidvalidity": each.uidvalidity,
                    "uid": each.uid,
                    "digest": each.digest,
                    "size": each.size,
                    "internaldate": each.message.internaldate,
                    "at": at,
                }
            )
            for each in places
        ]
        directory = self.path.parent
        with Writing(str(self.path)):
            is_new = not self.path.exists()
            make_directories(directory)
            descriptor = os.open(self.path, _FLAGS, FILE_MODE)
            try:
                write_all(descriptor, "".join(f"{line}\n" for line in lines).encode("ascii"))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                sync_paths([str(directory), str(directory.parent)])
