"""The contracts of a MessageStore, and of the optional Prefetch and FolderMetadata.

A store joins by subclassing `StoreContract` with the fixture `open_store`, which opens the same bytes again when it
is called again, as the next run would, and `names`, which lists what lies there without asking the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from archiver.errors import IntegrityError
from archiver.facts.archive import PackedFact
from archiver.mail.content import body_of
from archiver.mail.model import Digest, Frame, Placement, StoredMessage
from archiver.mail.uidset import UidSet
from archiver.storage.audit import Looked, Stray
from archiver.storage.port import FolderMetadata, MessageStore, Prefetch, StoreBatch
from tests.stored_messages import altered

NOON = 1577966400
OpenStore = Callable[[], MessageStore]
Names = Callable[[], list[str]]

FLAGS = st.frozensets(st.sampled_from(["\\Seen", "\\Answered", "\\Deleted", "$Forwarded", "NonJunk", "k[1]"]))


def placement_of(octets: bytes, uid: int, directory: str = "", *, uidvalidity: int = 7, generation: int = 1,
                 arrived: int = NOON, flags: Iterable[str] = (), present: bool = True) -> Placement:  # fmt: skip
    """Where these octets belong."""
    body = body_of(octets)
    message = StoredMessage.bare(uid, body.digest, body.size, body.crlf_size, arrived, frozenset(flags))
    return Placement(directory, uidvalidity, generation, message, present)


def list_uids(
    metadata: FolderMetadata, directory: str, status: tuple[int, int], places: Sequence[Placement]
) -> None:
    """Have the UIDs of these messages listed."""
    by_uid = {place.uid: place for place in places}
    metadata.write_uidlist(directory, status, UidSet(by_uid), lambda uids: [by_uid[uid] for uid in uids])


def put(store: MessageStore, *messages: tuple[Placement, bytes]) -> None:
    """Commit messages as one batch."""
    batch = store.batch()
    for placement, octets in messages:
        batch.put(placement, body_of(octets))
    batch.commit()


def read(store: MessageStore, placement: Placement) -> bytes:
    with store.open(placement) as file:
        return file.read()


HELLO = b"Subject: hello\r\n\r\nworld\r\n"


def octets_of(uid: int) -> bytes:
    return b"Subject: %d\r\n\r\n" % uid + b"x" * uid


def places_of(count: int) -> list[Placement]:
    """Messages 1 to `count` of one folder, each of other octets."""
    return [placement_of(octets_of(uid), uid, ".Audited") for uid in range(1, count + 1)]


@dataclass
class RowsOf:
    """A catalog's rows for an audit."""

    messages: list[Placement]
    framed: dict[Digest, Frame] = field(default_factory=dict)
    packed: dict[Digest, int] = field(default_factory=dict)

    def placements(self) -> Iterator[Placement]:
        return iter(self.messages)

    def by_digest(self) -> Iterator[Placement]:
        return iter(sorted(self.messages, key=lambda each: each.digest))

    def frames(self, digests: Collection[Digest]) -> dict[Digest, Frame]:
        return {digest: self.framed[digest] for digest in digests if digest in self.framed}

    def packs(self) -> Iterator[tuple[Digest, int]]:
        return iter(sorted(self.packed.items()))


class StoreContract:
    """What steps rely on."""

    def rows(self, store: MessageStore, *messages: tuple[Placement, bytes]) -> RowsOf:
        """Commit messages, and what the catalog then says."""
        rows = RowsOf([placement for placement, _ in messages])
        self._put(store.batch(), rows, messages)
        return rows

    def rewrite(self, store: MessageStore, rows: RowsOf, *messages: tuple[Placement, bytes]) -> None:
        """Write messages again; the facts about it go into `rows`."""
        self._put(store.rewrite_batch([placement for placement, _ in messages]), rows, messages)

    def _put(self, batch: StoreBatch, rows: RowsOf, messages: Iterable[tuple[Placement, bytes]]) -> None:
        for placement, octets in messages:
            batch.put(placement, body_of(octets))
        for fact in batch.commit():
            assert isinstance(fact, PackedFact)
            rows.packed[fact.pack] = fact.size
            rows.framed |= {digest: Frame(fact.pack, offset, length) for digest, offset, length in fact.frames}

    @pytest.fixture
    def open_store(self) -> OpenStore:
        raise NotImplementedError

    @pytest.fixture
    def names(self) -> Names:
        """Lists every file or object in which messages lie."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: OpenStore) -> MessageStore:
        return open_store()

    def test_what_is_committed_is_there_also_for_the_next_run(self, open_store: OpenStore, names: Names) -> None:
        place = placement_of(HELLO, 1)
        store = open_store()
        put(store, (place, HELLO))
        assert read(store, place) == HELLO
        assert read(open_store(), place) == HELLO
        assert len(names()) == 1

    def test_what_is_abandoned_is_not_committed_and_may_be_put_again(self, store: MessageStore) -> None:
        batch = store.batch()
        batch.put(placement_of(HELLO, 1), body_of(HELLO))
        batch.abandon()
        assert batch.commit() == ()
        put(store, (placement_of(HELLO, 1), HELLO))
        assert read(store, placement_of(HELLO, 1)) == HELLO

    def test_an_empty_batch_commits(self, store: MessageStore, names: Names) -> None:
        store.batch().commit()
        assert names() == []

    def test_a_message_may_be_put_again(self, open_store: OpenStore, names: Names) -> None:
        place = placement_of(HELLO, 1, flags=["\\Seen"])
        batch = open_store().batch()
        batch.put(place, body_of(HELLO))
        batch.put(place, body_of(HELLO))
        batch.commit()
        put(open_store(), (place, HELLO))
        assert read(open_store(), place) == HELLO
        assert len(names()) == 1

    def test_a_batch_may_be_used_again_after_commit(self, store: MessageStore) -> None:
        batch = store.batch()
        for uid in (1, 2):
            batch.put(placement_of(HELLO, uid), body_of(HELLO))
            batch.commit()
        assert read(store, placement_of(HELLO, 2)) == HELLO

    def test_a_spool_file_is_taken_over(self, store: MessageStore, tmp_path: Path) -> None:
        spool = tmp_path / "spooled"
        octets = HELLO * 1000
        spool.write_bytes(octets)
        place = placement_of(octets, 1)
        batch = store.batch()
        batch.put(place, replace(body_of(octets), octets=None, spool=spool))
        batch.commit()
        assert read(store, place) == octets
        assert not spool.exists()

    def test_the_same_octets_have_a_place_in_every_folder(self, store: MessageStore) -> None:
        one, two = placement_of(HELLO, 1), placement_of(HELLO, 9, ".Sent", uidvalidity=8)
        put(store, (one, HELLO))
        batch = store.batch()
        batch.link(two, one)
        batch.commit()
        assert (read(store, one), read(store, two)) == (HELLO, HELLO)

    def test_a_link_done_twice_is_fine(self, open_store: OpenStore) -> None:
        one, two = placement_of(HELLO, 1), placement_of(HELLO, 1, ".Sent")
        put(open_store(), (one, HELLO))
        for _ in range(2):
            batch = open_store().batch()
            batch.link(two, one)
            batch.commit()
        assert read(open_store(), two) == HELLO
        assert list(open_store().recover(RowsOf([one, two]))) == []

    def test_a_link_to_nothing_is_an_integrity_error(self, store: MessageStore) -> None:
        def linked() -> None:
            batch = store.batch()
            batch.link(placement_of(HELLO, 1), placement_of(HELLO, 2, ".Sent"))
            batch.commit()

        with pytest.raises(IntegrityError):
            linked()

    def test_a_message_that_is_not_there_is_an_integrity_error(self, store: MessageStore) -> None:
        with pytest.raises(IntegrityError):
            store.open(placement_of(HELLO, 1))

    def test_flags_change_and_the_octets_stay(self, open_store: OpenStore) -> None:
        old = placement_of(HELLO, 1, flags=["$Forwarded"])
        new = altered(old, flags=frozenset(["\\Seen", "later"]))
        store = open_store()
        put(store, (old, HELLO))
        store.move([(old, new)])
        assert read(store, new) == HELLO
        assert read(open_store(), new) == HELLO

    def test_a_vanished_message_keeps_its_octets_and_may_come_back(self, store: MessageStore) -> None:
        here = placement_of(HELLO, 1, ".Sent")
        gone = replace(here, present=False)
        put(store, (here, HELLO))
        store.move([(here, gone)])
        assert read(store, gone) == HELLO
        store.move([(gone, here)])
        assert read(store, here) == HELLO

    def test_a_move_done_before_is_fine(self, open_store: OpenStore) -> None:
        old = placement_of(HELLO, 1)
        new = altered(old, flags=frozenset(["\\Seen"]), present=False)
        put(open_store(), (old, HELLO))
        open_store().move([(old, new), (old, new)])
        open_store().move([(old, new)])
        assert read(open_store(), new) == HELLO

    def test_generations_of_a_uidvalidity_are_kept_apart(self, store: MessageStore) -> None:
        first = placement_of(HELLO, 1)
        put(store, (first, HELLO))
        ended = replace(first, present=False)
        store.move([(first, ended)])
        second = placement_of(HELLO + b"other", 1, generation=2)
        put(store, (second, HELLO + b"other"))
        store.move([(second, replace(second, present=False))])
        assert read(store, ended) == HELLO
        assert read(store, replace(second, present=False)) == HELLO + b"other"

    def test_recovering_what_is_in_order_changes_nothing(self, open_store: OpenStore, names: Names) -> None:
        places = [
            placement_of(HELLO, 1, flags=["\\Seen", "a"]),
            placement_of(b"", 2, ".Sent"),
            placement_of(b"x", 3, ".Sent", uidvalidity=3, generation=2, present=False),
        ]
        store = open_store()
        put(store, *zip(places, [HELLO, b"", b"x"], strict=True))
        before = names()
        assert len(before) >= 1
        assert list(open_store().recover(RowsOf(places))) == []
        assert names() == before

    def test_recovering_finishes_a_move(self, open_store: OpenStore) -> None:
        old = placement_of(HELLO, 1)
        put(open_store(), (old, HELLO))
        new = altered(old, flags=frozenset(["\\Flagged", "b"]), present=False)
        assert list(open_store().recover(RowsOf([new]))) == []
        assert read(open_store(), new) == HELLO

    def test_an_audit_looks_at_every_message_once(self, open_store: OpenStore) -> None:
        places = places_of(8)
        rows = self.rows(open_store(), *((place, octets_of(place.uid)) for place in places))
        for reads in (True, False):
            audited = list(open_store().audit(rows, lambda _, reads=reads: reads))
            assert [each for each in audited if not isinstance(each, Looked)] == []
            looked = [each for each in audited if isinstance(each, Looked)]
            assert [(each.read, each.fault) for each in looked] == [(reads, None)] * 8
            assert sorted(each.placement.uid for each in looked) == list(range(1, 9))

    def test_an_audit_finds_what_is_missing_and_continues(self, open_store: OpenStore) -> None:
        places = places_of(8)
        rows = self.rows(
            open_store(), *((place, octets_of(place.uid)) for place in places if place.uid not in (3, 5))
        )
        rows.messages = places
        for reads in (True, False):
            audited = list(open_store().audit(rows, lambda _, reads=reads: reads))
            faults = {
                each.placement.uid: each.fault and each.fault.kind for each in audited if isinstance(each, Looked)
            }
            assert faults == {uid: "missing" if uid in (3, 5) else None for uid in range(1, 9)}

    def test_an_audit_finds_what_no_row_names(self, open_store: OpenStore) -> None:
        places = places_of(3)
        rows = self.rows(open_store(), *((place, octets_of(place.uid)) for place in places))
        rows.messages = [places[0], places[2]]
        audited = list(open_store().audit(rows, lambda _: True))
        assert [type(each) for each in audited if not isinstance(each, Looked)] == [Stray]
        assert [each.fault for each in audited if isinstance(each, Looked)] == [None, None]

    def test_what_is_missing_is_repaired(self, open_store: OpenStore) -> None:
        places = places_of(4)
        rows = self.rows(open_store(), *((place, octets_of(place.uid)) for place in places[:2]))
        rows.messages = places
        store = open_store()
        self.rewrite(store, rows, *((place, octets_of(place.uid)) for place in places[2:]))
        for each in (store, open_store()):
            assert [read(each, place) for place in places] == [octets_of(uid) for uid in range(1, 5)]
        audited = list(open_store().audit(rows, lambda _: True))
        assert [each.fault for each in audited if isinstance(each, Looked)] == [None] * 4
        assert len(audited) == 4

    def test_what_is_intact_may_be_repaired_twice(self, open_store: OpenStore) -> None:
        (place,) = places_of(1)
        rows = self.rows(open_store(), (place, octets_of(1)))
        for _ in range(2):
            self.rewrite(open_store(), rows, (place, octets_of(1)))
        assert read(open_store(), place) == octets_of(1)
        audited = list(open_store().audit(rows, lambda _: True))
        assert [each.fault for each in audited if isinstance(each, Looked)] == [None]
        assert len(audited) == 1

    def test_threads_may_write_at_once(self, open_store: OpenStore) -> None:
        store = open_store()
        folders = ["", ".a", ".b", ".c"]
        places = [[placement_of(HELLO, u, d, flags=[f"{d[-1:]}{u % 5}x"]) for u in range(1, 41)] for d in folders]
        errors: list[BaseException] = []

        def work(own: list[Placement], start: threading.Barrier) -> None:
            try:
                start.wait()
                for at in range(0, len(own), 10):
                    put(store, *((place, HELLO) for place in own[at : at + 10]))
            except BaseException as error:
                errors.append(error)
                raise

        # Two threads share each folder, as slices of a huge one do.
        halves = [half for own in places for half in (own[::2], own[1::2])]
        start = threading.Barrier(len(halves))
        threads = [threading.Thread(target=work, args=(half, start)) for half in halves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        everything = [place for own in places for place in own]
        assert {read(open_store(), place) for place in everything} == {HELLO}
        assert list(open_store().recover(RowsOf(everything))) == []

    # Several classes run this one suite on purpose.
    @settings(
        max_examples=25,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(octets=st.binary(max_size=2000), uid=st.integers(1, 2**32 - 1), flags=FLAGS, to=FLAGS,
           arrived=st.integers(-62135596800, 253402300799), present=st.booleans())  # fmt: skip
    def test_any_octets_flags_and_dates_round_trip(
        self, open_store: OpenStore, octets: bytes, uid: int, flags: frozenset[str], to: frozenset[str],
        arrived: int, present: bool,
    ) -> None:  # fmt: skip
        place = placement_of(octets, uid, ".Any", arrived=arrived, flags=flags)
        put(open_store(), (place, octets))
        moved = altered(place, flags=to, present=present)
        open_store().move([(place, moved)])
        assert read(open_store(), moved) == octets


class PrefetchContract:
    """What steps rely on in a store that is read from far away; `open_store` opens one that is a Prefetch, too."""

    @pytest.fixture
    def prefetch(self, store: MessageStore) -> Prefetch:
        assert callable(getattr(store, "prefetch", None))
        return cast(Prefetch, store)

    def test_what_is_missing_is_known_before_it_is_linked(self, store: MessageStore, prefetch: Prefetch) -> None:
        one, lost = placement_of(HELLO, 1), placement_of(HELLO + b"lost", 2)
        put(store, (one, HELLO))
        assert set(prefetch.missing([one, lost])) == {lost.digest}
        assert set(prefetch.missing([])) == set()

    def test_what_is_prefetched_is_opened_in_any_order(self, store: MessageStore, prefetch: Prefetch) -> None:
        places = places_of(6)
        put(store, *((place, octets_of(place.uid)) for place in places))
        prefetch.prefetch(places)
        for place in (places[0], places[4], places[1], places[1], places[5]):
            assert read(store, place) == octets_of(place.uid)
        prefetch.prefetch([])
        assert [read(store, place) for place in places] == [octets_of(uid) for uid in range(1, 7)]

    def test_what_is_prefetched_and_missing_fails_when_it_is_opened(
        self, store: MessageStore, prefetch: Prefetch
    ) -> None:
        places = places_of(3)
        put(store, *((place, octets_of(place.uid)) for place in places[::2]))
        prefetch.prefetch(places)
        assert read(store, places[0]) == octets_of(1)
        with pytest.raises(IntegrityError):
            read(store, places[1])
        assert read(store, places[2]) == octets_of(3)


class FolderMetadataContract:
    """What steps rely on in a store that other programs read."""

    @pytest.fixture
    def open_both(self) -> Callable[[], tuple[MessageStore, FolderMetadata]]:
        raise NotImplementedError

    def test_metadata_is_written_any_number_of_times(
        self, open_both: Callable[[], tuple[MessageStore, FolderMetadata]]
    ) -> None:
        place = placement_of(HELLO, 1, ".Sent", flags=["b"])
        first = open_both()
        store, metadata = first
        metadata.reserve_keywords(".Sent", ["a", "b"])
        metadata.write_folder_name(".Sent", b"S\xe9nt", ("Sént",))
        put(store, (place, HELLO))
        for store, metadata in (first, open_both()):
            metadata.reserve_keywords(".Sent", ["b", "a", "c"])
            metadata.write_folder_name(".Sent", b"S\xe9nt", ("Sént",))
            list_uids(metadata, ".Sent", (7, 2), [place])
            metadata.write_subscriptions(["", ".Sent"])
            assert read(store, place) == HELLO
        assert list(open_both()[0].recover(RowsOf([place]))) == []
