"""Known messages matched in a new epoch, without a download.

A new UIDVALIDITY or a renamed folder shows old mail under new UIDs. A message counts as the same only if size,
INTERNALDATE and header are equal, and either the server's own identifier is, too, or there is a Message-ID and all
four are unique on both sides; otherwise it is fetched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Literal

from msgspec import Struct

from archiver.archive.plan.twins import HeaderKey, full_identity, groups_of, header_key, is_header_of, unique_twins
from archiver.catalog.port import CatalogMessages
from archiver.mail.content import header_digest, message_id
from archiver.mail.dates import internaldate_seconds
from archiver.mail.model import Attributes, Placement
from archiver.mail.uidset import UidSet
from archiver.source.port import MailSource

_GROUP = 10_000


class Match(Struct, frozen=True):
    """A message as the server shows it now, the equal message of the archive, and how that is known."""

    seen: Attributes
    twin: Placement
    how: Literal["emailid", "headers"]


def find_known(
    source: MailSource,
    messages: CatalogMessages,
    present: UidSet,
    wanted: UidSet,
    linked: Collection[int],
    usable: Callable[[Placement], bool],
) -> Iterator[Match]:
    """Messages of `wanted` in the open folder that the archive has. `present` are all its UIDs, since a key must be
    unique among all. `usable` says whether the server no longer shows a placement of the archive. The caller adds
    the UIDs of the matches that it uses to `linked`, so that they are not matched again.
    """
    seen = {each.uid: each for each in source.scan(present) if each.size is not None}
    for sizes in groups_of(Counter(each.size for each in seen.values()), _GROUP):
        some = {uid: each for uid, each in seen.items() if each.size in sizes}
        yield from _of_sizes(source, messages, some, wanted, linked, usable)


def _of_sizes(
    source: MailSource,
    messages: CatalogMessages,
    seen: Mapping[int, Attributes],
    wanted: UidSet,
    linked: Collection[int],
    usable: Callable[[Placement], bool],
) -> Iterator[Match]:
    """Match all messages of some sizes. The size is part of every key, so a key that is unique among them is unique
    among all."""
    candidates = messages.candidates({each.size for each in seen.values() if each.size is not None})
    may_be = [usable(each) for each in candidates]
    if not any(may_be):
        return
    by_identity = unique_twins([(full_identity(each.message.attributes), each) for each in candidates], may_be)
    identified = {
        uid: by_identity[identity]
        for uid in (wanted & seen.keys()) - linked
        if (identity := full_identity(seen[uid])) is not None and identity in by_identity
    }
    recorded = [(each, each.message) for each in candidates]
    by_header = unique_twins(
        [(header_key(its.attributes, its.message_id, its.header_digest), each) for each, its in recorded], may_be
    )
    sized = {(key.size, key.instant) for key in by_header if key is not None}
    alike = [uid for uid, each in seen.items() if (each.size, internaldate_seconds(each.internaldate)) in sized]
    if not (wanted & alike) - linked:
        alike = []
    keys: dict[int, HeaderKey | None] = {}
    proven: list[int] = []
    for each, header in source.headers({*alike, *identified}) if alike or identified else ():
        if each.uid in seen:
            keys[each.uid] = header_key(seen[each.uid], message_id(header), header_digest(header))
        if each.uid in identified and is_header_of(identified[each.uid], header):
            proven.append(each.uid)
    yield from (Match(seen[uid], identified[uid], "emailid") for uid in sorted(proven))
    times = Counter(keys.values())
    for uid, key in sorted(keys.items()):
        if key is not None and key in by_header and times[key] == 1 and uid in wanted and uid not in linked:
            yield Match(seen[uid], by_header[key], "headers")
