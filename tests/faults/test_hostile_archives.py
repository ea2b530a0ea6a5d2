"""An archive from somebody else: whatever it holds, nothing outside of it is read or written, and nothing hangs."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, assert_whole, command, run
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

Start = Callable[..., ScriptedServer]


@pytest.fixture
def server(scripted: Start) -> ScriptedServer:
    folders = {}
    for uidvalidity, name in enumerate((b"INBOX", b"Sent"), 1):
        folders[name] = ScriptedFolder(uidvalidity)
        folders[name].add(*(ScriptedMessage(b"Subject: %d\r\n\r\nmail\r\n" % n, ("\\Seen",)) for n in (1, 2)))
    return scripted(folders)


@pytest.fixture
def account(server: ScriptedServer, tmp_path: Path) -> Path:
    config = account_file(tmp_path / "mine", server, "u1")
    run(config)
    return config


def segments(archive: Path) -> list[Path]:
    return sorted(each for each in (archive / "journal").iterdir() if not each.name.startswith("."))


def forge(archive: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change every fact of the journal, and make the chain of its segments fit again."""
    previous = ""
    for file in segments(archive):
        header, *lines = zlib.decompress(file.read_bytes(), wbits=31).decode().splitlines()
        facts = [json.loads(line) for line in lines]
        for fact in facts:
            change(fact)
        first = json.loads(header) | {"previous": previous}
        text = "".join(json.dumps(each) + "\n" for each in (first, *facts))
        octets = zlib.compress(text.encode(), wbits=31)
        file.write_bytes(octets)
        previous = hashlib.sha256(octets).hexdigest()


class TestAFolderThatLeadsOutOfIt:
    @pytest.mark.parametrize(
        ("verb", "directory"),
        [
            ("rebuild", "../../outside"),
            ("rebuild", "/{}/outside"),
            ("rebuild", ".."),
            ("rebuild", "x\0y"),
            ("verify", "/../../outside"),
            ("export", "../../outside"),
        ],
    )
    def test_in_the_journal_is_refused(self, account: Path, tmp_path: Path, directory: str, verb: str) -> None:
        archive = archive_of(account)

        def change(fact: dict[str, object]) -> None:
            if fact["fact"] == "folder" and fact["path"] == ["Sent"]:
                fact["directory"] = directory.format(tmp_path)

        forge(archive, change)
        (archive / "catalog.sqlite").unlink()
        more = ["--to", "maildir", "--path", tmp_path / "exported"] if verb == "export" else []

        ended = command(verb, *more, account, expect=None)

        assert ended.exit_code in (2, 6), ended.output
        assert "Traceback" not in ended.output
        assert not (tmp_path / "outside").exists()
        assert not (tmp_path / "mine" / "outside").exists()

    def test_in_the_catalog_is_refused(self, account: Path, server: ScriptedServer, tmp_path: Path) -> None:
        archive = archive_of(account)
        with closing(sqlite3.connect(archive / "catalog.sqlite")) as catalog, catalog:
            catalog.execute("UPDATE folder SET directory = '/../../outside' WHERE directory <> ''")
        server.folders[b"Sent"].add(ScriptedMessage(b"Subject: new\r\n\r\nmail\r\n"))

        ended = command("run", account, expect=None)

        assert ended.exit_code == 6, ended.output
        assert "is not a folder's directory; the catalog is damaged or forged; `archiver rebuild " in ended.output
        assert not (tmp_path / "mine" / "outside").exists()
        assert not (tmp_path / "outside").exists()


class TestACatalog:
    @pytest.mark.parametrize(
        "forged",
        [
            "UPDATE folder SET path = 'x'",
            "UPDATE message SET flags = 'x'",
            "UPDATE meta SET value = 'x'",
            "DELETE FROM meta",
        ],
    )
    def test_that_cannot_be_read_is_damaged_until_it_is_rebuilt(self, account: Path, forged: str) -> None:
        with closing(sqlite3.connect(archive_of(account) / "catalog.sqlite")) as catalog, catalog:
            catalog.execute(forged)

        ended = command("verify", account, expect=6)

        assert "it is damaged or forged" in ended.output
        assert "`archiver rebuild " in ended.output
        assert "Traceback" not in ended.output
        command("rebuild", account)
        command("verify", account)


class TestALink:
    @pytest.mark.parametrize("verb", ["run", "verify", "rebuild"])
    def test_in_place_of_the_lock_is_not_written_through(self, account: Path, tmp_path: Path, verb: str) -> None:
        victim = tmp_path / "victim"
        victim.write_text("dear diary")
        lock = archive_of(account) / "lock"
        lock.unlink()
        lock.symlink_to(victim)

        ended = command(verb, account, expect=8)

        assert victim.read_text() == "dear diary"
        assert "lock: Too many levels of symbolic links; remove it: the lock has to be a file" in ended.output

    @pytest.mark.parametrize("name", ["unsettled", "Maildir/.Sent/dovecot-keywords", "Maildir/dovecot-uidlist"])
    def test_in_place_of_a_file_of_ours_is_replaced(
        self, account: Path, server: ScriptedServer, tmp_path: Path, name: str
    ) -> None:
        victim = tmp_path / "victim"
        link = archive_of(account) / name
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
        for folder in server.folders.values():
            folder.add(ScriptedMessage(b"Subject: new\r\n\r\nmail\r\n", ("new-keyword",)))

        run(account)

        assert not victim.exists()
        assert not link.is_symlink()
        assert_whole(archive_of(account))

    def test_in_place_of_a_message_is_damage(self, account: Path, tmp_path: Path) -> None:
        message = next((archive_of(account) / "Maildir/cur").iterdir())
        victim = tmp_path / "victim"
        message.rename(victim)
        message.symlink_to(victim)

        ended = command("verify", account, "--json", expect=6)

        assert victim.exists()
        assert '"damaged"' in ended.output


class TestAPipe:
    """Opening one to read waits for a writer."""

    def test_in_place_of_a_segment_is_damage(self, account: Path) -> None:
        archive = archive_of(account)
        segment = segments(archive)[-1]
        segment.unlink()
        os.mkfifo(segment)
        (archive / "catalog.sqlite").unlink()

        assert "is not a regular file" in command("rebuild", account, expect=6).output

    def test_in_place_of_a_message_is_damage(self, account: Path) -> None:
        message = next((archive_of(account) / "Maildir/cur").iterdir())
        message.unlink()
        os.mkfifo(message)

        command("verify", "--deep", account, expect=6)

    @pytest.mark.parametrize("name", ["dovecot-keywords", "dovecot-uidlist", "archiver-folder.json"])
    def test_in_place_of_a_control_file_is_replaced(self, account: Path, server: ScriptedServer, name: str) -> None:
        pipe = archive_of(account) / "Maildir" / name
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        server.folders[b"INBOX"].add(ScriptedMessage(b"Subject: new\r\n\r\nmail\r\n", ("new-keyword",)))

        run(account)

        assert not pipe.is_fifo()
        assert_whole(archive_of(account))


def test_a_segment_that_unpacks_to_gigabytes_is_damage(account: Path) -> None:
    archive = archive_of(account)
    packing = zlib.compressobj(wbits=31)
    piece = b" " * (1 << 20)
    segments(archive)[-1].write_bytes(b"".join(packing.compress(piece) for _ in range(300)) + packing.flush())
    (archive / "catalog.sqlite").unlink()

    assert "it unpacks to more than 256 MB" in command("rebuild", account, expect=6).output


def test_keywords_of_another_program_in_any_octets_stay(account: Path, server: ScriptedServer) -> None:
    file = archive_of(account) / "Maildir/dovecot-keywords"
    file.write_bytes(b"0 Gr\xfcn\n1 \xe2\x9c\x93\n")
    server.folders[b"INBOX"].add(ScriptedMessage(b"Subject: new\r\n\r\nmail\r\n", ("new-keyword",)))

    run(account)

    assert file.read_bytes() == b"0 Gr\xfcn\n1 \xe2\x9c\x93\n2 new-keyword\n"
    command("rebuild", account)
