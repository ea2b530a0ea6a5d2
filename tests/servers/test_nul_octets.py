"""Messages with NULs: what Dovecot and Cyrus make of them in each direction, and what arrives all the same.

Dovecot takes NUL in a literal and in a literal8 alike, counts it in RFC822.SIZE, and shows 0x80 in BODY[]. Cyrus
takes it in a literal8 alone and not in the header, and shows it in BODY[], in a literal8.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, assert_whole, command, run
from tests.faults.replays import migration
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import MailServer
from tests.servers.scripted import (
    DESTINATION,
    MINIMAL,
    Appended,
    Appending,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
    Session,
)
from tests.servers.wire import Append, WireError

BINARY = (*DESTINATION, "BINARY")
UTF16 = "Grüße – 日本".encode("utf-16-le")
LARGE = b"Subject: large\r\n\r\n" + (b"\0 and \x80 " * 100 + b"\r\n") * 3000

WITH_NUL = {
    "in the body": b"From: a@example.org\r\nSubject: x\r\n\r\nnul \0 and 80 \x80 end\r\n",
    "in the header": b"From: a@example.org\r\nSubject: a\0b\r\n\r\n\0\0\r\n\0",
    "of UTF-16": b"From: a@example.org\r\nSubject: x\r\n\r\n" + UTF16 + b"\r\n",
    "next to UTF-8": "From: a@example.org\r\nSubject: x\r\n\r\nGrüße – \0 “ja”\r\n".encode(),
    "in a large one": LARGE,
}
TAKEN_BY_CYRUS = {what: octets for what, octets in WITH_NUL.items() if what != "in the header"}
WITHOUT = {
    "UTF-8 with 0x80 in it": "From: a@example.org\r\nSubject: x\r\n\r\n– “À”\r\n".encode(),
    "an old euro sign": b"From: a@example.org\r\nSubject: x\r\n\r\n5 \x80\r\n",
    "a euro sign, and base64": b"X: 5 \x80\r\nContent-Transfer-Encoding: base64\r\n\r\naGkK\r\n",
}


def digests(messages: dict[str, bytes]) -> dict[int, str]:
    return {uid: sha256(octets).hexdigest() for uid, octets in enumerate(messages.values(), 1)}


def there(server: MailServer, user: str, *, item: bytes) -> list[bytes]:
    """The octets of each message, as an item of FETCH shows them."""
    with server.wire(user) as wire:
        wire.command("SELECT INBOX")
        return [
            response.literals[0] for response in wire.command(b"UID FETCH 1:* (%b)" % item) if response.literals
        ]


def test_dovecot_shows_0x80_and_the_archive_has_the_nul(dovecot: Dovecot, mail_user: str, tmp_path: Path) -> None:
    messages = WITH_NUL | WITHOUT
    dovecot.append_many(mail_user, "INBOX", [Append(octets) for octets in messages.values()])
    shown = there(dovecot, mail_user, item=b"BODY.PEEK[]")
    assert shown == [octets.replace(b"\0", b"\x80") for octets in messages.values()]

    dovecot.record(mail_user)
    config = account_file(tmp_path, dovecot, mail_user)
    assert run(config).total("fetched") == (len(messages),)

    assert assert_whole(archive_of(config)).digests() == digests(messages)
    assert list((archive_of(config) / "spool").glob("*")) == []
    # Only what has 0x80 outside of UTF-8 is asked for twice.
    asked = [each for each in dovecot.commands(mail_user) if b"BINARY" in each]
    assert asked == [b"UID FETCH 1:5,7:8 (UID BINARY.PEEK[])"]
    assert run(config).total("fetched") == (0,)


MIXED = b"""\
Subject: x\r
Content-Type: multipart/mixed; boundary="b"\r
\r
no part\r
--b\r
\r
a\0b\r
--b\r
Content-Transfer-Encoding: base64\r
\r
aGVsbG8K\r
--b\r
Content-Type: multipart/alternative; boundary=c\r
\r
--c\r
Content-Type: text/html\r
Content-Transfer-Encoding: 8BIT\r
\r
\0\r
\0 \x80\r
\r
--c\r
Content-Transfer-Encoding: quoted-printable\r
\r
Gr=C3=BC=C3=9Fe\r
--c--\r
--b--\r
"""


def test_what_dovecot_decodes_in_binary_is_read_part_by_part(
    dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    """It does so against RFC 3516, where a part is in base64 or quoted-printable. A NUL in the header of such a
    message cannot be read."""
    in_header = MIXED.replace(b"Subject: x", b"Subject: \0")
    alone = b"Content-Transfer-Encoding: base64\r\n\r\naGk\0K\r\n"
    dovecot.append_many(mail_user, "INBOX", [Append(octets) for octets in (MIXED, in_header, alone)])
    with dovecot.wire(mail_user) as wire:
        wire.command("SELECT INBOX")
        for uid in (1, 2):
            (row,) = wire.command(f"UID FETCH {uid} (BINARY.PEEK[])")
            assert b"Content-Transfer-Encoding: binary" in row.literals[0]
        with pytest.raises(WireError, match=r"NO \[PARSE\] Invalid data in MIME part"):
            wire.command("UID FETCH 3 (BINARY.PEEK[])")

    config = account_file(tmp_path, dovecot, mail_user)
    run(config)

    known = {
        "all of it": MIXED,
        "but the header": in_header.replace(b"Subject: \0", b"Subject: \x80"),
        "nothing": alone.replace(b"\0", b"\x80"),
    }
    assert assert_whole(archive_of(config)).digests() == digests(known)


def test_from_dovecot_to_cyrus(dovecot: Dovecot, cyrus: Cyrus, mail_user: str, tmp_path: Path) -> None:
    dovecot.append_many(mail_user, "INBOX", [Append(octets) for octets in WITH_NUL.values()])
    user = cyrus.fresh_user()
    config = migration(tmp_path, dovecot, mail_user, cyrus, user)

    result = run(config, expect=3)

    totals = result.report["totals"]["destination"]
    assert (totals["replayed"], totals["refused"], totals["differences"]) == (len(TAKEN_BY_CYRUS), 1, 0)
    (failure,) = result.report["failures"]
    assert failure["reason"] == "the destination does not accept NUL bytes in a message"
    assert sorted(there(cyrus, user, item=b"BODY.PEEK[]")) == sorted(TAKEN_BY_CYRUS.values())
    command("retry", "--accept", config)
    command("verify", "--deep", config)


def test_from_cyrus_to_dovecot(dovecot: Dovecot, cyrus: Cyrus, mail_user: str, tmp_path: Path) -> None:
    user = cyrus.fresh_user()
    with cyrus.wire(user) as wire:
        for octets in TAKEN_BY_CYRUS.values():
            wire.command(b"APPEND INBOX ~\0", octets)
    config = migration(tmp_path, cyrus, user, dovecot, mail_user)

    result = run(config)

    assert assert_whole(archive_of(config)).digests() == digests(TAKEN_BY_CYRUS)
    assert result.report["totals"]["destination"]["differences"] == 0
    assert sorted(there(dovecot, mail_user, item=b"BINARY.PEEK[]")) == sorted(TAKEN_BY_CYRUS.values())
    command("verify", "--deep", config)


def test_a_part_that_is_declared_binary_is_not_encoded_on_its_way(
    dovecot: Dovecot, cyrus: Cyrus, mail_user: str, tmp_path: Path
) -> None:
    """Both encode it if it comes in a literal8. Dovecot takes it in a plain literal; Cyrus refuses that."""
    part = b"--b\r\nContent-Transfer-Encoding: binary\r\n\r\na\0b\r\n--b--\r\n"
    octets = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + part
    dovecot.append_many(mail_user, "INBOX", [Append(octets)])
    back, user = dovecot.fresh_user(), cyrus.fresh_user()
    for name in ("there", "back"):
        (tmp_path / name).mkdir()

    refused = run(migration(tmp_path / "there", dovecot, mail_user, cyrus, user), expect=3)
    kept = run(migration(tmp_path / "back", dovecot, mail_user, dovecot, back))

    (failure,) = refused.report["failures"]
    assert failure["reason"] == "the destination does not accept NUL bytes in a message"
    assert kept.report["totals"]["destination"]["differences"] == 0
    assert there(dovecot, back, item=b"BODY.PEEK[]") == [octets.replace(b"\0", b"\x80")]


class TestScripted:
    NUL = b"Subject: x\r\n\r\na\0b\r\n"

    def archived(self, server: ScriptedServer, directory: Path, *messages: bytes) -> bool:
        config = account_file(directory, server, "u1", source__attempts=2)
        run(config)
        state = assert_whole(archive_of(config))
        return sorted(state.digests().values()) == sorted(sha256(each).hexdigest() for each in messages)

    def folder(self, *oddities: str) -> dict[bytes, ScriptedFolder]:
        messages = [ScriptedMessage(self.NUL.replace(b"x", b"%d" % n), fetch=odd) for n, odd in enumerate(oddities)]
        return {b"INBOX": ScriptedFolder(5, dict(enumerate(messages, 1)))}

    def shown(self, number: int) -> bytes:
        return self.NUL.replace(b"x", b"%d" % number).replace(b"\0", b"\x80")

    def true(self, number: int) -> bytes:
        return self.NUL.replace(b"x", b"%d" % number)

    def test_is_not_asked_where_binary_is_not_offered(
        self, scripted: Callable[..., ScriptedServer], tmp_path: Path
    ) -> None:
        server = scripted(self.folder("no-nul"), capabilities=MINIMAL)
        assert self.archived(server, tmp_path, self.shown(0))

    def test_what_is_decoded_does_not_count(self, scripted: Callable[..., ScriptedServer], tmp_path: Path) -> None:
        folders = self.folder("no-nul", "decoded")
        folders[b"INBOX"].messages[2].octets = mixed = b"X: base64\r\n\r\na\0b\r\n"
        folders[b"INBOX"].messages[3] = ScriptedMessage(b"X: true \x80\r\n\r\n")
        server = scripted(folders, capabilities=BINARY)
        there = mixed.replace(b"\0", b"\x80"), b"X: true \x80\r\n\r\n"
        # Of one length, and other octets: the digest tells.
        assert self.archived(server, tmp_path, self.true(0), *there)

    def test_a_refusal_leaves_what_body_gave(self, scripted: Callable[..., ScriptedServer], tmp_path: Path) -> None:
        server = scripted(self.folder("no-nul", "no-nul"), capabilities=BINARY)
        server.on(
            b"UID FETCH", lambda line, tag, _: tag + b" NO [UNKNOWN-CTE] no\r\n" if b"BINARY" in line else None
        )
        assert self.archived(server, tmp_path, self.shown(0), self.shown(1))

    def test_a_server_that_hangs_up_at_binary_costs_no_message(
        self, scripted: Callable[..., ScriptedServer], tmp_path: Path
    ) -> None:
        """The other message is read as it is: only the one at which the connection breaks alone is not."""
        server = scripted(self.folder("no-nul", "no-nul", ""), capabilities=BINARY)

        def hang_up(line: bytes, _: bytes, session: Session) -> None:
            if b"BINARY" in line and line.split()[3] != b"1":
                session.stream.end()

        server.on(b"UID FETCH", hang_up)
        assert self.archived(server, tmp_path, self.true(0), self.shown(1), self.true(2))

    def test_a_cut_in_binary_is_asked_again(self, scripted: Callable[..., ScriptedServer], tmp_path: Path) -> None:
        server = scripted(self.folder("no-nul", "no-nul"), capabilities=BINARY)
        cuts = iter([True])

        def cut(line: bytes, _: bytes, session: Session) -> None:
            if b"BINARY" in line and next(cuts, False):
                session.stream.end()

        server.on(b"UID FETCH", cut)
        assert self.archived(server, tmp_path, self.true(0), self.true(1))

    def test_a_message_that_was_archived_as_it_is_shown_is_repaired_like_that(
        self, scripted: Callable[..., ScriptedServer], tmp_path: Path
    ) -> None:
        """By a version that knew no BINARY, or where the server did not offer it."""
        server = scripted(self.folder("no-nul"), capabilities=MINIMAL)
        assert self.archived(server, tmp_path, self.shown(0))
        (file,) = (tmp_path / "archive" / "Maildir" / "cur").iterdir()
        file.unlink()
        server.capabilities[:] = BINARY

        command("repair", tmp_path / "u1.toml")

        state = assert_whole(tmp_path / "archive")
        assert state.digests() == digests({"shown": self.shown(0)})

    def test_literal8_goes_where_it_is_offered_and_only_for_nul(
        self, scripted: Callable[..., ScriptedServer], tmp_path: Path
    ) -> None:
        """Cyrus: `NO Message contains NUL characters` is the answer to a plain literal."""

        def refuse(message: Appended) -> bytes | None:
            plain = b"\0" in message.octets and not message.literal.startswith(b"~")
            return b"NO Message contains NUL characters" if plain else None

        folders = self.folder("no-nul", "")
        folders[b"INBOX"].messages[3] = ScriptedMessage(b"X: y\r\n\r\nno nul\r\n")
        source = scripted(folders, capabilities=BINARY)
        appending = Appending(refuse=refuse)
        to = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=BINARY, writable=True, appending=appending)
        result = run(migration(tmp_path, source, "u1", to, "u1"))
        assert result.report["totals"]["destination"]["replayed"] == 3
        assert [each.literal[:1] for each in to.appended] == [b"~", b"~", b"{"]
