"""What each account's last outcome was, and which one was told already: a file beside the account files.

An archive knows its runs, but a run that was refused, or whose account file was broken, left no trace in it. The
file may be removed: the next run then tells every failure once more.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct, field

from archiver.storage.files import open_regular, replace_file

FILE = "outcomes.json"
FORMAT = "archiver-outcomes/1"
_LOCK_SECONDS = 5.0
_LOOK_SECONDS = 0.05


class Outcome(Struct, frozen=True):
    """An account's last outcome. `ok`: whether it was complete, None if nothing is known; `since` when, in UTC.
    `run` and `exit_code` are those that were told last."""

    ok: bool | None = None
    since: str = ""
    run: str | None = None
    exit_code: int | None = None


class _Document(Struct):
    format: str = FORMAT
    accounts: dict[str, Outcome] = field(default_factory=dict)


def outcomes_in(folder: Path) -> Mapping[str, Outcome]:
    """The outcomes of a folder's accounts. A file that cannot be read says nothing."""
    try:
        with open_regular(folder / FILE) as file:
            return msgspec.json.decode(file.read(), type=_Document).accounts
    except Exception:  # whatever is there, it must not harm a run
        return {}


def keep_outcomes(folder: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Keep these outcomes, and those of the folder's other accounts; an account whose file is gone is forgotten.
    Another command may do the same at the same time.

    Raises:
        OSError: the folder cannot be written.
    """
    path = os.fspath(folder / FILE)
    with locked(path + ".lock"):
        kept = {**outcomes_in(folder), **outcomes}
        there = {name: kept[name] for name in sorted(kept) if os.path.lexists(folder / f"{name}.toml")}
        octets = msgspec.json.format(msgspec.json.encode(_Document(accounts=there)), indent=1)
        replace_file(path, f"{path}.tmp", octets + b"\n", sync=True)


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock in this file, which stays. Nobody holds it for longer than it takes to write a file.

    Raises:
        OSError: it cannot be created, or somebody holds it for too long.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
            time.sleep(_LOOK_SECONDS)
        yield
    finally:
        os.close(descriptor)
