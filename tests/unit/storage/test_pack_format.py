"""Packs: what goes in comes out, every octet is accounted for, and what was altered is noticed."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.mail.model import Digest
from archiver.storage.bucket.pack_format import (
    TAIL_OCTETS,
    Pack,
    Unreadable,
    assemble,
    compress,
    decompress,
    pack_key,
    pack_of_key,
    read_index,
    read_tail,
)
from tests.patience import PATIENCE

FORMATS = Path(__file__).parents[3] / "docs" / "formats.md"

MESSAGES = [b"Subject: one\r\n\r\n1\r\n", b"", b"\x00\r\n\xff" * 5000, bytes(range(256))]


def digest_of(octets: bytes) -> Digest:
    return Digest(hashlib.sha256(octets).hexdigest())


def pack_of(messages: list[bytes]) -> Pack:
    frames = compress(messages)
    return assemble(
        [(digest_of(octets), len(octets), frame) for octets, frame in zip(messages, frames, strict=True)]
    )


def read(octets: bytes) -> list[bytes]:
    """All messages of a pack, by its tail and its index."""
    tail = read_tail(octets[-TAIL_OCTETS:], len(octets))
    entries = read_index(octets[tail.offset : tail.offset + tail.length], tail)
    return [decompress(octets[each.offset : each.offset + each.length], each.digest, each.size) for each in entries]


@settings(max_examples=50)
@given(messages=st.lists(st.binary(max_size=3000), max_size=20))
def test_what_goes_in_comes_out(messages: list[bytes]) -> None:
    assert read(pack_of(messages).octets) == messages


def test_the_same_messages_make_the_same_pack() -> None:
    one, two = pack_of(MESSAGES), pack_of(MESSAGES)
    assert one == two
    assert one.digest == digest_of(one.octets)
    assert pack_of(MESSAGES[::-1]).digest != one.digest


def test_a_key_identifies_its_pack_and_no_other_key_does() -> None:
    digest = pack_of(MESSAGES).digest
    assert pack_key(digest) == f"packs/{digest[:2]}/{digest}.pack"
    assert pack_of_key(pack_key(digest)) == digest
    assert [pack_of_key(key) for key in (f"packs/00/{digest}.pack", f"packs/{digest[:2]}/x.pack", digest)] == [
        None
    ] * 3


def test_a_frame_is_compressed_without_regard_to_the_others() -> None:
    assert compress(MESSAGES) == [compress([octets])[0] for octets in MESSAGES]


def test_a_pack_is_a_zstd_file_of_all_its_messages(tmp_path: Path) -> None:
    pack = pack_of(MESSAGES)
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(pack.octets), read_across_frames=True)
    assert reader.read() == b"".join(MESSAGES)
    if program := shutil.which("zstd"):
        subprocess.run([program, "-q", "-t"], input=pack.octets, check=True)


@pytest.mark.parametrize("messages", [[], MESSAGES], ids=["none", "some"])
def test_no_flipped_octet_changes_a_message(messages: list[bytes]) -> None:
    """Some bits of a zstd frame's header mean nothing, so an altered pack may still give all its messages."""
    pack = pack_of(messages)
    for at in range(len(pack.octets)):
        flipped = bytearray(pack.octets)
        flipped[at] ^= 8
        assert digest_of(bytes(flipped)) != pack.digest
        try:
            assert read(bytes(flipped)) == messages
        except Unreadable:
            pass


def test_every_truncated_pack_is_noticed() -> None:
    octets = pack_of(MESSAGES).octets
    for length in range(len(octets)):
        with pytest.raises(Unreadable):
            read(octets[:length])


def test_an_index_that_leaves_octets_out_is_noticed() -> None:
    octets = pack_of(MESSAGES).octets
    tail = read_tail(octets, len(octets))
    table = zstandard.decompress(octets[tail.offset : tail.offset + tail.length])
    for shorter in (table[56:], table[:-56]):
        index = zstandard.compress(shorter)
        own = tail._replace(length=len(index), entries=3, sha256=hashlib.sha256(index).digest())
        with pytest.raises(Unreadable, match="does not account for all of it"):
            read_index(index, own)


def test_a_frame_of_another_message_is_noticed() -> None:
    (frame,) = compress([b"one"])
    with pytest.raises(Unreadable, match="digest"):
        decompress(frame, digest_of(b"two"), 3)
    with pytest.raises(Unreadable, match="holds 3 bytes, expected 4"):
        decompress(frame, digest_of(b"four"), 4)


def test_a_frame_that_says_to_be_vast_takes_no_memory() -> None:
    vast = zstandard.ZstdCompressor().compressobj(size=1 << 40).compress(b"x" * (1 << 20))
    with pytest.raises(Unreadable):
        decompress(vast, digest_of(b""), 0)


def test_another_version_is_distinguished_from_damage() -> None:
    octets = pack_of(MESSAGES).octets
    newer = octets[:-16] + b"archiver-pack/2\n"
    with pytest.raises(Unreadable, match="another version"):
        read_tail(newer, len(newer))


class TestTheReaderOfTheDocumentation:
    @pytest.fixture
    def reader(self, tmp_path: Path) -> Path:
        text = FORMATS.read_text(encoding="utf-8")
        (code,) = re.findall(r"read_pack\.py.*?```python\n(.*?)```", text.split("## The journal")[0], re.DOTALL)
        path = tmp_path / "read_pack.py"
        path.write_text(code, encoding="utf-8")
        return path

    def run(self, reader: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([sys.executable, str(reader), *arguments], capture_output=True, timeout=PATIENCE)

    def test_lists_and_prints_messages(self, reader: Path, tmp_path: Path) -> None:
        file = tmp_path / "copied.pack"
        file.write_bytes(pack_of(MESSAGES).octets)
        listed = self.run(reader, str(file)).stdout.decode().splitlines()
        assert listed == [f"{digest_of(octets)} {len(octets)}" for octets in MESSAGES]
        assert [self.run(reader, str(file), digest_of(octets)).stdout for octets in MESSAGES] == MESSAGES

    def test_notices_what_is_damaged(self, reader: Path, tmp_path: Path) -> None:
        octets = pack_of(MESSAGES).octets
        file = tmp_path / "copied.pack"
        for damaged in (octets[:-1], octets[:40] + b"\x00" + octets[41:], octets[:-90] + b"\x00" + octets[-89:]):
            file.write_bytes(damaged)
            assert self.run(reader, str(file)).returncode != 0


def test_the_head_and_tail_are_as_documented() -> None:
    octets = pack_of(MESSAGES).octets
    assert octets[:24] == bytes.fromhex("502a4d18 10000000") + b"archiver-pack/1\n"
    offset, length, entries, sha256, name = struct.unpack("<QQQ32s16s", octets[-72:])
    assert (offset + length, entries, name) == (len(octets) - 72, 4, b"archiver-pack/1\n")
    assert sha256 == hashlib.sha256(octets[offset : offset + length]).digest()
