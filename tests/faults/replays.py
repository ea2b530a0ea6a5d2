"""Replays for the tests of faults: an account file with a destination, and what lies there, counted.

Two mailboxes are equal when every folder holds the same messages as often: octets, flags and dates.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from archiver.message import internaldate_seconds
from tests.accounts import Server, account_file
from tests.servers.mail_server import MailServer
from tests.servers.scripted import ScriptedServer
from tests.servers.served import ServedFolder

Message = tuple[str, frozenset[str], int | None]
"""Digest, flags without `\\Recent`, and the moment of INTERNALDATE."""

Mailbox = dict[bytes, Counter[Message]]
"""The messages of each folder that holds any, by its raw name."""

_SMALL_BATCHES = """
from archiver import record
from archiver.replay import parcels, sending, target_pass
from pipelines.cli import main
assert (record.BATCH_MESSAGES, target_pass.BATCH_MESSAGES, parcels.GROUP_MESSAGES) == (1000, 500, 100)
assert sending.SETTLE_SECONDS == target_pass.SETTLE_SECONDS == 5
record.BATCH_MESSAGES, target_pass.BATCH_MESSAGES, parcels.GROUP_MESSAGES = 25, 25, 5
sending.SETTLE_SECONDS = target_pass.SETTLE_SECONDS = 0.3
main()
"""
SMALL_BATCHES = ("-c", _SMALL_BATCHES)
"""The program, with twenty times as many moments at which something is sent or becomes lasting."""


def migration(directory: Path, source: Server, user: str, there: Server, new_user: str, **keys: Any) -> Path:
    """An account file from `user` at `source` to `new_user` at `there`."""
    password = directory / "new.password"
    directory.mkdir(parents=True, exist_ok=True)
    password.write_text("pw\n")
    password.chmod(0o600)
    destination = {
        "destination__host": there.host,
        "destination__port": there.port,
        "destination__tls": "off",
        "destination__user": new_user,
        "destination__password": {"file": str(password)},
        "destination__attempts": 4,
    }
    return account_file(directory, source, user, **{**destination, **keys})


def mailbox(folders: Mapping[bytes, ServedFolder]) -> Mailbox:
    """What a real server serves."""
    return _filled(
        (raw, [(each.digest, each.flags, each.internaldate) for each in folder.messages.values()])
        for raw, folder in folders.items()
    )


def mailbox_of(server: MailServer, user: str) -> Mailbox:
    """What a real server serves to a user."""
    return mailbox(server.dump(user))


def scripted_mailbox(server: ScriptedServer, rewrite: Callable[[bytes], bytes] = bytes) -> Mailbox:
    """What a scripted server holds, or would hold after `rewrite`."""
    return _filled(
        (
            raw,
            [
                (hashlib.sha256(rewrite(each.octets)).hexdigest(), frozenset(each.flags), each.internaldate)
                for each in folder.messages.values()
            ],
        )
        for raw, folder in server.folders.items()
    )


def _filled(folders: Iterable[tuple[bytes, list[tuple[str, frozenset[str], str | None]]]]) -> Mailbox:
    return {
        raw: Counter((digest, flags - {"\\Recent"}, internaldate_seconds(date)) for digest, flags, date in messages)
        for raw, messages in folders
        if messages
    }
