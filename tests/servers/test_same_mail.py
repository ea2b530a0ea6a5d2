"""Messages in several folders of a server that identifies them: downloaded once, in each folder exactly as served.

Whatever such a server says, an identity alone makes no two messages the same.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import account_file, archive_of, assert_whole, command, mail, mails, run
from tests.buckets import bucket_account, objects_of, root_of, s3_of
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.servers.pymap_server import PymapServer
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.scripted import DROP, FULL, End, ScriptedFolder, ScriptedMessage, ScriptedServer, Session
from tests.servers.scripted_mail import uids_in

GMAIL = (*(each for each in FULL if each not in ("OBJECTID", "QRESYNC")), "X-GM-EXT-1")
ALL_MAIL = b"[Gmail]/All Mail"
LABELS = [b"INBOX", b"Work", b"[Gmail]/Important", b"[Gmail]/Starred", b"&-Co"]


def message(number: int, *, body: str = "", **what: Any) -> ScriptedMessage:
    date = f"02-Jan-2020 {number // 60 % 24:02}:{number % 60:02}:00 +0000"
    what = {"emailid": str(1278455344230334865 + number), "internaldate": date, **what}
    return ScriptedMessage(mail(number, body=body), **what)


def labelled(count: int, labels: int = len(LABELS)) -> dict[bytes, ScriptedFolder]:
    """All mail, and the same messages under each of the labels, with other UIDs and other flags."""
    folders = {ALL_MAIL: ScriptedFolder(7, {number: message(number) for number in range(1, count + 1)})}
    for label in range(labels):
        flagged = {10 * number + label: message(number, flags=("\\Flagged",)) for number in range(1, count + 1)}
        folders[LABELS[label]] = ScriptedFolder(8 + label, flagged)
    return folders


class Downloads:
    """What a server was asked for: whole messages, by the digits of their identities, and attributes alone."""

    def __init__(self, server: ScriptedServer) -> None:
        self.bodies: Counter[str | None] = Counter()
        self.attributes = 0
        self._lock = threading.Lock()
        server.on(b"UID FETCH", self._fetched)

    def _fetched(self, line: bytes, _tag: bytes, session: Session) -> None:
        folder = session.folder
        if folder is None:
            return
        with self._lock:
            if b"BODY.PEEK[])" in line:
                asked = uids_in(line.split()[3], folder.uids)
                self.bodies.update(folder.messages[uid].emailid for uid in asked)
            elif b"BODY" not in line:
                self.attributes += 1

    def forget(self) -> None:
        self.bodies.clear()
        self.attributes = 0


def held(config: Path, server: ScriptedServer) -> None:
    """The archive has every folder with its octets, dates and flags, as the server serves it."""
    state = assert_whole(archive_of(config))
    for raw, folder in server.folders.items():
        assert state.digests(raw) == digests(folder), raw
        rows = {
            uid: (each.internaldate, each.flags)
            for (epoch, uid), each in state.messages.items()
            if epoch.folder == raw and each.present and state.epochs[epoch][0]
        }
        assert rows == {uid: (each.internaldate, frozenset(each.flags)) for uid, each in folder.messages.items()}


def digests(folder: ScriptedFolder) -> Mapping[int, str]:
    return {uid: sha256(each.octets).hexdigest() for uid, each in folder.messages.items()}


@pytest.mark.parametrize("connections", [1, 4])
def test_a_message_with_five_labels_is_downloaded_once(
    scripted: Callable[..., ScriptedServer], tmp_path: Path, connections: int
) -> None:
    server = scripted(labelled(120), capabilities=GMAIL)
    asked = Downloads(server)
    config = account_file(tmp_path, server, "u1", source__connections=connections)

    result = run(config)

    assert set(asked.bodies.values()) == {1}
    assert result.total("on_server", "stored", "fetched") == (720, 720, 120)
    assert result.balanced
    held(config, server)
    assert len(inodes(config)) == 120


def test_a_message_that_gets_a_label_later_is_not_downloaded_again(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    server = scripted(labelled(3, labels=1), capabilities=GMAIL)
    asked = Downloads(server)
    config = account_file(tmp_path, server, "u1")
    run(config)
    asked.forget()

    server.folders[b"INBOX"].add(message(2, flags=("\\Seen",)))
    server.folders[b"Later"] = ScriptedFolder(50, {1: message(1), 5: message(4)})
    result = run(config)

    assert asked.bodies == {message(4).emailid: 1}
    assert result.total("fetched", "stored") == (1, 9)
    held(config, server)


def test_where_no_message_is_twice_a_folder_takes_at_most_two_round_trips(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    """A folder is opened and its messages are described in one round trip, and downloaded in the other."""
    folders = {
        b"folder-%d" % number: ScriptedFolder(number, {1: message(2 * number), 2: message(2 * number + 1)})
        for number in range(1, 16)
    }
    server = scripted({b"INBOX": ScriptedFolder(), **folders}, capabilities=GMAIL)
    config = account_file(tmp_path, server, "u1", source__connections=1)

    assert run(config).total("fetched") == (30,)
    login_and_list, leave, empty = 5, 1, 1
    assert server.flights <= login_and_list + 2 * len(folders) + empty + leave


def test_an_account_of_one_folder_is_not_asked_for_identities(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    server = scripted(labelled(5), capabilities=GMAIL)
    asked = Downloads(server)
    run(account_file(tmp_path, server, "u1", folders__include=["INBOX"]))
    assert asked.attributes == 0


class TestALie:
    """Two messages with one identity that are not the same."""

    @pytest.fixture(params=["in two folders", "in two folders, in two runs", "in one folder"])
    def archived(
        self, request: pytest.FixtureRequest, scripted: Callable[..., ScriptedServer], tmp_path: Path
    ) -> Callable[..., ScriptedServer]:
        """Archives messages that a server shows in this way."""

        def archive(*messages: ScriptedMessage, capabilities: Any = GMAIL) -> ScriptedServer:
            first, *rest = messages
            folders = {b"INBOX": ScriptedFolder(7, {1: first}), b"Work": ScriptedFolder(8)}
            server = scripted(folders, capabilities=capabilities)
            config = account_file(tmp_path, server, "u1", source__connections=1)
            if request.param == "in two folders, in two runs":
                run(config)
            folder = server.folders[b"INBOX" if request.param == "in one folder" else b"Work"]
            folder.add(*rest)
            assert run(config).balanced
            held(config, server)
            return server

        return archive

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param({"body": "A" * 13}, id="another size"),
            pytest.param({"body": "B" * 12}, id="another header and body"),
            pytest.param({"internaldate": "03-Jan-2020 00:00:00 +0000"}, id="another date"),
        ],
    )
    def test_costs_a_download_and_changes_nothing(
        self, archived: Callable[..., ScriptedServer], other: dict[str, Any]
    ) -> None:
        what = {"emailid": "7", "internaldate": "02-Jan-2020 00:00:00 +0000", "body": "A" * 12}
        archived(message(1, **what), message(2, **{**what, **other}))

    def test_about_all_messages_costs_all_downloads(self, archived: Callable[..., ScriptedServer]) -> None:
        same = "02-Jan-2020 00:00:00 +0000"
        archived(*(message(number, body="x" * 30, emailid="7", internaldate=same) for number in range(10, 40)))

    @pytest.mark.parametrize(
        ("nothing", "capabilities"),
        [("0", GMAIL), ("00", GMAIL), (None, GMAIL), ("0", FULL), ("NIL", FULL), (None, FULL)],
    )
    def test_an_identity_of_nothing_is_none(
        self, archived: Callable[..., ScriptedServer], nothing: str | None, capabilities: Any
    ) -> None:
        one = message(1, emailid=nothing)
        archived(one, replace(one), capabilities=capabilities)

    def test_a_size_that_is_not_that_of_the_octets_identifies_nothing(
        self, archived: Callable[..., ScriptedServer]
    ) -> None:
        """What the archive has may be a message that was cut off."""
        archived(message(1, size=4000), message(1, size=4000))


def test_a_message_without_a_header_is_downloaded(scripted: Callable[..., ScriptedServer], tmp_path: Path) -> None:
    one, other = (ScriptedMessage(octets, emailid="7") for octets in (b"\r\nnobody", b"\r\nsomeone"[:8]))
    server = scripted({b"INBOX": ScriptedFolder(7, {1: one}), b"Work": ScriptedFolder(8, {1: other})})
    config = account_file(tmp_path, server, "u1")
    assert run(config).total("fetched") == (2,)
    held(config, server)


class TestWhatTheArchiveHas:
    """Only what is in the archive with its octets takes the place of a download."""

    @pytest.fixture
    def server(self, scripted: Callable[..., ScriptedServer]) -> ScriptedServer:
        return scripted(labelled(4, labels=1), capabilities=GMAIL)

    @pytest.fixture
    def config(self, server: ScriptedServer, tmp_path: Path) -> Path:
        config = account_file(tmp_path, server, "u1")
        run(config)
        server.folders[b"Later"] = ScriptedFolder(50, {uid: message(uid) for uid in range(1, 5)})
        return config

    @pytest.mark.parametrize("damage", ["removed", "shortened", "altered"])
    def test_is_downloaded_again_where_it_is_damaged(
        self, server: ScriptedServer, config: Path, damage: str
    ) -> None:
        for path in (archive_of(config) / "Maildir").rglob("*U2.*"):  # in All Mail
            octets = path.read_bytes()
            path.unlink()
            if damage != "removed":
                path.write_bytes(octets[:-1] if damage == "shortened" else octets[:-1] + b"!")
        for path in (archive_of(config) / "Maildir").rglob("*U20.*"):  # in INBOX
            path.unlink()
        asked = Downloads(server)

        assert run(config).total("fetched") == (1,)

        assert asked.bodies == {message(2).emailid: 1}
        (later,) = (archive_of(config) / "Maildir" / ".Later").rglob("*U2.*")
        assert later.read_bytes() == message(2).octets
        command("repair", config)
        held(config, server)

    def test_that_is_gone_from_the_server_is_used_all_the_same(self, server: ScriptedServer, config: Path) -> None:
        server.folders[ALL_MAIL].expunge([1])
        server.folders[b"INBOX"].expunge([10])
        asked = Downloads(server)
        assert run(config).total("fetched", "vanished") == (0, 2)
        assert asked.bodies == {}
        held(config, server)

    def test_of_another_server_is_not_used(
        self, scripted: Callable[..., ScriptedServer], server: ScriptedServer, config: Path, tmp_path: Path
    ) -> None:
        """It has the same identities for other mail, whatever sizes and dates say."""
        others = {uid: replace(message(uid), octets=message(uid).octets.swapcase()) for uid in range(1, 5)}
        elsewhere = scripted({b"INBOX": ScriptedFolder(9, others), b"Work": ScriptedFolder(9)}, capabilities=GMAIL)
        config = account_file(tmp_path, elsewhere, "u1")
        asked = Downloads(elsewhere)
        assert run(config, new_source=True).total("fetched") == (4,)
        assert sum(asked.bodies.values()) == 4
        held(config, elsewhere)


def test_what_one_folder_does_not_deliver_comes_from_another(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    server = scripted(labelled(4, labels=0) | {b"INBOX": ScriptedFolder(8)}, capabilities=GMAIL)

    def refuse(line: bytes, tag: bytes, session: Session) -> bytes | None:
        folder = server.folders[ALL_MAIL]
        asked = session.folder is folder and b"BODY.PEEK[])" in line and 2 in uids_in(line.split()[3], folder.uids)
        return tag + b" NO [UNAVAILABLE] not this one\r\n" if asked else None

    server.on(b"UID FETCH", refuse)
    config = account_file(tmp_path, server, "u1")
    assert run(config, expect=3).total("fetched", "stored", "quarantined") == (3, 3, 1)
    server.folders[b"INBOX"].add(*(message(number) for number in range(1, 5)))
    assert run(config).total("fetched", "stored", "quarantined") == (1, 8, 0)
    held(config, server)


def test_a_server_that_refuses_identities_is_asked_once(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    server = scripted(labelled(4), capabilities=GMAIL)
    refused: list[bytes] = []

    def refuse(line: bytes, tag: bytes, _: Session) -> bytes | None:
        if b"X-GM-MSGID" not in line:
            return None
        refused.append(line)
        return tag + b" BAD unknown item\r\n"

    server.on(b"UID FETCH", refuse)
    config = account_file(tmp_path, server, "u1", source__connections=1)
    assert run(config).total("fetched", "stored") == (24, 24)
    assert len(refused) == 1
    server.forget()
    held(config, server)


@pytest.mark.parametrize("items", [b"BODY.PEEK[HEADER]", b"BODY.PEEK[])", b"X-GM-LABELS)"])
def test_a_connection_that_breaks_costs_no_second_download(
    scripted: Callable[..., ScriptedServer], tmp_path: Path, items: bytes
) -> None:
    """While messages are described, recognised or downloaded."""
    server = scripted(labelled(30, labels=2), capabilities=GMAIL)
    asked = Downloads(server)
    broken: list[bytes] = []

    def hang_up(line: bytes, _tag: bytes, _session: Session) -> End | None:
        if items not in line or len(broken) == 2:
            return None
        broken.append(line)
        return DROP

    server.on(b"UID FETCH", hang_up)
    config = account_file(tmp_path, server, "u1", source__connections=1, source__attempts=4)
    assert run(config).total("fetched", "stored") == (30, 90)
    assert len(broken) == 2
    assert set(asked.bodies.values()) <= {1}
    held(config, server)


def test_cyrus_gives_the_octets_of_a_copy_once(cyrus: Cyrus, tmp_path: Path) -> None:
    user = cyrus.fresh_user()
    cyrus.create(user, "Work", "More")
    cyrus.append_many(user, "INBOX", mails(range(1, 31)))
    with cyrus.wire(user) as wire:
        wire.command("SELECT INBOX")
        wire.command("UID COPY 1:20 Work")
        wire.command("UID COPY 5:10 More")
        wire.command("UID COPY 1:3 INBOX")
    config = account_file(tmp_path, cyrus, user)

    assert run(config).total("fetched", "stored") == (30, 59)
    with cyrus.wire(user) as wire:
        wire.command("SELECT INBOX")
        wire.command("UID MOVE 25 Work")
    cyrus.append_many(user, "More", mails([40]))
    assert run(config).total("fetched", "vanished", "stored") == (1, 1, 60)

    state = assert_whole(archive_of(config))
    assert state.digests(b"Work")[21] == sha256(mail(25)).hexdigest()
    assert len(inodes(config)) == 31


def test_cyrus_gives_equal_octets_of_another_date_again(cyrus: Cyrus, tmp_path: Path) -> None:
    """They have one EMAILID there, which follows from the octets."""
    user = cyrus.fresh_user()
    cyrus.create(user, "Work")
    cyrus.append(user, "INBOX", mail(1), internaldate="02-Jan-2020 00:00:00 +0000")
    cyrus.append(user, "Work", mail(1), internaldate="03-Feb-2021 00:00:00 +0000")
    config = account_file(tmp_path, cyrus, user)
    assert run(config).total("fetched") == (2,)
    dates = {path.stat().st_mtime for path in (archive_of(config) / "Maildir").rglob("*/*U1.*")}
    assert dates == {1577923200, 1612310400}
    assert_whole(archive_of(config))


def test_pymap_gives_a_copy_once(pymap: PymapServer, tmp_path: Path) -> None:
    pymap.create("alice", "Work")
    pymap.append_many("alice", "INBOX", mails(range(1, 6)))
    with pymap.wire("alice") as wire:
        wire.command("SELECT INBOX")
        wire.command("COPY 1:3 Work")
    config = account_file(tmp_path, pymap, "alice")
    assert run(config).total("fetched", "stored") == (5, 8)
    assert_whole(archive_of(config))


def test_equal_messages_of_one_run_are_one_file_without_identities(
    dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    dovecot.create(mail_user, "Work")
    for name in ("INBOX", "INBOX", "Work"):
        dovecot.append_many(mail_user, name, mails(range(1, 11)))
    config = account_file(tmp_path, dovecot, mail_user)
    assert run(config).total("fetched") == (30,)
    assert_whole(archive_of(config))
    assert len(inodes(config)) == 10


def inodes(config: Path) -> set[int]:
    """The files of an archive; one with many names is one file."""
    archive = archive_of(config)
    return {file.stat().st_ino for tree in ("Maildir", "vanished") for file in (archive / tree).rglob("*/*U*")}


@pytest.mark.parametrize("layout", ["objects", "packs"])
def test_a_bucket_has_it_once_and_is_asked_whether_it_still_has_it(
    scripted: Callable[..., ScriptedServer],
    radosgw: RadosGateway,
    aws: Callable[[Endpoint], None],
    tmp_path: Path,
    layout: str,
) -> None:
    endpoint = radosgw.http
    aws(endpoint)
    server = scripted(labelled(10, labels=1), capabilities=GMAIL)
    s3 = {"layout": layout}
    config = bucket_account(tmp_path, server, "u1", endpoint, endpoint.fresh_bucket(), s3=s3)
    assert run(config).total("fetched", "stored") == (10, 20)
    stored = {key for key in objects_of(config, endpoint) if key.startswith(("messages/", "packs/"))}
    assert len(stored) == (10 if layout == "objects" else 1)

    lost = sorted(stored)[:3]
    endpoint.delete(s3_of(config).bucket, *(root_of(config) + key for key in lost))
    server.folders[b"Later"] = ScriptedFolder(50, {uid: message(uid) for uid in range(1, 11)})
    assert run(config).total("fetched", "stored") == (3 if layout == "objects" else 10, 30)
    command("verify", config, "--deep", "--offline")
