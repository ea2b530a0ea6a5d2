"""Text of a header's octets, by the charset that its writer meant (WHATWG Encoding Standard, section 4.2).

Programs name a narrow charset and write a wider one, as GB 2312 for GB 18030, or name none at all.
"""

from __future__ import annotations

import re

_WIDER = {
    "gb2312": "gb18030", "gb-2312-80": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "cp936": "gb18030",
    "ks-c-5601": "cp949", "ks-c-5601-1987": "cp949", "ks-c-5601-1989": "cp949", "ksc5601": "cp949",
    "euc-kr": "cp949", "shift-jis": "cp932", "shiftjis": "cp932", "sjis": "cp932", "x-sjis": "cp932",
    "ms-kanji": "cp932", "windows-31j": "cp932", "big5": "big5hkscs", "windows-874": "cp874", "tis-620": "cp874",
    "iso-8859-11": "cp874", "iso-8859-8-i": "iso8859-8", "iso-8859-8-e": "iso8859-8", "iso-8859-1": "cp1252",
    "latin1": "cp1252", "iso-8859-9": "cp1254", "unicode-1-1-utf-7": "utf-7",
}  # fmt: skip
_NO_CHARSET = frozenset({"", "ascii", "us-ascii", "unknown-8bit", "x-unknown", "8bit", "binary"})
#: Codecs of Python that make no text, or that take their time.
_NO_TEXT = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"})
_ASCII = bytes(range(0x80))
_CHARACTER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|(?:\xe0[\xa0-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]|\xed[\x80-\x9f])[\x80-\xbf]"
    rb"|(?:\xf0[\x90-\xbf]|[\xf1-\xf3][\x80-\xbf]|\xf4[\x80-\x8f])[\x80-\xbf]{2}"
)


def decoded(octets: bytes, charset: str | None) -> str:
    """The text of octets that were declared to be in a charset; None if nobody said so. Never raises."""
    name = (charset or "").strip().lower().replace("_", "-")
    if octets.isascii() and name in _NO_CHARSET:
        return octets.decode("ascii")
    if name in _NO_CHARSET or name in _NO_TEXT:
        return _guessed(octets)
    try:
        return octets.decode(_WIDER.get(name, name), "replace")
    except (LookupError, ValueError):
        return _guessed(octets)


def raw_text(octets: bytes, charset: str | None) -> str:
    """The text of 8-bit octets in a header, where RFC 5322 allows none: UTF-8 if it can be, else in the charset
    that the message declares for its body."""
    if octets.isascii():
        return octets.decode("ascii")
    return _guessed(octets) if _is_utf8(octets) else decoded(octets, charset)


def _guessed(octets: bytes) -> str:
    return octets.decode("utf-8" if _is_utf8(octets) else "cp1252", "replace")


def _is_utf8(octets: bytes) -> bool:
    """Whether this is UTF-8, a stray octet among its characters or not: a line that was cut, a name pasted in."""
    rest, characters = _CHARACTER.subn(b"", octets)
    strays = len(rest.translate(None, _ASCII))
    return strays == 0 or (characters > 0 and (strays == 1 or 4 * strays <= characters))
