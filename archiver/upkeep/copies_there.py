"""What copies at a destination are known by when their messages are forgotten. Nothing of what they say is kept,
but a digest of their octets, so that no other message is ever removed in their place.

A destination that is known to show a message in another form has a copy with other octets. If only its line ends
differ, a form of the octets without these is compared; otherwise there is nothing but the size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from archiver.catalog.keeping import HeldCopy
from archiver.errors import ArchiverError
from archiver.facts.keeping import ForgottenCopy
from archiver.facts.replica import MessageKey
from archiver.mail.fingerprint import fingerprint_of
from archiver.mail.model import Placement
from archiver.storage.port import MessageStore

_PIECE = 1 << 20


def known_by(
    copies: Sequence[HeldCopy], places: Mapping[MessageKey, Placement], store: MessageStore
) -> Iterator[ForgottenCopy]:
    """What each of these copies is known by. Only messages with bare line ends are read for it."""
    for each in copies:
        place = places[each.key]
        shown = each.size or place.crlf_size
        form, digest = _form_of(each, place, store)
        yield each.target, each.uid, form, digest, shown


def _form_of(copy: HeldCopy, place: Placement, store: MessageStore) -> tuple[str, str]:
    if copy.likeness in ("headers", "cut", "other"):
        return "size", ""
    if copy.sent_digest is not None:
        return ("octets", copy.sent_digest) if copy.likeness in (None, "exact") else ("size", "")
    if copy.likeness == "line-ends" or (copy.likeness is None and place.crlf_size != place.size):
        return _canonical(place, store)
    if copy.likeness is None and copy.size not in (None, place.size):
        return "size", ""
    return "octets", place.digest


def _canonical(place: Placement, store: MessageStore) -> tuple[str, str]:
    try:
        with store.open(place) as file:
            found = fingerprint_of(iter(lambda: file.read(_PIECE), b""))
    except ArchiverError:  # it is damaged or missing, and is forgotten all the same
        return "size", ""
    return ("canonical", found.canonical) if found.digest == place.digest else ("size", "")
