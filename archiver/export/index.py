"""The index of an exported folder: one JSON line for the folder, then one for each message.

It has what neither an mbox nor a single file can hold without an added header: flags, UIDs, dates, digests.
"""

from __future__ import annotations

import io
import json
from typing import TextIO

from archiver.export.writer import ExportedFolder
from archiver.facts.outgoing import Outgoing
from archiver.mail.dates import internaldate_to_send
from archiver.mail.model import StoredMessage
from archiver.storage.files import private_file

FORMAT = "archiver-index/1"


def open_index(path: str, folder: ExportedFolder) -> TextIO:
    """Create an index with the folder's line. The octets of the name are decoded as Latin-1."""
    index = io.TextIOWrapper(private_file(path), encoding="ascii", newline="\n")
    record = {
        "format": FORMAT,
        "name": folder.known.folder.raw.decode("latin-1"),
        "path": folder.known.folder.path,
        "uidvalidity": folder.epoch.uidvalidity,
        "uidnext": folder.uidnext,
    }
    _write(index, record)
    return index


def add_to(index: TextIO, message: Outgoing, place: dict[str, object]) -> None:
    """Add a message's line; `place` has the keys that say where the message is."""
    placement = message.placement
    record = {
        **place,
        "uidvalidity": placement.uidvalidity,
        "uid": placement.uid,
        "flags": sorted(placement.flags),
        "internaldate": internaldate_to_send(message.message.internaldate, placement.arrived),
        "size": placement.size,
        "digest": placement.digest,
        **_of_gmail(message.message),
        "message_id": message.message.message_id,
        "vanished": not message.present,
    }
    _write(index, record)


def _of_gmail(message: StoredMessage) -> dict[str, object]:
    """Its thread and its labels, where it has any."""
    if message.labels is None:
        return {}
    return {"thrid": message.thrid, "labels": sorted(message.labels)}


# By hand: lines are only written, and their keys are not the fields of any value that is exported.
def _write(index: TextIO, record: dict[str, object]) -> None:
    index.write(json.dumps(record, separators=(",", ":")) + "\n")
