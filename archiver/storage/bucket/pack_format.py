"""The format of a pack: many small messages in one object, each a separate compressed frame.

A pack is also a plain zstd file (RFC 8878): its head, and its index with the tail, are frames that a decompressor
skips. So `zstd -t` tests a pack, two range reads find every message in it, and one more reads a message.
docs/formats.md specifies every octet.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import zstandard
from msgspec import Struct

from archiver.mail.model import Digest

_NAME = b"archiver-pack/1\n"
_NAMES = b"archiver-pack/"
_SKIPPABLE = struct.Struct("<II")
_SKIPPABLE_MAGIC = 0x184D2A50
_ENTRY = struct.Struct("<32sQQQ")
_TAIL = struct.Struct("<QQQ32s16s")
_LEVEL = 3

HEAD = _SKIPPABLE.pack(_SKIPPABLE_MAGIC, len(_NAME)) + _NAME
TAIL_OCTETS = _TAIL.size
PACKS = "packs/"
_MOST_OCTETS = 64 << 20  # of one frame, unpacked; a pack holds small messages, and 8 MB of them
_PACK = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{62})\.pack")


class Entry(NamedTuple):
    """A message in a pack: its digest, its frame's offset and length, its own size; in octets."""

    digest: Digest
    offset: int
    length: int
    size: int


class Tail(NamedTuple):
    """Where the index is: offset and length in octets, how many entries it has, the SHA-256 of its octets."""

    offset: int
    length: int
    entries: int
    sha256: bytes


class Pack(Struct, frozen=True):
    """A whole pack, named by the digest of its octets."""

    digest: Digest
    octets: bytes
    entries: tuple[Entry, ...]


class Unreadable(ValueError):
    """The octets at some place of a pack are not valid; the text says why."""


def pack_key(pack: Digest) -> str:
    """The key of a pack, relative to the account's prefix in the bucket."""
    return f"{PACKS}{pack[:2]}/{pack}.pack"


def pack_of_key(key: str) -> Digest | None:
    """The inverse of `pack_key`; None for any other key."""
    match = _PACK.fullmatch(key)
    return Digest(match[2]) if match else None


def compress(messages: Iterable[bytes]) -> list[bytes]:
    """The frame of each message. Releases the interpreter's lock while it compresses."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    return [compressor.compress(octets) for octets in messages]


def decompress(frame: bytes, digest: Digest, size: int) -> bytes:
    """The message of that digest and size.

    Raises:
        Unreadable: the frame is damaged, or is that of another message.
    """
    octets = _decompressed(frame, size)
    found = hashlib.sha256(octets).hexdigest()
    if found != digest:
        raise Unreadable(f"its bytes have the digest {found}")
    return octets


def assemble(messages: Sequence[tuple[Digest, int, bytes]]) -> Pack:
    """A pack of these messages, given as (digest, size, frame); the same frames give the same pack."""
    entries, offset = [], len(HEAD)
    for digest, size, frame in messages:
        entries.append(Entry(digest, offset, len(frame), size))
        offset += len(frame)
    table = b"".join(_ENTRY.pack(bytes.fromhex(each.digest), *each[1:]) for each in entries)
    (index,) = compress([table])
    tail = Tail(offset + _SKIPPABLE.size, len(index), len(entries), hashlib.sha256(index).digest())
    skipped = _SKIPPABLE.pack(_SKIPPABLE_MAGIC, len(index) + TAIL_OCTETS)
    octets = b"".join([HEAD, *(frame for _, _, frame in messages), skipped, index, _TAIL.pack(*tail, _NAME)])
    return Pack(Digest(hashlib.sha256(octets).hexdigest()), octets, tuple(entries))


def read_tail(octets: bytes, size: int) -> Tail:
    """The tail of a pack of that size, from its last octets.

    Raises:
        Unreadable: it is not a pack, is truncated, or has a version that this archiver does not know.
    """
    if len(octets) < TAIL_OCTETS:
        raise Unreadable("it is too short for a pack")
    *fields, name = _TAIL.unpack(octets[-TAIL_OCTETS:])
    if name != _NAME:
        newer = name.startswith(_NAMES)
        raise Unreadable("another version of archiver wrote it" if newer else "it does not end as a pack does")
    tail = Tail(*fields)
    if tail.offset + tail.length + TAIL_OCTETS != size or tail.offset < len(HEAD) + _SKIPPABLE.size:
        raise Unreadable("its tail does not agree with its size")
    return tail


def read_index(octets: bytes, tail: Tail) -> tuple[Entry, ...]:
    """The entries of a pack, in the order of their offsets, from the octets its tail points to.

    Raises:
        Unreadable: they do not match the tail, or do not cover all octets of the pack.
    """
    if hashlib.sha256(octets).digest() != tail.sha256:
        raise Unreadable("its index is damaged")
    table = _decompressed(octets, tail.entries * _ENTRY.size)
    entries = tuple(Entry(Digest(raw.hex()), *numbers) for raw, *numbers in _ENTRY.iter_unpack(table))
    offset = len(HEAD)
    for each in entries:
        if each.offset != offset:
            raise Unreadable("its index does not account for all of it")
        offset += each.length
    if offset + _SKIPPABLE.size != tail.offset:
        raise Unreadable("its index does not account for all of it")
    return entries


def _decompressed(frame: bytes, size: int) -> bytes:
    try:
        # NOTE: checked before anything is decompressed, which takes as much memory as the frame claims.
        told = zstandard.get_frame_parameters(frame).content_size
        if told != size or size > _MOST_OCTETS:
            raise Unreadable(f"its frame holds {told} bytes, expected {size}")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Unreadable(f"its frame is damaged ({error})") from error
