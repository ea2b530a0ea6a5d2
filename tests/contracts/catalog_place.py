"""The contract of where a catalog is. An adapter's test gives the fixture `place`, where nothing is yet, and
`same_place`, under another name, and `elsewhere`, another one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.catalog.port import Catalog, CatalogPlace
from archiver.errors import Locked
from archiver.facts.archive import Fact
from archiver.facts.destination import ReachedFact, RemovedFact
from archiver.facts.replica import Claim, ReplicaFolder
from tests.contracts.catalog import FIRST, INBOX, LATER, WORK, apply, digest_of, stored
from tests.contracts.replicas import ACCOUNT, INTO_WORK, copied

ALICE = ("mail.example.net", "alice@example.net")


def folders(catalog: Catalog) -> list[bytes]:
    return list(catalog.account.folders())


def make(place: CatalogPlace, *facts: Fact) -> None:
    with closing(place.open()) as catalog:
        apply(catalog, *facts)


def there(place: CatalogPlace) -> list[bytes]:
    with closing(place.open()) as catalog:
        return folders(catalog)


@contextmanager
def elsewhere_in(place: CatalogPlace, word: str) -> Iterator[Callable[[], None]]:
    """Another process works with this scratch catalog, until it is killed by what is yielded."""
    read, write = os.pipe()
    if not (process := os.fork()):
        try:
            with place.scratch(word) as scratch:
                apply(scratch, WORK)
                os.write(write, b".")
                signal.pause()
        finally:
            os._exit(1)
    assert os.read(read, 1) == b"."

    def kill() -> None:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)

    try:
        yield kill
    finally:
        os.close(read)
        os.close(write)


class CatalogPlaceContract:
    def test_a_catalog_is_made_by_the_first_use(self, place: CatalogPlace) -> None:
        catalog = place.open()
        assert not place.exists()

        apply(catalog, INBOX)
        catalog.close()

        assert place.exists()
        assert there(place) == [b"INBOX"]

    def test_a_catalog_of_ones_own_is_writable(self, place: CatalogPlace) -> None:
        make(place, INBOX)
        assert place.is_writable()

    def test_places_are_equal_if_they_are_the_same(
        self, place: CatalogPlace, same_place: CatalogPlace, elsewhere: CatalogPlace
    ) -> None:
        assert place == same_place
        assert place != elsewhere

    # Scratch catalogs

    def test_a_scratch_catalog_is_empty_and_goes_away(self, place: CatalogPlace) -> None:
        make(place, INBOX)

        for _ in range(2):
            with place.scratch("verify") as scratch:
                assert folders(scratch) == []
                apply(scratch, WORK)
                assert folders(scratch) == [WORK.raw]

        assert there(place) == [b"INBOX"]

    def test_scratch_catalogs_of_two_names_are_two(self, place: CatalogPlace) -> None:
        with place.scratch("export-1") as one, place.scratch("export-2") as other:
            apply(one, INBOX)
            assert folders(other) == []
        assert not place.exists()

    def test_what_killed_processes_left_is_removed(self, place: CatalogPlace) -> None:
        make(place, INBOX)
        with elsewhere_in(place, "verify") as killed, elsewhere_in(place, "export-1") as alive:
            killed()
            with place.scratch("verify") as scratch:
                assert folders(scratch) == []
            with place.scratch("export-2"):
                pass
            with pytest.raises(Locked), place.scratch("export-1"):
                pass
            alive()
        with place.scratch("export-1") as scratch:
            assert folders(scratch) == []
        assert there(place) == [b"INBOX"]

    def test_a_scratch_catalog_of_a_living_process_is_not_touched(self, place: CatalogPlace) -> None:
        with place.scratch("export-1") as scratch:
            apply(scratch, WORK)
            scratch.close()
            with pytest.raises(Locked), place.scratch("export-1"):
                pass
            with place.scratch("export-2"):
                pass
            assert folders(scratch) == [WORK.raw]

    # A catalog that is made again

    def test_a_scratch_catalog_is_put_in_the_place_of_the_catalog(self, place: CatalogPlace) -> None:
        make(place, INBOX)
        catalog = place.open()
        assert folders(catalog) == [b"INBOX"]

        with place.scratch("rebuild") as scratch:
            apply(scratch, WORK)
            scratch.close()
            catalog.close()
            aside = place.install("rebuild")

        assert aside is not None
        assert aside != str(place)
        assert folders(catalog) == [WORK.raw]
        catalog.close()

    def test_a_scratch_catalog_is_put_where_there_was_none(self, place: CatalogPlace) -> None:
        with place.scratch("rebuild") as scratch:
            apply(scratch, WORK)
            scratch.close()
            assert place.install("rebuild") is None

        assert there(place) == [WORK.raw]

    # A copy

    def test_a_copy_is_as_the_catalog_was(self, place: CatalogPlace, tmp_path: Path) -> None:
        make(place, INBOX)

        copy = place.copied(tmp_path)
        make(copy, WORK)

        assert there(copy) == [b"INBOX", WORK.raw]
        assert there(place) == [b"INBOX"]

    def test_a_copy_of_a_catalog_that_is_being_written(self, place: CatalogPlace, tmp_path: Path) -> None:
        with closing(place.open()) as catalog:
            apply(catalog, INBOX)
            copy = place.copied(tmp_path)
            apply(catalog, WORK)

            assert there(copy) == [b"INBOX"]

    def test_a_copy_of_no_catalog_is_none(self, place: CatalogPlace, tmp_path: Path) -> None:
        assert not place.copied(tmp_path).exists()
        assert not place.exists()

    # What another account claims

    def test_the_newest_segment_that_is_known(self, place: CatalogPlace) -> None:
        make(place, INBOX)
        assert place.claims().last_segment() == 1
        make(place, WORK)
        assert place.claims().last_segment() == 2

    def test_which_mailboxes_a_folder_is_filled_in(self, place: CatalogPlace) -> None:
        make(place, *ACCOUNT, ReachedFact(1, "imap.example.net", "alice", 993, LATER))

        assert set(place.claims().fillers(INTO_WORK.raw)) == {ALICE, ("imap.example.net", "alice")}
        assert list(place.claims().fillers(b"INBOX.Other")) == []

    def test_a_folder_that_is_not_listed_fills_nothing(self, place: CatalogPlace) -> None:
        make(place, *ACCOUNT, replace(WORK, listed=False, at=LATER))

        assert list(place.claims().fillers(INTO_WORK.raw)) == []

    def test_which_uids_of_a_folder_are_claimed(self, place: CatalogPlace) -> None:
        make(place, *ACCOUNT, *map(stored, (1, 2, 3)))
        make(place, *map(copied, (1, 2, 3)), RemovedFact(1, (1003,), "user", LATER))
        target = ReplicaFolder(9, b"INBOX", 77)

        claims = place.claims().replicas({target: [1001, 1003, 4000]})

        assert list(claims) == [Claim(target, *ALICE, 1001, digest_of("message 1"))]
        assert list(place.claims().replicas({ReplicaFolder(9, b"INBOX", 78): [1001]})) == []
        assert list(place.claims().replicas({ReplicaFolder(9, b"Other", 77): [1001]})) == []

    def test_very_many_uids_are_claimed(self, place: CatalogPlace) -> None:
        make(place, *ACCOUNT, *map(stored, range(1, 1201)))
        make(place, *map(copied, range(1, 1201)))

        claims = place.claims().replicas({ReplicaFolder(9, b"INBOX", 77): range(1001, 2201)})

        assert {claim.uid for claim in claims} == {*range(1001, 2201)}

    def test_an_account_without_a_destination_claims_nothing(self, place: CatalogPlace) -> None:
        make(place, INBOX, FIRST, stored(1))

        assert list(place.claims().replicas({ReplicaFolder(9, b"INBOX", 77): [1]})) == []
        assert list(place.claims().fillers(b"INBOX")) == []
