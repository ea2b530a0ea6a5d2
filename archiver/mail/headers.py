"""Sender, recipients, subject and date from a message's header, for search.

The header block is read after the octets are safe. It uses what it finds and never raises: a broken header cannot
make a message fail. The standard library's parser is not used on the way into the archive: it takes ten times as
long, and some of its functions raise for common headers.
"""

from __future__ import annotations

import binascii
import itertools
import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timedelta

from archiver.mail.charsets import decoded, raw_text
from archiver.mail.dates import date_seconds
from archiver.mail.model import Headers

#: How many characters of a sender or a subject, and of all recipients, are kept.
TEXT_LENGTH = 998
RECIPIENTS_LENGTH = 4096

# Enough for that many characters as base64 in encoded words, and a limit on the cost of a hostile header.
_OCTETS_READ = 8192
#: A field's name and value with its folded lines (RFC 5322 section 2.2.3), blanks before the colon allowed (4.5).
_FIELD = re.compile(
    rb"\n(from|to|cc|bcc|subject|date)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)",
    re.IGNORECASE,
)
_ANY_FIELD = re.compile(rb"\n([!-9;-~]{1,200})[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)")
_FIELDS_SHOWN = 1000
_EPOCH = datetime(1970, 1, 1)
#: The charset that a message declares for its body.
_TYPE = re.compile(rb"\ncontent-type[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE)
_CHARSET = re.compile(rb"[;\s]charset\s{0,9}=\s{0,9}[\"']?([\w.:+-]{1,60})", re.IGNORECASE)
#: An encoded word (RFC 2047 section 2); a language (RFC 2231 section 5) and question marks in its text are
#: accepted.
_WORD = re.compile(r"=\?([^?*\s]{1,60})(?:\*[^?\s]{0,20})?\?([BbQq])\?((?:[^?]|\?(?!=)){0,2000})\?=")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def headers_of(header: bytes) -> Headers:
    """The headers that can be searched, from a header block: the first From, Subject and Date, and every To, Cc,
    Bcc."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in _FIELD.findall(b"\n" + header):
        found.setdefault(name.lower(), []).append(value)
    charset = _charset(header)
    recipients = ""
    for name in (b"to", b"cc", b"bcc"):
        for value in found.get(name, ()):
            if len(recipients) < RECIPIENTS_LENGTH:
                text = _text(value, charset)
                recipients += ", " + text if recipients and text else text
    return Headers(
        sender=_first(found, b"from", charset)[:TEXT_LENGTH],
        recipients=recipients[:RECIPIENTS_LENGTH],
        subject=_first(found, b"subject", charset)[:TEXT_LENGTH],
        sent=_utc(_first(found, b"date", charset)),
    )


def fields_of(header: bytes) -> list[tuple[str, str]]:
    """Every field of a header block with its decoded value, in their order; limited to what people can read."""
    fields = itertools.islice(_ANY_FIELD.finditer(b"\n" + header), _FIELDS_SHOWN)
    charset = _charset(header)
    return [(match[1].decode("ascii"), _text(match[2], charset)) for match in fields]


def _charset(header: bytes) -> str | None:
    """What the message declares; looked for only if the header has 8-bit octets, which it is needed for."""
    type_ = None if header.isascii() else _TYPE.search(b"\n" + header)
    found = _CHARSET.search(type_[1][:_OCTETS_READ]) if type_ else None
    return found[1].decode("ascii", "replace") if found else None


def _first(found: dict[bytes, list[bytes]], name: bytes, charset: str | None) -> str:
    return _text(found[name][0], charset) if name in found else ""


def _text(value: bytes, charset: str | None) -> str:
    """A field's value as one line of text."""
    return readable(" ".join(raw_text(value[:_OCTETS_READ], charset).split()))


def readable(value: str) -> str:
    """A field's value for people, with its encoded words (RFC 2047) decoded as far as possible.

    Control characters, which a word may contain, and lone surrogates are escaped with a backslash.
    """
    text = "".join(_pieces(value)) if "=?" in value else value
    return text if text.isprintable() else _CONTROL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")


def _pieces(value: str) -> Iterator[str]:
    """Text and decoded words alternately. Blanks between two words are ignored (RFC 2047 section 6.2).

    NOTE: adjacent words of the same charset are decoded together, because many senders split a character.
    """
    end, charset, octets = 0, "", b""
    for match in _WORD.finditer(value):
        between, word = value[end : match.start()], _octets(match[2], match[3])
        if word is None:
            continue  # it stays in the text before the next one
        is_next = bool(octets) and not between.strip()
        if not (is_next and match[1].lower() == charset):
            yield _decoded(octets, charset)
            yield "" if is_next else between
            charset, octets = match[1].lower(), b""
        octets += word
        end = match.end()
    yield _decoded(octets, charset)
    yield value[end:]


def _octets(encoding: str, text: str) -> bytes | None:
    """The octets of an encoded word; None if it is not valid."""
    try:
        encoded = text.encode("utf-8")
        if encoding in "Qq":
            return binascii.a2b_qp(encoded, header=True)
        return binascii.a2b_base64(encoded + b"==")
    except ValueError:
        return None


def _decoded(octets: bytes, charset: str) -> str:
    """The text of octets. Runs of whitespace become one blank."""
    return re.sub(r"\s+", " ", decoded(octets, charset))


def _utc(text: str) -> str | None:
    seconds = date_seconds(text) if text else None
    if seconds is None:
        return None
    try:
        return (_EPOCH + timedelta(0, seconds)).isoformat() + "Z"
    except OverflowError:
        return None


def folded(text: str) -> str:
    """`text` for a comparison that ignores case, in any script: `STRASSE` finds `Straße`."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
