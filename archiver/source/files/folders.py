"""The folders of an account's files, by the names that the archive knows them by."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from archiver.config.tables.server import FilesSettings
from archiver.errors import ConfigError
from archiver.mail.folder_names import encode_name, printable
from archiver.mail.model import IMPORTED, INBOX, Folder
from archiver.source.files import listing
from archiver.source.files.found import FolderOnDisk, Unreadable
from archiver.source.files.index import FileIndex
from archiver.source.files.walk import folders_below
from archiver.source.imports import Import

_DELIMITER = "/"


class Folders(Struct):
    """Finds the folders of files. Packed files and mboxes are read for it, since there may be folders in them."""

    _settings: FilesSettings
    _index: FileIndex
    _imports: Import | None
    _check_stop: Callable[[], None]

    def all(self) -> dict[bytes, tuple[Folder, list[FolderOnDisk | Unreadable]]]:
        """The folders by their raw names, with all that is in each.

        Raises:
            ConfigError: there is no mail, or not all of it can be seen.
        """
        path, wanted = os.fspath(self._settings.path), self._settings.format
        folders: dict[tuple[str, ...], list[FolderOnDisk | Unreadable]] = {}
        uses: dict[tuple[str, ...], str] = {}
        unreadable: list[Unreadable] = []
        for each in folders_below(path, wanted):
            self._check_stop()
            if isinstance(each, Unreadable):
                if not each.lasting:
                    raise self._nothing([each])  # NOTE: folders in it would count as gone
                unreadable.append(each)
                continue
            for place in self._parts(each, path):
                folders.setdefault(place.levels, []).append(place)
                if place.use is not None:
                    uses[place.levels] = place.use
        if not folders:
            raise self._nothing(unreadable)
        first = next(iter(folders.values()))
        first.extend(unreadable)
        found: dict[bytes, tuple[Folder, list[FolderOnDisk | Unreadable]]] = {}
        for levels, places in folders.items():
            use = frozenset({uses[levels]}) if levels in uses else frozenset()
            folder = Folder(_raw(levels), levels, _DELIMITER, use, subscribed=True)
            if self._imports is not None:
                folder = _imported(folder, self._imports)
            found[folder.raw] = folder, places
        return found

    def _nothing(self, unreadable: Sequence[Unreadable]) -> ConfigError:
        settings = self._settings
        if unreadable:
            where, problem = printable(unreadable[0].path), unreadable[0].reason
        else:
            where = str(settings.path)
            problem = (
                "no mail here" if settings.format == "auto" else f"no mail in the format {settings.format} here"
            )
        return ConfigError(where, [problem], hint="mount the disk, or change path or format")

    def _parts(self, place: FolderOnDisk, root: str) -> Iterator[FolderOnDisk]:
        """The folders in a file: directories of a packed one, labels of Gmail."""
        if place.kind not in ("zip", "tar", "mbox"):
            yield place
            return
        self._index.take((each, None) for each in listing.files_of(place, self._settings.format))
        self._index.read(self._check_stop)
        problem = self._index.problem()
        # What is in it is not known then, so that folders would count as gone.
        if problem is not None and (place.path == root or place.kind != "mbox" or self._index.had_labels):
            raise ConfigError(
                printable(place.path),
                [problem],
                hint="change path, or format if it is another one",
            )
        is_packed = place.kind != "mbox"
        if not is_packed and (self._settings.labels == "keywords" or not self._index.has_labels):
            yield place
            return
        base = () if not is_packed or place.levels == ("INBOX",) else place.levels
        parts = self._index.parts()
        for levels, use in parts:
            own = tuple(level for level in (*base, *levels)) or place.levels
            yield FolderOnDisk(_as_inbox(own), place.path, place.kind, use, levels)
        if not parts:
            yield place


def _imported(folder: Folder, imports: Import) -> Folder:
    """The folder that is imported. NOTE: no server lists a name with NUL, so that it is none of a server's."""
    path = (*imports.below, *folder.path)
    raw = b"\0" + b"/".join(_raw((level,)) for level in path)
    return Folder(raw, path, imports.delimiter, frozenset({IMPORTED}), subscribed=True)


def _as_inbox(levels: tuple[str, ...]) -> tuple[str, ...]:
    return ("INBOX", *levels[1:]) if levels[0].upper() == "INBOX" else levels


def _raw(levels: tuple[str, ...]) -> bytes:
    """The name by which the archive knows a folder: modified UTF-7, with "/" between levels and none in them."""
    if levels == ("INBOX",):
        return INBOX
    return b"/".join(re.sub(rb"/", b"&AC8-", encode_name(level)) for level in levels)
