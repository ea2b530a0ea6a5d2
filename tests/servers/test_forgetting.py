"""What is forgotten is gone from all of an archive, and never comes back, also while the source shows it."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from archiver.account.upkeep import forgetting
from archiver.catalog.sqlite.search import messages
from pipelines.cli.main import invoke
from tests.accounts import CATALOG, account_file, archive_of, assert_whole, command, mail, run
from tests.buckets import assert_bucket_whole, bucket_account, forget_locally, lease_has_run_out, root_of
from tests.faults.replays import destination, mailbox_of
from tests.servers.dovecot import Dovecot
from tests.servers.s3_endpoint import Endpoint
from tests.servers.wire import Append
from tests.traces import traces, traces_there

SECRET = (
    b"From: Zaphod Beeblebrox <zaphod@heartofgold.example>\r\nTo: alice@example.org\r\n"
    b"Subject: Xylophonkonzert\r\nMessage-ID: <quuxplugh@heartofgold.example>\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nThe word is wombatquark.\r\n"
)
WORDS = (b"zaphod", b"heartofgold", b"xylophonkonzert", b"quuxplugh", b"wombatquark")
DIGEST = hashlib.sha256(SECRET).hexdigest()
REASON = ("--reason", "request of 2026-11-02", "--yes")


class Person:
    """A user of a Dovecot whose mail is archived, and goes to a second mailbox."""

    def __init__(self, dovecot: Dovecot, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
        self.dovecot, self.capsys = dovecot, capsys
        self.user, self.new = dovecot.fresh_user(), dovecot.fresh_user()
        keys = {**destination(directory, dovecot, self.new), "search__index": "text"}
        self.config = account_file(directory, dovecot, self.user, **keys)
        self.archive = archive_of(self.config)
        dovecot.create(self.user, "Work")
        for folder, first in (("INBOX", 0), ("Work", 10)):
            dovecot.append_many(self.user, folder, [Append(mail(first + n), ("\\Seen",)) for n in range(3)])
            dovecot.append_many(self.user, folder, [Append(SECRET, ("\\Flagged",))])
        dovecot.append_many(self.user, "INBOX", [Append(mail(4))])

    def __call__(self, verb: str, *options: str | Path, expect: int = 0) -> dict[str, Any]:
        self.capsys.readouterr()
        code = invoke([verb, str(self.config), *map(str, options), "--json"])
        out, err = self.capsys.readouterr()
        assert code == expect, out + err
        document: dict[str, Any] = json.loads(out)
        return document.get("accounts", [document])[0]  # type: ignore[no-any-return]

    def is_without(self, *, forgotten: tuple[int, int] = (1, 1)) -> None:
        """The archive is whole without the message: for every command, and for a catalog made again."""
        self("verify")
        assert_whole(self.archive)
        assert self("search", "--text", "zaphod", "--vanished")["found"] == []
        self("rebuild")
        assert traces(self.archive, *WORDS) == []
        ran = run(self.config)
        counts = [ran.folder(name)["forgotten"] for name in ("INBOX", "Work")]
        assert counts == list(forgotten)
        assert ran.report["status"] == "complete"
        self("repair")
        self("verify")
        assert traces(self.archive, *WORDS) == []


@pytest.fixture
def person(dovecot: Dovecot, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Person:
    return Person(dovecot, capsys, tmp_path)


def trigrams(index: Path, *wanted: str, table: str = "texts") -> list[str]:
    """Those of these parts of words that an index has."""
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as connection:
        connection.execute(f"CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, {table}, row)")
        return [
            each
            for each in wanted
            if connection.execute("SELECT 1 FROM temp.terms WHERE term = ?", (each,)).fetchone()
        ]


def test_a_message_is_gone_from_every_place_and_does_not_come_back(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_WORTH_INDEXING", 1)
    run(person.config)
    person("search", "--index")
    person("search", "--text", "zaphod")
    assert trigrams(person.archive / "search.sqlite", "pho") == ["pho"]
    assert trigrams(person.archive / "bodies.sqlite", "tqu", "mes", table="parts") == ["tqu", "mes"]
    person("rebuild")  # leaves the catalog that it replaced
    before = {path.split("/")[0] for path in traces(person.archive, *WORDS)}
    assert before >= {"Maildir", "journal", CATALOG, "bodies.sqlite"}
    assert any(path.startswith(f"{CATALOG}.before-") for path in traces(person.archive, *WORDS))
    listed = person("forget", DIGEST[:16])
    assert listed["dry_run"]
    assert [place["folder"] for place in listed["messages"][0]["places"]] == ["INBOX", "Work"]
    assert (listed["messages"][0]["subject"], listed["copies"]) == ("Xylophonkonzert", 2)
    assert "2 copies would stay at the destination (--also-at-destination, also later" in listed["message"]
    assert {path.split("/")[0] for path in traces(person.archive, *WORDS)} == before
    done = person("forget", DIGEST[:16], "--also-at-destination", *REASON)
    assert (done["number"], done["kept"]) == (1, [])
    assert done["message"].endswith("; 2 copies removed from the destination")
    assert not (person.archive / "search.sqlite").exists()
    assert trigrams(person.archive / "bodies.sqlite", "tqu", "mes", table="parts") == ["mes"]
    assert traces(person.archive, *WORDS) == []
    there = mailbox_of(person.dovecot, person.new)
    assert DIGEST not in {message[0] for folder in there.values() for message in folder}
    assert sum(map(len, there.values())) == 7
    person.is_without()
    assert mailbox_of(person.dovecot, person.new) == there
    out = person.archive.with_name("out")
    assert invoke(["export", str(person.config), str(out), "--to", "eml", "--include-vanished"]) == 0
    past = person.archive.with_name("past")
    assert invoke(["export", str(person.config), str(past), "--to", "mbox", "--as-of", "2099-01-01"]) == 0
    assert traces(out, *WORDS) == traces(past, *WORDS) == []
    text = (person.archive / "forgotten" / "1.json").read_text()
    document = json.loads(text)
    assert (document["reason"], document["messages"][0]["digest"]) == ("request of 2026-11-02", DIGEST)
    assert [place["folder"] for place in document["messages"][0]["places"]] == ["INBOX", "Work"]
    segments = [gzip.decompress(each.read_bytes()) for each in (person.archive / "journal").iterdir()]
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert any(f'"listed":"{digest}"'.encode() in segment for segment in segments)


@pytest.mark.parametrize("older", [False, True])
def test_copies_that_cannot_be_removed_now_are_named_and_removed_later(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    """The archive forgets all the same; a destination that is not reached is asked again by --finish. An older
    journal does not say what the copies are known by."""
    if older:
        monkeypatch.setattr(forgetting, "known_by", lambda *_: ())
    run(person.config)
    dovecot, user = person.dovecot, person.user
    keys = {**destination(tmp_path, dovecot, person.new), "search__index": "text", "destination__attempts": 1}
    account_file(tmp_path, dovecot, user, **{**keys, "destination__password": {"env": "NO_SUCH_PASSWORD"}})
    done = person("forget", DIGEST[:16], "--also-at-destination", *REASON, expect=3)
    assert [each["what"] for each in done["kept"]] == [f"{dovecot.host}: the copies"]
    assert traces(person.archive, *WORDS) == []
    assert (
        sum(message[0] == DIGEST for folder in mailbox_of(dovecot, person.new).values() for message in folder) == 2
    )
    account_file(tmp_path, dovecot, user, **keys)
    run(person.config)
    assert person("forget", "--finish")["kept"] == []
    assert (
        sum(message[0] == DIGEST for folder in mailbox_of(dovecot, person.new).values() for message in folder) == 0
    )
    person.is_without()
    assert person("forget", "--finish")["finished"] == []


_KILLED_BEFORE_THE_COPIES = """
import os, signal
from archiver.account.upkeep import copies
copies.erase_copies = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
from pipelines.cli.main import main
main()
"""


def test_copies_that_a_killed_forget_left_are_removed_when_it_is_said_again(person: Person) -> None:
    """Another command ended it in the archive, but at no server, and then the archive has no such message."""
    run(person.config)
    said = (DIGEST[:16], "--also-at-destination", *REASON)
    program = ("-c", _KILLED_BEFORE_THE_COPIES)
    assert command("forget", person.config, *said, program=program, expect=None).exit_code == -signal.SIGKILL
    run(person.config)

    def copies() -> int:
        there = mailbox_of(person.dovecot, person.new)
        return sum(message[0] == DIGEST for folder in there.values() for message in folder)

    assert copies() == 2
    assert person("forget", *said)["finished"] == [1]
    assert copies() == 0
    chosen = ("--text", "zaphod", *said[1:])
    assert person("forget", *chosen)["finished"] is None
    person.is_without()


def test_said_again_it_means_no_message_that_an_earlier_epoch_had_under_that_uid(person: Person) -> None:
    """The folder was deleted and made again, and what it had before is in the archive alone."""
    run(person.config)
    server, user = person.dovecot, person.user
    server.delete(user, "Work")
    server.create(user, "Work")
    server.append_many(user, "Work", [Append(mail(21)), Append(mail(22))])
    run(person.config)
    deleted, meant = (hashlib.sha256(mail(number)).hexdigest() for number in (10, 21))
    said = ("Work/1", *REASON)
    assert [each["digest"] for each in person("forget", *said)["messages"]] == [meant]
    again = person("forget", *said)
    assert (again["messages"], again["forgotten_before"]) == ([], 1)
    assert "was forgotten on" in person("show", "Work/1", expect=2)["error"]["message"]
    assert person("forget", deleted[:16])["messages"][0]["digest"] == deleted


def test_it_stays_away_in_a_new_epoch_in_another_folder_and_when_it_comes_anew(person: Person) -> None:
    """The same octets under another UID are the same message; so are they after it had left the source."""
    run(person.config)
    person("forget", DIGEST[:16], *REASON)
    dovecot, user = person.dovecot, person.user
    dovecot.bump_uidvalidity(user, "INBOX")
    dovecot.append_many(user, "Work", [Append(SECRET), Append(mail(30))])
    dovecot.create(user, "Copies")
    dovecot.append_many(user, "Copies", [Append(SECRET)])
    ran = run(person.config)
    assert [ran.folder(name)["forgotten"] for name in ("INBOX", "Work", "Copies")] == [1, 2, 1]
    assert traces(person.archive, *WORDS) == []
    dovecot.expunge(user, "Copies", [1])
    dovecot.expunge(user, "Work", [4])
    ran = run(person.config)
    assert [ran.folder(name)["forgotten"] for name in ("INBOX", "Work", "Copies")] == [1, 1, 0]
    person.is_without()
    for reference in (DIGEST[:16], "Work/4"):
        assert "was forgotten on 20" in person("restore", reference, expect=2)["message"]
        again = person("forget", reference, *REASON)
        assert (again["forgotten_before"], again["number"]) == (1, 0)
        assert again["message"].startswith("no message to forget; ")


def test_what_was_only_moved_is_not_forgotten_with_what_is_gone(person: Person) -> None:
    """A message that other folders have stays, unless it is asked for everywhere; and so does one that is held."""
    run(person.config)
    person.dovecot.expunge(person.user, "INBOX", [1, 4])
    run(person.config)
    gone = hashlib.sha256(mail(0)).hexdigest()
    listed = person("forget", "--vanished")
    assert [each["digest"] for each in listed["messages"]] == [gone]
    assert [(each["digest"], each["folder"]) for each in listed["elsewhere"]] == [(DIGEST, "Work")]
    assert [each["digest"] for each in person("forget", "--folder", "INBOX", "--from", "zaphod")["elsewhere"]] == [
        DIGEST
    ]
    assert len(person("forget", "--from", "zaphod")["messages"]) == 1
    assert person("forget", "--vanished", "--older-than", "2d")["messages"] == []
    person("hold", "--reason", "lawsuit", "--address", "a0@example.org")
    held = person("forget", "--vanished", *REASON, expect=3)
    assert [each["digest"] for each in held["held"]] == [gone]
    assert held["messages"] == []
    person("release", "1", "--reason", "settled")
    person("forget", "--vanished", "--everywhere", *REASON)
    assert traces(person.archive, *WORDS, b"message 0") == []
    person.is_without(forgotten=(0, 1))


def test_a_journal_in_which_somebody_else_blotted_something_is_damaged(person: Person) -> None:
    run(person.config)
    originals = person.archive.with_name("originals")
    shutil.copytree(person.archive / "journal", originals)
    person("forget", DIGEST[:16], *REASON)
    changed = [
        path
        for path in sorted((person.archive / "journal").iterdir())
        if (originals / path.name).exists() and (originals / path.name).read_bytes() != path.read_bytes()
    ]
    assert changed
    blotted = changed[0].read_bytes()
    header, *lines = gzip.decompress(blotted).decode().splitlines()
    forged = "\n".join([header, *(line for line in lines if '"fact":"blot"' not in line), ""])
    changed[0].write_bytes(gzip.compress(forged.encode()))
    assert "no later segment says that facts in it were blotted out" in person("verify", expect=6)["journal"]
    changed[0].write_bytes(blotted)
    person("verify")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "which messages? Give REF, --refs, or options"),
        (["INBOX/1", "--from", "x"], "cannot be combined"),
        (["INBOX/1", "--yes"], "no reason was given"),
        (["--finish", "--yes"], "--finish chooses no messages"),
        (["--older-than", "soon"], "must be a number of days"),
        (["INBOX/99"], "no such message in the archive"),
    ],
)
def test_a_mistake_forgets_nothing(person: Person, options: list[str], problem: str) -> None:
    run(person.config)
    before = traces(person.archive, b"message 1")
    code = invoke(["forget", str(person.config), *options])
    assert code == 2
    assert problem in person.capsys.readouterr().err
    assert traces(person.archive, b"message 1") == before


_KILLED = """
import os, signal, sys
from archiver.catalog.sqlite.database import Database
from archiver.journal.recorder import Recorder
from pipelines.cli.main import main
left, begun = [{count}], []
def moment():
    if begun:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
def audited(event, arguments):
    if event in ("os.remove", "os.rename", "os.link"):
        moment()
sys.addaudithook(audited)
write, vacuum = Recorder.write, Database.vacuum
def written(self, facts):
    begun.append(True)
    moment()
    write(self, facts)
    moment()
def vacuumed(self):
    vacuum(self)
    moment()
Recorder.write, Database.vacuum = written, vacuumed
main()
"""


@pytest.mark.lasts(18)
def test_killed_at_any_step_it_is_ended_by_the_next_command(person: Person, tmp_path: Path) -> None:
    """Nothing is half forgotten: it is there as before, or gone as soon as something is done with the archive."""
    run(person.config)
    person("search", "--index")
    whole = tmp_path / "whole"
    shutil.copytree(person.archive, whole)
    outcomes = set()
    for count in range(0, 1000, 3):
        shutil.rmtree(person.archive)
        shutil.copytree(whole, person.archive)
        ended = command(
            "forget", person.config, DIGEST[:16], *REASON, program=("-c", _KILLED.format(count=count)), expect=None
        )
        if ended.exit_code == 0:
            break
        assert ended.exit_code == -signal.SIGKILL, ended.output
        if count % 2:
            person("hold", "--reason", "the next command")
        person("verify", "--offline")
        committed = bool(person("status")["forgotten"])
        outcomes.add(committed)
        assert bool(traces(person.archive, *WORDS)) is not committed
        assert bool(person("search", "--text", "zaphod")["found"]) is not committed
        assert_whole(person.archive)
    assert count > 15
    assert outcomes == {True, False}
    assert traces(person.archive, *WORDS) == []


class InBucket(Person):
    """The same with the archive in a bucket."""

    def __init__(
        self,
        dovecot: Dovecot,
        capsys: pytest.CaptureFixture[str],
        directory: Path,
        endpoint: Endpoint,
        bucket: str,
        **s3: Any,
    ) -> None:
        super().__init__(dovecot, capsys, directory)
        keys = {**destination(directory, dovecot, self.new), "search__index": "text"}
        self.config = bucket_account(directory, dovecot, self.user, endpoint, bucket, s3=s3, **keys)
        self.endpoint, self.bucket = endpoint, bucket

    def traces(self) -> list[str]:
        """Where something of the message is, here and in the bucket."""
        there = traces_there(self.endpoint, self.bucket, root_of(self.config), *WORDS)
        return [*traces(self.archive, *WORDS), *there]


@pytest.mark.parametrize("versioned", [False, True], ids=["plain", "with versions"])
@pytest.mark.parametrize("layout", ["objects", "packs"])
def test_a_message_is_gone_from_a_bucket_with_all_its_versions(
    dovecot: Dovecot,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    gateway: Endpoint,
    layout: str,
    versioned: bool,
) -> None:
    bucket = gateway.fresh_bucket(versioned=versioned)
    person = InBucket(dovecot, capsys, tmp_path, gateway, bucket, layout=layout)
    run(person.config)
    person("search", "--index")
    before = {path.split("/")[0] for path in person.traces()}
    assert before >= {CATALOG, "bodies.sqlite", "journal", "packs" if layout == "packs" else "messages"}
    done = person("forget", DIGEST[:16], "--also-at-destination", *REASON)
    assert done["kept"] == []
    assert person.traces() == []
    person("verify", "--deep")
    assert_bucket_whole(person.config, gateway)
    ran = run(person.config)
    assert [ran.folder(name)["forgotten"] for name in ("INBOX", "Work")] == [1, 1]
    person("repair", "--deep")
    person("rebuild")
    forget_locally(person.config)
    assert person("search", "--text", "message", "--vanished")["found"]
    run(person.config)
    person("verify", "--deep")
    person("gc", "--delete")
    assert_bucket_whole(person.config, gateway)
    assert person.traces() == []


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
@pytest.mark.parametrize("layout", ["objects", "packs"])
def test_what_an_object_lock_keeps_is_listed_with_its_date(
    dovecot: Dovecot,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    gateway: Endpoint,
    layout: str,
    mode: str,
) -> None:
    """It is said, and not hidden: the exit code is 3 until it is gone. It does not come back, and is no damage."""
    lock = {"mode": mode, "days": 1}
    bucket = gateway.fresh_bucket(lock=True)
    person = InBucket(dovecot, capsys, tmp_path, gateway, bucket, layout=layout, object_lock=lock)
    run(person.config)
    done = person("forget", DIGEST[:16], *REASON, expect=3)
    kept = {each["what"].rsplit("/", 1)[-1].rpartition(".")[2] for each in done["kept"]}
    assert kept == {"gz", "pack" if layout == "packs" else "eml"}
    assert all(f"locked ({mode}) until 20" in each["why"] for each in done["kept"])
    assert traces(person.archive, *WORDS) == []
    person("verify", "--deep")
    ran = run(person.config)
    assert ran.folder()["forgotten"] == 1
    assert person("search", "--text", "zaphod", "--vanished")["found"] == []
    assert len(person("status")["forgotten"][0]["kept"]) == len(done["kept"])
    again = person("forget", "--finish", expect=3)
    assert again["finished"] == [1]
    assert {each["what"] for each in again["kept"]} == {each["what"] for each in done["kept"]}
    person("verify", "--deep")


def test_another_machine_forgets_what_this_one_did(
    dovecot: Dovecot, capsys: pytest.CaptureFixture[str], tmp_path: Path, gateway: Endpoint
) -> None:
    """Its catalog has what headers say until it reads in the journal that they are forgotten."""
    bucket = gateway.fresh_bucket()
    person = InBucket(dovecot, capsys, tmp_path, gateway, bucket, layout="packs")
    run(person.config)
    other = tmp_path / "other"
    shutil.copytree(person.archive, other)
    person("forget", DIGEST[:16], *REASON)
    shutil.rmtree(person.archive)
    other.rename(person.archive)
    assert traces(person.archive, *WORDS)
    run(person.config)
    assert person.traces() == []
    person("verify", "--deep")


_KILLED_AT_A_REQUEST = """
import os, signal
from archiver.journal.recorder import Recorder
from archiver.storage.s3.bucket import BotoBucket
from pipelines.cli.main import main
left, begun = [{count}], []
def moment():
    if begun:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
write = Recorder.write
def written(self, facts):
    begun.append(True)
    write(self, facts)
    moment()
Recorder.write = written
for name in ("create", "replace", "forget_versions"):
    def wrapped(self, *arguments, call=getattr(BotoBucket, name)):
        moment()
        done = call(self, *arguments)
        moment()
        return done
    setattr(BotoBucket, name, wrapped)
delete = BotoBucket.delete
def deleted(self, keys):
    for key in list(keys):
        moment()
        yield from delete(self, [key])
        moment()
BotoBucket.delete = deleted
main()
"""


@pytest.mark.lasts(15)
def test_killed_between_requests_to_a_bucket_it_is_ended_by_the_next_command(
    dovecot: Dovecot, capsys: pytest.CaptureFixture[str], tmp_path: Path, gateway: Endpoint
) -> None:
    """Packs are written again before they go, and segments are replaced while older versions are there."""
    bucket = gateway.fresh_bucket(versioned=True)
    person = InBucket(dovecot, capsys, tmp_path, gateway, bucket, layout="packs")
    run(person.config)
    kills = 0
    for count in range(2, 1000, 6):
        secret = SECRET.replace(b"quuxplugh", b"quuxplugh%d" % count)
        dovecot.append_many(person.user, "INBOX", [Append(secret)])
        run(person.config)
        program = ("-c", _KILLED_AT_A_REQUEST.format(count=count))
        digest = hashlib.sha256(secret).hexdigest()
        ended = command("forget", person.config, digest[:16], *REASON, program=program, expect=None)
        word = b"quuxplugh%d@" % count
        if ended.exit_code != 0:
            assert ended.exit_code == -signal.SIGKILL, ended.output
            kills += 1
            lease_has_run_out(person.config, gateway)
        person("verify", "--deep", "--offline")
        assert_bucket_whole(person.config, gateway)
        there = traces_there(gateway, bucket, root_of(person.config), word)
        if ended.exit_code == 0:
            assert there == traces(person.archive, word) == []
            break
        if there:  # it was killed before anything was recorded
            assert person("search", "--message-id", (word + b"heartofgold.example").decode())["found"]
    assert kills > 1
