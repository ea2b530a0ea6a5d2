"""Which UID each message of a maildrop has.

A message is known by its UIDL. Where a server gives none, or one to several messages, it is known by the digest of
its octets, for which it has to be read. A UIDL is not believed blindly: it may change, after a move to other
software or with each session, and some servers give it to another message later. So a known message has to have the
size or the header that it had; and before one counts as gone while others have come, those are compared with it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

from archiver.mail.content import header_digest
from archiver.mail.model import INBOX, Digest, StoredMessage
from archiver.mail.uidset import UidSet
from archiver.source.numbering import Numbering
from archiver.source.pop3.maildrop import Maildrop, name_of_uidl, names_of_digests
from archiver.source.pop3.retrieve import Retriever, Wanted

_AT_ONCE = 5_000  # names


class Naming:
    """Finds the UIDs of the messages of one session. `digests` are those of messages that were read in it, by their
    numbers; others are added."""

    def __init__(
        self, maildrop: Maildrop, numbering: Numbering, retriever: Retriever, digests: dict[int, Digest]
    ) -> None:
        self._maildrop = maildrop
        self._numbering = numbering
        self._retriever = retriever
        self._digests = digests
        self._held = numbering.known(INBOX).held

    def uids(self) -> dict[int, int]:
        """The UID of each message, by its number; new ones have been numbered. Messages that have no UIDL of their
        own and are not delivered are left out."""
        unnamed = self._maildrop.unnamed
        names = {number: name_of_uidl(uidl) for number, uidl in self._maildrop.uidls.items()}
        self._read(unnamed)
        names |= names_of_digests({number: self._digests[number] for number in unnamed if number in self._digests})
        named = uids_of(names, self._numbering)
        known = _one_each(named)
        others = self._others(known)
        known = {number: uid for number, uid in known.items() if number not in others}
        renamed = self._renamed(names, known)
        known |= renamed
        # What has the name of another message, and is none that the archive has, gets a UID of its own.
        uidnext = self._numbering.known(INBOX).uidnext
        renamed |= {n: uid for uid, n in enumerate(sorted(named.keys() - known.keys()), uidnext)}
        if renamed:
            self._numbering.rename(INBOX, {names[number]: uid for number, uid in renamed.items()})
        known |= renamed
        new = [names[number] for number in sorted(names) if number not in known]
        given: dict[str, int] = {}
        for start in range(0, len(new), _AT_ONCE):
            given |= self._numbering.number(INBOX, new[start : start + _AT_ONCE])
        return known | {number: given[name] for number, name in names.items() if number not in known}

    def _others(self, known: Mapping[int, int]) -> set[int]:
        """The numbers of messages that are others than their names say: neither the size is that of the recorded
        message, nor the header."""
        numbers = {uid: number for number, uid in known.items()}
        doubtful = {
            numbers[each.uid]: each
            for each in self._numbering.recorded(INBOX, numbers)
            if each.server_size != self._maildrop.sizes[numbers[each.uid]]
        }
        return {
            each.number
            for each, header in self._retriever.headers(self._wanted(doubtful))
            if header_digest(header) != doubtful[each.number].header_digest
        }

    def _renamed(self, names: Mapping[int, str], known: Mapping[int, int]) -> dict[int, int]:
        """The UIDs of messages which the archive has under other names, by their numbers."""
        new = [number for number in sorted(names) if number not in known]
        missing = self._held - UidSet(known.values())
        if not (new and missing):
            return {}
        held = list(self._numbering.recorded(INBOX, missing))
        self._read(self._alike(new, held))
        by_digest: defaultdict[Digest, deque[int]] = defaultdict(deque)
        for each in held:
            by_digest[each.digest].append(each.uid)
        return {
            number: by_digest[digest].popleft()
            for number in new
            if (digest := self._digests.get(number)) is not None and by_digest[digest]
        }

    def _alike(self, new: Iterable[int], held: Iterable[StoredMessage]) -> list[int]:
        """Those of the new messages that have the header of a held one, so that they have to be read."""
        headers = {each.header_digest for each in held}
        unread = [number for number in new if number not in self._digests]
        return [
            each.number
            for each, header in self._retriever.headers(self._wanted(unread))
            if header_digest(header) in headers
        ]

    def _read(self, numbers: Iterable[int]) -> None:
        unread = [number for number in sorted(numbers) if number not in self._digests]
        for each, digest in self._retriever.digests(self._wanted(unread)):
            self._digests[each.number] = digest

    def _wanted(self, numbers: Iterable[int]) -> list[Wanted]:
        return [Wanted(0, number, self._maildrop.sizes[number]) for number in numbers]


def _one_each(named: Mapping[int, int]) -> dict[int, int]:
    """A UID may have several names, but it is one message: the first that has one of them."""
    first: dict[int, int] = {}
    for number, uid in sorted(named.items()):
        first.setdefault(uid, number)
    return {number: uid for uid, number in first.items()}


def uids_of(names: Mapping[int, str], numbering: Numbering) -> dict[int, int]:
    """The UIDs that the names of messages have, by their numbers."""
    ordered, found = list(names.values()), dict[str, int]()
    for start in range(0, len(ordered), _AT_ONCE):
        found |= numbering.uids(INBOX, ordered[start : start + _AT_ONCE])
    return {number: found[name] for number, name in names.items() if name in found}


def shown_uids(maildrop: Maildrop, numbering: Numbering) -> tuple[UidSet, int] | None:
    """The UIDs of the known messages that a maildrop shows, and how many new ones there are, as far as UIDLs tell.
    None: some have no UIDL of their own, so that they would have to be read."""
    if maildrop.unnamed:
        return None
    names = {number: name_of_uidl(uidl) for number, uidl in maildrop.uidls.items()}
    shown = UidSet(uids_of(names, numbering).values())
    return shown, len(names) - len(shown)
