"""The text of office documents: OOXML (ECMA-376: docx, xlsx, pptx) and OpenDocument (ODF 1.3: odt, ods, odp).

Both are XML in a ZIP. Entities are refused, and so much is unpacked at most, whatever the ZIP says of itself.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from xml.parsers import expat

#: What has text, in OOXML and in OpenDocument, in the order in which it is read.
_PARTS = re.compile(
    r"word/(document|header\d*|footer\d*|footnotes|endnotes|comments)\.xml"
    r"|ppt/(slides/slide|notesSlides/notesSlide)\d+\.xml|xl/(sharedStrings|worksheets/sheet\d+)\.xml|content\.xml"
)
#: A blank is between what these elements have: paragraphs, line breaks, tabs, cells, and strings of a table.
_APART = frozenset({"p", "h", "br", "cr", "tab", "line-break", "s", "si", "is", "tc", "table-cell"})
#: What these have is not shown: the code of fields, deleted text, and the values of a table, which are numbers.
_UNSHOWN = frozenset({"instrText", "delText", "delInstrText", "v", "f"})
_UNPACKED = 32 << 20  # octets
_PIECE = 1 << 16


class NotADocument(Exception):
    """The octets are not what their type says, or are damaged."""


def text_of_office(octets: bytes, most: int) -> tuple[str, bool]:
    """Up to `most` characters of the text of a document, and whether there is more.

    Raises:
        NotADocument: it cannot be read; it may be encrypted.
    """
    reading = _Reading(most)
    try:
        for piece in _unpacked(octets):
            if not reading.take(piece):
                break
    except (zipfile.BadZipFile, zlib.error, expat.ExpatError, NotImplementedError, RuntimeError, OSError) as error:
        raise NotADocument(str(error)) from error
    except (EOFError, ValueError, KeyError, OverflowError) as error:  # of a damaged ZIP
        raise NotADocument(repr(error)) from error
    return reading.text, reading.is_cut


def _unpacked(octets: bytes) -> Iterator[bytes | None]:
    """The XML in pieces; None where a file ends."""
    left = _UNPACKED
    with zipfile.ZipFile(BytesIO(octets)) as archive:
        for name in sorted(filter(_PARTS.fullmatch, archive.namelist()), key=_order):
            with archive.open(name) as file:
                while left > 0 and (piece := file.read(_PIECE)):
                    left -= len(piece)
                    yield piece
            yield None


def _order(name: str) -> tuple[str, int]:
    """Slide 10 comes after slide 9."""
    number = re.search(r"\d+", name)
    return re.sub(r"\d+", "", name), int(number[0]) if number and len(number[0]) < 9 else 0


class _Reading:
    def __init__(self, most: int) -> None:
        self._most = most
        self._found: list[str] = []
        self._length = 0
        self._unshown = 0
        self._parser: expat.XMLParserType | None = None

    @property
    def text(self) -> str:
        return "".join(self._found)[: self._most]

    @property
    def is_cut(self) -> bool:
        return self._length > self._most

    def take(self, piece: bytes | None) -> bool:
        """A piece of a file; None: it ends. Returns whether there is room for more."""
        if self._parser is None:
            self._parser = self._new_parser()
        if piece is None:
            self._found.append(" ")
            self._parser, self._unshown = None, 0
        else:
            self._parser.Parse(piece, False)
        return self._length <= self._most

    def _new_parser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = _refuse
        return parser

    def _start(self, name: str, _attributes: object) -> None:
        if name.rpartition(" ")[2] in _UNSHOWN:
            self._unshown += 1

    def _end(self, name: str) -> None:
        name = name.rpartition(" ")[2]
        if name in _UNSHOWN:
            self._unshown -= 1
        elif name in _APART:
            self._found.append(" ")

    def _characters(self, text: str) -> None:
        if not self._unshown and self._length <= self._most:
            self._found.append(text)
            self._length += len(text)


def _refuse(*_declaration: object) -> None:
    """Entities may make gigabytes of a few octets, and no office program writes any."""
    raise ValueError("it declares entities")
