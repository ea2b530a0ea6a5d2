"""The parameters of Content-Type and Content-Disposition (RFC 2045, RFC 2231), also as programs write them wrongly.

The time is linear in the octets, and those are limited: the standard library's functions take time that grows with
the square of the parameters, and raise for some that are common.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from archiver.mail.charsets import decoded, raw_text
from archiver.mail.headers import readable

_OCTETS = 8192
_PARAMETERS = 100
_PARAMETER = re.compile(rb';\s*([^\s=;"]{1,80})\s*=\s*(?:"((?:[^"\\]|\\.)*+)"?|([^;]*))', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_SECTION = re.compile(r"([^*]+)(?:\*(\d{1,3}))?(\*)?")


class Field(Struct, frozen=True):
    """A field's value, like `text/plain`, in lower case, and its parameters by their names in lower case."""

    value: str
    parameters: dict[str, str]


def field_of(octets: bytes) -> Field:
    """The value and the parameters of a field, from what follows its colon; never raises."""
    octets = octets[:_OCTETS]
    value = octets.partition(b";")[0].strip().lower().decode("ascii", "replace")
    single: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[bool, bytes]]] = {}
    for number, match in enumerate(_PARAMETER.finditer(octets)):
        if number == _PARAMETERS:
            break
        name = match[1].lower().decode("ascii", "replace")
        raw = match[3].strip() if match[2] is None else _ESCAPED.sub(rb"\1", match[2])
        parsed = _SECTION.fullmatch(name)
        if parsed is None or (parsed[2] is None and parsed[3] is None):
            single.setdefault(name, _plain(raw))
        else:
            sections.setdefault(parsed[1], {}).setdefault(int(parsed[2] or 0), (parsed[3] is not None, raw))
    # What is written in the way of RFC 2231 is preferred to what is there for older programs.
    return Field(value, single | {name: _joined(each) for name, each in sections.items()})


def _plain(raw: bytes) -> str:
    """A value as it is, perhaps with encoded words (RFC 2047), which many programs write here, or 8-bit octets."""
    unfolded = raw.replace(b"\r\n", b"").replace(b"\n", b"").replace(b"\t", b" ")
    return readable(raw_text(unfolded, None)).strip()


def _joined(sections: dict[int, tuple[bool, bytes]]) -> str:
    """The sections of a value (RFC 2231 section 3), as far as they go on without a gap."""
    charset, octets = None, b""
    for number in range(len(sections)):
        if number not in sections:
            break
        encoded, raw = sections[number]
        if number == 0 and encoded and raw.count(b"'") >= 2:
            name, _, raw = raw.split(b"'", 2)
            charset = name.decode("ascii", "replace")
        octets += unquote_to_bytes(raw) if encoded else raw
    return readable(decoded(octets, charset)).strip()
