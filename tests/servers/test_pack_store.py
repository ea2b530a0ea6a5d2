"""Packs on real endpoints: the contract, every message of the corpora in both layouts, and damage in the bucket."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.config.tables.s3 import S3Settings
from archiver.errors import IntegrityError
from archiver.mail.content import BodyBuilder, body_of
from archiver.mail.model import Body, Placement, StoredMessage
from archiver.storage.audit import Audited, Damage, Looked, Stray
from archiver.storage.bucket.pack_format import TAIL_OCTETS, pack_key
from archiver.storage.bucket.prefetch import SMALL_OCTETS
from archiver.storage.s3.bucket import BotoBucket
from tests.contracts.store import (
    Names,
    OpenStore,
    PrefetchContract,
    RowsOf,
    StoreContract,
    octets_of,
    placement_of,
    places_of,
    put,
    read,
)
from tests.recorded_packs import RecordedPacks
from tests.servers.corpora import CorpusMessage
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint

ROOT = Path(__file__).parents[2]
MEGABYTE = 1 << 20


@dataclass
class Place:
    """An archive's packs in a fresh bucket, and the bucket as a plain client sees it."""

    archive: RecordedPacks
    endpoint: Endpoint
    bucket: str

    def keys(self, under: str) -> list[str]:
        return self.endpoint.keys(self.bucket, f"alice/{under}")

    def pack_with(self, placement: Placement) -> str:
        frame = self.archive.catalog.messages.frames([placement.digest])[placement.digest]
        return f"alice/{pack_key(frame.pack)}"

    def audit(self, messages: list[tuple[Placement, bytes]]) -> list[Audited]:
        """An audit that reads everything."""
        catalog = self.archive.catalog
        frames = dict(catalog.messages.frames([place.digest for place, _ in messages]))
        rows = RowsOf([place for place, _ in messages], frames, dict(catalog.messages.packs()))
        return list(self.archive.open().audit(rows, lambda _: True))


@pytest.fixture
def placed(aws: Callable[[Endpoint], None], tmp_path: Path) -> Iterator[Callable[[Endpoint], Place]]:
    """`placed(endpoint)` makes one."""
    with ExitStack() as stack:

        def place(endpoint: Endpoint) -> Place:
            aws(endpoint)
            name = endpoint.fresh_bucket()
            settings = S3Settings(bucket=name, endpoint_url=endpoint.url, ca_file=endpoint.ca_file)
            bucket = BotoBucket(settings, "alice", None)
            stack.callback(bucket.close)
            archive = RecordedPacks(bucket, tmp_path / name)
            stack.callback(archive.catalog.close)
            return Place(archive, endpoint, name)

        yield place


@pytest.fixture
def place(s3: Endpoint, placed: Callable[[Endpoint], Place]) -> Place:
    return placed(s3)


@pytest.fixture
def on_radosgw(radosgw: RadosGateway, placed: Callable[[Endpoint], Place]) -> Place:
    return placed(radosgw.http)


class TestPackStore(StoreContract, PrefetchContract):
    @pytest.fixture
    def open_store(self, on_radosgw: Place) -> OpenStore:
        return on_radosgw.archive.open

    @pytest.fixture
    def names(self, on_radosgw: Place) -> Names:
        bucket = on_radosgw.archive.bucket
        return lambda: [each.key for under in ("messages/", "packs/") for each in bucket.list(under)]

    def test_an_audit_finds_what_no_row_names(self, open_store: OpenStore) -> None:
        """In a pack it may stay: packs are as they were written."""
        places = places_of(3)
        rows = self.rows(open_store(), *((place, octets_of(place.uid)) for place in places))
        rows.messages = [places[0], places[2]]
        assert {type(each) for each in open_store().audit(rows, lambda _: True)} == {Looked}


def some(count: int, octets: int = 300) -> list[tuple[Placement, bytes]]:
    """Different messages."""
    return [
        (placement_of(message, uid), message)
        for uid in range(1, count + 1)
        for message in [b"Subject: %d\r\n\r\n" % uid + random.Random(uid).randbytes(octets)]
    ]


@pytest.mark.parametrize("below", [SMALL_OCTETS, 0], ids=["packs", "objects"])
class TestEveryOctet:
    def test_of_the_corpora_is_as_it_was(self, on_radosgw: Place, below: int, corpora: list[CorpusMessage]) -> None:
        messages = [(placement_of(each.octets, uid), each.octets) for uid, each in enumerate(corpora, 1)]
        put(on_radosgw.archive.open(below), *messages)
        store = on_radosgw.archive.open(below)
        store.prefetch([placement for placement, _ in messages])
        for (placement, octets), each in zip(messages, corpora, strict=True):
            assert read(store, placement) == octets, each.name

    @pytest.mark.parametrize(
        "size", [0, 1, SMALL_OCTETS - 1, SMALL_OCTETS, SMALL_OCTETS + 1, 17 * MEGABYTE, 200 * MEGABYTE]
    )
    def test_of_any_size(self, on_radosgw: Place, below: int, size: int, tmp_path: Path) -> None:
        spool = tmp_path / "spooled"
        body = noise(spool, size)
        placement = Placement("", 7, 1, StoredMessage.bare(1, body.digest, body.size, body.crlf_size, 0))
        batch = on_radosgw.archive.open(below).batch()
        batch.put(placement, body)
        batch.commit()
        assert not spool.exists()
        with on_radosgw.archive.open(below).open(placement) as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == body.digest  # type: ignore[arg-type]


def noise(path: Path, size: int) -> Body:
    """A message of any octets in a spool file."""
    builder, source = BodyBuilder(), random.Random(size)
    with path.open("wb") as file:
        for at in range(0, size, MEGABYTE):
            piece = source.randbytes(min(MEGABYTE, size - at))
            builder.feed(piece)
            file.write(piece)
    return replace(builder.body(None), spool=path)


class TestDamage:
    def test_of_one_message_is_named_and_spares_the_others(self, on_radosgw: Place) -> None:
        messages = some(200)
        put(on_radosgw.archive.open(), *messages)
        placement = messages[77][0]
        frame = on_radosgw.archive.catalog.messages.frames([placement.digest])[placement.digest]
        pack = on_radosgw.pack_with(placement)
        on_radosgw.endpoint.flip(on_radosgw.bucket, pack, frame.offset + frame.length // 2)
        with pytest.raises(IntegrityError, match=f"{pack}.*{placement.digest}"):
            on_radosgw.archive.open().open(placement)
        looked = [each for each in on_radosgw.audit(messages) if isinstance(each, Looked)]
        assert [each.placement.uid for each in looked if each.fault] == [78]
        others = messages[:77] + messages[78:]
        assert [read(on_radosgw.archive.open(), each) for each, _ in others[60:90]] == [
            octets for _, octets in others[60:90]
        ]

    def test_of_a_pack_cut_short_names_pack_and_messages(self, place: Place) -> None:
        messages = some(20)
        put(place.archive.open(), *messages)
        pack = place.pack_with(messages[0][0])
        cut = place.archive.catalog.messages.frames([messages[10][0].digest])[messages[10][0].digest].offset
        place.endpoint.put(place.bucket, pack, place.endpoint.get(place.bucket, pack)[:cut])
        for placement, octets in messages[:10]:
            assert read(place.archive.open(), placement) == octets
        for placement, _ in messages[10:]:  # the range lies beyond the object's end
            with pytest.raises(IntegrityError, match=f"{pack}.*{placement.digest}"):
                place.archive.open().open(placement)
        audited = place.audit(messages)
        assert [each.path for each in audited if isinstance(each, Damage)] == [f"s3://{place.bucket}/{pack}"]
        damaged = [each.placement.uid for each in audited if isinstance(each, Looked) and each.fault]
        assert set(damaged) >= set(range(11, 21))

    def test_of_a_pack_that_is_gone(self, place: Place) -> None:
        messages = some(5)
        put(place.archive.open(), *messages)
        place.endpoint.delete(place.bucket, place.pack_with(messages[0][0]))
        for placement, _ in messages:
            with pytest.raises(IntegrityError):
                place.archive.open().open(placement)
        put(place.archive.open(), *messages)
        assert [read(place.archive.open(), placement) for placement, _ in messages] == [
            octets for _, octets in messages
        ]


def test_what_a_crash_left_is_used(place: Place) -> None:
    messages = some(300)
    batch = place.archive.open().batch()
    for placement, octets in messages:
        batch.put(placement, body_of(octets))
    batch.unrecorded.commit()
    (pack,) = place.keys("packs/")
    assert [type(each) for each in place.audit([])] == [Stray]
    store = place.archive.open()
    assert list(store.recover(place.archive.catalog.messages)) == []
    put(store, *messages[::-1])
    assert place.keys("") == [pack]
    assert [read(place.archive.open(), placement) for placement, _ in messages[::50]] == [
        octets for _, octets in messages[::50]
    ]
    assert {type(each) for each in place.audit(messages)} == {Looked}


def test_a_pack_copied_from_the_bucket_is_read_without_this_program(on_radosgw: Place, tmp_path: Path) -> None:
    messages = some(20)
    put(on_radosgw.archive.open(), *messages)
    file, reader = tmp_path / "copied.pack", tmp_path / "read_pack.py"
    file.write_bytes(on_radosgw.endpoint.get(on_radosgw.bucket, on_radosgw.pack_with(messages[0][0])))
    formats = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    found = re.search(r"read_pack\.py.*?```python\n(.*?)```", formats, re.DOTALL)
    assert found
    reader.write_text(found[1], encoding="utf-8")
    listed = subprocess.run([sys.executable, reader, file], capture_output=True, text=True, check=True).stdout
    assert listed.splitlines() == [f"{placement.digest} {placement.size}" for placement, _ in messages]
    printed = subprocess.run([sys.executable, reader, file, messages[7][0].digest], capture_output=True, check=True)
    assert printed.stdout == messages[7][1]
    if program := shutil.which("zstd"):
        all_of_it = subprocess.run([program, "-q", "-d", "-c"], input=file.read_bytes(), capture_output=True)
        assert all_of_it.stdout == b"".join(octets for _, octets in messages)
    assert len(file.read_bytes()) > TAIL_OCTETS
