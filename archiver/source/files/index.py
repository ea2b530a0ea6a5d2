"""What is known of files that were read: a cache, so that one that did not change is not read again.

It is an SQLite file. If it is lost, damaged or of another version, everything is read again, with the same result.
A file counts as unchanged if device, inode, size and modification time are the same, and either the time of its
last change (which renaming alters) or the part of its name that programs keep. What a folder shows lies in
temporary tables, so that memory does not grow with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from archiver.mail.flags import parse_flags
from archiver.mail.uidset import format_uid_set
from archiver.source.files.cache import open_cache
from archiver.source.files.found import FoundFile, FoundMessage, Place, Stamp, Unreadable
from archiver.source.files.indexes import Indexed, index_of_directory
from archiver.source.files.listing import opened_wherever
from archiver.source.files.marks import folders_of
from archiver.source.files.mbox import NotAnMbox
from archiver.source.files.reading import Changed, indexed_single, messages_in

_TRIES = 3  # for a file that changes while it is read
_BATCH = 1000
_KNOWN = """
UPDATE temp.listed SET file = (
    SELECT file.id FROM file
    WHERE file.inode = listed.inode AND file.size = listed.size AND file.mtime = listed.mtime
        AND file.device = listed.device AND file.kind = listed.kind
        AND (file.ctime = listed.ctime OR (file.base = listed.base AND file.kind IN ('maildir', 'eml')))
    LIMIT 1)
WHERE problem IS NULL
"""
_NEW = f"""
SELECT id, path, base, kind, device, inode, size, mtime, ctime FROM temp.listed
WHERE file IS NULL AND problem IS NULL AND (base, id) > (?, ?) ORDER BY base, id LIMIT {_BATCH}
"""
_HERE = """
FROM temp.listed JOIN message ON message.file = listed.file
WHERE (listed.part IS NULL OR EXISTS (
    SELECT 1 FROM part
    WHERE part.file = message.file AND part.number = message.number AND part.levels = listed.part))
"""
_NAMED = f"""
SELECT listed.id, message.number, lower(hex(message.identity)),
    row_number() OVER (PARTITION BY message.identity ORDER BY message.uid, listed.base, listed.id, message.number),
    message.doubt, message.octets
{_HERE}
ORDER BY message.uid, listed.base, listed.id, message.number
"""
_SHOWN = """
SELECT shown.uid, shown.name, listed.path, listed.base, listed.kind, listed.device, listed.inode, listed.size,
    listed.mtime, listed.ctime, listed.flags, listed.problem, message.at, message.length, message.member,
    message.quoting, message.exact, message.octets, message.flags, message.internaldate, message.labels
FROM temp.shown JOIN temp.listed ON listed.id = shown.listed
    LEFT JOIN message ON message.file = listed.file AND message.number = shown.number
"""


#: How the name of a message begins that is in a file which cannot be read.
UNREADABLE = "unreadable:"
#: Octets of the list of UIDs that is kept.
_UIDS = 4000


class Shown(Struct, frozen=True):
    """A message that a folder shows: `problem` is why it cannot be read, and then there is no `found`. `file` is
    the one it lies in."""

    uid: int
    file: FoundFile
    found: FoundMessage | None
    problem: str | None


class Named(Struct, frozen=True):
    """A message of the listed folder by its name: the digest of its identity, with a number from the second one of
    the same on; or that of a file that cannot be read."""

    listed: int
    number: int
    name: str
    doubt: str
    octets: int = 0


class FileIndex:
    """The cache at `path`; without `writable` a copy of it, which is gone when it is closed. Belongs to one thread
    at a time."""

    def __init__(self, path: Path | None, *, writable: bool) -> None:
        self._database = open_cache(path, writable=writable)

    def close(self) -> None:
        """Close it. Never raises; may be called twice."""
        with contextlib.suppress(sqlite3.Error):
            self._database.close()

    def take(self, files: Iterable[tuple[FoundFile | Unreadable, tuple[str, ...] | None]]) -> None:
        """Take these as the files of the folder that is open from now on; only a part of each if one is named."""
        self._database.executescript("DELETE FROM temp.listed; DELETE FROM temp.shown;")
        self._database.executemany(
            "INSERT OR REPLACE INTO temp.listed"
            " (path, base, kind, device, inode, size, mtime, ctime, flags, problem, lasting, part)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((*_row(each), None if part is None else json.dumps(part)) for each, part in files),
        )

    def read(self, check_stop: Callable[[], None]) -> None:
        """Read what is new among the listed files. What cannot be read gets a problem."""
        self._database.execute(_KNOWN)
        directory, rows = "", dict[str, Indexed]()
        after: tuple[bytes, int] = (b"", 0)
        while new := self._database.execute(_NEW, after).fetchall():
            after = (new[-1][2], new[-1][0])
            for number, path, base, kind, *stamp in new:
                check_stop()
                file = FoundFile(os.fsdecode(path), os.fsdecode(base), kind, Stamp(*stamp))
                if kind == "eml" and os.path.dirname(file.path) != directory:
                    directory = os.path.dirname(file.path)
                    index = index_of_directory(directory)
                    rows = {each.file: each for each in index.messages if each.file} if index else {}
                self._read(number, file, rows.get(os.path.basename(file.path)))
            self._database.commit()
        self._database.execute(
            "INSERT OR IGNORE INTO temp.seen SELECT file FROM temp.listed WHERE file IS NOT NULL"
        )

    def _read(self, listed: int, file: FoundFile, row: Indexed | None) -> None:
        problem = ""
        for _ in range(_TRIES):
            self._database.execute("SAVEPOINT file")
            try:
                known = self._store(file, _messages(file, row))
            except Changed:
                self._database.execute("ROLLBACK TO file")
                problem = "changes while it is read"
                with contextlib.suppress(OSError):
                    file = FoundFile(file.path, file.base, file.kind, Stamp.of(os.stat(file.path)))
                continue
            except FileNotFoundError:
                self._database.execute("ROLLBACK TO file")
                self._database.execute("DELETE FROM temp.listed WHERE id = ?", (listed,))
                return
            except NotAnMbox:
                problem = 'is no mbox: it does not begin with a line "From "'
            except OSError as error:
                problem = (error.strerror or str(error)).lower()
            else:
                stamp = file.stamp
                self._database.execute(
                    "UPDATE temp.listed SET file = ?, size = ?, mtime = ?, ctime = ? WHERE id = ?",
                    (known, stamp.size, stamp.mtime, stamp.ctime, listed),
                )
                return
            self._database.execute("ROLLBACK TO file")
            break
        self._database.execute("UPDATE temp.listed SET problem = ? WHERE id = ?", (problem, listed))

    def _store(self, file: FoundFile, messages: Iterator[FoundMessage]) -> int:
        row = self._database.execute(
            "INSERT INTO file (device, inode, size, mtime, ctime, base, kind) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*file.stamp, os.fsencode(file.base), file.kind),
        )
        known = int(row.lastrowid or 0)
        numbers = itertools.count()
        while batch := list(itertools.islice(messages, _BATCH)):
            rows = [(next(numbers), each) for each in batch]
            self._database.executemany(
                "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_message_row(known, number, each) for number, each in rows],
            )
            self._database.executemany(
                "INSERT OR IGNORE INTO part VALUES (?, ?, ?, ?)",
                [(known, number, json.dumps(levels), use) for number, each in rows for levels, use in _parts(each)],
            )
        return known

    def parts(self) -> list[tuple[tuple[str, ...], str | None]]:
        """The folders that the listed files have in them, with their special uses."""
        rows = self._database.execute(
            "SELECT DISTINCT levels, use FROM part WHERE file IN (SELECT file FROM temp.listed) ORDER BY levels"
        )
        return [(tuple(json.loads(levels)), use) for levels, use in rows]

    @property
    def has_labels(self) -> bool:
        """Whether a listed message has labels of Gmail."""
        row = self._database.execute(
            "SELECT 1 FROM message WHERE labels IS NOT NULL AND file IN (SELECT file FROM temp.listed) LIMIT 1"
        ).fetchone()
        return row is not None

    @property
    def had_labels(self) -> bool:
        """Whether there were labels in a file with the name of a listed one."""
        row = self._database.execute(
            "SELECT 1 FROM message JOIN file ON file.id = message.file"
            " WHERE labels IS NOT NULL AND base IN (SELECT base FROM temp.listed) LIMIT 1"
        ).fetchone()
        return row is not None

    def names(self) -> Iterator[Named]:
        """The messages of the listed files in the order in which they are to be numbered. Files that cannot be read
        come last."""
        rows = self._database.execute(_NAMED)
        for listed, number, identity, occurrence, doubt, octets in rows:
            yield Named(listed, number, identity if occurrence == 1 else f"{identity}-{occurrence}", doubt, octets)
        problems = self._database.execute(
            "SELECT id, path FROM temp.listed WHERE problem IS NOT NULL ORDER BY path"
        )
        for listed, path in problems:
            yield Named(listed, 0, f"{UNREADABLE}{hashlib.sha256(path).hexdigest()}", "")

    def claim(self, raw: bytes, names: Collection[str]) -> set[str]:
        """Those of `names` that no other folder claimed before; they are this one's."""
        self._database.executemany(
            "INSERT OR IGNORE INTO temp.claimed VALUES (?, ?)", ((name, raw) for name in names)
        )
        found = self._database.execute(
            "SELECT name FROM temp.claimed WHERE raw = ? AND name IN (SELECT value FROM json_each(?))",
            (raw, json.dumps(list(names))),
        )
        return {name for (name,) in found}

    def show(self, rows: Sequence[tuple[int, Named]]) -> None:
        """The messages that the open folder shows have these UIDs."""
        self._database.executemany(
            "INSERT OR REPLACE INTO temp.shown VALUES (?, ?, ?, ?, ?)",
            ((uid, each.name, each.listed, each.number, each.doubt) for uid, each in rows),
        )

    def uids(self) -> Iterator[int]:
        """The UIDs that are shown, in their order."""
        for (uid,) in self._database.execute("SELECT uid FROM temp.shown ORDER BY uid"):
            yield uid

    def shown(self, uids: Sequence[int] | None = None) -> Iterator[Shown]:
        """The messages of the open folder: all, or these, in the order of their UIDs."""
        where = "" if uids is None else " WHERE shown.uid IN (SELECT value FROM json_each(?))"
        given = () if uids is None else (json.dumps(list(uids)),)
        rows = self._database.execute(f"{_SHOWN}{where} ORDER BY shown.uid", given)
        for row in iter(lambda: rows.fetchmany(_BATCH), []):
            yield from map(_shown, row)

    def doubtful(self) -> dict[str, list[int]]:
        """The UIDs of messages that could be read in another way, by what is doubtful."""
        found: dict[str, list[int]] = {}
        for uid, doubt in self._database.execute(
            "SELECT uid, doubt FROM temp.shown WHERE doubt <> '' ORDER BY uid"
        ):
            found.setdefault(doubt, []).append(uid)
        return found

    def fingerprint(self, salt: str) -> bytes:
        """A digest of the listed files as they are, and of their flags."""
        digest = hashlib.sha256(salt.encode())
        rows = self._database.execute(
            "SELECT path, base, device, inode, size, mtime, flags, problem, part FROM temp.listed"
            " ORDER BY base, device, inode"
        )
        for row in rows:
            digest.update(repr(row).encode())
        return digest.digest()

    def count(self) -> int:
        """How many messages the listed files have, and how many of these cannot be read."""
        (messages,) = self._database.execute(f"SELECT count(*) {_HERE}").fetchone()
        (problems,) = self._database.execute(
            "SELECT count(*) FROM temp.listed WHERE problem IS NOT NULL"
        ).fetchone()
        return int(messages + problems)

    def doubts(self) -> dict[str, int]:
        """How many messages of the listed files could be read in another way, by what is doubtful."""
        rows = self._database.execute(
            f"SELECT message.doubt, count(*) {_HERE} AND message.doubt <> '' GROUP BY message.doubt"
        )
        return {str(doubt): int(count) for doubt, count in rows}

    def octets(self) -> int:
        """How many octets the messages of the listed files have."""
        (total,) = self._database.execute(f"SELECT coalesce(sum(message.octets), 0) {_HERE}").fetchone()
        return int(total)

    def not_read(self) -> tuple[int, str] | None:
        """How many of the listed files could not be read now, and the first one with its reason; None if all
        could."""
        number, path, problem = self._database.execute(
            "SELECT count(*), min(path), problem FROM temp.listed WHERE problem IS NOT NULL AND lasting IS NOT 1"
        ).fetchone()
        return (number, f"{os.fsdecode(path)}: {problem}") if number else None

    def problem(self) -> str | None:
        """Why one of the listed files cannot be read; None if all can."""
        row = self._database.execute("SELECT problem FROM temp.listed WHERE problem IS NOT NULL").fetchone()
        return None if row is None else str(row[0])

    def last_status(self, raw: bytes) -> tuple[bytes, int, int, int] | None:
        """What `keep_status` kept: fingerprint, UIDNEXT, number of messages and HIGHESTMODSEQ."""
        row: tuple[bytes, int, int, int] | None = self._database.execute(
            "SELECT fingerprint, uidnext, messages, highestmodseq FROM folder WHERE raw = ?", (raw,)
        ).fetchone()
        return row

    def keep_status(self, raw: bytes, fingerprint: bytes, uidnext: int, messages: int, highestmodseq: int) -> None:
        """As what the folder was opened, and which of its messages could be read in another way."""
        doubts = {
            doubt: (len(uids), next(format_uid_set(uids, _UIDS), "")) for doubt, uids in self.doubtful().items()
        }
        values = (raw, fingerprint, uidnext, messages, highestmodseq, json.dumps(doubts))
        self._database.execute("INSERT OR REPLACE INTO folder VALUES (?, ?, ?, ?, ?, ?)", values)
        self._database.commit()

    def forget_others(self) -> None:
        """Forget the files that were not listed since it was opened."""
        self._database.execute("DELETE FROM message WHERE file NOT IN (SELECT file FROM temp.seen)")
        self._database.execute("DELETE FROM part WHERE file NOT IN (SELECT file FROM temp.seen)")
        self._database.execute("DELETE FROM file WHERE id NOT IN (SELECT file FROM temp.seen)")
        self._database.commit()


def _messages(file: FoundFile, row: Indexed | None) -> Iterator[FoundMessage]:
    if row is not None:
        yield from _with_index(file, row)
    else:
        yield from messages_in(file, opened_wherever)


def _with_index(file: FoundFile, row: Indexed) -> Iterator[FoundMessage]:
    found = indexed_single(file, row)
    yield from messages_in(file) if found is None else (found,)


def _message_row(file: int, number: int, message: FoundMessage) -> tuple[object, ...]:
    place = message.place
    return (
        file,
        number,
        place.offset,
        place.length,
        os.fsencode(place.member),
        place.quoting,
        place.exact,
        bytes.fromhex(message.identity),
        message.size,
        " ".join(sorted(message.flags)),
        message.internaldate,
        message.doubt,
        None if message.labels is None else json.dumps(message.labels),
        message.uid,
    )


def _parts(message: FoundMessage) -> Sequence[tuple[tuple[str, ...], str | None]]:
    if message.labels is not None:
        return folders_of(message.labels)
    if message.place.member:
        inner = tuple(level for level in message.place.member.split("/")[:-1] if level not in ("", ".", ".."))
        return ((inner, None),)
    return ()


def _row(each: FoundFile | Unreadable) -> tuple[object, ...]:
    path = os.fsencode(each.path)
    if isinstance(each, Unreadable):
        return path, path, "", 0, 0, 0, 0, 0, None, each.reason, each.lasting
    flags = None if each.flags is None else " ".join(sorted(each.flags))
    return path, os.fsencode(each.base), each.kind, *each.stamp, flags, None, None


def _shown(row: Sequence[Any]) -> Shown:
    uid, name, path, base, kind, device, inode, size, mtime, ctime, flags, problem, *message = row
    text = os.fsdecode(path)
    stamp = Stamp(device, inode, size, mtime, ctime)
    known = None if flags is None else parse_flags(str(flags).split())
    file = FoundFile(text, os.fsdecode(base), kind, stamp, known)
    if problem is not None or message[0] is None:
        return Shown(uid, file, None, str(problem or "is gone"))
    at, length, member, quoting, exact, octets, own_flags, internaldate, labels = message
    place = Place(text, at, length, kind, os.fsdecode(member), quoting, exact)
    found = FoundMessage(
        place,
        str(name)[:64],
        octets,
        known if known is not None else parse_flags(str(own_flags).split()),
        internaldate,
        labels=None if labels is None else tuple(json.loads(labels)),
    )
    return Shown(uid, file, found, None)
