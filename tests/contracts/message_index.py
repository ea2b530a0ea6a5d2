"""The contract of what messages are found by. An adapter's test gives the fixture `catalog`, new and empty."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from archiver.catalog.port import Catalog
from archiver.facts.archive import EpochFact, HeadersFact, StoredFact, VanishedFact
from archiver.facts.query import Found, Query
from archiver.mail.model import Headers
from tests.contracts.catalog import FIRST, INBOX, LATER, OF_WORK, WORK, apply, digest_of, placement, stored
from tests.stored_messages import altered

ALICE = Headers("Alice Müller <alice@example.org>", "bob@example.org", "Lunch 100%", "2026-01-05T01:30:00Z")
IVAN = Headers("Иван <ivan@example.ru>", "Bob <bob@example.org>, carol@example.org", "ОТЧЁТ_1", None)
STREET = Headers("zoe\u0308@example.org", "", "Hauptstraße", None)


def with_headers(uid: int, headers: Headers, **changes: Any) -> StoredFact:
    return altered(stored(uid), headers=headers, arrived=1_000_000_000 + uid * 86_400, **changes)


def three(catalog: Catalog) -> None:
    """Three messages in INBOX."""
    apply(
        catalog,
        *(INBOX, WORK, FIRST, OF_WORK),
        with_headers(1, ALICE),
        with_headers(2, IVAN, flags=frozenset({"$Forwarded", "a%b"})),
        with_headers(3, STREET, flags=frozenset()),
    )


class MessageIndexContract:
    def test_a_new_catalog_finds_nothing(self, catalog: Catalog) -> None:
        index = catalog.index

        assert index.find(Query(vanished=True)) == []
        assert index.unindexed((0, 0), 10) == []
        assert index.count_unindexed() == 0

    def test_what_is_found(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, WORK, FIRST, OF_WORK, replace(stored(1, epoch=2), headers=ALICE))

        assert catalog.index.find(Query()) == [
            Found(
                folder="Work/ÿ",
                placement=placement(1, ".Work"),
                gone_at=None,
                is_current=True,
                headers=ALICE,
                epoch=2,
            )
        ]

    @pytest.mark.parametrize(
        ("asked", "uids"),
        [
            ({}, [3, 2, 1]),
            ({"limit": 2}, [3, 2]),
            ({"sender": "ALICE müller"}, [1]),
            ({"sender": "MÜLLER"}, [1]),
            ({"sender": "иВаН"}, [2]),
            ({"sender": "ZOË"}, [3]),
            ({"subject": "hauptSTRASSE"}, [3]),
            ({"subject": "отчёт"}, [2]),
            ({"recipients": "BOB@"}, [2, 1]),
            ({"recipients": "bob@", "sender": "alice"}, [1]),
            ({"text": "carol"}, [2]),
            ({"text": "alice"}, [1]),
            ({"text": "lunch"}, [1]),
            ({"text": "nobody"}, []),
            # What is special to a database is not to a person.
            ({"subject": "%"}, [1]),
            ({"subject": "_"}, [2]),
            ({"subject": "/"}, []),
            ({"since": 1_000_000_000 + 2 * 86_400}, [3, 2]),
            ({"before": 1_000_000_000 + 2 * 86_400}, [1]),
            ({"larger": 102}, [3]),
            ({"smaller": 102}, [1]),
            ({"flagged": ["seen"]}, [1]),
            ({"flagged": ["\\SEEN"]}, [1]),
            ({"unflagged": ["Seen"]}, [3, 2]),
            ({"flagged": ["$forwarded", "A%B"]}, [2]),
            ({"flagged": ["%"]}, []),
            ({"flagged": ["forwarded"]}, []),
            ({"message_id": "<2@example.org>"}, [2]),
            ({"message_id": "2@example.org"}, [2]),
            ({"message_id": "@example.org"}, []),
            ({"digest": digest_of("message 3")[:8]}, [3]),
            ({"digest": digest_of("message 3")}, [3]),
            ({"uid": 2}, [2]),
            ({"folders": [1], "uid": 2}, [2]),
            ({"folders": [2]}, []),
            ({"folders": []}, []),
        ],
    )
    def test_a_query(self, catalog: Catalog, asked: dict[str, Any], uids: list[int]) -> None:
        three(catalog)

        assert [each.placement.uid for each in catalog.index.find(Query(**asked))] == uids

    def test_what_is_gone_is_found_only_if_asked_for(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, with_headers(1, ALICE), with_headers(2, IVAN), VanishedFact(1, (1,), LATER))

        assert [each.placement.uid for each in catalog.index.find(Query())] == [2]
        gone = catalog.index.find(Query(vanished=True, sender="alice"))
        assert [(each.placement.present, each.gone_at, each.is_current) for each in gone] == [(False, LATER, True)]

    def test_a_message_known_again_in_a_new_epoch_is_found_once(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, with_headers(1, ALICE), with_headers(2, IVAN))
        again = altered(with_headers(1, ALICE), epoch=2, uid=11)
        apply(catalog, EpochFact(2, 1, 8, 1, "uidvalidity", LATER), again)

        every = catalog.index.find(Query(vanished=True))

        assert [(each.placement.uid, each.is_current, each.gone_at) for each in every] == [
            (2, False, LATER),
            (11, True, None),
        ]

    def test_a_message_without_headers_is_found_by_everything_else(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, stored(1))

        assert [each.headers for each in catalog.index.find(Query(message_id="1@example.org"))] == [None]
        assert catalog.index.find(Query(text="")) == []

    def test_what_is_not_indexed(self, catalog: Catalog) -> None:
        same = altered(stored(5), digest=stored(1).message.digest)
        apply(catalog, *(INBOX, WORK, FIRST, OF_WORK), stored(1), with_headers(2, IVAN), stored(3), same)
        apply(catalog, stored(4, epoch=2), VanishedFact(2, (4,), LATER))
        index = catalog.index

        assert index.count_unindexed() == 3
        assert [each.key for each in index.unindexed((0, 0), 10)] == [(1, 1), (1, 3), (1, 5), (2, 4)]
        assert [each.key for each in index.unindexed((1, 3), 1)] == [(1, 5)]
        assert index.unindexed((1, 5), 10)[0].placement == placement(4, ".Work", present=False)

        apply(catalog, HeadersFact(stored(1).message.digest, ALICE), HeadersFact(stored(4).message.digest, STREET))

        assert [each.key for each in index.unindexed((0, 0), 10)] == [(1, 3)]
        assert [each.placement.uid for each in index.find(Query(sender="alice"))] == [5, 1]
        assert catalog.messages.known(2) == {}  # what is gone stays so

    def test_what_is_indexed_is_counted_once(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, replace(stored(1), headers=ALICE))
        assert [catalog.index.count_unindexed() for _ in range(2)] == [0, 0]
        apply(catalog, stored(1), replace(stored(2), headers=ALICE))
        assert catalog.index.count_unindexed() == 0
        apply(catalog, stored(3))
        assert [catalog.index.count_unindexed() for _ in range(2)] == [1, 1]

    def test_the_newest_headers_of_a_digest_count(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, replace(stored(1), headers=ALICE), stored(1))
        assert [each.headers for each in catalog.index.find(Query())] == [ALICE]

        apply(catalog, HeadersFact(stored(1).message.digest, IVAN))

        assert [each.headers for each in catalog.index.find(Query())] == [IVAN]

    def test_undecodable_text_is_kept_readable(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, replace(stored(1), headers=replace(ALICE, subject="a\udcffb", sent="\udcff")))

        (each,) = catalog.index.find(Query(subject="A\\uDCFF"))

        assert each.headers == replace(ALICE, subject="a\\udcffb", sent="\\udcff")
        assert each.placement.digest == digest_of("message 1")
