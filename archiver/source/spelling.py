"""Folders that a server spells otherwise than before: in UTF-8 instead of modified UTF-7, or the other way round.

Such a folder would be a new one by its octets, and the known one would be gone, with all of its mail. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from archiver.facts.known import KnownFolder
from archiver.mail.folder_names import decode_name
from archiver.mail.model import Listed


def recognised(listed: Sequence[Listed], known: Mapping[bytes, KnownFolder]) -> Sequence[Listed]:
    """The listed folders. One that is not known by its octets is the known folder with the same text, if that is
    not listed and there is no doubt which one it is; it keeps that one's name."""
    here = {each.folder.raw for each in listed}
    gone = [raw for raw, each in known.items() if raw not in here and each.listed and not each.folder.is_imported]
    new = Counter(decode_name(raw) for raw in here if raw not in known)
    texts = Counter(map(decode_name, gone))
    former = {decode_name(raw): raw for raw in gone if texts[decode_name(raw)] == 1}
    if not former.keys() & new.keys():
        return listed

    def same(each: Listed) -> Listed:
        raw, text = each.folder.raw, decode_name(each.folder.raw)
        if raw in known or text not in former or new[text] > 1:
            return each
        return replace(each, folder=replace(each.folder, raw=former[text], spelled=raw))

    return [same(each) for each in listed]
