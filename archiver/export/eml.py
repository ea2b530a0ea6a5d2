"""One file for each message, one directory for each folder with its index in it."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import BinaryIO, TextIO

from archiver.export.index import add_to, open_index
from archiver.export.paths import ExportPaths, make_directories
from archiver.export.writer import ExportedFolder
from archiver.facts.outgoing import Outgoing
from archiver.mail.content import HEADER_OCTETS, header_block, header_value
from archiver.mail.dates import date_time
from archiver.mail.headers import readable
from archiver.storage.files import private_file, set_time

INDEX = "index.jsonl"

_TEMPORARY = ".message.tmp"
_SLUG_LENGTH = 48
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


class EmlWriter:
    """An ExportWriter below `root`: `Parent/Child/20240110T080500Z-17-subject.eml`; the file's modification time is
    the INTERNALDATE."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._paths = ExportPaths()
        self._directory = ""
        self._index: TextIO | None = None

    def begin(self, folder: ExportedFolder) -> str:
        """Make the folder's directory and its index."""
        place = self._paths.of(folder.known.directory)
        make_directories(self._root, place)
        self._directory = f"{self._root}/{place}"
        self._index = open_index(f"{self._directory}/{INDEX}", folder)
        return place

    def write(self, message: Outgoing, octets: Iterable[bytes]) -> None:
        """Write the message's file under a unique name, complete or not at all, and its line in the index."""
        temporary = f"{self._directory}/{_TEMPORARY}"
        try:
            with private_file(temporary) as file:
                subject = _write(file, octets)
            set_time(temporary, message.placement.arrived)
            name = self._named(temporary, _name(message, subject))
        except BaseException:
            if os.path.lexists(temporary):
                os.unlink(temporary)
            raise
        assert self._index is not None
        add_to(self._index, message, {"file": name})

    def _named(self, temporary: str, stem: str) -> str:
        """Rename the file to the first free name that begins with `stem`."""
        for number in itertools.count(1):
            name = f"{stem}.eml" if number == 1 else f"{stem}-{number}.eml"
            if not os.path.lexists(f"{self._directory}/{name}"):
                os.rename(temporary, f"{self._directory}/{name}")
                return name
        raise AssertionError("unreachable: itertools.count is infinite")

    def end(self) -> None:
        """Close the index."""
        assert self._index is not None
        self._index.close()

    def close(self) -> None:
        """Close the index if it is open."""
        if self._index is not None:
            with suppress(OSError):
                self._index.close()

    def finish(self) -> None:
        """Does nothing."""


def _write(file: BinaryIO, octets: Iterable[bytes]) -> str:
    """Write all pieces; returns the subject, if the first piece has it."""
    subject: str | None = None
    for piece in octets:
        file.write(piece)
        if subject is None:
            subject = readable(header_value(header_block(piece[:HEADER_OCTETS]), "Subject") or "")
    return subject or ""


def _name(message: Outgoing, subject: str) -> str:
    """Date, UID, and the characters of the subject that are safe in any file system."""
    text = date_time(message.placement.arrived)
    month = _MONTHS.index(text[3:6]) // 3 + 1
    stamp = f"{text[7:11]}{month:02}{int(text[:2]):02}T{text[12:20].replace(':', '')}Z"
    slug = "-".join(re.findall("[A-Za-z0-9]+", subject[:500]))[:_SLUG_LENGTH].strip("-")
    return "-".join(filter(None, (stamp, str(message.placement.uid), slug)))
