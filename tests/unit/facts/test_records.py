"""Small structs come back from their JSON, or are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import to_builtins

from archiver.facts.records import from_record
from archiver.replay.compare.result import DestinationCheck, Difference, FolderCheck
from archiver.replay.run import ReplayResult
from archiver.replay.shared_copies import LeftToOthers
from archiver.storage.bucket.probe import Marker

VALUES = [
    Marker("alice", "5e0", atomic=True, compares=False, at="2024-03-01T12:00:00Z"),
    ReplayResult({"INBOX": "over quota \udcff"}, "60 of 90 are gone", None, [LeftToOthers("INBOX", 3, "three")]),
    DestinationCheck(
        deep=True,
        folders={"Entwürfe/\u2028": FolderCheck(verified=3, refused=1)},
        differences=[Difference("INBOX", 1, None, "message", "there", "missing")],
    ),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_is_the_same_after_its_json(value: Any) -> None:
    assert from_record(type(value), json.loads(json.dumps(to_builtins(value)))) == value


@pytest.mark.parametrize(
    "record",
    [
        {"account": "alice", "asked": "5e0", "atomic": True, "compares": True},
        {"account": 7, "asked": "5e0", "atomic": True, "compares": True, "at": ""},
        {"account": "alice", "asked": "5e0", "atomic": ["yes"], "compares": True, "at": ""},
        ["alice", "5e0", True, True, ""],
        None,
    ],
    ids=["a missing field", "a number for text", "a list for a truth value", "a list", "null"],
)
def test_what_is_no_record_of_the_class_is_refused(record: object) -> None:
    with pytest.raises(ValueError, match="Marker"):
        from_record(Marker, record)


def test_what_a_newer_version_added_is_passed_over() -> None:
    record = to_builtins(VALUES[0]) | {"added": 1}

    assert from_record(Marker, record) == VALUES[0]
