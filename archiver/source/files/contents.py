"""The octets of messages that were found: in memory or in a spool file, as they are archived."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from archiver.mail.content import BodyBuilder, Spool, body_of
from archiver.mail.model import Body
from archiver.source.files.found import FoundFile, Place
from archiver.source.files.listing import opened_wherever
from archiver.source.files.octets import archived, archived_whole, pieces_of
from archiver.source.files.packed import UNPACKING_ERRORS, Packed
from archiver.source.files.reading import opened

_SPOOL_OCTETS = 1 << 20


class Contents:
    """Reads messages. The mbox or packed file of the last one stays open for those that follow. `spool` opens files
    for messages that are too large for memory."""

    def __init__(self, spool: Spool, check_stop: Callable[[], None]) -> None:
        self.spool = spool
        self._check_stop = check_stop
        self._packed: tuple[str, Packed] | None = None
        self._mbox: tuple[str, int, contextlib.ExitStack] | None = None

    def body(self, file: FoundFile, place: Place) -> Body:
        """All octets of a message.

        Raises:
            OSError: they cannot be read.
        """
        if place.kind == "mbox" and place.length <= _SPOOL_OCTETS:  # nearly all messages: in one piece
            octets = b"".join(pieces_of(self._opened(file), place.offset, place.length))
            return body_of(archived_whole(octets, place), bare=0 if place.exact is None else None)
        pieces = self.pieces(file, place)
        if place.length <= _SPOOL_OCTETS:
            return body_of(b"".join(pieces))
        builder = BodyBuilder()
        with self.spool() as spooled:
            path = Path(spooled.name)
            try:
                for piece in pieces:
                    self._check_stop()
                    builder.feed(piece)
                    spooled.write(piece)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return builder.body(spool=path)

    def pieces(self, file: FoundFile, place: Place) -> Iterator[bytes]:
        """The octets of a message from its beginning on.

        Raises:
            OSError: they cannot be read.
        """
        if place.kind in ("zip", "tar"):
            yield from self._unpacked(place)
        elif place.kind == "mbox":
            yield from archived(pieces_of(self._opened(file), place.offset, place.length), place)
        else:
            with opened_wherever(file) as fd:
                yield from archived(pieces_of(fd, place.offset, place.length), place)

    def _opened(self, file: FoundFile) -> int:
        """The descriptor of an mbox."""
        if self._mbox is None or self._mbox[0] != file.path:
            self.close()
            stack = contextlib.ExitStack()
            self._mbox = file.path, stack.enter_context(opened(file.path)), stack
        return self._mbox[1]

    def _unpacked(self, place: Place) -> Iterator[bytes]:
        try:
            if self._packed is None or self._packed[0] != place.path:
                self.close()
                self._packed = (place.path, Packed(place.path, place.kind))
            yield from archived(self._packed[1].octets(place.member, place.offset, place.length), place)
        except UNPACKING_ERRORS as error:
            raise OSError(0, f"cannot be unpacked ({error or type(error).__name__})", place.path) from error

    def close(self) -> None:
        """Close what is open. May be called twice."""
        if self._packed is not None:
            self._packed[1].close()
            self._packed = None
        if self._mbox is not None:
            self._mbox[2].close()
            self._mbox = None
