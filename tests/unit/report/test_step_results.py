"""What a step leaves for later steps stays readable, and has the same octets, from one version to the next."""

from __future__ import annotations

import json

from archiver.mail.model import Folder, FolderStatus, Listed
from pipelines.results import listing_from_json, listing_to_json, renewed_from_json

LISTED = [
    Listed(
        Folder(b"INBOX", ("INBOX",), "/", frozenset({"\\noinferiors", "\\marked"}), True), FolderStatus(7, None, 3)
    ),
    Listed(Folder(b"B\xe4r/\xff", ("Bär", "\udcff"))),
]
INBOX = {"raw": "INBOX", "path": ["INBOX"], "delimiter": "/", "attributes": ["\\marked", "\\noinferiors"]}
BEAR = {"raw": "Bär/ÿ", "path": ["Bär", "\udcff"], "delimiter": None, "attributes": [], "subscribed": False}
FOLDERS = [{**INBOX, "subscribed": True, "status": [7, None, 3, None, None]}, {**BEAR, "status": None}]


def test_a_listing_is_written_as_ever() -> None:
    assert listing_to_json(LISTED, 2) == json.dumps({"folders": FOLDERS, "renewed": 2})


def test_a_listing_is_read_as_it_was() -> None:
    text = listing_to_json(LISTED, 2)
    assert listing_from_json(text) == LISTED
    assert renewed_from_json(text) == 2


def test_a_listing_of_0_3_0_is_read() -> None:
    text = json.dumps(FOLDERS)
    assert listing_from_json(text) == LISTED
    assert renewed_from_json(text) == 0
