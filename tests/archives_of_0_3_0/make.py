"""Makes the archives of this directory. Version 0.3.0 made them; later versions only open them.

How to make them again, in a checkout of version 0.3.0 (the commit "Never cut the reference of a found message, and
tell no pace of a moment") with its dependencies installed:

    PYTHONPATH=. python /path/to/this/make.py

Each STORE.tar.xz holds `archive/`, the local files of the account; `bucket/`, the objects of its bucket by their
keys, where it has one; and `destination.json`, what its destination held in the end. A tar keeps what git does not:
the times of files, which are a message's INTERNALDATE, and empty directories.

The mailbox and what happens to it are functions of this module, so that a test can serve the same mail again. It
uses only what the tests of 0.3.0 and those of today call by the same name.
"""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.accounts import account_file, mail, run
from tests.buckets import bucket_account, objects_of
from tests.faults.replays import destination
from tests.servers import moto_server
from tests.servers.scripted import (
    DESTINATION,
    Appended,
    Appending,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
)

HERE = Path(__file__).parent
STORES: Mapping[str, str | None] = {"maildir": None, "objects": "objects", "packs": "packs"}
"""The file's name, and the layout of its bucket."""

JAPANESE = b"&ZeVnLIqe-"
SENT = b"Sent"
KEYS: Mapping[str, Any] = {
    "source__connections": 1,
    "destination__connections": 1,
    "replay__vanished": "mark",
    "replay__repair": ["nul"],
}


def mailbox() -> dict[bytes, ScriptedFolder]:
    """Three folders: equal messages, keywords, bare line feeds, a NUL, a message without a header, one that its
    server cannot deliver."""

    def message(number: int, *flags: str, octets: bytes | None = None, **how: Any) -> ScriptedMessage:
        date = f"02-Jan-2020 00:{number % 60:02}:00 +0530"
        return ScriptedMessage(mail(number) if octets is None else octets, flags, date, **how)

    inbox = [
        message(1, "\\Seen"),
        message(2, "\\Answered", "$Forwarded"),
        message(3, octets=b"Subject: bare\n\nline\nfeeds"),
        message(1),
        message(5, octets=b"From: b@example.org\r\nSubject: NUL\r\n\r\n\0\r\n"),
        message(6, fetch="no-body"),
        message(7, "project-x"),
        message(8),
        message(9, octets="Subject: =?utf-8?q?=C3=9Cmlaut?=\r\nTo: ä@example.org\r\n\r\nbody\r\n".encode()),
        message(10, octets=b"no header\r\n"),
        message(11),
    ]
    return {
        b"INBOX": _folder(101, inbox),
        JAPANESE: _folder(102, [message(number) for number in (21, 22, 23)], subscribed=True),
        SENT: _folder(103, [message(number, "\\Seen") for number in (31, 32)], attributes=("\\Sent",)),
    }


def _folder(uidvalidity: int, messages: list[ScriptedMessage], **how: Any) -> ScriptedFolder:
    return ScriptedFolder(uidvalidity, dict(enumerate(messages, 1)), **how)


def next_day(folders: dict[bytes, ScriptedFolder]) -> None:
    """Mail came and went, flags changed, and a folder has a new UIDVALIDITY."""
    inbox = folders[b"INBOX"]
    inbox.expunge([7, 8])
    inbox.mark(1, ["\\Seen", "\\Flagged"])
    inbox.add(ScriptedMessage(mail(12), ("\\Draft",), "03-Jan-2020 00:00:00 +0000"))
    folders[SENT].uidvalidity = 203


def refusal(message: Appended) -> bytes | None:
    """The destination takes neither a NUL nor message 11."""
    if b"\0" in message.octets:
        return b"NO Message contains NUL characters"
    return b"NO [TOOBIG] too big for us" if b"Subject: message 11\r\n" in message.octets else None


def there(folders: dict[bytes, ScriptedFolder]) -> ScriptedServer:
    """A destination that holds these folders."""
    appending = Appending(refuse=refusal)
    return ScriptedServer(folders, capabilities=DESTINATION, writable=True, appending=appending)


# -- a destination's folders in a file ---------------------------------------------------------------------------


def written(folders: Mapping[bytes, ScriptedFolder]) -> list[dict[str, Any]]:
    """Folders as JSON values; octets are Latin-1."""
    return [
        {
            "raw": raw.decode("latin-1"),
            "uidvalidity": folder.uidvalidity,
            "uidnext": folder.facts()["UIDNEXT"],
            "attributes": folder.attributes,
            "subscribed": folder.subscribed,
            "messages": [
                [uid, message.octets.decode("latin-1"), message.flags, message.internaldate]
                for uid, message in sorted(folder.messages.items())
            ],
        }
        for raw, folder in folders.items()
    ]


def read(values: list[dict[str, Any]]) -> dict[bytes, ScriptedFolder]:
    """The inverse of `written`."""
    return {
        each["raw"].encode("latin-1"): ScriptedFolder(
            each["uidvalidity"],
            {
                uid: ScriptedMessage(octets.encode("latin-1"), tuple(flags), date)
                for uid, octets, flags, date in each["messages"]
            },
            each["uidnext"],
            attributes=tuple(each["attributes"]),
            subscribed=each["subscribed"],
        )
        for each in values
    }


# -- making ------------------------------------------------------------------------------------------------------


def _make(
    name: str, directory: Path, account: Callable[..., Path], objects: Callable[[Path], dict[str, bytes]]
) -> None:
    with ScriptedServer(mailbox()) as source, there({b"INBOX": ScriptedFolder(7)}) as server:
        config = account(directory, source, "u1", **destination(directory, server, "u1"), **KEYS)
        run(config, expect=3, run_id="first")
        next_day(source.folders)
        copies = server.folders[b"INBOX"]
        copies.mark(1, ["\\Seen", "$Label1"])
        copies.expunge([2])
        run(config, expect=3, run_id="second")
        held = written(server.folders)
    (directory / "destination.json").write_text(json.dumps(held, indent=1))
    for key, octets in objects(config).items():
        path = directory / "bucket" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
    with tarfile.open(HERE / f"{name}.tar.xz", "w:xz") as tar:
        for part in ("archive", "bucket", "destination.json"):
            if (directory / part).exists():
                tar.add(directory / part, part, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _make_in_bucket(name: str, layout: str, directory: Path) -> None:
    with moto_server.serving() as endpoint:
        os.environ.update(endpoint.environment())
        bucket = endpoint.fresh_bucket()

        def account(*where: Any, **keys: Any) -> Path:
            return bucket_account(*where, endpoint, bucket, s3={"layout": layout}, **keys)

        _make(name, directory, account, lambda config: objects_of(config, endpoint))


def main() -> None:
    """Write an archive of each store."""
    for name, layout in STORES.items():
        with tempfile.TemporaryDirectory() as place:
            if layout is None:
                _make(name, Path(place), account_file, lambda _: {})
            else:
                _make_in_bucket(name, layout, Path(place))


if __name__ == "__main__":
    main()
