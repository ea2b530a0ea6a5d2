"""Names of folders in UTF-8: servers that demand it, that have nothing else, or that change how they spell them.

Courier offers UTF8=ACCEPT (RFC 6855) and is made to demand it; Cyrus 3.6 and Dovecot 2.3 do not know it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, assert_whole, command, run
from tests.faults.replays import mailbox_of, migration
from tests.servers.courier import Courier
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import DESTINATION, FULL, ScriptedFolder, ScriptedMessage, ScriptedServer, Session

UMLAUT, AMPERSAND, KANJI = b"INBOX.&AOQ-rger", b"INBOX.R&-D", b"INBOX.&ZeVnLIqe-.&ZeVnLIqe-"
NAMES = (UMLAUT, AMPERSAND, KANJI)
HEADER_8BIT = "From: é@example.org\r\nSubject: Grüße\r\n\r\nhello\r\n".encode()
LATIN1 = "Subject: Grüße\r\n\r\nhello\r\n".encode("latin-1")
MAIL = b"Subject: x\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def courier_of_utf8() -> Iterator[Courier]:
    if reason := Courier.missing():
        pytest.skip(reason)
    with Courier(offers="UTF8=ONLY") as server:
        yield server


def filled(server: Courier, user: str) -> None:
    server.create(user, *NAMES[:2], b"INBOX.&ZeVnLIqe-", NAMES[2])
    for name in (b"INBOX", *NAMES):
        server.append(user, name, MAIL)


def state(config: Path) -> dict[bytes, dict[int, str]]:
    whole = assert_whole(archive_of(config))
    return {raw: whole.digests(raw) for raw in (b"INBOX", *NAMES)}


def point(config: Path, server: Courier | ScriptedServer) -> None:
    """The same account on another port."""
    lines = config.read_text().splitlines()
    config.write_text("\n".join(f"port = {server.port}" if line.startswith("port") else line for line in lines))


class TestCourier:
    def test_demands_utf8_and_folders_have_the_names_that_they_have_elsewhere(
        self, courier_of_utf8: Courier, tmp_path: Path
    ) -> None:
        server, user = courier_of_utf8, courier_of_utf8.fresh_user()
        filled(server, user)
        config = account_file(tmp_path, server, user)
        assert run(config).total("fetched") == (4,)
        assert all(len(digests) == 1 for digests in state(config).values())
        server.append(user, UMLAUT, HEADER_8BIT)
        assert run(config).total("fetched") == (1,)

    def test_a_known_folder_stays_the_same_when_the_server_begins_and_ceases_to_speak_utf8(
        self, courier_of_utf8: Courier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from archiver.imap import login

        server, user = courier_of_utf8, courier_of_utf8.fresh_user()
        filled(server, user)
        config = account_file(tmp_path, server, user)
        with monkeypatch.context() as patched:  # the same server as one that does not demand it
            patched.setattr(login, "_speaking", lambda session, capabilities: capabilities)
            assert run(config).total("fetched") == (4,)
            before = state(config)

        assert run(config).total("fetched", "vanished") == (0, 0)
        server.append(user, UMLAUT, MAIL)
        assert run(config).total("fetched") == (1,)
        with monkeypatch.context() as patched:
            patched.setattr(login, "_speaking", lambda session, capabilities: capabilities)
            server.append(user, KANJI, MAIL)
            assert run(config).total("fetched", "vanished") == (1, 0)
        assert state(config).keys() == before.keys()
        assert len(assert_whole(archive_of(config)).folders) == len(before) + 1  # the parent of the last one

    def test_as_a_destination(
        self, courier_of_utf8: Courier, dovecot: Dovecot, mail_user: str, tmp_path: Path
    ) -> None:
        user = courier_of_utf8.fresh_user()
        dovecot.create(mail_user, "ärger", "R&D", "日本語/日本語")
        for octets in (MAIL, HEADER_8BIT, LATIN1):
            dovecot.append(mail_user, "ärger", octets)
        dovecot.append(mail_user, "日本語/日本語", HEADER_8BIT)
        config = migration(tmp_path, dovecot, mail_user, courier_of_utf8, user)

        result = run(config)

        totals = result.report["totals"]["destination"]
        assert (totals["replayed"], totals["differences"]) == (4, 0)
        held = mailbox_of(courier_of_utf8, user)  # which is read without UTF-8
        assert {raw: sum(each.values()) for raw, each in held.items() if each} == {UMLAUT: 3, KANJI: 1}
        assert run(config).report["totals"]["destination"]["replayed"] == 0
        command("verify", "--deep", config)


class TestScripted:
    NAME, OTHER = "Ärger".encode(), b"&AMQ-rger"

    def folders(self, *names: bytes) -> dict[bytes, ScriptedFolder]:
        return {
            raw: ScriptedFolder(7 + number, {1: ScriptedMessage(b"Subject: %d\r\n\r\n" % number)},
                                listed_as=None if raw.isascii() else b'"' + raw + b'"')
            for number, raw in enumerate((b"INBOX", *names))
        }  # fmt: skip

    def renamed(self, server: ScriptedServer, raw: bytes, to: bytes) -> None:
        folder = server.folders.pop(raw)
        folder.listed_as = None if to.isascii() else b'"' + to + b'"'
        server.folders[to] = folder

    @pytest.mark.parametrize(("before", "after"), [(NAME, OTHER), (OTHER, NAME)], ids=["to UTF-7", "to UTF-8"])
    def test_a_server_that_changes_its_spelling_without_a_word_keeps_its_folders(
        self, scripted: Callable[..., ScriptedServer], tmp_path: Path, before: bytes, after: bytes
    ) -> None:
        """Octets beyond ASCII in a row of LIST, though nothing was enabled."""
        server = scripted(self.folders(before))
        config = account_file(tmp_path, server, "u1")
        assert run(config).total("fetched") == (2,)
        self.renamed(server, before, after)
        server.folders[after].add(ScriptedMessage(MAIL))

        assert run(config).total("fetched", "vanished") == (1, 0)

        whole = assert_whole(archive_of(config))
        assert set(whole.folders) == {b"INBOX", before}
        assert sorted(whole.digests(before)) == [1, 2]
        assert run(config).total("fetched") == (0,)
        # An archive that lost this message asks for it by the name that the server has now.
        file = next(each for each in (tmp_path / "archive/Maildir").glob(".*/cur/*U2.*"))
        file.unlink()
        command("repair", config)
        assert_whole(archive_of(config))

    def test_two_folders_of_one_text_stay_two(
        self, scripted: Callable[..., ScriptedServer], tmp_path: Path
    ) -> None:
        server = scripted(self.folders(self.NAME, self.OTHER))
        config = account_file(tmp_path, server, "u1")
        assert run(config).total("fetched") == (3,)
        del server.folders[self.NAME]
        assert run(config).total("fetched") == (0,)
        assert set(assert_whole(archive_of(config)).folders) == {b"INBOX", self.NAME, self.OTHER}

    def demanding(self, scripted: Callable[..., ScriptedServer], **keys: object) -> ScriptedServer:
        server = scripted(self.folders(self.NAME, b"R&D"), **keys)

        def refused(_: bytes, tag: bytes, session: Session) -> bytes | None:
            return None if b"UTF8=ACCEPT" in session.enabled else tag + b" NO [CANNOT] ENABLE UTF8=ACCEPT first\r\n"

        for each in (b"LIST", b"LSUB", b"EXAMINE", b"SELECT", b"STATUS", b"CREATE", b"APPEND"):
            server.on(each, refused)
        return server

    def test_utf8_only(self, scripted: Callable[..., ScriptedServer], tmp_path: Path) -> None:
        server = self.demanding(scripted, capabilities=(*FULL, "UTF8=ONLY"))
        config = account_file(tmp_path, server, "u1")
        assert run(config).total("fetched") == (3,)
        assert set(assert_whole(archive_of(config)).folders) == {b"INBOX", self.OTHER, b"R&-D"}
        assert any(each.startswith(b'EXAMINE "' + self.NAME + b'"') for each in server.commands)

    def test_utf8_only_as_a_destination(self, scripted: Callable[..., ScriptedServer], tmp_path: Path) -> None:
        source = scripted({
            b"INBOX": ScriptedFolder(5, {1: ScriptedMessage(HEADER_8BIT), 2: ScriptedMessage(MAIL)}),
            b"&AMQ-rger": ScriptedFolder(5, {1: ScriptedMessage(LATIN1)}),
            b"&2D3eAA-": ScriptedFolder(5, {1: ScriptedMessage(MAIL)}),
        })  # fmt: skip
        to = self.demanding(scripted, capabilities=(*DESTINATION, "UTF8=ONLY"), writable=True)
        result = run(migration(tmp_path, source, "u1", to, "u1"), expect=None)
        assert result.exit_code == 0, result.output
        assert {each.folder for each in to.appended} == {b"INBOX", self.NAME, "😀".encode()}
        announced = {each.octets: each.literal[:1] for each in to.appended}
        assert (announced[HEADER_8BIT], announced[LATIN1], announced[MAIL]) == (b"~", b"~", b"{")

    def test_a_server_that_demands_utf8_and_refuses_it(
        self, scripted: Callable[..., ScriptedServer], tmp_path: Path
    ) -> None:
        server = scripted(self.folders(), capabilities=(*FULL, "UTF8=ONLY"))
        server.on(b"ENABLE", b"BAD what")
        result = run(account_file(tmp_path, server, "u1"), expect=5)
        assert "BAD what" in result.output

    def test_imap4rev2_alone(self, scripted: Callable[..., ScriptedServer], tmp_path: Path) -> None:
        """Names are UTF-8 without a word, and what IMAP4rev2 has is not announced."""
        plain = [each for each in FULL if each in ("CONDSTORE", "STATUS=SIZE")]
        server = scripted(self.folders(self.NAME, b"R&D"), capabilities=(*FULL,))
        server.on(b"CAPABILITY", lambda _, tag, __: (
            b"* CAPABILITY IMAP4rev2 %b\r\n" % " ".join(plain).encode() + tag + b" OK\r\n"
        ))  # fmt: skip
        server.folders[b"R&D"].listed_as = b'"R&D" ("OLDNAME" ("Research"))'
        server.folders[self.NAME].subscribed = True
        config = account_file(tmp_path, server, "u1")
        assert run(config).total("fetched") == (3,)
        assert set(assert_whole(archive_of(config)).folders) == {b"INBOX", self.OTHER, b"R&-D"}
        assert not any(each.startswith(b"LSUB") for each in server.commands)
