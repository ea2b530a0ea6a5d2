"""What the accounts of one command have learned of servers: which answer, and which nobody can reach.

The first account that finds a server down waits for it; the others of a fleet then need not. Workers are forked
processes, so what was learned is in files of a directory that exists as long as the command works. What was learned
of ways to log in is there, too (`archiver.login.attempts`).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from archiver.login.attempts import learn_in

Reach = Literal["unknown", "answers", "unreachable"]

_directory: Path | None = None


@contextmanager
def learning() -> Iterator[None]:
    """Share what is learned in here, also with processes that are forked in here. Outside, nothing is known of any
    server; inside another `learning` it is the same. Nothing is shared where no temporary directory can be made."""
    global _directory
    if _directory is not None:
        yield
        return
    with ExitStack() as stack:
        with suppress(OSError):
            directory = tempfile.TemporaryDirectory(prefix="servers-of-archiver-", ignore_cleanup_errors=True)
            _directory = Path(stack.enter_context(directory))
        learn_in(_directory)
        try:
            yield
        finally:
            _directory = None
            learn_in(None)


def reach_of(server: str) -> Reach:
    """What is known of a server, by its address."""
    if _directory is None:
        return "answers"  # nothing is shared: every connection finds out for itself
    try:
        return "answers" if _file(_directory, server).read_bytes() else "unreachable"
    except OSError:
        return "unknown"


def note(server: str, *, answers: bool) -> None:
    """Note that a server answered, or that it could not be reached and never answered before. Fine if it cannot be
    noted: then others find out for themselves."""
    known = reach_of(server)
    if _directory is not None and (known == "unknown" or (answers and known == "unreachable")):
        with suppress(OSError):
            _file(_directory, server).write_bytes(b"answers" if answers else b"")


def _file(directory: Path, server: str) -> Path:
    return directory / hashlib.sha256(server.encode()).hexdigest()
