"""`archiver search` and `archiver show`: messages found by their headers, and one of them shown."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.errors import Interrupted
from pipelines.cli.main import invoke
from pipelines.stop import STOP
from tests.accounts import PROJECT, account_file, archive_of, archive_state, assert_whole, journal_files, run
from tests.buckets import bucket_account
from tests.servers.s3_endpoint import Endpoint
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.warm import ended

START = Callable[..., ScriptedServer]
LUNCH = (
    b"From: =?utf-8?Q?Zo=C3=AB?= <zoe@example.org>\r\nTo: Bob <bob@example.org>\r\n"
    b"Subject: =?utf-8?B?TWl0dGFn?= in der\r\n Hauptstra\xc3\x9fe\r\n"
    b"Date: Mon, 5 Jan 2026 02:30:00 +0100\r\nMessage-ID: <1@example.org>\r\n\r\nbody\r\n"
)
PHOTOS = (
    b"From: bob@example.org\r\nSubject: Photos\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\npreamble\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello\r\n"
    b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n"
    b"Content-Disposition: attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.png\r\n\r\nAAAA\r\n--b--\r\n"
)
HOSTILE = (
    b"From: \x1b[31mmallory\r\nSubject: =?utf-8?q?a=1b[2Jb=00=E2=80=AEc?=\r\nX-Evil: \x1b]0;t\x07\r\n\r\nbody\r\n"
)
ODD = [LUNCH, PHOTOS, HOSTILE, b"", b"\r\n", b"no header at all", b"Subject: a\0b\n\n\xff\r\r\n\0", b"x" * 300_000]


def message(octets: bytes, *flags: str, day: int = 1) -> ScriptedMessage:
    return ScriptedMessage(octets, flags, internaldate=f"{day:02}-Jan-2020 12:00:00 +0000")


@pytest.fixture
def server(scripted: START) -> ScriptedServer:
    """INBOX with odd messages, the first ones seen; a copy of the first elsewhere; a folder of a hostile name."""
    inbox = {uid: message(octets, *(["\\Seen"] * (uid < 3)), day=uid) for uid, octets in enumerate(ODD, 1)}
    return scripted(
        {
            b"INBOX": ScriptedFolder(7, inbox),
            b"Work/A": ScriptedFolder(8, {4: message(LUNCH, "$Forwarded", day=20)}),
            b"\x1b[31mred": ScriptedFolder(9, {1: message(b"Subject: painted\r\n\r\n")}),
        }
    )


@pytest.fixture
def account(server: ScriptedServer, tmp_path: Path) -> Path:
    config = account_file(tmp_path, server, "u1")
    run(config)
    return config


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def references(self) -> list[str]:
        """What was found, in the order in which it was printed."""
        return [each["reference"] for account in self.document["accounts"] for each in account["found"]]


@pytest.fixture
def archiver(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: str | Path) -> Done:
        capsys.readouterr()
        code = invoke([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


Archiver = Callable[..., Done]


def octets_of(*arguments: str | Path) -> tuple[int, bytes, str]:
    """What `archiver show ... --raw` writes, as its own process."""
    done = ended("-m", "pipelines", "show", *map(str, arguments), "--raw")
    return done.returncode, done.stdout, done.stderr.decode()


# -- search ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "references"),
    [
        (["--from", "ZOË"], ["Work/A/4", "INBOX/1"]),
        (["--subject", "MITTAG in der hauptstrasse"], ["Work/A/4", "INBOX/1"]),
        (["--to", "BOB@example"], ["Work/A/4", "INBOX/1"]),
        (["--text", "bob"], ["Work/A/4", "INBOX/2", "INBOX/1"]),
        (["--text", "bob", "--folder", "inbox"], ["INBOX/2", "INBOX/1"]),
        (["--text", "bob", "--folder", "Work/*", "--folder", "Nowhere"], ["Work/A/4"]),
        (["--folder", "Nowhere"], []),
        (["--text", "bob", "--since", "2020-01-02", "--before", "2020-01-20"], ["INBOX/2"]),
        (["--since", "2020-01-20T12:00+00:00"], ["Work/A/4"]),
        (["--since", "2020-02"], []),
        (["--larger", "0.2M"], ["INBOX/8"]),
        (["--smaller", "1"], ["INBOX/4"]),
        (["--flag", "seen"], ["INBOX/2", "INBOX/1"]),
        (["--flag", "$Forwarded"], ["Work/A/4"]),
        (["--text", "zoë", "--unflagged", "\\Seen"], ["Work/A/4"]),
        (["--message-id", "1@example.org"], ["Work/A/4", "INBOX/1"]),
        (["--limit", "1"], ["Work/A/4"]),
    ],
)
def test_what_is_found(archiver: Archiver, account: Path, asked: list[str], references: list[str]) -> None:
    done = archiver("search", account, *asked, "--json")

    assert (done.code, done.err) == (0, "")
    assert done.references == references


def test_what_is_shown_of_a_message(archiver: Archiver, account: Path) -> None:
    done = archiver("search", account, "--flag", "$forwarded", "--json")

    (result,) = done.document["accounts"]
    assert (done.document["format"], result["more"], result["unindexed"], result["note"]) == (
        "archiver-search/1", False, 0, None,
    )  # fmt: skip
    assert result["file"].endswith(".toml")
    assert result["found"] == [
        {
            "reference": "Work/A/4",
            "folder": "Work/A",
            "uidvalidity": 8,
            "uid": 4,
            "digest": hashlib.sha256(LUNCH).hexdigest(),
            "size": len(LUNCH),
            "arrived": "2020-01-20T12:00:00Z",
            "internaldate": "20-Jan-2020 12:00:00 +0000",
            "flags": ["$Forwarded"],
            "message_id": "<1@example.org>",
            "present": True,
            "gone_at": None,
            "headers": {
                "sender": "Zoë <zoe@example.org>",
                "recipients": "Bob <bob@example.org>",
                "subject": "Mittag in der Hauptstraße",
                "sent": "2026-01-05T01:30:00Z",
            },
        }
    ]


def test_a_table_for_people(archiver: Archiver, account: Path) -> None:
    done = archiver("search", account, "--from", "bob")

    arrived = datetime.fromisoformat("2020-01-02T12:00:00+00:00").astimezone()
    heading, row, total = done.out.splitlines()
    assert heading.split() == ["arrived", "from", "subject", "size", "flags", "message"]
    assert row.split() == [
        *f"{arrived:%Y-%m-%d %H:%M}".split(), "bob@example.org", "Photos", str(len(PHOTOS)), "B", "Seen", "INBOX/2",
    ]  # fmt: skip
    assert (total, done.code, done.err) == ("1 found", 0, "")


def test_nothing_found_is_an_answer(archiver: Archiver, account: Path) -> None:
    done = archiver("search", account, "--from", "nobody")

    assert (done.code, done.out, done.err) == (0, "nothing found\n", "")


def test_nothing_found_in_an_archive_that_lacks_mail(
    archiver: Archiver, account: Path, server: ScriptedServer
) -> None:
    """Folders that were not searched, or in which something was found, are no reason to say so."""
    server.folders[b"Later"] = ScriptedFolder(10, {1: message(b"Subject: late\r\n\r\n")})
    server.on(b"EXAMINE", lambda line, tag, _: tag + b" NO [SERVERBUG] not today\r\n" if b"Later" in line else None)
    run(account, expect=3)

    done = archiver("search", account, "--subject", "late")
    assert (done.code, done.out) == (0, "nothing found\n")
    said = (
        'u1: the archive is not complete: 1 folder was not read to the end ("Later"); `archiver run` goes on there'
    )
    assert said in done.err
    assert archiver("search", account, "--subject", "late", "--folder", "Work/*").err == ""
    assert archiver("search", account, "--from", "bob").err == ""
    assert archiver("search", account, "--json").document["accounts"][0]["unfinished"] == ["Later"]


def test_a_text_that_is_given_as_a_path(archiver: Archiver, account: Path) -> None:
    done = archiver("search", account, "minutes of May")

    assert (done.code, done.out) == (2, "")
    assert '"minutes of May" is no account file and no folder of them' in done.err
    assert f"`archiver search {account} --text 'minutes of May'`" in done.err
    assert "u2.toml: no such file or folder" in archiver("search", account, "u2.toml").err


def test_more_than_the_limit_is_reported(archiver: Archiver, account: Path) -> None:
    done = archiver("search", account, "--limit", "2")

    assert "only the newest 2 are shown; --limit shows more" in done.out
    assert archiver("search", account, "--limit", "2", "--json").document["accounts"][0]["more"]


def test_what_a_message_says_cannot_paint_the_terminal(archiver: Archiver, account: Path) -> None:
    for line in (["search", account], ["search", account, "--json"], ["show", account, "INBOX/3"]):
        done = archiver(*line)
        assert done.code == 0
        assert not {"\x1b", "\x00", "\u202e", "\x07"} & set(done.out + done.err)
    assert archiver("show", account, "\\x1b[31mred/1", "--json").document["fields"] == [["Subject", "painted"]]


def test_what_is_gone_is_found_if_asked_for(archiver: Archiver, account: Path, server: ScriptedServer) -> None:
    del server.folders[b"INBOX"].messages[2]
    server.folders[b"INBOX"].vanished[2] = 2
    server.folders[b"Work/A"] = ScriptedFolder(88, {1: message(b"Subject: new\r\n\r\n")})
    run(account)

    assert archiver("search", account, "--text", "bob", "--json").references == ["INBOX/1"]
    done = archiver("search", account, "--text", "bob", "--vanished", "--json")

    digest = hashlib.sha256(LUNCH).hexdigest()[:16]
    assert done.references == [digest, "INBOX/2", "INBOX/1"]
    of_old_epoch, vanished, present = done.document["accounts"][0]["found"]
    assert (of_old_epoch["folder"], of_old_epoch["present"], vanished["present"]) == ("Work/A", False, False)
    assert (vanished["gone_at"] is not None, present["gone_at"]) == (True, None)
    for reference, octets in ((digest, LUNCH), ("INBOX/2", PHOTOS)):
        assert octets_of(account, reference) == (0, octets, "")


def test_one_bad_account_stops_only_itself(archiver: Archiver, account: Path, server: ScriptedServer) -> None:
    account_file(account.parent, server, "u2", archive__path=str(account.parent / "none"))

    done = archiver("search", account, account.with_name("u2.toml"), "--from", "bob")

    assert done.code == 2
    assert "u2: " in done.err
    assert "there is no archive here yet" in done.err
    assert "INBOX/2" in done.out


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--since", "yesterday", '--since: "yesterday" is not a date'),
        ("--before", "2026-02-30", '--before: "2026-02-30" is not a date'),
        ("--larger", "big", '--larger: "big" is not a size'),
        ("--smaller", "-1", '--smaller: "-1" is not a size'),
        ("--limit", "0", "limit"),
    ],
)
def test_a_mistake_is_one_line(archiver: Archiver, account: Path, option: str, value: str, said: str) -> None:
    done = archiver("search", account, option, value)

    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert said in done.err


def test_an_index_is_made_at_the_first_search_and_may_be_removed(
    archiver: Archiver, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("search", account, "--text", "bob", "--json")
    index = archive_of(account) / "search.sqlite"
    without = archiver(*line)
    assert not index.exists()
    monkeypatch.setattr("archiver.catalog.sqlite.search.messages._WORTH_INDEXING", 1)
    monkeypatch.setattr("pipelines.cli.search._TAKES_LONG", 1)

    first = archiver(*line)

    assert (first.out, "indexing the texts of 9 headers once" in first.err) == (without.out, True)
    assert (index.stat().st_mode, index.with_name("search.sqlite.lock").exists()) == (0o100600, False)
    again = archiver(*line)
    assert (again.out, again.err) == (without.out, "")
    assert archiver("rebuild", account).code == 0
    assert (archiver(*line).out, archiver("verify", account, "--offline").code) == (without.out, 0)
    index.unlink()
    assert archiver(*line).out == without.out
    assert index.exists()


# -- archives from before headers were kept ----------------------------------------------------------------------


@pytest.fixture
def older(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account whose journal knows no headers, with a vanished message."""
    config = account_file(tmp_path, server, "u1")
    with monkeypatch.context() as before:
        before.setattr("archiver.archive.scanned.headers_of", lambda header: None)
        run(config)
    del server.folders[b"INBOX"].messages[2]
    server.folders[b"INBOX"].vanished[2] = 2
    run(config)
    return config


def test_an_older_archive_is_indexed_once(archiver: Archiver, older: Path) -> None:
    segments = journal_files(archive_of(older))

    first = archiver("search", older, "--text", "BOB", "--vanished", "--json")

    assert first.references == ["Work/A/4", "INBOX/2", "INBOX/1"]
    assert "9 messages have no indexed headers yet: reading them once" in first.err
    assert journal_files(archive_of(older))[: len(segments)] == segments
    again = archiver("search", older, "--text", "BOB", "--vanished", "--json")
    assert (again.out, again.err) == (first.out, "")
    assert len(journal_files(archive_of(older))) == len(segments) + 1
    assert_whole(archive_of(older))


def test_what_was_indexed_is_in_the_journal(archiver: Archiver, older: Path) -> None:
    found = archiver("search", older, "--json").out
    before = archive_state(archive_of(older))

    assert archiver("rebuild", older).code == 0

    again = archiver("search", older, "--json")
    assert (again.out, again.err) == (found, "")
    assert archive_state(archive_of(older)).messages == before.messages
    assert archiver("verify", older, "--offline").code == 0


def test_indexing_that_is_stopped_goes_on_where_it_was(
    archiver: Archiver, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver.upkeep.index_headers._AT_ONCE", 4)
    with monkeypatch.context() as stopping:
        looked = itertools.count(1)

        def check() -> None:
            if next(looked) > 7:
                raise Interrupted(signal.SIGTERM)

        stopping.setattr(STOP, "check", check)
        assert archiver("search", older, "--text", "bob").code == 128 + signal.SIGTERM

    done = archiver("search", older, "--text", "bob", "--vanished", "--json")

    assert done.references == ["Work/A/4", "INBOX/2", "INBOX/1"]
    assert "5 messages have no indexed headers yet" in done.err


def test_a_crash_between_journal_and_catalog_is_caught_up(
    archiver: Archiver, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as crashing:
        crashing.setattr(SqlCatalog, "apply", lambda *_: 1 / 0)
        assert archiver("search", older, "--text", "bob").code == 1
    segments = journal_files(archive_of(older))

    done = archiver("search", older, "--text", "bob", "--json")

    assert done.references == ["Work/A/4", "INBOX/1"]
    assert journal_files(archive_of(older)) == segments
    assert archiver("verify", older, "--offline").code == 0


def test_while_another_run_works_what_is_indexed_is_searched(
    archiver: Archiver, older: Path, server: ScriptedServer
) -> None:
    server.folders[b"INBOX"].messages[9] = message(b"From: bob\r\n\r\nnew", day=9)
    run(older)
    with (archive_of(older) / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        done = archiver("search", older, "--from", "bob")

    assert (done.code, "INBOX/9" in done.out, "1 found" in done.out) == (0, True, True)
    assert (
        "9 messages are not indexed yet and were not searched by header: another run holds the account's lock"
        in done.err
    )


def test_a_message_that_cannot_be_read_stops_only_itself(archiver: Archiver, older: Path) -> None:
    (lost,) = (archive_of(older) / "Maildir" / "cur").glob("*U3.*")
    lost.unlink()

    done = archiver("search", older, "--text", "bob")

    assert (done.code, "2 found" in done.out) == (0, True)
    assert (
        "1 message is not indexed yet and was not searched by header: 1 cannot be read; `archiver verify`"
        in done.err
    )


@pytest.mark.parametrize("layout", ["objects", "packs"])
def test_an_archive_in_a_bucket_is_searched_and_shown_alike(
    archiver: Archiver, server: ScriptedServer, gateway: Endpoint, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, layout: str,
) -> None:  # fmt: skip
    config = bucket_account(tmp_path, server, "u1", gateway, s3={"layout": layout})
    with monkeypatch.context() as before:
        before.setattr("archiver.archive.scanned.headers_of", lambda header: None)
        run(config)

    done = archiver("search", config, "--text", "bob", "--json")

    assert (done.code, done.references) == (0, ["Work/A/4", "INBOX/2", "INBOX/1"])
    assert "9 messages have no indexed headers yet" in done.err
    again = archiver("search", config, "--text", "bob", "--json")
    assert (again.out, again.err) == (done.out, "")
    parts = archiver("show", config, "INBOX/2", "--json").document["structure"]["parts"]
    assert [each["type"] for each in parts] == ["text/plain", "image/png"]
    assert octets_of(config, "INBOX/2") == (0, PHOTOS, "")


# -- show --------------------------------------------------------------------------------------------------------


def test_a_message_as_people_see_it(archiver: Archiver, account: Path) -> None:
    done = archiver("show", account, "INBOX/2")

    assert (done.code, done.err) == (0, "")
    header, facts, parts = done.out.split("\n\n", 2)
    assert header.splitlines() == [
        "From: bob@example.org",
        "Subject: Photos",
        "and 2 more header fields; --json or --raw shows them",
    ]
    assert [line.split("  ")[-1].strip() for line in facts.splitlines()] == [
        "INBOX, uid 2, uidvalidity 7, present",
        "02-Jan-2020 12:00:00 +0000",
        "\\Seen",
        f"{len(PHOTOS)} bytes",
        hashlib.sha256(PHOTOS).hexdigest(),
        next((archive_of(account) / "Maildir" / "cur").glob("*U2.*")).relative_to(archive_of(account)).as_posix(),
    ]
    assert parts.splitlines() == [
        f"multipart/mixed  {len(PHOTOS) - PHOTOS.index(b'preamble')} B",
        "├── text/plain  utf-8  5 B",
        '└── image/png  base64  4 B  "Grüße.png"',
    ]


def test_a_message_as_a_document(archiver: Archiver, account: Path) -> None:
    document = archiver("show", account, "inbox/1", "--json").document

    assert (document["format"], document["reference"], document["exit_code"]) == ("archiver-show/1", "INBOX/1", 0)
    assert [each["reference"] for each in document["also"]] == ["Work/A/4"]
    assert document["fields"][:3] == [
        ["From", "Zoë <zoe@example.org>"],
        ["To", "Bob <bob@example.org>"],
        ["Subject", "Mittag in der Hauptstraße"],
    ]
    assert document["structure"] == {
        "type": "text/plain", "charset": None, "encoding": None, "filename": None, "size": 6, "parts": [],
    }  # fmt: skip


def test_every_octet_comes_out(account: Path) -> None:
    for uid, octets in enumerate(ODD, 1):
        assert octets_of(account, f"INBOX/{uid}") == (0, octets, "")
    assert octets_of(account, hashlib.sha256(PHOTOS).hexdigest()[:8].upper()) == (0, PHOTOS, "")


def test_a_reader_that_has_seen_enough_is_no_error(account: Path) -> None:
    line = [sys.executable, "-m", "pipelines", "show", str(account), "INBOX/8", "--raw"]
    with subprocess.Popen(line, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as show:
        assert show.stdout is not None
        assert show.stderr is not None
        assert show.stdout.read(10) == b"x" * 10
        show.stdout.close()
        assert show.stderr.read() == b""
    assert show.returncode == 0


def test_octets_that_are_not_those_that_were_stored(account: Path) -> None:
    (file,) = (archive_of(account) / "Maildir" / "cur").glob("*U1.*")
    file.write_bytes(LUNCH.replace(b"body", b"bodY"))

    code, octets, said = octets_of(account, "INBOX/1")

    assert (code, octets) == (6, LUNCH.replace(b"body", b"bodY"))
    assert f"{file.name}: its bytes have the digest" in said


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("INBOX/99", "INBOX/99: no such message in the archive"),
        ("Nowhere/1", "no such message"),
        ("deadbeef", "no such message"),
        ("dead", "is neither FOLDER/UID nor 8 or more hex digits"),
        ("INBOX", "is neither FOLDER/UID"),
        ("INBOX/\x1b[31m", "is neither FOLDER/UID"),
    ],
)
def test_a_reference_that_names_nothing(archiver: Archiver, account: Path, reference: str, said: str) -> None:
    done = archiver("show", account, reference)

    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert said in done.err
    assert "\x1b" not in done.err


def test_a_reference_that_names_two_messages(archiver: Archiver, server: ScriptedServer, tmp_path: Path) -> None:
    first, second = b"91f8b1ee", b"c1d27dd7"
    server.folders[b"A\xff"] = ScriptedFolder(1, {1: message(first)})
    server.folders["Aÿ".encode()] = ScriptedFolder(1, {1: message(second)})
    config = account_file(tmp_path, server, "u1")
    run(config)

    done = archiver("show", config, "Aÿ/1")

    assert done.code == 2
    digests = sorted(hashlib.sha256(each).hexdigest()[:16] for each in (first, second))
    assert f"Aÿ/1: matches 2 messages: {', '.join(digests)}" in done.err
    assert octets_of(config, digests[0])[0] == 0


def test_show_takes_one_account_and_one_form(archiver: Archiver, account: Path) -> None:
    assert archiver("show", account.parent, "INBOX/1").code == 2
    assert "contradict" in archiver("show", account, "INBOX/1", "--raw", "--json").err


def test_the_reference_is_whole_on_a_narrow_terminal(
    archiver: Archiver, server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`show` takes it; what is too long for the line is the subject."""
    monkeypatch.setenv("COLUMNS", "80")
    long = b"From: %s@example.org\r\nSubject: %s\r\n\r\nx\r\n" % (b"someone" * 9, b"word " * 60)
    server.folders[b"INBOX"].add(ScriptedMessage(long, ("\\Seen", "\\Answered", "$Forwarded", "a-long-keyword")))
    config = account_file(tmp_path, server, "u1")
    run(config)
    (row,) = (line for line in archiver("search", config, "--from", "someone").out.splitlines() if "some" in line)
    uid = max(server.folders[b"INBOX"].messages)
    assert row.split()[-1] == f"INBOX/{uid}"
    assert f"{len(long)} B" in row
    assert len(row) <= 80
