"""What the accounts of one command have learned of servers: which answer, and which nobody can reach.

The first account that finds a server down waits for it; the others of a fleet then need not. Once several in a row
could not reach it, one of them now and then asks it, and the others end at once. Workers are forked
processes, so what was learned is in files of a directory that exists as long as the command works. What was learned
of ways to log in is there, too (`archiver.login.attempts`), and which logins worked.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from archiver.login.attempts import learn_in

Reach = Literal["unknown", "answers", "unreachable"]

#: Users who could not reach a server in a row, until the others are not let try it.
_ENOUGH = 3
#: How often one of the others tries it all the same.
_PROBE_SECONDS = 30.0

_directory: Path | None = None


@contextmanager
def learning() -> Iterator[None]:
    """Share what is learned in here, also with processes that are forked in here. Outside, nothing is known of any
    server; inside another `learning` it is the same. Nothing is shared where no temporary directory can be made."""
    global _directory
    if _directory is not None:
        yield
        return
    from tempfile import TemporaryDirectory  # takes some milliseconds

    with ExitStack() as stack:
        with suppress(OSError):
            directory = TemporaryDirectory(prefix="servers-of-archiver-", ignore_cleanup_errors=True)
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


def note_login(whose: str) -> None:
    """Note that a login worked; `whose` says where and for whom."""
    if _directory is not None:
        with suppress(OSError):
            _file(_directory, f"login {whose}").touch()


def has_logged_in(whose: str) -> bool:
    """Whether that login worked before, as far as it is shared."""
    return _directory is not None and _file(_directory, f"login {whose}").exists()


def note(server: str, user: str, *, answers: bool) -> None:
    """Note that a server answered, or that this user could not reach it. Fine if it cannot be noted: then others
    find out for themselves."""
    if _directory is None:
        return
    known = reach_of(server)
    with suppress(OSError):
        if known == "unknown" or (answers and known == "unreachable"):
            _file(_directory, server).write_bytes(b"answers" if answers else b"")
        down = _file(_directory, f"down {server}")
        if answers:
            down.unlink(missing_ok=True)
            return
        with down.open("a") as out:
            out.write(hashlib.sha256(user.encode()).hexdigest() + "\n")
        _file(_directory, f"asked {server}").touch()


def given_up(server: str) -> int:
    """How many users could not reach this server, none of the latest ones could, and another one need not try; 0 if
    it is to be tried."""
    if _directory is None:
        return 0
    try:
        users = len(set(_file(_directory, f"down {server}").read_text().split()))
        asked = _file(_directory, f"asked {server}")
        if users < _ENOUGH or asked.stat().st_mtime + _PROBE_SECONDS < time.time():
            asked.touch()
            return 0
    except OSError:
        return 0
    return users


def _file(directory: Path, server: str) -> Path:
    return directory / hashlib.sha256(server.encode()).hexdigest()
