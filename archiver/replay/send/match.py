"""Which messages in a destination's folder are messages of the archive: the octets that it returns decide.

Used after an APPEND of unknown outcome, and for mail that something else stored there before us.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.errors import IntegrityError
from archiver.facts.outgoing import Outgoing
from archiver.facts.replica import MessageKey, Replica
from archiver.mail.content import message_id
from archiver.mail.dates import internaldate_seconds, same_moment
from archiver.mail.fingerprint import (
    FingerprintBuilder,
    Likeness,
    MessageFingerprint,
    compare,
    fingerprint_of,
    is_beginning,
    match,
)
from archiver.mail.model import Attributes, Digest, Fetched, Placement
from archiver.mail.reader import MailReader
from archiver.mail.refusal import features_of
from archiver.mail.rewrite import REPAIRS, repair, repairs_for
from archiver.replay.context import ReplayContext, ReplayJob
from archiver.storage.port import MessageStore

_PIECE = 256 << 10


class RecognisedMessage(Struct, frozen=True):
    """A message at the destination that is one of the archive's, and how closely the two match; "cut" or "other" if
    only the headers identify it. `repaired` names what was altered before it was sent; `sent_digest` is the digest
    of that."""

    seen: Attributes
    how: Likeness
    repaired: tuple[str, ...] = ()
    sent_digest: Digest | None = None


def octets_of(store: MessageStore, placement: Placement) -> Iterator[bytes]:
    """A message's octets in pieces.

    Raises:
        IntegrityError: they are missing.
    """
    with store.open(placement) as file:
        while piece := file.read(_PIECE):
            yield piece


class MessageMatcher:
    """Matches messages of the job's folder, which is open at `reader`. A message is fetched only once, even over
    another connection."""

    def __init__(self, reader: MailReader, context: ReplayContext, job: ReplayJob) -> None:
        self._reader = reader
        self._context = context
        self._job = job

    def sent(self, outgoing: Sequence[Outgoing], uids: Collection[int]) -> dict[MessageKey, RecognisedMessage]:
        """Match `outgoing` messages that we sent in some variant with `uids`; each UID is used once."""
        pairing = self._pairing(outgoing, uids)
        pairing.add(pairing.left, headers_alone=False)
        self._try_repairs(pairing, REPAIRS)
        pairing.add(pairing.left, headers_alone=True)
        return self._paired(pairing)

    def match_unclaimed(
        self, outgoing: Sequence[Outgoing], uids: Collection[int]
    ) -> dict[MessageKey, RecognisedMessage]:
        """Match `outgoing` messages with `uids`, no matter who stored them; allowed repairs are tried, too."""
        pairing = self._pairing(outgoing, uids)
        pairing.add(pairing.left, headers_alone=False)
        self._try_repairs(pairing, self._context.repairs)
        return self._paired(pairing)

    def match_altered(
        self, outgoing: Sequence[Outgoing], uids: Collection[int], before: Mapping[Digest, Replica]
    ) -> dict[MessageKey, RecognisedMessage]:
        """Match `outgoing` messages that the server altered or shows cut off with `uids`: those that look as the
        message did `before` the folder got other UIDs."""
        pairing = self._pairing(outgoing, uids)
        for key, (each, fingerprint) in pairing.left.items():
            replica = before[each.placement.digest]
            for uid, (seen, found) in pairing.free.items():
                moment = internaldate_seconds(seen.internaldate)
                if seen.size != replica.size or (replica.dated and not same_moment(moment, each.placement.arrived)):
                    continue
                how = self._likeness(each, fingerprint, found, replica.repaired)
                was_altered = replica.dated and replica.likeness == "other"
                if how == "cut" or was_altered or fingerprint.identity == found.identity:
                    del pairing.free[uid]
                    pairing.found[key] = RecognisedMessage(seen, how, replica.repaired, replica.sent_digest)
                    break
        return self._paired(pairing)

    def match_levels(self, pairs: Mapping[int, Outgoing]) -> dict[int, Likeness]:
        """How closely the messages under these UIDs match; one that is not delivered is left out."""
        self._fetch(pairs.keys())
        return {
            uid: self._likeness(outgoing, fingerprint, self._job.fetched.pop(uid)[1])
            for uid, outgoing in pairs.items()
            if uid in self._job.fetched and (fingerprint := self._fingerprint(outgoing)) is not None
        }

    def _pairing(self, outgoing: Sequence[Outgoing], uids: Collection[int]) -> _Pairing:
        if not outgoing or not uids:
            return _Pairing({}, {})
        self._fetch(uids)
        fetched = self._job.fetched
        sent = {
            each.key: (each, fingerprint)
            for each in outgoing
            if (fingerprint := self._fingerprint(each)) is not None
        }
        return _Pairing(sent, {uid: fetched[uid] for uid in uids if uid in fetched})

    def _try_repairs(self, pairing: _Pairing, allowed: Collection[str]) -> None:
        """Match repaired versions of the messages; such a match is as certain as one without repairs."""
        for key, (outgoing, _) in pairing.left.items() if pairing.free else ():
            kinds = repairs_for("unknown", features_of(self._octets(outgoing)), allowed)
            for some in (each for count in range(len(kinds)) for each in combinations(sorted(kinds), count + 1)):
                fingerprint = fingerprint_of(repair(self._octets(outgoing), some))
                pairing.add({key: (outgoing, fingerprint)}, headers_alone=False, repaired=some)

    def _paired(self, pairing: _Pairing) -> dict[MessageKey, RecognisedMessage]:
        for key, one in pairing.found.items():
            _, found = self._job.fetched.pop(one.seen.uid)  # it is claimed and not needed again
            if one.how == "other":
                outgoing, fingerprint = pairing.sent[key]
                how = self._likeness(outgoing, fingerprint, found, one.repaired)
                pairing.found[key] = replace(one, how=how)
        return pairing.found

    def _likeness(
        self, outgoing: Outgoing, sent: MessageFingerprint, found: MessageFingerprint, repaired: Sequence[str] = ()
    ) -> Likeness:
        how: Likeness = compare(sent, found)
        if how == "other" and is_beginning(repair(self._octets(outgoing), repaired), found):
            how = "cut"
        return how

    def _octets(self, outgoing: Outgoing) -> Iterator[bytes]:
        return octets_of(self._context.store, outgoing.placement)

    def _fingerprint(self, outgoing: Outgoing) -> MessageFingerprint | None:
        """None if the archive lost the message's octets."""
        try:
            return fingerprint_of(self._octets(outgoing))
        except IntegrityError as error:
            self._context.damaged(error)
            return None

    def _fetch(self, uids: Collection[int]) -> None:
        for outcome in self._reader.fetch(sorted(uid for uid in uids if uid not in self._job.fetched)):
            self._context.control.check_stop()
            if isinstance(outcome, Fetched):
                self._job.fetched[outcome.attributes.uid] = (outcome.attributes, fingerprint_of_fetched(outcome))
                self._job.steps += 1


class _Pairing(Struct):
    """Messages of the archive, those at the destination that are `free`, and the pairs that were `found`."""

    sent: dict[MessageKey, tuple[Outgoing, MessageFingerprint]]
    free: dict[int, tuple[Attributes, MessageFingerprint]]
    found: dict[MessageKey, RecognisedMessage] = field(default_factory=dict)

    @property
    def left(self) -> dict[MessageKey, tuple[Outgoing, MessageFingerprint]]:
        return {key: each for key, each in self.sent.items() if key not in self.found}

    def add(
        self,
        sent: Mapping[MessageKey, tuple[Outgoing, MessageFingerprint]],
        *,
        headers_alone: bool,
        repaired: tuple[str, ...] = (),
    ) -> None:
        """Pair those of these that have no match yet with the free ones."""
        pairs = match(
            [
                (key, fingerprint, each.placement.arrived)
                for key, (each, fingerprint) in sent.items()
                if key not in self.found
            ],
            [
                (uid, fingerprint, internaldate_seconds(seen.internaldate))
                for uid, (seen, fingerprint) in self.free.items()
            ],
            headers_alone=headers_alone,
        )
        for key, (uid, _) in pairs.items():
            (seen, found), (_, fingerprint) = self.free.pop(uid), sent[key]
            self.found[key] = RecognisedMessage(
                seen, compare(fingerprint, found), repaired, fingerprint.digest if repaired else None
            )


def fingerprint_of_fetched(fetched: Fetched) -> MessageFingerprint:
    """The fingerprint of a fetched message; its spool file is removed."""
    builder = FingerprintBuilder()
    body = fetched.body
    if body.spool is None:
        builder.feed(body.octets or b"")
        return builder.fingerprint()
    try:
        with body.spool.open("rb") as file:
            while piece := file.read(_PIECE):
                builder.feed(piece)
    finally:
        body.spool.unlink(missing_ok=True)
    return builder.fingerprint()


class UnclaimedMessages:
    """Messages in a destination's folder that are not known as copies, by Message-ID, or by size if they have
    none."""

    def __init__(self, reader: MailReader, uids: Collection[int]) -> None:
        # NOTE: hashes, since a folder may hold hundreds of thousands; the octets decide in the end.
        self._by_message_id: dict[int, list[int]] = {}
        self._by_size: dict[int | None, list[int]] = {}
        self._by_size_and_moment: dict[int, list[int]] = {}
        for attributes, header in reader.headers(uids, "MESSAGE-ID") if uids else ():
            name = message_id(header)
            if attributes.uid not in uids:
                continue
            if name is not None:
                self._by_message_id.setdefault(hash(name), []).append(attributes.uid)
            else:
                self._by_size.setdefault(attributes.size, []).append(attributes.uid)
            shown = hash((attributes.size, internaldate_seconds(attributes.internaldate)))
            self._by_size_and_moment.setdefault(shown, []).append(attributes.uid)

    def candidates(self, outgoing: Outgoing, before: Replica | None = None) -> set[int]:
        """The UIDs that may be this message, also as it was shown `before`; the octets decide. Different
        Message-IDs mean different messages, unless the server altered it."""
        place = outgoing.placement
        sizes = {place.size, place.crlf_size, None}  # None: the server tells none
        found: set[int] = set()
        if before is not None:
            sizes.add(before.size)
            found.update(self._by_size_and_moment.get(hash((before.size, place.arrived)), ()))
        found.update(uid for size in sizes for uid in self._by_size.get(size, ()))
        if outgoing.message.message_id is not None:
            found.update(self._by_message_id.get(hash(outgoing.message.message_id), ()))
        return found
