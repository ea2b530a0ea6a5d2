"""One mbox for each folder, with its index next to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO, TextIO

from archiver.export.index import add_to, open_index
from archiver.export.mboxrd import quoted, separator
from archiver.export.paths import ExportPaths, make_directories
from archiver.export.writer import ExportedFolder
from archiver.facts.outgoing import Outgoing
from archiver.mail.content import HEADER_OCTETS, header_block
from archiver.storage.files import private_file


class MboxWriter:
    """An ExportWriter below `root`: `Parent/Child.mbox` and `Parent/Child.mbox.index.jsonl`."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._paths = ExportPaths()
        self._mbox: BinaryIO | None = None
        self._index: TextIO | None = None

    def begin(self, folder: ExportedFolder) -> str:
        """Open the folder's mbox and its index."""
        place = f"{self._paths.of(folder.known.directory)}.mbox"
        path = f"{self._root}/{place}"
        make_directories(self._root, os.path.dirname(place))
        self._index = open_index(f"{path}.index.jsonl", folder)
        self._mbox = private_file(path)
        return place

    def write(self, message: Outgoing, octets: Iterable[bytes]) -> None:
        """Append the message to the mbox and its line to the index. After an error the mbox is truncated to its
        previous end."""
        mbox, index = self._mbox, self._index
        assert mbox is not None
        assert index is not None
        offset = mbox.tell()
        try:
            pieces = iter(octets)
            beginning = next(pieces, b"")
            mbox.write(separator(header_block(beginning[:HEADER_OCTETS]), message.placement.arrived))
            for piece in quoted(_chained(beginning, pieces)):
                mbox.write(piece)
        except BaseException:
            mbox.seek(offset)
            mbox.truncate()
            raise
        add_to(index, message, {"offset": offset})

    def end(self) -> None:
        """Close the mbox and the index."""
        assert self._mbox is not None
        assert self._index is not None
        self._mbox.close()
        self._index.close()

    def close(self) -> None:
        """Close the files that are open."""
        for file in (self._mbox, self._index):
            if file is not None:
                with suppress(OSError):
                    file.close()

    def finish(self) -> None:
        """Does nothing."""


def _chained(beginning: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield beginning
    yield from pieces
