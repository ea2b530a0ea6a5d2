"""The results that a step leaves for later steps and for the report: JSON in the ledger of runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from archiver.facts.records import from_record
from archiver.mail.model import Folder, FolderStatus, Listed
from archiver.replay.compare import DestinationCheck
from archiver.replay.run import ReplayResult


def listing_to_json(listed: Sequence[Listed], renewed: int = 0) -> str:
    """An enumeration as a step's result, and how many folders are renewed if all of them are; names are written as
    Latin-1."""
    return json.dumps({"folders": [_listed_to_record(each) for each in listed], "renewed": renewed})


def _listed_to_record(each: Listed) -> dict[str, Any]:
    folder, status = each.folder, each.status
    return {
        "raw": folder.raw.decode("latin-1"),
        "path": folder.path,
        "delimiter": folder.delimiter,
        "attributes": sorted(folder.attributes),
        "subscribed": folder.subscribed,
        "status": status
        and [status.uidvalidity, status.uidnext, status.messages, status.highestmodseq, status.size],
    }


def listing_from_json(text: str) -> list[Listed]:
    """The folders of `listing_to_json`."""
    listed = []
    result = json.loads(text)
    for record in result if isinstance(result, list) else result["folders"]:  # a list: begun by 0.3.0
        folder = Folder(
            raw=record["raw"].encode("latin-1"),
            path=tuple(record["path"]),
            delimiter=record["delimiter"],
            attributes=frozenset(record["attributes"]),
            subscribed=record["subscribed"],
        )
        listed.append(Listed(folder, FolderStatus(*record["status"]) if record["status"] else None))
    return listed


def renewed_from_json(text: str) -> int:
    """How many folders of `listing_to_json` are renewed if all of them are."""
    result = json.loads(text)
    return 0 if isinstance(result, list) else int(result["renewed"])


def refused_to_json(refused: Mapping[bytes, str]) -> str:
    """What `archive_listed` returned as a step's result; names are written as Latin-1."""
    return json.dumps({raw.decode("latin-1"): reason for raw, reason in refused.items()})


def refused_from_json(text: str) -> dict[bytes, str]:
    """The inverse of `refused_to_json`."""
    return {name.encode("latin-1"): reason for name, reason in json.loads(text).items()}


def replay_to_json(result: ReplayResult) -> str:
    """A replay's result as a step's."""
    return json.dumps(asdict(result))


def replay_from_json(text: str) -> ReplayResult:
    """The inverse of `replay_to_json`, also of what an older version wrote, without advice."""
    return from_record(ReplayResult, json.loads(text))


def check_to_json(check: DestinationCheck) -> str:
    """A comparison with the destination as a step's result."""
    return json.dumps(asdict(check))


def check_from_json(text: str) -> DestinationCheck:
    """The inverse of `check_to_json`."""
    return from_record(DestinationCheck, json.loads(text))
