"""What must be kept, and what was forgotten, read from the catalog's tables."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from archiver.catalog.keeping import Forget, HeldCopy, HeldPlace, Holdable, KnownHold, LeftCopy
from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import (
    IS_PRUNED,
    MESSAGES,
    PLACE,
    FlagSets,
    any_of,
    folder_name,
    json_list,
    placement,
)
from archiver.facts.keeping import HoldEndedFact, HoldFact, StateMarkedFact
from archiver.facts.replica import MessageKey, by_epoch
from archiver.mail.headers import TEXT_LENGTH
from archiver.mail.model import Digest, Placement, StoredMessage
from archiver.mail.uidset import UidSet

#: So many characters of recipients were certainly read to their end: a longer list may be cut where 8,192 octets
#: of it were read, however they are encoded.
_CERTAIN = 1500
_HOLDS = """
SELECT number, folders, addresses, reason, "by", at, ended_reason, ended_by, ended_at FROM hold ORDER BY number
"""
_MARKS = 'SELECT state, reason, "by", at FROM mark ORDER BY rowid'
_HOLDABLE = f"""
SELECT message.uid, message.digest, folder.path, header.sender, header.recipients FROM message
JOIN epoch ON epoch.number = message.epoch
JOIN folder ON folder.number = epoch.folder
LEFT JOIN header ON header.digest = message.digest
WHERE message.epoch = :epoch AND message.uid IN {any_of("uids")}
"""

_FORGETS = """
SELECT number, reason, "by", at, erased_at, listed, kept,
    (SELECT count(*) FROM forgotten WHERE forget = number),
    (SELECT count(*) FROM forgotten JOIN forgotten_place USING (digest) WHERE forget = number),
    (SELECT count(*) FROM forgotten_copy WHERE forget = number AND gone_at IS NULL)
FROM forget ORDER BY number
"""
_FORGOTTEN = "SELECT digest, forget FROM forgotten"
_UIDS = """
SELECT uid FROM forgotten_place WHERE epoch = :epoch AND gone_at IS NULL
AND (SELECT ended_at FROM epoch WHERE number = :epoch) IS NULL ORDER BY uid
"""
_PLACES = """
SELECT epoch.number, folder.path, forgotten_place.gone_at, forgotten_place.gone_at IS NULL,
    forgotten_place.gone_at IS NULL AND epoch.ended_at IS NULL,
    folder.directory, epoch.uidvalidity, epoch.generation, uid, digest, size, crlf_size, arrived
FROM forgotten_place
JOIN forgotten USING (digest)
JOIN epoch ON epoch.number = forgotten_place.epoch
JOIN folder ON folder.number = epoch.folder
WHERE forgotten.forget = ?
ORDER BY folder.number, epoch.number, uid
"""

# NOTE: what `prune` removed from the source was deleted by nobody, and the archive is where it is now. So may be
# what it was about to remove, if the folder got another UIDVALIDITY before anybody could ask.
_HELD_PLACES = f"""
SELECT message.epoch, folder.path, coalesce(message.vanished_at, epoch.ended_at),
    message.vanished_at IS NULL, {IS_PRUNED}, {PLACE}
FROM {MESSAGES} WHERE message.digest IN {any_of("digests")}
ORDER BY message.digest, message.epoch, message.uid
"""
_GONE_AT = f"CASE WHEN NOT {IS_PRUNED} THEN coalesce(message.vanished_at, epoch.ended_at, folder.gone_at) END"
_GONE_BEFORE = f"""
SELECT message.digest FROM {MESSAGES} GROUP BY message.digest
HAVING count(*) = count({_GONE_AT}) AND max({_GONE_AT}) < ? ORDER BY message.digest
"""
_NEXT_GONE = f"""
SELECT min(gone) FROM (
    SELECT max({_GONE_AT}) AS gone FROM {MESSAGES} GROUP BY message.digest HAVING count(*) = count({_GONE_AT})
) WHERE gone >= ?
"""
_COPIES = f"""
SELECT target.destination, target.number, target.raw, its.target_uid, its.uid,
    its.sent_digest, its.likeness, its.size, target.destination IN (SELECT number FROM restore_place)
FROM (
    SELECT target, target_uid, epoch, uid, sent_digest, likeness, size FROM copy WHERE removed_at IS NULL
    UNION ALL SELECT target, target_uid, epoch, uid, NULL, NULL, NULL FROM twin
    WHERE NOT EXISTS (SELECT 1 FROM copy WHERE copy.target = twin.target AND copy.target_uid = twin.target_uid)
) AS its JOIN target ON target.number = its.target AND target.ended_at IS NULL
WHERE its.epoch = :epoch AND its.uid IN {any_of("uids")} ORDER BY target.number, its.target_uid
"""
_BEING_SENT = f"SELECT count(*) FROM intent WHERE epoch = :epoch AND uid IN {any_of('uids')}"
_LEFT = """
SELECT its.forget, target.destination, target.raw, target.uidvalidity,
    its.target, its.target_uid, its.form, its.digest, its.size
FROM forgotten_copy AS its JOIN target ON target.number = its.target
WHERE its.gone_at IS NULL ORDER BY its.target, its.target_uid
"""


class SqlKeeping:
    """Implements `archiver.catalog.keeping.Keeping`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def holds(self) -> Sequence[KnownHold]:
        """All holds, those that ended included, by number."""
        with self._database.reading() as connection:
            return [_hold(*row) for row in connection.execute(_HOLDS)]

    def marks(self) -> Sequence[StateMarkedFact]:
        """What people said about how far the migration is, in their order."""
        with self._database.reading() as connection:
            return [StateMarkedFact(*row) for row in connection.execute(_MARKS)]

    def holdable(self, keys: Collection[MessageKey]) -> Iterator[Holdable]:
        """What decides whether these messages are held; those that the catalog does not know are left out."""
        with self._database.reading() as connection:
            for epoch, uids in by_epoch(keys).items():
                values = {"epoch": epoch, "uids": json_list(uids)}
                for uid, digest, path, sender, recipients in connection.execute(_HOLDABLE, values):
                    known = sender is not None and len(sender) < TEXT_LENGTH and len(recipients) < _CERTAIN
                    people = f"{sender}, {recipients}" if known else None
                    yield Holdable((epoch, uid), digest, tuple(json.loads(path)), people)

    def places(self, digests: Collection[Digest]) -> Sequence[HeldPlace]:
        """All places of the messages with these digests, those of a digest together."""
        sets = FlagSets()
        with self._database.reading() as connection:
            rows = connection.execute(_HELD_PLACES, {"digests": json_list(digests)})
            return [
                _held(epoch, path, gone_at, shown, placement(its, sets), pruned)
                for epoch, path, gone_at, shown, pruned, *its in rows
            ]

    def gone_before(self, moment: str) -> Sequence[Digest]:
        """The messages of which every place was gone from the source before that moment (UTC), and none of them
        because we removed it."""
        with self._database.reading() as connection:
            return [digest for (digest,) in connection.execute(_GONE_BEFORE, (moment,))]

    def next_gone(self, moment: str) -> str | None:
        with self._database.reading() as connection:
            found: str | None = connection.execute(_NEXT_GONE, (moment,)).fetchone()[0]
            return found

    def count(self) -> int:
        """How many messages there are, each digest once."""
        with self._database.reading() as connection:
            return int(connection.execute("SELECT count(DISTINCT digest) FROM message").fetchone()[0])

    def copies(self, keys: Collection[MessageKey]) -> Sequence[HeldCopy]:
        with self._database.reading() as connection:
            return [
                HeldCopy(destination, target, raw, there, (epoch, uid), sent, likeness, size, bool(restored))
                for epoch, uids in by_epoch(keys).items()
                for destination, target, raw, there, uid, sent, likeness, size, restored in connection.execute(
                    _COPIES, {"epoch": epoch, "uids": json_list(uids)}
                )
            ]

    def being_sent(self, keys: Collection[MessageKey]) -> int:
        """How many times these messages were being sent to a destination when that was cut off."""
        with self._database.reading() as connection:
            counts = (
                connection.execute(_BEING_SENT, {"epoch": epoch, "uids": json_list(uids)}).fetchone()[0]
                for epoch, uids in by_epoch(keys).items()
            )
            return sum(counts)

    def forgets(self) -> Sequence[Forget]:
        """All that was forgotten, by number."""
        with self._database.reading() as connection:
            return [_forget(*row) for row in connection.execute(_FORGETS)]

    def forgotten(self) -> Mapping[Digest, int]:
        """The number under which each digest was forgotten."""
        with self._database.reading() as connection:
            return dict(connection.execute(_FORGOTTEN).fetchall())

    def left_copies(self) -> Sequence[LeftCopy]:
        with self._database.reading() as connection:
            return [
                LeftCopy(forget, destination, raw, uidvalidity, (*copy,))
                for forget, destination, raw, uidvalidity, *copy in connection.execute(_LEFT)
            ]

    def forgotten_uids(self, epoch: int) -> UidSet:
        """The UIDs of forgotten messages that the source still had when an epoch was last looked at."""
        with self._database.reading() as connection:
            return UidSet(uid for (uid,) in connection.execute(_UIDS, {"epoch": epoch}))

    def forgotten_places(self, number: int) -> Sequence[HeldPlace]:
        """Where the messages of that number were, and whether the source still shows them there."""
        with self._database.reading() as connection:
            return [
                _held(
                    epoch,
                    path,
                    gone_at,
                    shown,
                    Placement(directory, one, two, StoredMessage.bare(*its), bool(there)),
                )
                for epoch, path, gone_at, shown, there, directory, one, two, *its in connection.execute(
                    _PLACES, (number,)
                )
            ]


def _held(
    epoch: int, path: str, gone_at: str | None, shown: int, place: Placement, pruned: int = False
) -> HeldPlace:
    return HeldPlace((epoch, place.uid), folder_name(path), place, gone_at, bool(shown), bool(pruned))


def _forget(
    number: int,
    reason: str,
    by: str,
    at: str,
    erased_at: str | None,
    listed: str | None,
    kept: str | None,
    messages: int,
    places: int,
    copies_left: int,
) -> Forget:
    left = tuple((one, two) for one, two in json.loads(kept or "[]"))
    digest = None if listed is None else Digest(listed)
    return Forget(number, reason, by, at, erased_at, digest, left, messages, places, copies_left)


def _hold(
    number: int,
    folders: str,
    addresses: str,
    reason: str,
    by: str,
    at: str,
    ended_reason: str | None,
    ended_by: str | None,
    ended_at: str | None,
) -> KnownHold:
    hold = HoldFact(number, tuple(json.loads(folders)), tuple(json.loads(addresses)), reason, by, at)
    ended = None if ended_at is None else HoldEndedFact(number, ended_reason or "", ended_by or "", ended_at)
    return KnownHold(hold, ended)
