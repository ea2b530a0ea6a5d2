"""Whether two logins lead to the same mailbox: pure decisions about what servers show.

A host name proves nothing: a server has several, and a name may point to another server tomorrow. A UIDVALIDITY
proves little, since many servers take it from the clock. A mailbox is recognised by its newest messages: the same
UIDs under the same UIDVALIDITY with the same sizes and dates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.mail.dates import internaldate_seconds, same_moment
from archiver.mail.model import Attributes, Listed

#: How many folders are compared, and how many of the newest messages of each.
FOLDERS = 5
NEWEST = 20


class MessageTraits(Struct, frozen=True):
    """What distinguishes messages with the same UID: RFC822.SIZE, and INTERNALDATE in seconds since 1970. None if
    it is not known."""

    size: int | None
    arrived: int | None


TraitsByUid = Mapping[int, MessageTraits]
"""Messages of a folder by their UIDs."""


def traits_of(attributes: Attributes) -> MessageTraits:
    """The traits of a message as a server shows it."""
    return MessageTraits(attributes.size, internaldate_seconds(attributes.internaldate))


class Resemblance(Struct, frozen=True):
    """How many messages of two mailboxes are the same, how many have the same UID but differ, and which folders
    hold the same ones."""

    same: int = 0
    other: int = 0
    folders: tuple[bytes, ...] = ()

    @property
    def proven(self) -> bool:
        """Whether this shows that both are the same mailbox."""
        return self.same > 0 and self.other == 0

    def __add__(self, more: Resemblance) -> Resemblance:
        return Resemblance(self.same + more.same, self.other + more.other, (*self.folders, *more.folders))


def resemblance(raw: bytes, expected: TraitsByUid, seen: Iterable[Attributes]) -> Resemblance:
    """Compare the messages that a folder shows with the expected ones. A missing message does not count, nor does
    one where only size or date differs: servers change how they count sizes, and dates get lost when files are
    copied."""
    shown: dict[int, MessageTraits] = {}
    for each in seen:
        if each.uid in expected:
            new, old = traits_of(each), shown.get(each.uid, MessageTraits(None, None))
            shown[each.uid] = MessageTraits(_or(new.size, old.size), _or(new.arrived, old.arrived))
    same = other = 0
    for uid, found in shown.items():
        known = expected[uid]
        if None in (known.size, found.size, known.arrived, found.arrived):
            continue
        sized, dated = known.size == found.size, same_moment(found.arrived, known.arrived or 0)
        same += sized and dated
        other += not (sized or dated)
    return Resemblance(same, other, (raw,) if same else ())


def _or(one: int | None, other: int | None) -> int | None:
    return other if one is None else one


def shown_by(listed: Iterable[Listed]) -> dict[bytes, int]:
    """The UIDVALIDITY of every folder whose status is known."""
    return {each.folder.raw: each.status.uidvalidity for each in listed if each.folder.selectable and each.status}


def filled_of(listed: Iterable[Listed]) -> dict[bytes, int]:
    """The same for folders with messages; no others can prove anything."""
    return shown_by(each for each in listed if each.status and each.status.messages)


def suspects(here: Mapping[bytes, int], there: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Folders that may be the same, by their raw names here and there: they have the same UIDVALIDITY, and either
    the same name or a UIDVALIDITY that no other folder has. INBOX comes first. Folders without UIDVALIDITY are left
    out: any two have that in common."""
    here, there = ({raw: number for raw, number in each.items() if number} for each in (here, there))
    pairs = [(raw, raw) for raw, uidvalidity in here.items() if there.get(raw) == uidvalidity]
    paired = {raw for raw, _ in pairs}
    alone_here, alone_there = _alone(here), _alone(there)
    for uidvalidity in alone_here.keys() & alone_there.keys():
        one, other = alone_here[uidvalidity], alone_there[uidvalidity]
        if one not in paired and other not in paired:
            pairs.append((one, other))
    return sorted(pairs, key=lambda pair: (pair[0] != b"INBOX", pair))


def _alone(folders: Mapping[bytes, int]) -> dict[int, bytes]:
    counts = Counter(folders.values())
    return {uidvalidity: raw for raw, uidvalidity in folders.items() if counts[uidvalidity] == 1}


def renewed(listed: Sequence[Listed], known: Mapping[bytes, KnownFolder], epochs: Mapping[int, KnownEpoch]) -> int:
    """How many folders of the archive the source still has, if every one of them has a new UIDVALIDITY; else 0."""
    shown = shown_by(listed)
    before = {
        raw: epoch.uidvalidity
        for raw, folder in known.items()
        if shown.get(raw) and (epoch := epochs.get(folder.number)) is not None and not epoch.other_source
    }
    return len(before) if all(shown[raw] != uidvalidity for raw, uidvalidity in before.items()) else 0


def renewed_words(count: int) -> str:
    """The warning that all `count` folders have a new UIDVALIDITY."""
    which = f"all {count:,} folders have" if count > 1 else "the only folder has"
    return f"{which} a new UIDVALIDITY: the source was rebuilt, or its host name points to another server now"
