"""Whether the octets that a destination returns are the message that was sent.

Most destinations return what they got. Some rewrite it: Dovecot stores NUL as 0x80 and serves CRLF for a bare LF;
Courier drops bare CRs and ends the last line; Gmail, dbmail and MailEnable move the blanks of header fields; many
add their own fields. Courier shows a message with 300 or more MIME parts cut off. A fingerprint has the digests
of a message in several forms that such changes do not affect, so two messages can be compared without having both.
The octets are streamed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from msgspec import Struct

from archiver.mail.model import Digest

MatchLevel = Literal["exact", "line-ends", "headers"]
"""How closely two messages match: in all octets; in all except line ends, bare CRs, NULs and the end of the last
line; in the header fields, except blanks and fields that servers add, and in the body unless headers alone
count."""

Likeness = Literal["exact", "line-ends", "headers", "cut", "other"]
"""The same for two messages that belong together for another reason: "cut" if one is only the beginning of the
other, "other" if they do not match."""

K = TypeVar("K", bound=Hashable)

_HEADER_OCTETS = 1 << 20  # a header without an end is cut off here; the rest counts as the body
_CANONICAL = bytes([0x80, *range(1, 256)])
_LINES = b"\n" * 4096
_BLANKS = re.compile(rb"[ \t]+")
_FOLD = re.compile(rb"\n(?=[ \t])")
_MESSAGE_ID = b"message-id:"

#: Fields that servers and mail programs add or change. Received is not among them.
_PASSED_OVER = frozenset(
    b"content-length lines status x-imap x-imapbase x-keywords x-mozilla-keys x-ms-has-attach x-ms-tnef-correlator "
    b"x-status x-uid x-uidl".split()
)
_PASSED_OVER_IF = (b"x-mozilla-status", b"x-ms-exchange-", b"x-pm-")


class MessageFingerprint(Struct, frozen=True):
    """Digests of a message in several forms. `digest` is of the original octets. `canonical` is of the octets
    without CRs, with 0x80 for NUL, and without the LFs at the end, `canonical_size` of them; `body` is of the same
    after the header block.
    `headers` is of the normalised fields: unfolded, names in lower case, runs of blanks as one, trimmed, without
    those that servers add. `identity` is of the normalised first Message-ID, None if there is none."""

    digest: Digest
    canonical: Digest
    headers: Digest
    body: Digest
    identity: Digest | None = None
    canonical_size: int = 0


class FingerprintBuilder:
    """Computes the fingerprint of a message from its octets, chunk by chunk."""

    __slots__ = ("_body", "_canonical", "_digest", "_header", "_in_body")

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._canonical = _Ended()
        self._body = _Ended()
        self._header = bytearray()
        self._in_body = False

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Add the next octets; the caller may reuse its buffer afterwards."""
        octets = bytes(chunk)
        self._digest.update(octets)
        octets = octets.translate(_CANONICAL, b"\r")
        self._canonical.update(octets)
        self._body.update(octets if self._in_body else self._behind_header(octets))

    def _behind_header(self, octets: bytes) -> bytes:
        """Keep the header's part; returns the body's."""
        known = len(self._header)
        self._header += octets[: _HEADER_OCTETS - known]
        end = _header_end(self._header, known)
        if end == 0:
            return b""
        self._in_body = True
        del self._header[end:]
        return octets[end - known :]

    def fingerprint(self) -> MessageFingerprint:
        """The fingerprint of everything that was fed."""
        fields = list(_fields(bytes(self._header)))
        identity = next((field for field in fields if field.startswith(_MESSAGE_ID)), _MESSAGE_ID)
        return MessageFingerprint(
            digest=Digest(self._digest.hexdigest()),
            canonical=self._canonical.digest(),
            headers=_digest_of(fields),
            body=self._body.digest(),
            identity=None if identity == _MESSAGE_ID else _digest_of([identity]),
            canonical_size=self._canonical.size,
        )


class _Ended:
    """The digest of octets without the LFs at their end."""

    __slots__ = ("_hash", "_held", "size")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._held = 0
        self.size = 0

    def update(self, octets: bytes) -> None:
        kept = octets.rstrip(b"\n")
        if kept:
            while self._held:
                lines = _LINES[: self._held]
                self._hash.update(lines)
                self._held -= len(lines)
                self.size += len(lines)
            self._hash.update(kept)
            self.size += len(kept)
        self._held += len(octets) - len(kept)

    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())


def _header_end(header: bytearray, known: int) -> int:
    """Where the body begins, if not before octet `known`; 0 as long as that is unknown."""
    if header.startswith(b"\n"):
        return 1
    blank = header.find(b"\n\n", max(0, known - 1))
    if blank >= 0:
        return blank + 2
    return _HEADER_OCTETS if len(header) == _HEADER_OCTETS else 0


def fingerprint_of(chunks: Iterable[bytes]) -> MessageFingerprint:
    """The fingerprint of a message in pieces."""
    builder = FingerprintBuilder()
    for chunk in chunks:
        builder.feed(chunk)
    return builder.fingerprint()


def _fields(header: bytes) -> Iterator[bytes]:
    """The normalised form of each field that counts."""
    for field in _FOLD.sub(b"", header).split(b"\n"):
        name, colon, value = field.partition(b":")
        name = name.strip(b" \t").lower()
        if field and name not in _PASSED_OVER and not name.startswith(_PASSED_OVER_IF):
            yield name + colon + _BLANKS.sub(b" ", value).strip(b" ")


def _digest_of(fields: Iterable[bytes]) -> Digest:
    return Digest(hashlib.sha256(b"\n".join(fields)).hexdigest())


_NO_FIELDS = _digest_of(())


def compare(sent: MessageFingerprint, found: MessageFingerprint) -> MatchLevel | Literal["other"]:
    """How closely the found message matches the one that was sent. "headers" also requires the same body."""
    if sent.digest == found.digest:
        return "exact"
    if sent.canonical == found.canonical:
        return "line-ends"
    if sent.headers == found.headers and sent.body == found.body:
        return "headers"
    return "other"


def is_beginning(sent: Iterable[bytes], found: MessageFingerprint) -> bool:
    """Whether the found message is the beginning of the one that was sent, in canonical octets: the server shows it
    cut off."""
    beginning, left = hashlib.sha256(), found.canonical_size
    for chunk in sent:
        octets = chunk.translate(_CANONICAL, b"\r")[:left]
        beginning.update(octets)
        left -= len(octets)
        if not left:
            break
    return not left and beginning.hexdigest() == found.canonical


def match(
    sent: Sequence[tuple[K, MessageFingerprint, int | None]],
    found: Sequence[tuple[int, MessageFingerprint, int | None]],
    *,
    headers_alone: bool,
) -> dict[K, tuple[int, MatchLevel]]:
    """Match sent with found messages: (key, fingerprint, instant) against (UID, fingerprint, instant).

    Each key and each UID is in at most one pair, so two equal messages stay two. The most certain pairs come first:
    equal octets, then equal canonical octets, then equal fields and body. With `headers_alone`, equal fields and an
    equal, known instant are enough for the rest, and finally an equal Message-ID and such an instant. Among equals
    the same instant is preferred, then the order of `sent` and the lower UID.
    """
    pairs: dict[K, tuple[int, MatchLevel]] = {}
    free = {uid: (fingerprint, instant) for uid, fingerprint, instant in sorted(found, key=lambda each: each[0])}
    for how, key_of in _LEVELS if headers_alone else _LEVELS[:-2]:
        waiting: dict[Hashable, list[int]] = {}
        for uid in reversed(free):
            key = key_of(*free[uid])
            if key is not None:
                waiting.setdefault(key, []).append(uid)
        for name, fingerprint, instant in sent:
            uids = waiting.get(key_of(fingerprint, instant)) if name not in pairs else None
            if uids:
                uid = uids.pop()
                pairs[name] = uid, how
                del free[uid]
    return pairs


def _fields_and_instant(fingerprint: MessageFingerprint, instant: int | None) -> Hashable:
    return None if instant is None or fingerprint.headers == _NO_FIELDS else (fingerprint.headers, instant)


def _identity_and_instant(fingerprint: MessageFingerprint, instant: int | None) -> Hashable:
    return None if instant is None or fingerprint.identity is None else (fingerprint.identity, instant)


#: What must be equal, the most certain first; the last two use headers alone.
_LEVELS: tuple[tuple[MatchLevel, Callable[[MessageFingerprint, int | None], Hashable]], ...] = (
    ("exact", lambda fingerprint, instant: (fingerprint.digest, instant)),
    ("exact", lambda fingerprint, _: fingerprint.digest),
    ("line-ends", lambda fingerprint, instant: (fingerprint.canonical, instant)),
    ("line-ends", lambda fingerprint, _: fingerprint.canonical),
    ("headers", lambda fingerprint, instant: (fingerprint.headers, fingerprint.body, instant)),
    ("headers", lambda fingerprint, _: (fingerprint.headers, fingerprint.body)),
    ("headers", _fields_and_instant),
    ("headers", _identity_and_instant),
)
