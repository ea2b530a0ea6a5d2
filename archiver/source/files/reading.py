"""A file read for the first time: the messages in it, whatever it is; and the octets of one of them again.

Nothing is ever written, and nothing but regular files is opened: a link may lead to what its owner cannot read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from archiver.mail.content import HEADER_OCTETS, header_block
from archiver.mail.dates import date_time
from archiver.mail.model import Body
from archiver.source.files.found import FoundFile, FoundMessage, Kind, Place, Stamp
from archiver.source.files.indexes import Indexed, index_of_mbox
from archiver.source.files.maildir import arrived_of_file, ours
from archiver.source.files.marks import has_marks, unmarked
from archiver.source.files.mbox import IndexDisagrees, arrived_in, indexed_messages, is_mbox, messages_of, octets_at
from archiver.source.files.octets import LineEnds, archived, pieces_of
from archiver.source.files.packed import UNPACKING_ERRORS, Packed

_BEGINNING = 4000
_TAIL = 1 << 16
_NANO = 1_000_000_000


class Changed(Exception):
    """A file is not the one that was listed."""


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """The descriptor of a regular file.

    Raises:
        OSError: it is none, or cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(0, "is not a file", path)
        yield fd
    finally:
        os.close(fd)


def beginning_of(path: str) -> bytes:
    """The first octets of a file; empty if it cannot be read."""
    try:
        with opened(path) as fd:
            return os.pread(fd, _BEGINNING, 0)
    except OSError:
        return b""


Open = Callable[[FoundFile], AbstractContextManager[int]]
"""Opens a file that was listed."""


def opened_there(file: FoundFile) -> AbstractContextManager[int]:
    """The descriptor of a file that nobody renames."""
    return opened(file.path)


def messages_in(file: FoundFile, find: Open = opened_there) -> Iterator[FoundMessage]:
    """The messages of a file as it was listed; `find` opens it.

    Raises:
        Changed: it is another one by now; what came so far is void.
        NotAnMbox: it was listed as one.
        OSError: it cannot be read.
    """
    if file.kind in ("zip", "tar"):
        yield from _packed(file)
        return
    with find(file) as fd:
        _require(fd, file)
        if file.kind == "mbox":
            yield from _while_it_grows(fd, file, _of_mbox(fd, file))
        else:
            yield _single(fd, file)
            _require(fd, file)


def _while_it_grows(fd: int, file: FoundFile, messages: Iterator[FoundMessage]) -> Iterator[FoundMessage]:
    """The messages of an mbox. If it grew meanwhile, without the last one, which may not have been all there.

    Raises:
        Changed: it changed in another way.
    """
    size = file.stamp.size
    end = os.pread(fd, _TAIL, max(0, size - _TAIL))
    last = next(messages, None)
    for each in messages:
        assert last is not None
        yield last
        last = each
    now = Stamp.of(os.fstat(fd))
    is_same = now[:4] == file.stamp[:4]
    # A program that rewrites an mbox moves all that is behind the first change.
    if not is_same and (now.size <= size or os.pread(fd, len(end), max(0, size - _TAIL)) != end):
        raise Changed(file.path)
    if last is not None and is_same:
        yield last


def _require(fd: int, file: FoundFile) -> None:
    # NOTE: a rename changes the ctime, and not what is in the file.
    if Stamp.of(os.fstat(fd))[:4] != file.stamp[:4]:
        raise Changed(file.path)


def _of_mbox(fd: int, file: FoundFile) -> Iterator[FoundMessage]:
    modified = file.stamp.mtime // _NANO
    index = index_of_mbox(file.path)
    if index is not None:
        known = indexed_messages(fd, file.path, index, end=file.stamp.size, modified=modified)
        try:
            yield from list(known)
            return
        except IndexDisagrees:
            pass
    yield from messages_of(fd, file.path, end=file.stamp.size, modified=modified)


def _single(fd: int, file: FoundFile) -> FoundMessage:
    size, modified = file.stamp.size, file.stamp.mtime // _NANO
    place = Place(file.path, 0, size, file.kind)
    name = ours(file.base) if file.kind == "maildir" else None
    if name is not None and name[1] == size and _whole(pieces_of(fd, 0, size))[1].startswith(name[0]):
        place = replace(place, exact=size)
    seen = LineEnds()
    header, digest, octets = _whole(octets_at(fd, place, seen))
    is_maildir = file.kind == "maildir"
    arrived = arrived_of_file(file.base, modified) if is_maildir else arrived_in(header, b"", modified)
    return FoundMessage(
        place, digest, octets, frozenset(), date_time(arrived), seen.doubt, uid=name[2] if name else 0
    )


def indexed_single(file: FoundFile, row: Indexed) -> FoundMessage | None:
    """A single file that an index of ours names; None if it has other octets now.

    Raises:
        Changed, OSError: as `messages_in`.
    """
    size = file.stamp.size
    with opened(file.path) as fd:
        _require(fd, file)
        if size != row.size or _whole(pieces_of(fd, 0, size))[1] != row.digest:
            return None
    place = Place(file.path, 0, size, file.kind, exact=size)
    return FoundMessage(place, str(row.digest), size, row.flags, row.internaldate, uid=row.uid)


def _packed(file: FoundFile) -> Iterator[FoundMessage]:
    try:
        packed = Packed(file.path, file.kind)
        with contextlib.closing(packed):
            for member, offset, modified, content in packed.members():
                if not is_message_name(member):
                    continue
                place = Place(file.path, offset, 0, file.kind, member)
                sized = _Counted()
                pieces = sized.of(iter(partial(content.read, 1 << 20), b""))
                header, digest, octets = _whole(archived(pieces, place, seen := LineEnds()))
                arrived = arrived_in(header, b"", modified or file.stamp.mtime // _NANO)
                place = replace(place, length=sized.size)
                yield FoundMessage(place, digest, octets, frozenset(), date_time(arrived), seen.doubt)
    except UNPACKING_ERRORS as error:
        raise OSError(0, f"cannot be unpacked ({error or type(error).__name__})", file.path) from error


class _Counted(Struct):
    size: int = 0

    def of(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.size += len(piece)
            yield piece


def _whole(pieces: Iterator[bytes]) -> tuple[bytes, str, int]:
    """The header block, digest and size of octets, which are read once."""
    beginning = next(pieces, b"")
    digest, size = hashlib.sha256(beginning), len(beginning)
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        if len(beginning) < HEADER_OCTETS and len(header_block(beginning)) == len(beginning):
            beginning += piece
    return header_block(beginning), digest.hexdigest(), size


def is_message_name(name: str) -> bool:
    """Whether a file with this name is a single message."""
    return name.lower().endswith(".eml") and not name.rpartition("/")[2].startswith(".")


def looks_like_mbox(path: str) -> bool:
    """Whether the file begins as an mbox does."""
    return is_mbox(beginning_of(path))


def identity_of_body(body: Body, kind: Kind) -> str:
    """The digest by which a message is named."""
    if kind != "mbox" or not has_marks(body.header):
        return body.digest
    digest = hashlib.sha256(unmarked(body.header))
    if body.octets is not None:
        digest.update(memoryview(body.octets)[len(body.header) :])
    elif body.spool is not None:
        with open(body.spool, "rb") as file:
            file.seek(len(body.header))
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()
