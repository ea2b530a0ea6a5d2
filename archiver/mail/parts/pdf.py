"""The text of PDF (ISO 32000), by pypdf, page by page. It takes some 10 ms a page.

NOTE: a damaged or hostile file may take any time and memory, so this belongs into a process with limits.
"""

from __future__ import annotations

from importlib.util import find_spec
from io import BytesIO

from archiver.mail.parts.office import NotADocument


def can_read_pdf() -> bool:
    """Whether the extra `documents` is installed."""
    return find_spec("pypdf") is not None


def text_of_pdf(octets: bytes, most: int) -> tuple[str, bool]:
    """Up to `most` characters of the text, and whether there is more.

    Raises:
        NotADocument: it cannot be read; it may be encrypted.
    """
    from pypdf import PdfReader

    found, length = [], 0
    try:
        for page in PdfReader(BytesIO(octets)).pages:
            found.append(page.extract_text())
            length += len(found[-1]) + 1
            if length > most:
                return " ".join(found)[:most], True
    except Exception as error:  # pypdf lets whatever a damaged file caused through
        raise NotADocument(repr(error)) from error
    return " ".join(found), False
