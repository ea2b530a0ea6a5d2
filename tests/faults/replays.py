"""Replays for the tests of faults: an account file with a destination, and what lies there, counted.

Two mailboxes are equal when every folder holds the same messages as often: octets, flags and dates.
"""

from __future__ import annotations

import hashlib
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archiver.mail.dates import internaldate_seconds
from archiver.replay import sync_folder
from archiver.replay.send import copies, resolve
from tests.accounts import Server, account_file, archive_of, mail, run
from tests.servers.mail_server import MailServer
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.served import ServedFolder

Message = tuple[str, frozenset[str], int | None]
"""Digest, flags without `\\Recent`, and the moment of INTERNALDATE."""

Mailbox = dict[bytes, Counter[Message]]
"""The messages of each folder that holds any, by its raw name."""

_SMALL_BATCHES = """
from archiver.journal import recorder
from archiver.replay import sync_folder
from archiver.replay.send import copies, flags, prepare, resolve
from pipelines.cli.main import main
assert (recorder.BATCH_MESSAGES, sync_folder.BATCH_MESSAGES, prepare.GROUP_MESSAGES) == (1000, 500, 100)
assert flags.BATCH_MESSAGES == sync_folder.BATCH_MESSAGES
assert copies.ARRIVAL_SECONDS == resolve.ARRIVAL_SECONDS == sync_folder.ARRIVAL_SECONDS == 5
assert resolve.AGAIN == 1
recorder.BATCH_MESSAGES, sync_folder.BATCH_MESSAGES, prepare.GROUP_MESSAGES = 25, 25, 5
flags.BATCH_MESSAGES = 25
copies.ARRIVAL_SECONDS = resolve.ARRIVAL_SECONDS = sync_folder.ARRIVAL_SECONDS = 0.2
resolve.AGAIN = 0.001
main()
"""
SMALL_BATCHES = ("-c", _SMALL_BATCHES)
"""The program, with twenty times as many moments at which something is sent or becomes lasting."""


def settle_within(monkeypatch: pytest.MonkeyPatch, seconds: float, *, again: float = 0.001) -> None:
    """How long to search for what may still arrive; after a silence, `again` times as long in addition."""
    for module in (copies, resolve, sync_folder):
        monkeypatch.setattr(module, "ARRIVAL_SECONDS", seconds)
    monkeypatch.setattr(resolve, "AGAIN", again)


def migration(directory: Path, source: Server, user: str, there: Server, new_user: str, **keys: Any) -> Path:
    """An account file from `user` at `source` to `new_user` at `there`."""
    return account_file(directory, source, user, **{**destination(directory, there, new_user), **keys})


def destination(directory: Path, there: Server, new_user: str) -> dict[str, Any]:
    """The keys of an account file that is replayed to `new_user` at `there`."""
    password = directory / "new.password"
    directory.mkdir(parents=True, exist_ok=True)
    password.write_text("pw\n")
    password.chmod(0o600)
    return {
        "destination__host": there.host,
        "destination__port": there.port,
        "destination__tls": "off",
        "destination__user": new_user,
        "destination__password": {"file": str(password)},
        "destination__attempts": 4,
    }


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


# -- an account and its archive ----------------------------------------------------------------------------------

_FOLDERS = (b"INBOX", b"Sent", b"Archive/2019", b"&ZeVnLIqe-", b"R&-D/deep/er", b"Lists")
_FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "$Forwarded", "NonJunk", "project-x")
_ODD = (b"Subject: \0\r\n\r\nNUL \0\r\n", b"Subject: bare\n\nline\nfeeds", b"no header\r\n")


def odd_account(of_each: int) -> dict[bytes, ScriptedFolder]:
    """Six folders in which equal messages stand twice, some have no Message-ID, some that of another, and some NULs
    or bare line feeds."""
    chance = random.Random(of_each)
    folders = {}
    for number, name in enumerate(_FOLDERS, 1):
        octets = [
            mail(1000 * number + n, message_id=n % 7 > 0, body="x" * chance.randrange(1500)) for n in range(of_each)
        ]
        octets += [mail(1000 * number, body=f"of the same name {n}") for n in range(3)]
        octets += chance.choices(octets, k=of_each // 10)
        octets += 2 * _ODD
        chance.shuffle(octets)
        messages = [ScriptedMessage(each, _flags(chance), _date(chance)) for each in octets]
        folders[name] = ScriptedFolder(100 + number, dict(enumerate(messages, 1)))
    return folders


def _flags(chance: random.Random) -> tuple[str, ...]:
    return tuple(flag for flag in _FLAGS if chance.random() < 0.2)


def _date(chance: random.Random) -> str:
    return f"{chance.randint(1, 28):02}-Mar-2021 {chance.randrange(24):02}:{chance.randrange(60):02}:00 +0530"


def as_dovecot(octets: bytes) -> bytes:
    """As Dovecot gives it back."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", octets.replace(b"\0", b"\x80"))


@dataclass(frozen=True)
class Archived:
    """An archive to replay, and what a Dovecot serves afterwards. The source no longer exists."""

    path: Path
    expected: Mailbox

    def config(self, directory: Path, there: Server, new_user: str, **keys: Any) -> Path:
        """An account file with a copy of the archive."""
        config = migration(directory, _Nowhere(), "u1", there, new_user, **keys)
        shutil.copytree(self.path, archive_of(config))
        return config


class _Nowhere:
    host, port = "127.0.0.1", 1


def archived(directory: Path, folders: dict[bytes, ScriptedFolder]) -> Archived:
    """An account with these folders, archived."""
    with ScriptedServer(folders) as source:
        config = account_file(directory, source, "u1")
        run(config)
        return Archived(archive_of(config), scripted_mailbox(source, as_dovecot))
