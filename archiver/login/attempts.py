"""One way to log in after the other, as long as no password was tried.

A server may offer a mechanism although it cannot use it for this user: SCRAM needs a hash of its own, and an old
password may have only another one. It then refuses at the first message, which says nothing about the password. But
each such attempt is a failed login in the server's log, and too many of them block an address. So what
failed is not tried again for that user; once it has failed for several users of a server and worked for none, it is
not tried there at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from archiver.errors import AuthenticationFailed
from archiver.login.port import Way

_ENOUGH = 3  # users for whom a mechanism failed

_failed: set[tuple[str, str, str]] = set()
"""Server, mechanism and user."""
_directory: Path | None = None
"""Where all processes of a command note what they learn."""


def learn_in(directory: Path | None) -> None:
    """From now on note what is learned there, for other processes, too; None: in this process alone."""
    global _directory
    _directory = directory
    _failed.clear()


def log_in(ways: Sequence[Way], attempt: Callable[[Way], None], server: str) -> tuple[Way, list[str]]:
    """Try the ways until one is accepted, which is returned, with the mechanisms that failed before it. A refusal
    of a password ends it, because servers lock users out after a few. `server` is host:port.

    Raises:
        AuthenticationFailed: by the last `attempt`.
    """
    useful = [way for way in ways if not (way.untested and _is_useless(server, way))] or ways
    failed: list[Way] = []
    for way in useful:
        may_fail_early = way.untested
        try:
            attempt(way)
        except AuthenticationFailed as refusal:
            # NOTE: an error that is not the server's word is a server that does not follow the protocol, or lies.
            if not way.untested or refusal.server_reply is None or way is useful[-1]:
                raise
            failed.append(way)
        else:
            for each in failed:
                _note_failure(server, each)
            if may_fail_early and _directory is not None:
                _note(_file(_directory, "works", server, way), "")
            return way, [name_of(each) for each in failed]
    raise AssertionError("no way to try")


def name_of(way: Way) -> str:
    """The mechanism, or "" for the protocol's own command."""
    return getattr(way, "mechanism", "")


def _is_useless(server: str, way: Way) -> bool:
    name = name_of(way)
    if (server, name, way.user_name) in _failed:
        return True
    if _directory is None:
        users = {user for at, mechanism, user in _failed if (at, mechanism) == (server, name)}
        return len(users) >= _ENOUGH
    try:
        noted = _file(_directory, "vain", server, way).read_text().split()
    except OSError:
        return False
    return len(set(noted)) >= _ENOUGH and not _file(_directory, "works", server, way).exists()


def _note_failure(server: str, way: Way) -> None:
    _failed.add((server, name_of(way), way.user_name))
    if _directory is not None:
        _note(_file(_directory, "vain", server, way), hashlib.sha256(way.user_name.encode()).hexdigest() + "\n")


def _note(file: Path, line: str) -> None:
    """Fine if it cannot be noted: then others find out for themselves."""
    with suppress(OSError), file.open("a") as out:
        out.write(line)


def _file(directory: Path, kind: str, server: str, way: Way) -> Path:
    return directory / f"{kind}-{hashlib.sha256(f'{server} {name_of(way)}'.encode()).hexdigest()}"
