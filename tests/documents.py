"""Office documents and PDF for tests, as small as programs would take them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from io import BytesIO

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_S = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_A = "http://schemas.openxmlformats.org/drawingml/2006/main"
_O = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"


def zipped(files: Mapping[str, str]) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return file.getvalue()


def docx(*paragraphs: str) -> bytes:
    """A word may lie in several runs."""
    runs = ["".join(f"<w:r><w:t>{half}</w:t></w:r>" for half in (each[:3], each[3:])) for each in paragraphs]
    body = "".join(f"<w:p>{run}</w:p>" for run in runs)
    code = "<w:p><w:r><w:instrText>HYPERLINK x</w:instrText></w:r></w:p>"
    return zipped({"word/document.xml": f'<w:document xmlns:w="{_W}"><w:body>{body}{code}</w:body></w:document>'})


def xlsx(*cells: str) -> bytes:
    strings = "".join(f"<si><t>{each}</t></si>" for each in cells)
    sheet = '<c t="inlineStr"><is><t>inline</t></is></c><c><v>4711</v></c>'
    return zipped(
        {
            "xl/sharedStrings.xml": f'<sst xmlns="{_S}">{strings}</sst>',
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_S}"><sheetData>{sheet}</sheetData></worksheet>',
        }
    )


def pptx(*slides: str) -> bytes:
    return zipped(
        {
            f"ppt/slides/slide{number}.xml": f'<p xmlns:a="{_A}"><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p>'
            for number, text in enumerate(slides, 1)
        }
    )


def odt(*paragraphs: str) -> bytes:
    body = "".join(f"<text:p>{each}<text:s/>.</text:p>" for each in paragraphs)
    return zipped({"mimetype": "x", "content.xml": f'<office xmlns:text="{_O}">{body}</office>'})


def pdf(*pages: str) -> bytes:
    """A PDF of one line a page."""
    numbers = range(3, 3 + 2 * len(pages), 2)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(pages), b" ".join(b"%d 0 R" % each for each in numbers)),
    ]
    font = b"<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>"
    for number, text in zip(numbers, pages, strict=True):
        drawn = b"BT /F 12 Tf 72 700 Td (%s) Tj ET" % text.encode("latin-1")
        objects.append(b"<</Type/Page/Parent 2 0 R/Resources%s/Contents %d 0 R>>" % (font, number + 1))
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn))
    octets, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(octets))
        octets += b"%d 0 obj%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    tail = b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
    return octets + tail % (size, table, size, len(octets))
