"""`archiver search --body`, `--attachment`, `--has`: what messages say, read after a run."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.errors import Interrupted
from archiver.upkeep import index_contents
from pipelines.cli import search
from pipelines.cli.main import invoke
from pipelines.stop import STOP
from tests.accounts import account_file, archive_of, archive_state
from tests.buckets import bucket_account, forget_locally
from tests.documents import docx, pdf
from tests.servers.dovecot import Dovecot
from tests.servers.s3_endpoint import Endpoint
from tests.servers.wire import Append

DATE = "05-Jan-2026 10:00:00 +0000"
MEETING = (
    "Subject: Monday\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nWir treffen uns in der Straße.\r\n".encode()
)
INVOICE = (
    b"Subject: Yours\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n<p>Please <b>p</b>ay \x1b[31m5&euro;<script>no</script>\r\n"
    b"--b\r\nContent-Type: application/pdf\r\n"
    b"Content-Disposition: attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf\r\n\r\n%PDF\r\n--b--\r\n"
)


OFFER = (
    b"Subject: Offer\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: application/octet-stream; name=offer.docx\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(docx("Wir bieten Kränze"))
    + b"--b\r\nContent-Type: application/pdf; name=list.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(pdf("twenty wreaths"))
    + b"--b--\r\n"
)


@pytest.fixture
def mailbox(dovecot: Dovecot) -> str:
    user = dovecot.fresh_user()
    messages = [Append(each, (), DATE) for each in (MEETING, INVOICE)]
    dovecot.append_many(user, "INBOX", messages)
    return user


@pytest.fixture
def archiver(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = invoke([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


Archiver = Callable[..., tuple[int, str, str]]


def hits(archiver: Archiver, config: Path, *asked: str) -> list[tuple[str, str | None]]:
    """The references and snippets of what is found."""
    code, out, _ = archiver("search", config, *asked, "--json")
    assert code == 0
    document: dict[str, Any] = json.loads(out)
    return [(each["reference"], each.get("snippet")) for each in document["accounts"][0]["found"]]


def test_what_a_run_brings_can_be_searched_at_once(
    archiver: Archiver, dovecot: Dovecot, mailbox: str, tmp_path: Path
) -> None:
    config = account_file(tmp_path, dovecot, mailbox, search__index="text")
    assert archiver("run", config)[0] == 0

    assert hits(archiver, config, "--body", "strasse") == [("INBOX/1", "…uns in der Straße.")]
    assert hits(archiver, config, "--body", "pay") == [("INBOX/2", "Please pay [31m5€")]
    assert hits(archiver, config, "--body", "€") == [("INBOX/2", "…pay [31m5€")]
    assert hits(archiver, config, "--attachment", "GRÜSSE") == [("INBOX/2", "Grüße.pdf")]
    assert hits(archiver, config, "--has", "attachment", "--subject", "yours") == [("INBOX/2", "Grüße.pdf")]
    assert hits(archiver, config, "--body", "no") == hits(archiver, config, "--body", "pay", "--from", "x") == []
    assert hits(archiver, config) == [("INBOX/2", None), ("INBOX/1", None)]
    _, out, err = archiver("search", config, "--body", "TREFFEN")
    heading, row, place, total = out.splitlines()
    assert (row.split()[2], row.split()[-1], place.strip(), total, err) == (
        "Monday", "INBOX/1", "Wir treffen uns in der Straße.", "1 found", "",
    )  # fmt: skip
    assert heading.split()[-1] == "message"

    dovecot.append_many(mailbox, "INBOX", [Append(MEETING.replace(b"Wir", b"Alle"), (), DATE)])
    assert archiver("archive", config, "--quiet") == (0, "", "")

    assert [each for each, _ in hits(archiver, config, "--body", "treffen")] == ["INBOX/3", "INBOX/1"]


def test_without_the_index_it_says_how_to_get_it(
    archiver: Archiver, dovecot: Dovecot, mailbox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = account_file(tmp_path, dovecot, mailbox)
    assert archiver("run", config)[0] == 0
    assert not (archive_of(config) / "bodies.sqlite").exists()
    for asked in (["--body", "x"], ["--attachment", "x"], ["--has", "attachment"], ["--index"]):
        code, out, err = archiver("search", config, *asked)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert f"{config}: " in err
        assert 'set index = "text" in its table [search]; then `archiver search' in err

    account_file(tmp_path, dovecot, mailbox, search__index="text")
    monkeypatch.setattr(search, "_READ_FIRST", 1)
    code, out, err = archiver("search", config, "--body", "treffen")
    assert (code, "nothing found" in out) == (0, True)
    assert f"2 messages are not in the index of texts: `archiver search --index {config}` or the next run" in err
    before = archive_state(archive_of(config))
    _, out, _ = archiver("search", config, "--index")
    assert out == f"{config.stem}: 2 messages read into the index of texts\n"
    assert archive_state(archive_of(config)) == before
    assert archiver("verify", config, "--offline")[0] == 0
    assert [each for each, _ in hits(archiver, config, "--body", "treffen")] == ["INBOX/1"]


def test_what_is_read_after_a_run_waits_for_other_work(
    archiver: Archiver, dovecot: Dovecot, mailbox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = account_file(tmp_path, dovecot, mailbox, search__index="text")
    seen, read, before = [], index_contents.index_contents, os.getpriority(os.PRIO_PROCESS, 0)

    def noted(*arguments: Any) -> Any:
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        return read(*arguments)

    monkeypatch.setattr(index_contents, "index_contents", noted)
    assert archiver("run", config)[0] == 0
    assert (seen, os.getpriority(os.PRIO_PROCESS, 0)) == ([max(before, 10)], before)


def test_a_run_that_is_stopped_while_it_reads_has_ended_well(
    archiver: Archiver, dovecot: Dovecot, mailbox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so it has if nothing can be read at all."""
    config = account_file(tmp_path, dovecot, mailbox, search__index="text")
    with monkeypatch.context() as stopping:

        def stopped(*_: object) -> None:
            assert archiver_is_unlocked(config)
            raise Interrupted(signal.SIGTERM)

        stopping.setattr("archiver.upkeep.index_contents.index_contents", stopped)
        assert archiver("run", config)[0] == 0
    (archive_of(config) / "bodies.sqlite").mkdir()
    code, _, err = archiver("run", config)
    assert (code, "2 messages are not in the index of texts" in err) == (0, True)
    (archive_of(config) / "bodies.sqlite").rmdir()

    assert [each for each, _ in hits(archiver, config, "--body", "treffen")] == ["INBOX/1"]
    assert STOP.signal is None


def archiver_is_unlocked(config: Path) -> bool:
    """Whether another run could begin."""
    import fcntl

    with (archive_of(config) / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


@pytest.mark.parametrize("layout", ["objects", "packs"])
def test_an_archive_in_a_bucket_needs_no_local_files(
    archiver: Archiver, dovecot: Dovecot, mailbox: str, gateway: Endpoint, tmp_path: Path, layout: str
) -> None:
    config = bucket_account(tmp_path, dovecot, mailbox, gateway, s3={"layout": layout}, search__index="text")
    assert archiver("run", config)[0] == 0
    assert [each for each, _ in hits(archiver, config, "--body", "treffen")] == ["INBOX/1"]
    forget_locally(config)

    assert [each for each, _ in hits(archiver, config, "--attachment", "grüße")] == ["INBOX/2"]
    assert [each for each, _ in hits(archiver, config, "--body", "ay")] == ["INBOX/2"]


def test_attached_documents_are_searched_once_that_is_asked_for(
    archiver: Archiver, dovecot: Dovecot, mailbox: str, tmp_path: Path
) -> None:
    dovecot.append_many(mailbox, "INBOX", [Append(OFFER, (), DATE)])
    config = account_file(tmp_path, dovecot, mailbox, search__index="text")
    assert archiver("run", config)[0] == 0
    assert hits(archiver, config, "--body", "kränze") == []

    account_file(tmp_path, dovecot, mailbox, search__index="text", search__documents=True)
    code, out, _ = archiver("search", config, "--index")

    assert (code, "3 messages read into the index" in out) == (0, True)
    assert hits(archiver, config, "--body", "KRÄNZE") == [("INBOX/3", "Wir bieten Kränze twenty wreaths")]
    assert [each for each, _ in hits(archiver, config, "--body", "wreath", "--attachment", "list.pdf")] == [
        "INBOX/3"
    ]

    dovecot.append_many(mailbox, "INBOX", [Append(OFFER.replace(b"Offer", b"Again"), (), DATE)])
    assert archiver("run", config)[0] == 0
    assert [each for each, _ in hits(archiver, config, "--body", "wreath")] == ["INBOX/4", "INBOX/3"]


def test_documents_are_refused_without_an_index_of_texts(
    archiver: Archiver, dovecot: Dovecot, tmp_path: Path
) -> None:
    config = account_file(tmp_path, dovecot, "u1", search__documents=True)

    code, _, err = archiver("check", config)

    assert (code, 'search: documents = true and index = "text" go together; write both' in err) == (2, True)
