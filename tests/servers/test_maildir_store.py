"""The Maildir store: the contract, its own oddities, kills, and what a real Dovecot makes of it."""

from __future__ import annotations

import errno
import json
import mailbox
import os
import random
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, ClassVar

import pytest
from msgspec.structs import replace

from archiver.errors import ArchiveNotWritable, IntegrityError
from archiver.mail.content import body_of
from archiver.mail.flags import parse_keywords
from archiver.mail.folder_names import directory_of, encode_name, folder_path
from archiver.mail.model import Placement, StoredMessage
from archiver.storage.audit import Looked
from archiver.storage.files import Durability
from archiver.storage.maildir.format import base_name, folder_name, parse_base_name
from archiver.storage.maildir.metadata import MaildirMetadata
from archiver.storage.maildir.store import MaildirStore
from tests.contracts.store import (
    HELLO,
    NOON,
    FolderMetadataContract,
    Names,
    OpenStore,
    RowsOf,
    StoreContract,
    list_uids,
    octets_of,
    placement_of,
    places_of,
    put,
    read,
)
from tests.patience import PATIENCE
from tests.servers.small_disk import fill, mounted
from tests.stored_messages import altered, message_files
from tests.warm import WarmProcess


class OnDisk(StoreContract):
    @pytest.fixture
    def names(self, tmp_path: Path) -> Names:
        return lambda: message_files(tmp_path / "archive")


class TestMaildirStore(OnDisk):
    @pytest.fixture(params=["batch", "file", "none"])
    def open_store(self, request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
        return lambda: MaildirStore(tmp_path / "archive", durability=request.param)


class TestMaildirMetadata(FolderMetadataContract):
    @pytest.fixture(params=["batch", "file", "none"])
    def open_both(
        self, request: pytest.FixtureRequest, tmp_path: Path
    ) -> Callable[[], tuple[MaildirStore, MaildirMetadata]]:
        def opened() -> tuple[MaildirStore, MaildirMetadata]:
            store = MaildirStore(tmp_path / "archive", durability=request.param)
            return store, store.metadata

        return opened


class TestMaildirStoreWithoutSyncfs(OnDisk):
    @pytest.fixture
    def open_store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenStore:
        monkeypatch.setattr("archiver.storage.syncing.reports_losses", lambda _: False)
        return lambda: MaildirStore(tmp_path / "archive")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def store(path: Path) -> MaildirStore:
    return MaildirStore(path)


def files(path: Path) -> list[str]:
    """Every file below `path` but the empty markers, relative."""
    return sorted(
        os.path.relpath(file, path) for file in path.rglob("*") if file.is_file() and file.name != "maildirfolder"
    )


class TestOnDisk:
    def test_what_is_abandoned_is_gone(self, store: MaildirStore, path: Path) -> None:
        batch = store.batch()
        batch.put(placement_of(HELLO, 1), body_of(HELLO))
        batch.abandon()
        batch.commit()
        assert message_files(path) == []
        with pytest.raises(IntegrityError):
            store.open(placement_of(HELLO, 1))

    def test_recovering_clears_unfinished_writes(self, store: MaildirStore, path: Path) -> None:
        store.batch().put(placement_of(HELLO, 1), body_of(HELLO))
        assert list(MaildirStore(path).recover(RowsOf([]))) == []
        assert files(path) == []

    def test_names_and_places(self, store: MaildirStore, path: Path) -> None:
        store.metadata.reserve_keywords(".Sent", ["NonJunk", "$Forwarded"])
        digest = body_of(HELLO).digest[:16]
        places = [
            placement_of(HELLO, 1),
            placement_of(HELLO, 2, ".Sent", flags=["\\Seen", "$Forwarded", "\\Draft"]),
            placement_of(HELLO, 3, uidvalidity=8, present=False),
            placement_of(HELLO, 4, ".Sent", generation=2, arrived=-1, present=False),
        ]
        put(store, *((place, HELLO) for place in places))
        assert files(path) == sorted(
            [
                f"Maildir/cur/{NOON}.V7U1.{digest},S=25,W=25:2,",
                f"Maildir/.Sent/cur/{NOON}.V7U2.{digest},S=25,W=25:2,DSb",
                "Maildir/.Sent/dovecot-keywords",
                f"vanished/.INBOX.V8/cur/{NOON}.V8U3.{digest},S=25,W=25:2,",
                f"vanished/.Sent.V7-2/cur/-1.V7U4.{digest},S=25,W=25:2,",
            ]
        )
        assert (path / "Maildir/.Sent/dovecot-keywords").read_text() == "0 NonJunk\n1 $Forwarded\n"
        assert (path / "Maildir/.Sent/maildirfolder").read_bytes() == b""
        assert not (path / "Maildir/maildirfolder").exists()

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
    def test_everything_is_private_whatever_the_umask(self, path: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            store = MaildirStore(path)
            put(store, (placement_of(HELLO, 1, ".Sent", flags=["k"]), HELLO))
            list_uids(store.metadata, ".Sent", (7, 2), [placement_of(HELLO, 1, ".Sent")])
            with store.spool() as spool:
                spool.write(b"x")
        finally:
            os.umask(before)
        modes = {stat.S_IMODE(entry.stat().st_mode) for entry in [path, *path.rglob("*")]}
        assert modes == {0o600, 0o700}

    def test_the_file_has_the_time_of_arrival(self, store: MaildirStore) -> None:
        place = placement_of(HELLO, 1, arrived=NOON)
        put(store, (place, HELLO))
        assert os.stat(store.locate(place)).st_mtime == NOON

    @pytest.mark.parametrize("arrived", [-(10**11), -(2**31) - 5, 253402300799, 2**70])
    def test_times_no_file_can_have_are_clamped(self, store: MaildirStore, arrived: int) -> None:
        place = placement_of(HELLO, 1, arrived=arrived)
        put(store, (place, HELLO))
        assert read(store, place) == HELLO

    def test_twins_are_one_file(self, store: MaildirStore) -> None:
        one, two = placement_of(HELLO, 1), placement_of(HELLO, 5, ".Sent", flags=["\\Seen"])
        put(store, (one, HELLO))
        batch = store.batch()
        batch.link(two, one)
        batch.commit()
        assert os.path.samefile(store.locate(one), store.locate(two))

    @pytest.mark.parametrize("refusal", [errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP])
    def test_a_refused_link_is_a_copy(
        self, store: MaildirStore, monkeypatch: pytest.MonkeyPatch, refusal: int
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(refusal, os.strerror(refusal))

        one, two = placement_of(HELLO, 1), placement_of(HELLO, 5, ".Sent")
        put(store, (one, HELLO))
        monkeypatch.setattr(os, "link", refuse)
        batch = store.batch()
        batch.link(two, one)
        batch.commit()
        assert read(store, two) == HELLO
        assert not os.path.samefile(store.locate(one), store.locate(two))
        assert os.stat(store.locate(two)).st_mtime == NOON

    def test_a_spool_file_on_another_file_system_is_copied(self, store: MaildirStore, tmp_path: Path) -> None:
        elsewhere = Path("/dev/shm")
        if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second file system")
        descriptor, name = tempfile.mkstemp(dir=elsewhere)
        os.write(descriptor, HELLO)
        os.close(descriptor)
        batch = store.batch()
        batch.put(placement_of(HELLO, 1), replace(body_of(HELLO), octets=None, spool=Path(name)))
        batch.commit()
        assert read(store, placement_of(HELLO, 1)) == HELLO
        assert not os.path.exists(name)

    def test_spool_files_are_on_the_archives_file_system(self, store: MaildirStore, path: Path) -> None:
        with store.spool() as one, store.spool() as two:
            one.write(HELLO)
            assert one.name != two.name
        assert Path(one.name).parent == path / "spool"
        assert Path(one.name).read_bytes() == HELLO

    def test_the_standard_library_reads_it(self, store: MaildirStore, path: Path) -> None:
        put(store, (placement_of(HELLO, 1, ".Sent", flags=["\\Seen", "\\Answered"]), HELLO))
        folder = mailbox.Maildir(path / "Maildir", factory=None).get_folder("Sent")
        [message] = folder
        assert (message["Subject"], message.get_flags(), folder.get_bytes(folder.keys()[0])) == (
            "hello", "RS", HELLO,
        )  # fmt: skip


def test_large_messages_are_read_by_two_at_once_and_reported_in_their_order(
    store: MaildirStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = places_of(4)
    put(store, *((each, octets_of(each.uid)) for each in places))
    Path(store.locate(places[1])).unlink()
    Path(store.locate(places[2])).write_bytes(octets_of(3).swapcase())
    monkeypatch.setattr("archiver.storage.maildir.audit._LARGE", 1)
    monkeypatch.setattr("archiver.storage.maildir.audit._AT_ONCE", 1)
    both, opened = threading.Barrier(2, timeout=PATIENCE), MaildirStore.open

    def together(store: MaildirStore, placement: Placement) -> BinaryIO:
        both.wait()
        return opened(store, placement)

    monkeypatch.setattr(MaildirStore, "open", together)

    looked = [each for each in store.audit(RowsOf(places), lambda _: True) if isinstance(each, Looked)]

    assert [each.placement.uid for each in looked] == [1, 2, 3, 4]
    assert [each.fault and each.fault.kind for each in looked] == [None, "missing", "damaged", None]


class TestKeywords:
    def test_letters_are_given_once_and_kept(self, path: Path) -> None:
        MaildirStore(path).metadata.reserve_keywords("", ["b", "\\Seen", "two words", "a"])
        MaildirStore(path).metadata.reserve_keywords("", ["a", "c", "b"])
        put(MaildirStore(path), (placement_of(HELLO, 1, flags=["z", "d", "a"]), HELLO))
        keywords = (path / "Maildir/dovecot-keywords").read_text()
        assert keywords == "0 b\n1 a\n2 c\n3 d\n4 z\n"
        assert [file.name.rpartition(",")[2] for file in (path / "Maildir/cur").iterdir()] == ["bde"]

    def test_a_folder_has_26(self, store: MaildirStore, path: Path) -> None:
        names = [f"k{i:02}" for i in range(30)]
        place = placement_of(HELLO, 1, flags=names)
        put(store, (place, HELLO))
        assert store.locate(place).endswith(":2,abcdefghijklmnopqrstuvwxyz")
        assert parse_keywords((path / "Maildir/dovecot-keywords").read_text()) == names[:26]
        store.move([(place, altered(place, flags=frozenset(names[3:])))])
        assert read(store, altered(place, flags=frozenset(names[3:]))) == HELLO

    def test_a_damaged_list_costs_no_message(self, path: Path) -> None:
        place = placement_of(HELLO, 1, flags=["a", "b"])
        put(MaildirStore(path), (place, HELLO))
        (path / "Maildir/dovecot-keywords").write_bytes(b"garbage\n77 x\n2 c\n\xff\xff 1\n-1 d\n")
        assert read(MaildirStore(path), place) == HELLO
        assert list(MaildirStore(path).recover(RowsOf([place]))) == []
        assert (path / "Maildir/dovecot-keywords").read_text() == "2 c\n3 a\n4 b\n"
        assert MaildirStore(path).locate(place).endswith(":2,de")


class TestOtherPrograms:
    """Somebody read the archive with a mail program."""

    def test_a_message_is_found_under_other_flags_and_in_new(self, store: MaildirStore) -> None:
        one, two = placement_of(HELLO, 1), placement_of(HELLO, 2)
        put(store, (one, HELLO), (two, HELLO))
        os.rename(store.locate(one), store.locate(one) + "PRS")
        os.rename(store.locate(two), f"{Path(store.locate(two)).parent.parent}/new/{base_name(two)}")
        assert (read(store, one), read(store, two)) == (HELLO, HELLO)
        flagged = altered(one, flags=frozenset(["\\Flagged"]))
        store.move([(one, flagged)])
        assert store.locate(flagged).endswith(":2,F")

    def test_a_later_change_is_seen_too(self, store: MaildirStore) -> None:
        place = placement_of(HELLO, 1)
        put(store, (place, HELLO))
        for flags in ("S", "RS", "FRS"):
            found = store.locate(place)
            os.rename(found, found.partition(":")[0] + f":2,{flags}")
            assert store.locate(place).endswith(f":2,{flags}")

    def test_recovering_brings_everything_back(self, store: MaildirStore, path: Path) -> None:
        places = [placement_of(HELLO, uid, ".Sent", flags=["\\Seen"]) for uid in range(1, 6)]
        put(store, *((place, HELLO) for place in places))
        before = files(path)
        for place in places[:3]:
            found = store.locate(place)
            os.rename(found, found.replace(":2,S", f":2,F{place.uid}").replace("/cur/", "/new/"))
        assert list(MaildirStore(path).recover(RowsOf(places))) == []
        assert files(path) == before

    def test_what_is_not_ours_is_left_alone_and_found(self, store: MaildirStore, path: Path) -> None:
        put(store, (placement_of(HELLO, 1), HELLO))
        stray = path / "Maildir/cur/1700000000.M1P1.host:2,S"
        stray.write_bytes(b"not ours")
        (path / "Maildir/tmp/1700000000.M1P1.host").write_bytes(b"not ours either")
        assert list(MaildirStore(path).recover(RowsOf([placement_of(HELLO, 1)]))) == []
        assert f"Maildir/cur/{stray.name}" in message_files(path)
        assert (path / "Maildir/tmp/1700000000.M1P1.host").exists()


class TestMove:
    def test_a_message_at_neither_place_is_named(self, store: MaildirStore) -> None:
        there, gone = placement_of(HELLO, 1), placement_of(HELLO, 2)
        put(store, (there, HELLO))
        seen = [altered(place, flags=frozenset(["\\Seen"])) for place in (gone, there)]
        with pytest.raises(IntegrityError, match=r"V7U2\..* is missing"):
            store.move(zip([gone, there], seen, strict=True))
        assert store.locate(seen[1]).endswith(":2,S")

    def test_a_twin_cut_short_is_no_twin(self, store: MaildirStore) -> None:
        one, two = placement_of(HELLO, 1), placement_of(HELLO, 2, ".Sent")
        put(store, (one, HELLO))
        os.truncate(store.locate(one), 5)
        batch = store.batch()
        with pytest.raises(IntegrityError):
            batch.link(two, one)
        batch.put(two, body_of(HELLO))
        batch.commit()
        assert read(store, two) == HELLO

    def test_a_twin_renamed_in_between_is_linked(self, store: MaildirStore) -> None:
        one, two = placement_of(HELLO, 1), placement_of(HELLO, 2, ".Sent")
        put(store, (one, HELLO))
        store.move([(one, altered(one, flags=frozenset(["\\Seen"])))])
        batch = store.batch()
        batch.link(two, one)
        batch.commit()
        assert os.path.samefile(store.locate(one), store.locate(two))

    def test_two_names_of_one_file_become_one(self, store: MaildirStore, path: Path) -> None:
        old = placement_of(HELLO, 1)
        new = altered(old, flags=frozenset(["\\Seen"]))
        put(store, (old, HELLO))
        os.link(store.locate(old), store.locate(old) + "S")
        store.move([(old, new)])
        assert files(path) == [f"Maildir/cur/{base_name(old)}:2,S"]

    def test_a_move_to_where_it_is_keeps_it(self, store: MaildirStore) -> None:
        place = placement_of(HELLO, 1)
        put(store, (place, HELLO))
        store.move([(place, place)])
        assert read(store, place) == HELLO


class TestEqualOctets:
    """Of one second they are one file, however they came."""

    ONE, OTHER = placement_of(HELLO, 1), placement_of(HELLO, 2, ".Sent")

    def inodes(self, store: MaildirStore, *places: Placement) -> set[int]:
        assert [read(store, place) for place in places] == [HELLO] * len(places)
        return {os.stat(store.locate(place)).st_ino for place in places}

    @pytest.mark.parametrize("durability", ["batch", "file"])
    def test_of_one_batch(self, path: Path, durability: Durability, tmp_path: Path) -> None:
        store = MaildirStore(path, durability)
        spool = tmp_path / "spooled"
        spool.write_bytes(HELLO)
        third = placement_of(HELLO, 3)
        batch = store.batch()
        batch.put(self.ONE, body_of(HELLO))
        batch.put(self.OTHER, body_of(HELLO))
        batch.put(third, replace(body_of(HELLO), octets=None, spool=spool))
        batch.commit()
        assert len(self.inodes(store, self.ONE, self.OTHER, third)) == 1
        assert not spool.exists()

    def test_of_one_batch_in_which_they_are_put_again(self, store: MaildirStore) -> None:
        batch = store.batch()
        for place in (self.ONE, self.OTHER, self.ONE, self.OTHER):
            batch.put(place, body_of(HELLO))
        batch.commit()
        self.inodes(store, self.ONE, self.OTHER)

    @pytest.mark.parametrize("first", ["is being written", "is committed", "is abandoned"])
    def test_of_batches_of_two_connections(self, store: MaildirStore, first: str) -> None:
        """The catalog knows neither yet."""
        one, other = store.batch(), store.batch()
        one.put(self.ONE, body_of(HELLO))
        if first == "is committed":
            one.commit()
        if first == "is abandoned":
            one.abandon()
        other.put(self.OTHER, body_of(HELLO))
        if first == "is being written":
            one.abandon()
        other.commit()
        if first == "is committed":
            assert len(self.inodes(store, self.ONE, self.OTHER)) == 1
        self.inodes(store, self.OTHER)

    def test_of_another_second_are_another_file(self, store: MaildirStore) -> None:
        later = placement_of(HELLO, 2, arrived=NOON + 1)
        put(store, (self.ONE, HELLO), (later, HELLO))
        assert len(self.inodes(store, self.ONE, later)) == 2

    @pytest.mark.parametrize("how", ["by its place", "among the newest"])
    def test_damage_gets_no_second_name(self, store: MaildirStore, how: str) -> None:
        """Not even of the right size: what was just received is written instead."""
        put(store, (self.ONE, HELLO))
        Path(store.locate(self.ONE)).write_bytes(HELLO[:-1] + b"!")
        batch = store.batch() if how == "among the newest" else MaildirStore(Path(store._tree.root)).batch()
        with pytest.raises(IntegrityError):
            batch.link(self.OTHER, self.ONE)
        batch.put(self.OTHER, body_of(HELLO), self.ONE)
        batch.commit()
        self.inodes(store, self.OTHER)


class TestSettle:
    def test_complete_files_without_a_record_are_yielded(self, path: Path) -> None:
        known = placement_of(HELLO, 1)
        orphans = [
            placement_of(b"Subject: x\n\n", 2, flags=["\\Seen", "kept"]),
            placement_of(b"b", 3, ".A.B", arrived=-5),
            placement_of(b"c", 4, uidvalidity=9, present=False),
            placement_of(b"", 5, ".A", uidvalidity=9, generation=3, flags=["v"], present=False),
        ]
        octets = [HELLO, b"Subject: x\n\n", b"b", b"c", b""]
        put(MaildirStore(path), *zip([known, *orphans], octets, strict=True))
        found = MaildirStore(path).recover(RowsOf([known]))
        assert sorted(found, key=lambda place: place.uid) == orphans

    def test_an_orphan_is_where_its_placement_says(self, store: MaildirStore) -> None:
        place = placement_of(HELLO, 1)
        put(store, (place, HELLO))
        os.rename(store.locate(place), f"{Path(store.locate(place)).parent.parent}/new/{base_name(place)}")
        assert list(store.recover(RowsOf([]))) == [place]
        assert store.locate(place).endswith("/cur/" + base_name(place) + ":2,")

    def test_what_is_not_what_its_name_says_is_not_yielded(self, store: MaildirStore, path: Path) -> None:
        put(store, *((placement_of(HELLO, uid), HELLO) for uid in (1, 2)))
        one, two = map(Path, (store.locate(placement_of(HELLO, uid)) for uid in (1, 2)))
        one.write_bytes(HELLO.replace(b"world", b"wOrld"))
        two.rename(two.with_name(two.name.replace("S=25", "S=26")))
        before = files(path)
        assert list(MaildirStore(path).recover(RowsOf([]))) == []
        assert files(path) == before

    def test_leftovers_of_every_kind_go(self, store: MaildirStore, path: Path) -> None:
        batch = store.batch()
        batch.put(placement_of(HELLO, 1, ".Sent", present=False), body_of(HELLO))
        batch.put(placement_of(HELLO, 1), body_of(HELLO))
        store.spool().close()
        (path / "Maildir/tmp/dovecot-uidlist").write_bytes(b"3 V")
        (path / "spool/notes.txt").write_bytes(b"")
        assert list(MaildirStore(path).recover(RowsOf([]))) == []
        assert files(path) == ["spool/notes.txt"]

    def test_two_files_of_one_message_become_one(self, store: MaildirStore, path: Path) -> None:
        place = placement_of(HELLO, 1)
        put(store, (place, HELLO), (altered(place, flags=frozenset(["\\Seen"])), HELLO))
        put(store, (altered(place, flags=frozenset(["\\Seen"])), HELLO))
        assert list(MaildirStore(path).recover(RowsOf([place]))) == []
        assert files(path) == [f"Maildir/cur/{base_name(place)}:2,"]

    def test_a_damaged_second_file_is_kept(self, store: MaildirStore, path: Path) -> None:
        place = placement_of(HELLO, 1)
        put(store, (place, HELLO))
        Path(store.locate(place) + "S").write_bytes(b"damaged")
        assert list(MaildirStore(path).recover(RowsOf([place]))) == []
        assert (len(files(path)), read(store, place)) == (2, HELLO)

    def test_a_copy_of_a_vanished_message_is_not_adopted(self, store: MaildirStore) -> None:
        gone = placement_of(HELLO, 1, present=False)
        put(store, (gone, HELLO), (replace(gone, present=True), HELLO))
        assert list(store.recover(RowsOf([gone]))) == []

    def test_generations_with_equal_names_are_both_kept(self, store: MaildirStore, path: Path) -> None:
        old, new = placement_of(HELLO, 1, present=False), placement_of(HELLO, 1, generation=2)
        put(store, (old, HELLO), (new, HELLO))
        before = files(path)
        for expected in ([old, new], [new, old]):
            assert list(MaildirStore(path).recover(RowsOf(expected))) == []
            assert files(path) == before

    def test_one_generation_does_not_take_the_file_of_another(self, store: MaildirStore, path: Path) -> None:
        removed, here = placement_of(HELLO, 1, present=False), placement_of(HELLO, 1, generation=2)
        put(store, (here, HELLO))
        before = files(path)
        for expected in ([removed, here], [here, removed]):
            assert list(MaildirStore(path).recover(RowsOf(expected))) == []
            assert files(path) == before

    def test_a_copy_among_the_present_messages_goes(self, store: MaildirStore, path: Path) -> None:
        gone, copied = placement_of(HELLO, 1, present=False), placement_of(HELLO, 1, generation=2, flags=["\\Seen"])
        other = placement_of(b"other", 2)
        put(store, (other, b"other"), (gone, HELLO))
        before = files(path)
        put(store, (copied, HELLO))
        assert list(MaildirStore(path).recover(RowsOf([gone, other]))) == []
        assert files(path) == before

    def test_a_missing_message_is_passed_over(self, store: MaildirStore) -> None:
        assert list(store.recover(RowsOf([placement_of(HELLO, 1)]))) == []


class TestControlFiles:
    def test_they_are_the_same_for_the_same_folder_and_rewritten_only_when_they_differ(
        self, store: MaildirStore, path: Path
    ) -> None:
        places = [placement_of(HELLO, uid, ".Sent") for uid in (9, 3)]
        put(store, *((place, HELLO) for place in places))

        def write() -> None:
            again = MaildirStore(path)
            list_uids(again.metadata, ".Sent", (7, 12), places)
            again.metadata.write_subscriptions(["", ".Sent", ".A.b\\2ec"])
            again.metadata.write_folder_name(".Sent", b"S\xe9nt", ("Sént\ud800",))

        write()
        names = ["Maildir/.Sent/dovecot-uidlist", "Maildir/subscriptions", "Maildir/.Sent/archiver-folder.json"]
        before = [(path / name).stat() for name in names]
        write()
        assert [(path / name).stat().st_ino for name in names] == [entry.st_ino for entry in before]
        head, *rows = (path / names[0]).read_text().splitlines()
        assert head.startswith("3 V7 N12 G")
        assert rows == [f"3 :{base_name(places[1])}", f"9 :{base_name(places[0])}"]
        assert (path / names[1]).read_text() == "V\t2\n\nINBOX\nSent\nA\tb\\2ec\n"
        described = json.loads((path / names[2]).read_text())
        assert (described["name"].encode("latin-1"), described["path"]) == (b"S\xe9nt", ["Sént\ud800"])

    def test_a_uidnext_that_is_too_low_is_raised(self, store: MaildirStore, path: Path) -> None:
        list_uids(store.metadata, "", (7, 1), [placement_of(HELLO, 9)])
        assert (path / "Maildir/dovecot-uidlist").read_text().startswith("3 V7 N10 G")


class TestNotWritable:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
    def test_a_disk_that_refuses_is_reported_with_what_to_do(
        self, store: MaildirStore, path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        def refuse(*_: object) -> int:
            raise OSError(number, os.strerror(number))

        put(store, (placement_of(HELLO, 1), HELLO))
        before = files(path)
        batch = store.batch()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            with pytest.raises(ArchiveNotWritable, match=os.strerror(number)) as caught:
                batch.put(placement_of(b"other", 2), body_of(b"other"))
        assert caught.value.hint
        batch.abandon()
        assert files(path) == before

    def test_a_full_disk(self, tmp_path: Path) -> None:
        with mounted(tmp_path / "small") as small:
            store = MaildirStore(small / "archive")
            put(store, (placement_of(HELLO, 1), HELLO))
            fill(small, spare=8192)
            large = HELLO * 10_000
            batch = store.batch()
            with pytest.raises(ArchiveNotWritable, match="No space left on device"):
                batch.put(placement_of(large, 2), body_of(large))
            batch.abandon()
            assert list(MaildirStore(small / "archive").recover(RowsOf([placement_of(HELLO, 1)]))) == []
            assert [os.path.dirname(name) for name in message_files(small / "archive")] == ["Maildir/cur"]

    def test_a_file_in_the_way(self, path: Path) -> None:
        path.write_bytes(b"")
        with pytest.raises(ArchiveNotWritable, match="Not a directory"):
            MaildirStore(path).batch().put(placement_of(HELLO, 1), body_of(HELLO))

    def test_a_short_write_is_continued(self, store: MaildirStore, monkeypatch: pytest.MonkeyPatch) -> None:
        write = os.write
        monkeypatch.setattr(os, "write", lambda descriptor, octets: write(descriptor, octets[:7]))
        put(store, (placement_of(HELLO, 1), HELLO))
        assert read(store, placement_of(HELLO, 1)) == HELLO


_VICTIM = """
import sys
from pathlib import Path
from msgspec.structs import replace
from archiver.storage.maildir.metadata import MaildirMetadata
from archiver.storage.maildir.store import MaildirStore
from tests.servers.small_disk import fill, mounted
from tests.contracts.store import list_uids, placement_of
from archiver.mail.content import body_of

store = MaildirStore(Path(sys.argv[1]), durability=sys.argv[2])
print("ready", flush=True)
uid = int(sys.argv[3])
while True:
    batch, places = store.batch(), []
    for uid in range(uid, uid + 20):
        octets = b"Subject: %d\\r\\n\\r\\n" % uid + b"x" * (uid * 7919 % 60000)
        place = placement_of(octets, uid, ".F%d" % (uid % 3), flags=["k%d" % (uid % 40)])
        if uid % 4 == 0:
            with store.spool() as spool:
                spool.write(octets)
            batch.put(place, replace(body_of(octets), octets=None, spool=Path(spool.name)))
        else:
            batch.put(place, body_of(octets))
        places.append(place)
    batch.commit()
    store.move((place, replace(place, present=False)) for place in places[::2])
    for directory in (".F0", ".F1", ".F2"):
        present = [place for place in places[1::2] if place.directory == directory]
        list_uids(store.metadata, directory, (7, uid), present)
    uid += 1
    print("went round", flush=True)
"""


class TestKilled:
    @pytest.mark.parametrize("durability", ["batch", "none"])
    def test_no_moment_leaves_a_half_written_file(self, path: Path, durability: Durability) -> None:
        chance = random.Random(durability)
        start = 1
        for _ in range(15):
            victim = WarmProcess(["-c", _VICTIM, str(path), durability, str(start)])
            assert victim.stdout is not None
            with victim, victim.stdout:
                for _ in range(chance.randint(1, 3)):
                    assert victim.stdout.readline()
                time.sleep(chance.random() * 0.02)  # the moment of the kill, not a wait for something
                victim.send_signal(signal.SIGKILL)
            store = MaildirStore(path)
            count = self._assert_whole(path)
            adopted = list(store.recover(RowsOf([])))
            assert len(adopted) == count
            assert list(store.recover(RowsOf(adopted))) == []
            assert not [file for file in files(path) if "/tmp/" in file or file.startswith("spool/")]
            start = max([start, *(place.uid + 1 for place in adopted)])
        assert start > 20

    def _assert_whole(self, path: Path) -> int:
        count = 0
        for name in message_files(path):
            count += 1
            base = os.path.basename(name).partition(":")[0]
            reported, body = parse_base_name(base), body_of((path / name).read_bytes())
            assert reported is not None
            assert (reported.digest, reported.size) == (body.digest[:16], body.size)
        for control in path.glob("*/.F*/dovecot-*"):
            assert control.read_bytes().endswith(b"\n")
        return count


_DOVECOT = """
base_dir = {root}/run
state_dir = {root}/state
log_path = /dev/stderr
protocols =
ssl = no
mail_plugins = listescape
mail_location = maildir:{root}/Maildir
stats_writer_socket_path =
namespace inbox {{
  inbox = yes
  separator = /
}}
"""


@pytest.mark.skipif(
    shutil.which("doveadm") is None, reason="doveadm is not installed (apt-get install dovecot-imapd)"
)
class TestServedByDovecot:
    """A copy of the archive, served with the listescape plugin: what goes in is what a client would see."""

    UID: ClassVar[int] = 5000 if os.geteuid() == 0 else os.geteuid()
    NAMES: ClassVar[list[str]] = [
        "INBOX", "Sent", "Parent/Child", "日本語/☺", "R&D", "Dr. Who/~x", "~root", "back\\slash", "a b/c d",
    ]  # fmt: skip

    @pytest.fixture
    def root(self) -> Iterator[Path]:
        root = Path(tempfile.mkdtemp(prefix="served"))
        root.chmod(0o755)
        yield root
        shutil.rmtree(root)

    def serve(self, archive: Path, root: Path) -> None:
        shutil.copytree(archive / "Maildir", root / "Maildir")
        (root / "home").mkdir()
        (root / "dovecot.conf").write_text(_DOVECOT.format(root=root))
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{self.UID}:{self.UID}", root / "Maildir", root / "home"], check=True)

    def doveadm(self, root: Path, *arguments: str) -> str:
        root_user = os.geteuid() == 0
        ran = subprocess.run(
            ["doveadm", "-f", "tab", "-c", str(root / "dovecot.conf"), *arguments],
            env={"USER": "someone", "HOME": str(root / "home"), "TZ": "UTC", "PATH": os.environ["PATH"]},
            capture_output=True, text=True, timeout=PATIENCE,
            user=self.UID if root_user else None, group=self.UID if root_user else None,
            extra_groups=[] if root_user else None,
        )  # fmt: skip
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout

    def test_it_gives_the_same_uids_flags_keywords_dates_and_subscriptions(self, path: Path, root: Path) -> None:
        store = MaildirStore(path)
        directories: dict[str, str] = {}
        expected = []
        for number, name in enumerate(self.NAMES, 1):
            raw = encode_name(name)
            directory = directories[name] = directory_of(folder_path(raw, "/"), raw, directories.values())
            octets = f"Subject: {number}\r\n\r\nbody\r\n".encode()
            flags = [["\\Seen", "$Forwarded"], ["\\Answered", "\\Draft", "NonJunk"], ["\\Deleted", "\\Flagged"]]
            places = [
                placement_of(octets, uid, directory, uidvalidity=1000 + number, arrived=NOON + uid, flags=own)
                for uid, own in zip((3, 7, 4000000), flags, strict=True)
            ]
            gone = placement_of(octets, 5, directory, uidvalidity=1000 + number)
            store.metadata.reserve_keywords(directory, ["NonJunk", "$Forwarded"])
            put(store, *((place, octets) for place in [*places, gone]))
            store.move([(gone, replace(gone, present=False))])
            list_uids(store.metadata, directory, (1000 + number, 5000000), places)
            store.metadata.write_folder_name(directory, raw, folder_path(raw, "/"))
            expected += [(name, place, sorted(place.flags)) for place in places]
        store.metadata.write_subscriptions([directories[name] for name in self.NAMES[::2]])
        self.serve(path, root)

        subscribed = self.doveadm(root, "mailbox", "list", "-s").splitlines()[1:]
        assert sorted(subscribed) == sorted(self.NAMES[::2])
        status = self.doveadm(root, "mailbox", "status", "uidvalidity uidnext messages", "*").splitlines()
        items = [dict(zip(status[0].split("\t"), row.split("\t"), strict=True)) for row in status[1:]]
        served = {item["mailbox"]: (item["uidvalidity"], item["uidnext"], item["messages"]) for item in items}
        assert {name: served[name] for name in self.NAMES} == {
            name: (str(1000 + number), "5000000", "3") for number, name in enumerate(self.NAMES, 1)
        }
        rows = self.doveadm(
            root, "fetch", "mailbox uid flags date.received.unixtime size.physical size.virtual", "ALL"
        )
        fetched = [tuple(row.split("\t")) for row in rows.splitlines()[1:]]
        assert sorted((row[0], row[1], " ".join(sorted(row[2].split())), *row[3:]) for row in fetched) == sorted(
            (name, str(place.uid), " ".join(flags), str(place.arrived), str(place.size),
             str(place.crlf_size)) for name, place, flags in expected
        )  # fmt: skip

    def test_it_finds_nothing_to_change(self, path: Path, root: Path) -> None:
        store = MaildirStore(path)
        place = placement_of(HELLO, 3, flags=["\\Seen", "k"])
        put(store, (place, HELLO))
        list_uids(store.metadata, "", (7, 9), [place])
        self.serve(path, root)
        before = (root / "Maildir/dovecot-uidlist").read_bytes()
        self.doveadm(root, "fetch", "uid", "ALL")
        assert (root / "Maildir/dovecot-uidlist").read_bytes() == before
        assert [file.name for file in (root / "Maildir/cur").iterdir()] == [Path(store.locate(place)).name]


def test_folder_names_have_one_form_for_each_place() -> None:
    places = [
        Placement(directory, uidvalidity, generation, StoredMessage.bare(1, body_of(b"").digest, 0, 0, 0), present)
        for directory in ("", ".INBOX.V7", ".a")
        for uidvalidity in (7, 8)
        for generation in (1, 2)
        for present in (True, False)
    ]
    vanished = [folder_name(place) for place in places if not place.present]
    assert len(set(vanished)) == len(vanished)
