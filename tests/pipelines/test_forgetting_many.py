"""`forget`, `hold` and `release` of several accounts: one look at all of them, and each ends by itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pipelines.cli.main import invoke
from tests.accounts import Archiver, account_file, archive_of, mail, run
from tests.servers.dovecot import Dovecot
from tests.servers.wire import Append

BOB = b"From: Bob <bob@example.net>\r\nSubject: To everybody\r\n\r\nsecret\r\n"
DIGEST = hashlib.sha256(BOB).hexdigest()
WHY = ("--reason", "request 7", "--yes")


@pytest.fixture
def office(dovecot: Dovecot, tmp_path: Path) -> Path:
    """A folder of account files: two accounts have a message of Bob's, the third has none."""
    for name, octets in (("alice", (mail(1), BOB)), ("carol", (BOB, mail(2), BOB)), ("dave", (mail(3),))):
        user = dovecot.fresh_user()
        dovecot.append_many(user, "INBOX", [Append(each) for each in octets])
        file = account_file(tmp_path / "configs", dovecot, user, archive__path=str(tmp_path / "archives" / name))
        file.rename(file.with_name(f"{name}.toml"))
        run(file.with_name(f"{name}.toml"))
    return tmp_path / "configs"


def found_in(archiver: Archiver, office: Path) -> dict[str, int]:
    accounts = archiver("search", office, "--from", "bob", "--vanished")["accounts"]
    return {each["account"]: len(each["found"]) for each in accounts}


def test_what_a_person_wrote_is_forgotten_in_all_accounts(
    office: Path, archiver: Archiver, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["forget", str(office), "--from", "bob@example.net"]) == 0
    shown = capsys.readouterr().out
    assert "[INBOX/2]" in shown
    assert "[INBOX/1, INBOX/3]" in shown
    assert "dave" not in shown
    rows = [line.split() for line in shown.splitlines()]
    assert ["alice", "1", "62", "B"] in rows
    assert ["total", "2", "124", "B"] in rows
    assert "in all: would forget 2 messages (124 B) of 2 of 3 accounts; --yes does it" in shown
    assert found_in(archiver, office) == {"alice": 1, "carol": 2, "dave": 0}

    held = archiver("hold", office / "carol.toml", "--reason", "lawsuit")
    assert held["hold"]["number"] == held["accounts"][0]["hold"]["number"] == 1
    done = archiver("forget", office, "--from", "bob@example.net", *WHY, expect=3)
    assert [each["exit_code"] for each in done["accounts"]] == [0, 3, 0]
    assert found_in(archiver, office) == {"alice": 0, "carol": 2, "dave": 0}
    (message,) = done["accounts"][1]["held"]
    assert [each["reference"] for each in message["places"]] == ["INBOX/1", "INBOX/3"]
    assert (message["subject"], message["hold"]["reason"]) == ("To everybody", "lawsuit")
    capsys.readouterr()
    assert invoke(["forget", str(office / "carol.toml"), "--from", "bob"]) == 0
    shown = capsys.readouterr().out
    assert "  held by hold 1: " in shown
    assert "To everybody  [INBOX/1, INBOX/3]\n  hold 1: everything; since " in shown
    archiver("release", office / "carol.toml", "1", "--reason", "settled")
    archiver("forget", office, "--from", "bob@example.net", *WHY)
    assert found_in(archiver, office) == {"alice": 0, "carol": 0, "dave": 0}
    lists = sorted(path.parent.parent.name for path in (office.parent / "archives").rglob("forgotten/1.json"))
    assert lists == ["alice", "carol"]
    archiver("verify", office, "--offline")


def test_a_digest_names_a_message_in_all_accounts_and_a_place_only_in_one(office: Path, archiver: Archiver) -> None:
    files = [office / "alice.toml", office / "carol.toml"]
    error = archiver("forget", *files, "INBOX/2", expect=2)["error"]["message"]
    assert "INBOX/2: names a message of one account, and 2 are named" in error
    done = archiver("forget", office, DIGEST[:16])["accounts"]
    assert [len(each["messages"]) for each in done] == [1, 1, 0]
    unknown = archiver("forget", *files, DIGEST[:16], "0123456789abcdef", expect=2)["accounts"]
    assert "no such message in any of the archives" in unknown[-1]["message"]
    assert archiver("forget", files[0], "INBOX/2")["messages"][0]["digest"] == DIGEST
    hits = archiver("search", office, "--from", "bob")
    named = office.parent / "found.json"
    named.write_text(json.dumps(hits))
    archiver("forget", office, "--refs", named, *WHY)
    assert found_in(archiver, office) == {"alice": 0, "carol": 0, "dave": 0}


def test_a_hold_of_several_accounts_ends_by_its_reason(office: Path, archiver: Archiver) -> None:
    archiver("hold", office / "alice.toml", "--reason", "audit")
    made = archiver("hold", office, "--reason", "lawsuit 12", "--address", "bob@example.net")["accounts"]
    assert [each["hold"]["number"] for each in made] == [2, 1, 1]
    error = archiver("release", office, "1", "--reason", "settled", expect=2)["error"]["message"]
    assert "1: is the number of a hold of one account, and several are named" in error
    error = archiver("release", office, "--held-for", "lawsuit", "--reason", "settled", expect=2)["error"][
        "message"
    ]
    assert error == 'archiver release: there is no open hold with the reason "lawsuit"'
    ended = archiver("release", office, "--held-for", " lawsuit  12 ", "--reason", "settled")["accounts"]
    assert [[each["number"] for each in account["ended"]] for account in ended] == [[2], [1], [1]]
    assert len(archiver("status", office / "alice.toml")["accounts"][0]["holds"]) == 1
    assert [len(each["ended"]) for each in archiver("release", office, "--all", "--reason", "x")["accounts"]] == [
        1,
        0,
        0,
    ]


def test_an_account_that_fails_stops_no_other(office: Path, archiver: Archiver) -> None:
    (office / "bad.toml").write_text("[source]\nhost = 7\n")
    done = archiver("forget", office, "--from", "bob", *WHY, expect=2)
    assert {each["account"]: each["exit_code"] for each in done["accounts"]} == {
        "alice": 0,
        "carol": 0,
        "dave": 0,
        "bad": 2,
    }
    (office / "bad.toml").unlink()
    assert found_in(archiver, office) == {"alice": 0, "carol": 0, "dave": 0}
    held = archiver("hold", office, "--only", "a*", "--reason", "audit")["accounts"]
    assert [each["account"] for each in held] == ["alice"]


def test_a_word_that_may_mean_two_things_is_refused(
    office: Path, archiver: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    (office.parent / "INBOX" / "2").mkdir(parents=True)
    monkeypatch.chdir(office.parent)
    error = archiver("forget", "configs/alice.toml", "INBOX/2", expect=2)["error"]["message"]
    assert "INBOX/2: may be a REF, and is there as a file or a folder" in error
    error = archiver("forget", "configs/nobody.toml", expect=2)["error"]["message"]
    assert "which messages?" in error
    assert "nobody.toml" in str(archiver("forget", "configs/nobody.toml", DIGEST[:16], expect=2))
    assert archive_of(office / "alice.toml").exists()
