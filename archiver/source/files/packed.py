"""Files in a .zip or in a .tar, compressed or not, read without unpacking them. No name in them is used as a
path."""

from __future__ import annotations

import contextlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from archiver.source.files.found import Kind

_PIECE = 1 << 20

#: What a damaged file, or one that needs a password, raises.
UNPACKING_ERRORS = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, RuntimeError, NotImplementedError)


def kind_of_packed(path: str) -> Kind | None:
    """What a file is by its name; None if it is no packed file."""
    lower = path.lower()
    if lower.endswith(".zip"):
        return "zip"
    return "tar" if lower.endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")) else None


class Packed:
    """An open packed file. Members of a compressed .tar are read fastest in their order."""

    def __init__(self, path: str, kind: Kind) -> None:
        self._tar: tarfile.TarFile | None = None
        self._zip: zipfile.ZipFile | None = None
        if kind == "zip":
            self._zip = zipfile.ZipFile(path)
        else:
            self._tar = tarfile.open(path)  # noqa: SIM115  # closed by `close`

    def members(self) -> Iterator[tuple[str, int, int, IO[bytes]]]:
        """Each file in it: its name, its offset if the format has one, its modification time if it is known or 0,
        and its open content, which is to be read before the next one."""
        if self._zip is not None:
            for entry in self._zip.infolist():
                if not entry.is_dir():
                    with self._zip.open(entry) as content:
                        yield entry.filename, 0, 0, content
        elif self._tar is not None:
            for member in self._tar:
                vars(self._tar)["members"] = []  # NOTE: it would keep each of them in memory
                if member.isfile() and (file := self._tar.extractfile(member)) is not None:
                    with file:
                        yield member.name, member.offset_data, int(member.mtime), file

    def octets(self, member: str, offset: int, length: int) -> Iterator[bytes]:
        """The content of a member again."""
        if self._zip is not None:
            with self._zip.open(member) as content:
                while piece := content.read(_PIECE):
                    yield piece
        elif self._tar is not None and (file := self._tar.fileobj) is not None:
            file.seek(offset)
            while length > 0 and (piece := file.read(min(length, _PIECE))):
                length -= len(piece)
                yield piece

    def close(self) -> None:
        """Close the file. Never raises."""
        for each in (self._zip, self._tar):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.close()
