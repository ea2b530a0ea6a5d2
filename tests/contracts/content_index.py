"""The contract of the index of contents. An adapter's test gives the fixture `catalog`, new and empty."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterable
from typing import BinaryIO

import pytest

from archiver.catalog.port import Catalog
from archiver.errors import IntegrityError
from archiver.facts.archive import VanishedFact
from archiver.facts.query import Query
from archiver.mail.model import Headers, Placement
from archiver.mail.parts.contents import Contents
from archiver.upkeep.index_contents import ContentsIndexed, index_contents
from tests.accounts import UNSTOPPED
from tests.contracts.catalog import FIRST, INBOX, LATER, OF_WORK, WORK, apply, digest_of, stored
from tests.contracts.message_index import with_headers

NOBODY = Headers("a@example.org", "", "subject", None)
MEETING = "Subject: x\n\nDie Straße zum Λόγος der 会議室 ist lang, voice: in-voi-ce.".encode()
ATTACHED = (
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nsee the invoice 100% \xf0\x9f\x98\x80\n"
    b"--b\nContent-Type: application/pdf; name*=utf-8''Gr%C3%BC%C3%9Fe_2024.pdf\n\n%PDF\n--b--\n"
)
HTML = "Content-Type: text/html; charset=utf-8\n\n<p>отч<b>ёт</b> &amp; voice".encode()
#: By UID; the first is also in another folder.
MESSAGES = {1: MEETING, 2: ATTACHED, 3: HTML}


class Octets:
    """A store that has only octets, by digest, and counts how often they are read."""

    def __init__(self, messages: dict[str, bytes]) -> None:
        self.messages, self.reads = messages, 0
        self.ends_at: int | None = None  # the process is killed at that one

    def open(self, placement: Placement) -> BinaryIO:
        self.reads += 1
        if self.reads == self.ends_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if placement.digest not in self.messages:
            raise IntegrityError("missing")
        return io.BytesIO(self.messages[placement.digest])


def filled(catalog: Catalog, messages: dict[int, bytes] | None = None) -> Octets:
    """The messages archived, not yet read; returns their store."""
    messages = MESSAGES if messages is None else messages
    facts = [with_headers(uid, NOBODY, digest=digest_of(str(uid))) for uid in messages]
    again = with_headers(min(messages), NOBODY, digest=digest_of(str(min(messages))), epoch=2)
    apply(catalog, INBOX, WORK, FIRST, OF_WORK, *facts, again)
    return Octets({digest_of(str(uid)): octets for uid, octets in messages.items()})


def read(catalog: Catalog, store: Octets) -> ContentsIndexed | None:
    return index_contents(catalog.index.contents, store, None, UNSTOPPED)  # type: ignore[arg-type]


def uids(catalog: Catalog, query: Query) -> list[int]:
    return [each.placement.uid for each in catalog.index.find(query)]


class ContentIndexContract:
    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ({"body": "STRASSE zum λόγοσ"}, [1, 1]),
            ({"body": "会議"}, [1, 1]),
            ({"body": "室"}, [1, 1]),
            ({"body": "オ"}, []),
            ({"body": "voice"}, [3, 2, 1, 1]),
            ({"body": "invoice"}, [2]),
            ({"body": "nvo"}, [2]),
            ({"body": "ОТЧЁТ"}, [3]),
            ({"body": "."}, [1, 1]),
            ({"body": "e."}, [1, 1]),
            ({"body": "0%"}, [2]),
            ({"body": "\U0001f600"}, [2]),
            ({"body": "see  the\ninvoice"}, [2]),
            ({"body": '"'}, []),
            ({"body": "* OR NEAR("}, []),
            ({"body": "nobody at all"}, []),
            ({"body": "grüße"}, []),
            ({"body": "lang, voice: in", "limit": 1}, [1]),
            ({"attachment": "GRÜSSE"}, [2]),
            ({"attachment": ".pdf", "body": "invoice"}, [2]),
            ({"attachment": "4"}, [2]),
            ({"attachment": "invoice"}, []),
            ({"attached": True}, [2]),
            ({"attached": True, "body": "voice"}, [2]),
            ({"body": "voice", "folders": {2}}, [1]),
            ({"body": "voice", "sender": "a@"}, [3, 2, 1, 1]),
            ({"body": "voice", "subject": "another"}, []),
            ({"body": "voice", "before": 1_000_000_000 + 2 * 86_400}, [1, 1]),
            ({"body": ""}, [3, 2, 1, 1]),
        ],
    )
    def test_what_is_found(self, catalog: Catalog, asked: dict[str, object], found: list[int]) -> None:
        assert read(catalog, filled(catalog)) == ContentsIndexed(3, 0, 0)

        assert uids(catalog, Query(**asked)) == found  # type: ignore[arg-type]

    def test_where_it_is_found(self, catalog: Catalog) -> None:
        read(catalog, filled(catalog, {1: b"\n" + "Ǆ ﬁ ".encode() * 50 + "Straße".encode() + b" end" * 50}))

        (each, _) = catalog.index.find(Query(body="STRASSE"))

        assert each.snippet is not None
        assert "ﬁ Straße end" in each.snippet
        assert each.snippet.startswith("…")
        assert len(each.snippet) < 120

    def test_nothing_is_read_twice_and_nothing_is_found_before_it_was_read(self, catalog: Catalog) -> None:
        store = filled(catalog)
        assert (catalog.index.contents.count_missing(), uids(catalog, Query(body="voice"))) == (3, [])
        read(catalog, store)
        assert (catalog.index.contents.count_missing(), read(catalog, store), store.reads) == (
            0,
            ContentsIndexed(),
            3,
        )

        apply(catalog, stored(9), with_headers(9, NOBODY, digest=digest_of("3")), VanishedFact(1, (2,), LATER))

        assert uids(catalog, Query(body="voice")) == [9, 3, 1, 1]
        assert uids(catalog, Query(body="voice", vanished=True, gone=True)) == [2]
        assert (read(catalog, store), store.reads) == (ContentsIndexed(), 3)

    def test_what_cannot_be_read_is_tried_again(self, catalog: Catalog) -> None:
        store = filled(catalog)
        lost = store.messages.pop(digest_of("2"))
        assert read(catalog, store) == ContentsIndexed(3, 1, 0)
        assert (catalog.index.contents.count_missing(), uids(catalog, Query(body="voice"))) == (1, [3, 1, 1])

        store.messages[digest_of("2")] = lost

        assert read(catalog, store) == ContentsIndexed(1, 0, 0)
        assert (catalog.index.contents.count_missing(), uids(catalog, Query(body="voice"))) == (0, [3, 2, 1, 1])

    def test_what_is_removed_is_not_found(self, catalog: Catalog) -> None:
        read(catalog, filled(catalog))

        removed(catalog, [digest_of("1"), digest_of("unknown")])

        assert uids(catalog, Query(body="voice")) == [3, 2]
        assert uids(catalog, Query(body="会")) == []

    def test_it_may_have_been_added_before(self, catalog: Catalog) -> None:
        read(catalog, filled(catalog))
        with catalog.index.contents.extending() as extension:
            assert extension is not None
            assert extension.next(10) == ()
            extension.add({digest_of("1"): Contents("other")})

        assert uids(catalog, Query(body="voice")) == [3, 2, 1, 1]


def removed(catalog: Catalog, digests: Iterable[str]) -> None:
    with catalog.index.contents.extending() as extension:
        assert extension is not None
        extension.discard(list(digests))  # type: ignore[arg-type]
