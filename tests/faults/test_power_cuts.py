"""A power cut on a disk that keeps of two directories whichever change it likes: no message is ever in neither."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.mail.model import Placement
from archiver.storage.files import Durability
from archiver.storage.maildir.moving import Moves
from archiver.storage.maildir.store import MaildirStore
from archiver.storage.maildir.tree import MaildirTree
from tests.contracts.store import RowsOf, octets_of, placement_of, put, read
from tests.faults.literal_disk import LiteralDisk
from tests.stored_messages import message_files

UIDS = range(1, 9)
Cutting = Callable[..., list[str]]
PRESENT = [placement_of(octets_of(uid), uid, "" if uid % 2 else ".Sent") for uid in UIDS]
VANISHED = [replace(each, present=False) for each in PRESENT]


@pytest.fixture(params=["batch", "file"])
def durability(request: pytest.FixtureRequest) -> Durability:
    chosen: Durability = request.param
    return chosen


@pytest.fixture(params=["links", "no links"])
def store(
    request: pytest.FixtureRequest, durability: Durability, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MaildirStore]:
    """Eight messages in two folders; where the file system knows no links, only the order of syncs helps."""
    if request.param == "no links":

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
    store = MaildirStore(tmp_path / "archive", durability)
    put(store, *((each, octets_of(each.uid)) for each in PRESENT))
    yield store
    monkeypatch.undo()


def knows_links() -> bool:
    return os.link.__name__ != "refuse"


@pytest.fixture
def cuts(store: MaildirStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cutting:
    """`cuts(work, left)`: cuts the power throughout `work`, which takes messages out of the tree `left`; the cuts
    that lose one. Without links each rename is open to a cut until its new directory is synced; but that has to be
    done before the old one is."""

    def during(work: Callable[[], object], left: str) -> list[str]:
        disk = LiteralDisk(tmp_path / "archive")
        known = knows_links()
        with disk.watching(monkeypatch):
            work()
        assert disk.cuts >= len(UIDS)
        return [lost for lost in disk.lost if known or f"fsync {left}/" in lost]

    return during


def held(store: MaildirStore, placements: list[Placement]) -> None:
    """Each message is where it should be, with its octets, and nowhere else."""
    for each in placements:
        assert read(store, each) == octets_of(each.uid)
        assert store.locate(each).endswith(store.display_path(each))
    path = store.display_path(placements[0])
    assert len(message_files(store.locate(placements[0]).removesuffix(path))) == len(placements)


def test_messages_that_vanish(store: MaildirStore, cuts: Cutting) -> None:
    assert cuts(lambda: store.move(zip(PRESENT, VANISHED, strict=True)), "Maildir") == []
    held(store, VANISHED)


def test_messages_that_return(store: MaildirStore, cuts: Cutting) -> None:
    store.move(zip(PRESENT, VANISHED, strict=True))
    assert cuts(lambda: store.move(zip(VANISHED, PRESENT, strict=True)), "vanished") == []
    held(store, PRESENT)


def test_messages_that_come_and_go_at_once(store: MaildirStore, cuts: Cutting) -> None:
    """Each directory is left by some and entered by others, so that no order of their syncs alone would do."""
    store.move(zip(PRESENT[:4], VANISHED[:4], strict=True))
    moves = [*zip(VANISHED[:4], PRESENT[:4], strict=True), *zip(PRESENT[4:], VANISHED[4:], strict=True)]
    lost = cuts(lambda: store.move(moves), "Maildir")
    assert lost == [] or not knows_links()
    held(store, PRESENT[:4] + VANISHED[4:])


def test_without_links_a_directory_is_synced_after_those_that_its_messages_went_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    tree = MaildirTree(tmp_path, "batch")
    monkeypatch.setattr(tree, "sync", lambda names: synced.extend(sorted(map(os.path.basename, names))))
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    for name in ("a/1", "b/2", "b/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    moves = Moves(tree)

    for source, target in (("b/3", "b/3S"), ("b/2", "c/2"), ("a/1", "b/1")):
        moves.move(str(tmp_path / source), str(tmp_path / target))
    moves.finish()

    assert synced == ["c", "b", "b", "a"]


def test_messages_that_recovering_brings_home(
    store: MaildirStore, cuts: Cutting, tmp_path: Path, durability: Durability
) -> None:
    """Some are in the other tree, some in `new`, as a mail program or a crash left them."""
    store.move(zip(PRESENT[:4], VANISHED[:4], strict=True))
    for each in PRESENT[4:]:
        path = Path(store.locate(each))
        path.rename(path.parent.parent / "new" / path.name)
    for each in PRESENT[4:]:  # all that a cut must not lose is in `cur`
        path = Path(store.locate(each))
        path.rename(path.parent.parent / "cur" / (path.name + "S"))
    again = MaildirStore(tmp_path / "archive", durability)
    assert cuts(lambda: list(again.recover(RowsOf(PRESENT))), "vanished") == []
    held(again, PRESENT)


@pytest.mark.parametrize("moment", range(1, 14))
def test_a_kill_on_the_way_leaves_no_second_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Wherever the process ends, each message is in one tree when the next run has looked through the store, and a
    run that moves them again ends as if nothing had been."""
    for finished in (VANISHED, PRESENT):
        path = tmp_path / finished[0].directory / str(finished is PRESENT)
        store = MaildirStore(path)
        put(store, *((each, octets_of(each.uid)) for each in PRESENT))
        _killed_after(moment, store, monkeypatch)
        again = MaildirStore(path)
        list(again.recover(RowsOf(PRESENT)))
        held(again, PRESENT)
        if finished is VANISHED:
            again.move(zip(PRESENT, VANISHED, strict=True))
        held(again, finished)


class Killed(BaseException):
    pass


def _killed_after(calls: int, store: MaildirStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move all of it, and end at that system call: nothing that comes later happens."""
    left = calls

    def dying(name: str) -> None:
        before: Callable[..., object] = getattr(os, name)

        def call(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return before(*arguments, **options)

        patch.setattr(os, name, call)

    with monkeypatch.context() as patch:
        for name in ("link", "unlink", "rename", "mkdir"):
            dying(name)
        try:
            store.move(zip(PRESENT, VANISHED, strict=True))
        except Killed:
            pass
