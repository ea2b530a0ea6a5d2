"""What messages say, and an index of every three characters of it, in a file of its own next to the catalog.

A message is a row named by its digest, so what is once read from the archive stays right, whatever becomes of the
catalog. The row has the text itself, compressed: a search compares it, so the index (SQLite's FTS5 with its
trigram tokenizer) only saves reading, and nothing is found that is not there. The file may be removed at any time;
to make it again, all messages are read.
"""

from __future__ import annotations

import json
import os
import sqlite3
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import zstandard
from msgspec import Struct

from archiver.catalog.sqlite.search.file import DAMAGED, connected
from archiver.catalog.sqlite.search.parts import END, asked_of
from archiver.catalog.sqlite.search.texts import Covered
from archiver.errors import ArchiveNotWritable, Locked
from archiver.mail.headers import folded
from archiver.mail.model import Digest
from archiver.mail.parts.contents import TEXT_LENGTH, Contents
from archiver.storage.files import create_file
from archiver.storage.scratch_lock import in_use

_MAKE = {
    "texts": "CREATE VIRTUAL TABLE texts USING fts5(body, names, content='', columnsize=0, detail=none, "
    "tokenize='trigram case_sensitive 1')",
    "document": "CREATE TABLE document (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, "
    "attached INTEGER NOT NULL, cut INTEGER NOT NULL, lowered INTEGER NOT NULL, names TEXT NOT NULL, "
    "body BLOB NOT NULL)",
    "newest": "CREATE TABLE newest (id INTEGER PRIMARY KEY, arrived BIGINT NOT NULL, attached INTEGER NOT NULL)",
    "by_arrival": "CREATE INDEX by_arrival ON newest (arrived DESC, id DESC)",
    "attached": "CREATE INDEX attached ON newest (arrived DESC, id DESC) WHERE attached",
    "unread": "CREATE TABLE unread (digest BLOB PRIMARY KEY) WITHOUT ROWID",
    "covered": "CREATE TABLE covered (catalog TEXT, segment BIGINT, digest TEXT, header BIGINT, unicode TEXT)",
}
_MADE = f"SELECT name, sql FROM sqlite_master WHERE name IN ({', '.join(map(repr, _MAKE))})"
_LATEST = 2**63 - 1
_BUSY_SECONDS = 10
_AT_ONCE = 1000
_HASHED = 32 << 20  # octets of the index that are gathered in memory: fewer, larger pieces to be merged
_CACHE = 32 << 10  # KiB


#: Characters that become ASCII letters in lower case, in UTF-8: a dotted capital I and the Kelvin sign.
_LOWERED_TO_ASCII = ("\u0130".encode(), "\u212a".encode())


class Unusable(Exception):
    """The index cannot be used; one that is damaged is to be removed."""

    def __init__(self, reason: str, *, is_damaged: bool) -> None:
        super().__init__(reason)
        self.is_damaged = is_damaged

    @classmethod
    def of(cls, error: sqlite3.Error) -> Unusable:
        """What SQLite's error means."""
        return cls(str(error), is_damaged=getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED)


class Document(Struct, frozen=True):
    """The contents of a message, as they are in the index: `octets` is the text in UTF-8. `lowered`: the text in
    lower case is the `folded` one, which takes ten times as long to make."""

    id: int
    digest: Digest
    attached: bool
    lowered: bool
    names: str
    octets: bytes

    @property
    def text(self) -> str:
        """The text as people read it."""
        return self.octets.decode("utf-8", "replace")

    @property
    def folded(self) -> str:
        """The text as it is compared."""
        return self.text.lower() if self.lowered else folded(self.text)

    def may_hold(self, text: bytes) -> bool:
        """False if the folded text does not have this one, which is in ASCII: takes a tenth of the time."""
        octets = self.octets.lower()
        return not self.lowered or text in octets or any(each in octets for each in _LOWERED_TO_ASCII)


class BodyIndex:
    """The index in `file`, which need not be there. `may_change`: whether it may be made, changed and removed."""

    def __init__(self, file: Path, *, may_change: bool = True) -> None:
        self.file = file
        self.may_change = may_change

    @contextmanager
    def reading(self) -> Iterator[Bodies | None]:
        """The index as it is at this moment; None: there is none that can be read."""
        connection = connected(self.file, "ro", _BUSY_SECONDS)
        if connection is None:
            yield None
            return
        with closing(connection):
            yield _opened(connection)

    def remove(self) -> None:
        """Remove what is damaged."""
        with self._alone() as alone:
            if alone:
                with suppress(OSError):
                    self._remove()

    def purge(self, digests: Sequence[Digest], header: int) -> None:
        """Leave nothing of these messages in the file, and say that it covers no header after that one. A file for
        which this fails is removed.

        Raises:
            ArchiveNotWritable: another process is writing to it, or this user may not; it still has them.
        """
        if not (self.may_change and self.file.exists()):
            return
        with self._alone() as alone:
            if not alone:
                hint = "wait until it is done, and give the command again"
                raise ArchiveNotWritable(f"{self.file}: another process is changing it", hint=hint)
            bodies = self._open_to_write(None)
            try:
                if bodies is not None:
                    with closing(bodies):
                        bodies.purge(digests, header)
                    return
            except Unusable:
                pass
            self._remove()

    @contextmanager
    def writing(self, *, documents: bool | None = None) -> Iterator[Bodies | None]:
        """The index, to be changed, and made if there is none; one that is damaged, in another form, or otherwise
        than asked with or without the text of documents is made again. None: this user cannot, or another process
        is just doing it."""
        with self._alone() as alone:
            bodies = self._open_to_write(documents) if alone else None
            if bodies is None:
                yield None
                return
            with closing(bodies):
                yield bodies

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this process may change it, and no other one does so meanwhile."""
        with ExitStack() as stack:
            is_alone = self.may_change
            try:
                if is_alone:
                    stack.enter_context(in_use(self.file))
            except (Locked, ArchiveNotWritable):
                is_alone = False
            yield is_alone

    def _open_to_write(self, documents: bool | None) -> Bodies | None:
        connection = connected(self.file, "rw", _BUSY_SECONDS)
        if connection is not None:
            _prepare(connection)
            bodies = _opened(connection)
            if bodies is not None and documents in (None, bodies.has_documents):
                connection.rollback()
                return bodies
            connection.close()
        try:
            self._remove()
            os.close(create_file(os.fspath(self.file)))
            connection = connected(self.file, "rw", _BUSY_SECONDS)
            if connection is None:
                return None
            connection.execute("PRAGMA page_size = 8192")
            for statement in _MAKE.values():
                connection.execute(statement)
            connection.execute("INSERT INTO texts (texts, rank) VALUES ('hashsize', ?)", (_HASHED,))
            connection.execute(f"PRAGMA user_version = {int(bool(documents))}")
            _prepare(connection)
        except (OSError, sqlite3.Error):
            if connection is not None:
                connection.close()
            return None
        return Bodies(connection, None, has_documents=bool(documents))

    def _remove(self) -> None:
        # NOTE: in this order: without its journal, an index whose writing was interrupted would pass for whole.
        for each in (self.file, self.file.with_name(f"{self.file.name}-journal")):
            each.unlink(missing_ok=True)


class Bodies:
    """The index, open; when it is read, as it was when it was opened. `covered` is None if it covers nothing yet.
    `has_documents`: with the text of attached documents.

    Any call raises Unusable if the file is damaged, or cannot be read or written.
    """

    def __init__(self, connection: sqlite3.Connection, covered: Covered | None, *, has_documents: bool) -> None:
        self._connection = connection
        self.covered = covered
        self.has_documents = has_documents
        self._compressor = zstandard.ZstdCompressor(level=3)
        self._decompressor = zstandard.ZstdDecompressor()

    def asked(self, texts: Sequence[str]) -> str | None:
        """What of the index all of these texts (`folded`) need; "" if nothing there has it; None: the index cannot
        tell."""
        (last,) = self._rows("SELECT coalesce(max(id), 0) FROM newest")[0]
        return asked_of(texts, self._rows, last)

    def holding(self, asked: str, limit: int) -> Sequence[int]:
        """The numbers of messages that may hold what is `asked`, at most `limit`."""
        statement = "SELECT rowid FROM texts WHERE texts MATCH ? LIMIT ?"
        return [number for (number,) in self._rows(statement, (asked, limit))] if asked else []

    def newest(self, numbers: Sequence[int]) -> Sequence[tuple[int, int]]:
        """These numbers with when their messages arrived, the newest first."""
        statement = """
            SELECT newest.id, newest.arrived FROM json_each(?) AS its CROSS JOIN newest ON newest.id = its.value
            ORDER BY newest.arrived DESC, newest.id DESC
            """
        return self._rows(statement, (json.dumps(numbers),))

    def all_newest(self, *, attached: bool, limit: int) -> Sequence[tuple[int, int]]:
        """The same of the `limit` newest messages, or of those with attachments."""
        where = "WHERE attached" if attached else ""
        return self._rows(
            f"SELECT id, arrived FROM newest {where} ORDER BY arrived DESC, id DESC LIMIT ?", (limit,)
        )

    def digests(self, numbers: Sequence[int]) -> Sequence[Digest]:
        """The digests of the messages of these numbers."""
        statement = f"SELECT digest FROM document WHERE id IN ({_marks(len(numbers))})"
        return [Digest(digest.hex()) for (digest,) in self._rows(statement, numbers)]

    def numbers(self, digests: Sequence[Digest]) -> Mapping[Digest, int]:
        """The numbers of the messages with these digests that are in the index."""
        statement = f"SELECT digest, id FROM document WHERE digest IN ({_marks(len(digests))})"
        rows = self._rows(statement, [bytes.fromhex(each) for each in digests])
        return {Digest(digest.hex()): number for digest, number in rows}

    def documents(self, numbers: Sequence[int]) -> Iterator[Document]:
        """The contents of the messages of these numbers."""
        columns = "id, digest, attached, lowered, names, body"
        statement = f"SELECT {columns} FROM document WHERE id IN ({_marks(len(numbers))})"
        for number, digest, attached, lowered, names, body in self._rows(statement, numbers):
            yield Document(number, Digest(digest.hex()), bool(attached), bool(lowered), names, self._unpacked(body))

    def count(self) -> int:
        """How many messages are in it."""
        return int(self._rows("SELECT count(*) FROM document")[0][0])

    def unread(self, limit: int) -> Sequence[Digest]:
        """Messages that could not be read when it was their turn."""
        rows = self._rows("SELECT digest FROM unread LIMIT ?", (limit,))
        return [Digest(digest.hex()) for (digest,) in rows]

    def every(self, after: int, limit: int) -> Sequence[tuple[int, Digest]]:
        """Numbers and digests of the next messages after that number."""
        statement = "SELECT id, digest FROM document WHERE id > ? ORDER BY id LIMIT ?"
        return [(number, Digest(digest.hex())) for number, digest in self._rows(statement, (after, limit))]

    def add(
        self, contents: Mapping[Digest, Contents | None], arrived: Mapping[Digest, int], covered: Covered
    ) -> None:
        """Add messages, those up to `covered`, with when they last `arrived` in a folder; None: it could not be
        read. Durable on return."""
        with self._changing():
            for digest, each in contents.items():
                key = bytes.fromhex(digest)
                if each is None:
                    self._connection.execute("INSERT OR IGNORE INTO unread VALUES (?)", (key,))
                    continue
                self._connection.execute("DELETE FROM unread WHERE digest = ?", (key,))
                self._add(key, each, arrived.get(digest, _LATEST))
            self._cover(covered)

    def cover(self, covered: Covered) -> None:
        """Say what it covers; durable on return."""
        with self._changing():
            self._cover(covered)

    def discard(self, digests: Sequence[Digest]) -> None:
        """Remove messages, with every word of them that is theirs alone; durable on return. Fine if they are not
        there."""
        with self._changing():
            for digest in digests:
                key = bytes.fromhex(digest)
                self._connection.execute("DELETE FROM unread WHERE digest = ?", (key,))
                for each in self.documents(list(self.numbers([digest]).values())):
                    row = (each.id, each.folded + END, folded(each.names) + END)
                    statement = "INSERT INTO texts (texts, rowid, body, names) VALUES ('delete', ?, ?, ?)"
                    self._connection.execute(statement, row)
                    for table in ("document", "newest"):
                        self._connection.execute(f"DELETE FROM {table} WHERE id = ?", (each.id,))

    def purge(self, digests: Sequence[Digest], header: int) -> None:
        """Remove messages so that no octet of them is left in the file, not even of words in the index."""
        for start in range(0, len(digests), _AT_ONCE):
            self.discard(digests[start : start + _AT_ONCE])
        if self.covered is not None and self.covered.header > header:
            its = self.covered
            self.cover(Covered(its.catalog, its.segment, its.digest, header))
        self._rows("INSERT INTO texts (texts) VALUES ('optimize')")
        self._rows("VACUUM")

    def close(self) -> None:
        """Close the file; what was not added completely is not in it."""
        self._connection.close()

    def _add(self, key: bytes, contents: Contents, arrived: int) -> None:
        names = "\n".join(name.replace("\n", " ") for name in contents.names)
        body, text = self._compressor.compress(contents.text.encode("utf-8")), folded(contents.text)
        added = self._connection.execute(
            "INSERT OR IGNORE INTO document (digest, attached, cut, lowered, names, body) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (key, contents.attached, contents.cut, text == contents.text.lower(), names, body),
        )
        if added.rowcount:
            row = (added.lastrowid, text + END, folded(names) + END)
            self._connection.execute("INSERT INTO texts (rowid, body, names) VALUES (?, ?, ?)", row)
            order = (added.lastrowid, arrived, contents.attached)
            self._connection.execute("INSERT INTO newest (id, arrived, attached) VALUES (?, ?, ?)", order)

    def _cover(self, covered: Covered) -> None:
        self._connection.execute("DELETE FROM covered")
        its = (covered.catalog, covered.segment, covered.digest, covered.header, unicodedata.unidata_version)
        self._connection.execute("INSERT INTO covered VALUES (?, ?, ?, ?, ?)", its)
        self.covered = covered

    @contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._connection.rollback()
            raise Unusable.of(error) from error
        except BaseException:
            self._connection.rollback()
            raise

    def _unpacked(self, body: bytes) -> bytes:
        try:
            return self._decompressor.decompress(body, max_output_size=TEXT_LENGTH * 4)
        except zstandard.ZstdError as error:
            raise Unusable(str(error), is_damaged=True) from error

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise Unusable.of(error) from error


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE}")


def _opened(connection: sqlite3.Connection) -> Bodies | None:
    """The index, from here on as it is now; None if it is not in the form that is made here."""
    try:
        connection.execute("BEGIN")
        if dict(connection.execute(_MADE).fetchall()) != _MAKE:
            return None
        row = connection.execute("SELECT * FROM covered").fetchone()
        has_documents = bool(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error:
        return None
    if row is None:
        return Bodies(connection, None, has_documents=has_documents)
    if row[4] != unicodedata.unidata_version or not isinstance(row[3], int):
        return None
    return Bodies(connection, Covered(*row[:4]), has_documents=has_documents)
