"""`hold` and `release`: what must be kept, and who said so."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from tests.accounts import CATALOG, Archiver, account_file, archive_of, command, mails, run
from tests.servers.dovecot import Dovecot


@pytest.fixture
def config(dovecot: Dovecot, mail_user: str, tmp_path: Path) -> Path:
    dovecot.append_many(mail_user, "INBOX", mails(range(3)))
    file = account_file(tmp_path, dovecot, mail_user)
    run(file)
    return file


def test_a_hold_is_a_fact_that_status_shows_until_it_is_released(config: Path, archiver: Archiver) -> None:
    made = archiver(
        "hold", config, "--reason", "lawsuit 12 O 34", "--folder", "INBOX", "--address", "bob@example.net"
    )
    hold = made["hold"]
    assert (hold["number"], hold["folders"], hold["addresses"]) == (1, ["INBOX"], ["bob@example.net"])
    assert (hold["reason"], "@" in hold["by"]) == ("lawsuit 12 O 34", True)
    archiver("hold", config, "--reason", "audit")
    assert [each["number"] for each in archiver("status", config)["accounts"][0]["holds"]] == [1, 2]
    shown = command("status", config).output
    assert 'hold 1: messages in "INBOX", from or to bob@example.net; since ' in shown
    assert "hold 2: everything; since " in shown
    problem = archiver("release", config, "3", "--reason", "no", expect=2)["message"]
    assert "there is no open hold 3; open holds: 1, 2" in problem
    assert [each["number"] for each in archiver("release", config, "1", "--reason", "settled")["ended"]] == [1]
    assert [each["number"] for each in archiver("status", config)["accounts"][0]["holds"]] == [2]
    assert (
        "there is no open hold 1; open holds: 2"
        in archiver("release", config, "1", "--reason", "x", expect=2)["message"]
    )
    run(config)
    archiver("verify", config, "--offline")


def test_a_hold_outlives_the_catalog_and_stops_older_programs(config: Path, archiver: Archiver) -> None:
    archiver("hold", config, "--reason", "audit")
    archive = archive_of(config)
    before = archiver("status", config)["accounts"][0]["holds"]
    shutil.copy(archive / CATALOG, archive / "aside")
    archiver("rebuild", config)
    assert archiver("status", config)["accounts"][0]["holds"] == before
    formats = {
        line["format"]
        for segment in sorted((archive / "journal").iterdir())
        for line in [json.loads(gzip.decompress(segment.read_bytes()).split(b"\n", 1)[0])]
    }
    assert formats == {"archiver-journal/1", "archiver-journal/2"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "no reason was given"),
        (["--reason", " "], "no reason was given"),
        (["--reason", "x", "--folder", " "], "--folder: is empty"),
    ],
)
def test_a_hold_says_why(config: Path, archiver: Archiver, options: list[str], problem: str) -> None:
    assert problem in archiver("hold", config, *options, expect=2)["error"]["message"]
    assert "holds" in archiver("status", config)["accounts"][0]
