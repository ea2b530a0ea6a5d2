"""The process that reads documents. It gets them on its standard input and answers on its standard output.

A request is a kind and two lengths, of the octets and of the text that is wanted at most, then the octets. An
answer is a status and a length, then that much text in UTF-8.
"""

from __future__ import annotations

import logging
import os
import resource
import struct
import sys
from typing import BinaryIO

from archiver.mail.parts.office import NotADocument, text_of_office

REQUEST = struct.Struct(">BII")
ANSWER = struct.Struct(">BI")
OFFICE, PDF = 0, 1
WHOLE, CUT, UNREADABLE = 0, 1, 2

MEMORY = 1 << 30  # octets
_LOW_PRIORITY = 19


def main() -> None:
    """Read documents until there are no more."""
    os.nice(_LOW_PRIORITY)
    logging.disable()  # pypdf describes damage at length
    sys.setrecursionlimit(5000)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        kind, length, most = REQUEST.unpack(head)
        status, text = _read(kind, requests.read(length), most)
        _answer(answers, status, text.encode("utf-8", "replace"))


def _read(kind: int, octets: bytes, most: int) -> tuple[int, str]:
    try:
        if kind == OFFICE:
            text, is_cut = text_of_office(octets, most)
        else:
            from archiver.mail.parts.pdf import text_of_pdf

            text, is_cut = text_of_pdf(octets, most)
    except (NotADocument, MemoryError):
        return UNREADABLE, ""
    return CUT if is_cut else WHOLE, text


def _answer(answers: BinaryIO, status: int, text: bytes) -> None:
    answers.write(ANSWER.pack(status, len(text)) + text)
    answers.flush()


if __name__ == "__main__":
    main()
