"""Which messages in a destination's folder are messages of the archive: the octets it gives back decide.

Asked after an APPEND of unknown outcome, and of mail that somebody else brought there before us.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from archiver.copies import MessageKey, Outgoing
from archiver.destination_ports import MailReader
from archiver.message import internaldate_seconds, message_id
from archiver.model import Attributes, Fetched, Placement
from archiver.ports import MessageStore
from archiver.replay.likeness import How, Likeness, LikenessBuilder, compare, match

_PIECE = 256 << 10


@dataclass(frozen=True, slots=True)
class Recognised:
    """A message at the destination that is one of the archive's, and in what the two are alike."""

    seen: Attributes
    how: How | None


def octets_of(store: MessageStore, placement: Placement) -> Iterator[bytes]:
    """A message's octets in pieces.

    Raises:
        IntegrityError: they are not there.
    """
    with store.open(placement) as file:
        while piece := file.read(_PIECE):
            yield piece


class Recogniser:
    """Looks at the open folder of a destination. What was fetched once is not fetched again."""

    def __init__(self, reader: MailReader, store: MessageStore, check_stop: Callable[[], None]) -> None:
        self._reader = reader
        self._store = store
        self._check_stop = check_stop
        self._found: dict[int, tuple[Attributes, Likeness]] = {}

    def among(
        self, outgoing: Sequence[Outgoing], uids: Collection[int], *, headers_alone: bool
    ) -> dict[MessageKey, Recognised]:
        """Which of `outgoing` are which of `uids`; each is used once."""
        if not outgoing or not uids:
            return {}
        self._fetch(uids)
        found = [
            (uid, likeness, internaldate_seconds(seen.internaldate))
            for uid, (seen, likeness) in self._found.items()
            if uid in uids
        ]
        sent = [(each.key, self._likeness(each.placement), each.placement.arrived) for each in outgoing]
        pairs = match(sent, found, headers_alone=headers_alone)
        return {key: Recognised(self._found[uid][0], how) for key, (uid, how) in pairs.items()}

    def compared(self, pairs: Mapping[int, Outgoing]) -> dict[int, How | Literal["other"]]:
        """In what these UIDs are the messages that they must be; one that is not delivered is left out."""
        self._fetch(pairs.keys())
        return {
            uid: compare(self._likeness(outgoing.placement), self._found[uid][1])
            for uid, outgoing in pairs.items()
            if uid in self._found
        }

    def _likeness(self, placement: Placement) -> Likeness:
        builder = LikenessBuilder()
        for piece in octets_of(self._store, placement):
            builder.feed(piece)
        return builder.likeness()

    def _fetch(self, uids: Collection[int]) -> None:
        for outcome in self._reader.fetch(sorted(uid for uid in uids if uid not in self._found)):
            self._check_stop()
            if isinstance(outcome, Fetched):
                self._found[outcome.attributes.uid] = (outcome.attributes, likeness_of_fetched(outcome))


def likeness_of_fetched(fetched: Fetched) -> Likeness:
    """What a message is like that came over the wire; its spool file is removed."""
    builder = LikenessBuilder()
    body = fetched.body
    if body.spool is None:
        builder.feed(body.octets or b"")
        return builder.likeness()
    try:
        with body.spool.open("rb") as file:
            while piece := file.read(_PIECE):
                builder.feed(piece)
    finally:
        body.spool.unlink(missing_ok=True)
    return builder.likeness()


class Strangers:
    """Mail in a destination's folder that nobody claimed, by what makes it a candidate: Message-ID or size."""

    def __init__(self, reader: MailReader, uids: Collection[int]) -> None:
        self._by_message_id: dict[str, set[int]] = {}
        self._by_size: dict[int, set[int]] = {}
        self._named: dict[int, str] = {}
        for attributes, header in reader.headers(uids, "MESSAGE-ID") if uids else ():
            uid, name = attributes.uid, message_id(header)
            if uid not in uids:
                continue
            if name is not None:
                self._by_message_id.setdefault(name, set()).add(uid)
                self._named[uid] = name
            if attributes.size is not None:
                self._by_size.setdefault(attributes.size, set()).add(uid)

    def candidates(self, outgoing: Outgoing) -> set[int]:
        """The UIDs that may be this message; the digest decides. Two different Message-IDs are two messages."""
        place = outgoing.placement
        sized = self._by_size.get(place.size, set()) | self._by_size.get(place.crlf_size, set())
        if outgoing.message_id is None:
            return {uid for uid in sized if uid not in self._named}
        return self._by_message_id.get(outgoing.message_id, set()) | {
            uid for uid in sized if uid not in self._named
        }
