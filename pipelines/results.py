"""The results that a step leaves for later steps and for the report: JSON in the ledger of runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import to_builtins
from msgspec.structs import astuple

from archiver.facts.codec import of_record, to_record
from archiver.facts.records import from_record
from archiver.mail.model import Folder, FolderStatus, Listed
from archiver.replay.compare.result import DestinationCheck

if TYPE_CHECKING:
    from archiver.account.upkeep.retention import Retained
    from archiver.replay.run import ReplayResult


def retained_to_json(retained: Retained) -> str:
    """What the rule of retention did, as a step's result."""
    return json.dumps(to_builtins(retained))


def retained_from_json(text: str) -> Retained:
    """The inverse of `retained_to_json`."""
    from archiver.account.upkeep.retention import Retained

    return from_record(Retained, json.loads(text))


def listing_to_json(listed: Sequence[Listed], renewed: int = 0) -> str:
    """An enumeration as a step's result, and how many folders are renewed if all of them are."""
    folders = [
        {**_folder_to_record(each.folder), "status": each.status and astuple(each.status)} for each in listed
    ]
    return json.dumps({"folders": folders, "renewed": renewed})


def _folder_to_record(folder: Folder) -> dict[str, object]:
    record = to_record(folder)
    if folder.spelled is None:
        del record["spelled"]  # as versions wrote it that knew no such key
    return record


def listing_from_json(text: str) -> list[Listed]:
    """The folders of `listing_to_json`."""
    result = json.loads(text)
    records = result if isinstance(result, list) else result["folders"]  # a list: begun by 0.3.0
    states = [record.pop("status") for record in records]
    return [
        Listed(of_record(Folder, record), FolderStatus(*state) if state else None)
        for record, state in zip(records, states, strict=True)
    ]


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
    return json.dumps(to_builtins(result))


def replay_from_json(text: str) -> ReplayResult:
    """The inverse of `replay_to_json`, also of what an older version wrote, without advice."""
    from archiver.replay.run import ReplayResult

    return from_record(ReplayResult, json.loads(text))


def check_to_json(check: DestinationCheck) -> str:
    """A comparison with the destination as a step's result."""
    return json.dumps(to_builtins(check))


def check_from_json(text: str) -> DestinationCheck:
    """The inverse of `check_to_json`."""
    return from_record(DestinationCheck, json.loads(text))
