"""Moves message files between directories so that a power cut cannot lose them.

A rename between two directories is two changes on disk, and POSIX allows only the second one to survive until both
directories are synced. So a file gets its new name first, which is made durable, and only then the old one is
removed.
"""

from __future__ import annotations

import errno
import os

from archiver.storage.maildir.tree import MaildirTree

_NO_LINKS = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EEXIST}


class Moves:
    """Moves that are made durable together by `finish`. Belongs to one thread.

    Until then a file that moves to another directory has both names; after a crash it may be moved again.
    """

    def __init__(self, tree: MaildirTree) -> None:
        self._tree = tree
        #: The names that go when the new ones are durable, in the order in which they were given up.
        self._leaving: dict[str, None] = {}
        self._entered: set[str] = set()
        #: Of renames from one directory to another: those that they came from, and those that they went to.
        self._renamed_from: set[str] = set()
        self._renamed_to: set[str] = set()

    def move(self, source: str, target: str) -> None:
        """Move a file; the move may be repeated after it was completed or interrupted.

        Raises:
            FileNotFoundError: it is not at `source`.
        """
        old, new = os.path.dirname(source), os.path.dirname(target)
        self._leaving.pop(target, None)
        if old == new:
            _rename(source, target)
        elif self._tree.durability == "none" or not self._linked(source, target):
            if new in self._renamed_from or old in self._renamed_to:
                self.finish()  # NOTE: else there may be no order of syncs in which every new name comes first
            _rename(source, target)
            self._renamed_from.add(old)
            self._renamed_to.add(new)
        else:
            self._leaving[source] = None
        self._entered.add(new)

    def _linked(self, source: str, target: str) -> bool:
        """Link the file to its new name; False if that is another file's, or if the system does not support
        links."""
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return error.errno == errno.EEXIST and os.path.samefile(source, target)
        return True

    def finish(self) -> None:
        """Make everything durable, the new names before the old ones are removed."""
        self._tree.sync(self._entered - self._renamed_from)
        self._tree.sync(self._entered & self._renamed_from)
        changed = self._renamed_from - self._entered
        for source in self._leaving:
            try:
                os.unlink(source)
            except FileNotFoundError:
                pass  # somebody who reads the archive renamed it
            changed.add(os.path.dirname(source))
        self._tree.sync(changed)
        self._leaving.clear()
        self._entered.clear()
        self._renamed_from.clear()
        self._renamed_to.clear()


def _rename(source: str, target: str) -> None:
    """Rename a file, even if both already are names of it."""
    os.rename(source, target)
    # NOTE: a rename between two names of one file does nothing, says POSIX.
    if source != target and os.path.lexists(source):
        os.unlink(source)
