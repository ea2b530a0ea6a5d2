"""What messages say, and an index of its words, in a file of its own next to the catalog.

A message is a row named by its digest, so what is once read from the archive stays right, whatever becomes of the
catalog. The row has the text itself, compressed: a search compares it, so the index (SQLite's FTS5, with the words
that `words` cuts) only saves reading, and nothing is found that is not there. The file may be removed at any time;
to make it again, all messages are read.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from archiver.catalog.sqlite.reading import json_list
from archiver.catalog.sqlite.search.asked import expressions_of, quoted
from archiver.catalog.sqlite.search.document import Document
from archiver.catalog.sqlite.search.file import DAMAGED
from archiver.catalog.sqlite.search.texts import Covered
from archiver.catalog.sqlite.search.vocabulary import MAKE_VOCABULARY, Vocabulary
from archiver.catalog.sqlite.search.words import Cutter, is_listed, words_of
from archiver.mail.headers import folded
from archiver.mail.model import Digest

if TYPE_CHECKING:
    from archiver.mail.parts.contents import Contents

_PUNCTUATION = "".join(each for each in map(chr, range(0x21, 0x7F)) if not each.isalnum())
_TOKENIZER = "ascii tokenchars '" + _PUNCTUATION.replace("'", "''") + "'"
MAKE = {
    "texts": "CREATE VIRTUAL TABLE texts USING fts5(body, names, content='', columnsize=0, tokenize='"
    + _TOKENIZER.replace("'", "''")
    + "')",
    **MAKE_VOCABULARY,
    "document": "CREATE TABLE document (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, "
    "attached INTEGER NOT NULL, cut INTEGER NOT NULL, lowered INTEGER NOT NULL, names TEXT NOT NULL, "
    "body BLOB NOT NULL)",
    "newest": "CREATE TABLE newest (id INTEGER PRIMARY KEY, arrived BIGINT NOT NULL, attached INTEGER NOT NULL)",
    "by_arrival": "CREATE INDEX by_arrival ON newest (arrived DESC, id DESC)",
    "attached": "CREATE INDEX attached ON newest (arrived DESC, id DESC) WHERE attached",
    "unread": "CREATE TABLE unread (digest BLOB PRIMARY KEY) WITHOUT ROWID",
    "covered": "CREATE TABLE covered (catalog TEXT, segment BIGINT, digest TEXT, header BIGINT, unicode TEXT)",
}
_LATEST = 2**63 - 1
_AT_ONCE = 1000
_WORTH_WALKING, _WALKED = 1000, 2  # messages of all, by arrival, for each that is named


class Unusable(Exception):
    """The index cannot be used; one that is damaged is to be removed."""

    def __init__(self, reason: str, *, is_damaged: bool) -> None:
        super().__init__(reason)
        self.is_damaged = is_damaged

    @classmethod
    def of(cls, error: sqlite3.Error) -> Unusable:
        """What SQLite's error means."""
        return cls(str(error), is_damaged=getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED)


class Bodies:
    """The index, open; when it is read, as it was when it was opened. `covered` is None if it covers nothing yet.
    `has_documents`: with the text of attached documents. NOTE: what only this needs is imported here; every run
    knows the index, and few open it.

    Any call raises Unusable if the file is damaged, or cannot be read or written.
    """

    def __init__(self, connection: sqlite3.Connection, covered: Covered | None, *, has_documents: bool) -> None:
        self._connection = connection
        self.covered = covered
        self.has_documents = has_documents
        import zstandard

        self._compressor = zstandard.ZstdCompressor(level=3)
        self._decompressor = zstandard.ZstdDecompressor()
        self._vocabulary = Vocabulary(self._rows)
        self._cutter = Cutter()

    def named(self, texts: Mapping[str, str], words: int, limit: int) -> Sequence[int] | None:
        """The numbers of messages that may hold these texts (`folded`, by column: `body` or `names`), at most
        `limit`; -1: all. None: the index cannot tell, or they are in more than so many different words."""
        asked = [expressions_of(text, column, self._vocabulary, words) for column, text in texts.items()]
        known = [each for each in asked if each is not None]
        if not known or not all(known):
            return [] if known else None
        # Each document that is named is compared; so of texts that need several searches, one is enough.
        sure = [each for each in known if len(each) == 1]
        expressions = [" AND ".join(f"({each[0]})" for each in sure)] if sure else known[0]
        numbers: dict[int, None] = {}
        for each in expressions:
            left = limit if limit < 0 else limit - len(numbers)
            rows = self._rows("SELECT rowid FROM texts WHERE texts MATCH ? LIMIT ?", (each, left))
            numbers.update((number, None) for (number,) in rows)
            if len(numbers) == limit:
                break
        return list(numbers)

    def newest(self, numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
        """These numbers with when their messages arrived, the newest first."""
        left = set(numbers)
        if len(left) > _WORTH_WALKING:  # most searches end early
            rows = self._each("SELECT id, arrived FROM newest ORDER BY arrived DESC, id DESC", ())
            for number, arrived in islice(rows, _WALKED * len(left)):
                if number in left:
                    left.remove(number)
                    yield number, arrived
        statement = """
            SELECT newest.id, newest.arrived FROM json_each(?) AS its CROSS JOIN newest ON newest.id = its.value
            ORDER BY newest.arrived DESC, newest.id DESC
            """
        yield from self._rows(statement, (json_list(left),))

    def all_newest(self, *, attached: bool, limit: int) -> Iterator[tuple[int, int]]:
        """The same of the `limit` newest messages, or of those with attachments; -1: of all."""
        where = "WHERE attached" if attached else ""
        return self._each(
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
            self._vocabulary.add(self._cutter.new)
            self._cutter.new.clear()
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
                    self._remove(each)

    def purge(self, digests: Sequence[Digest], header: int) -> None:
        """Remove messages so that no octet of them is left in the file, not even of words in the index."""
        for start in range(0, len(digests), _AT_ONCE):
            self.discard(digests[start : start + _AT_ONCE])
        if self.covered is not None and self.covered.header > header:
            its = self.covered
            self.cover(Covered(its.catalog, its.segment, its.digest, header))
        for table in ("texts", "parts"):
            self._rows(f"INSERT INTO {table} ({table}) VALUES ('optimize')")
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
            row = (added.lastrowid, self._cutter.words_of(text), self._cutter.words_of(folded(names)))
            self._connection.execute("INSERT INTO texts (rowid, body, names) VALUES (?, ?, ?)", row)
            order = (added.lastrowid, arrived, contents.attached)
            self._connection.execute("INSERT INTO newest (id, arrived, attached) VALUES (?, ?, ?)", order)

    def _remove(self, document: Document) -> None:
        """Remove a message, and the words that no other one has."""
        of_text, of_names = words_of(document.folded), words_of(folded(document.names))
        row = (document.id, of_text, of_names)
        self._connection.execute("INSERT INTO texts (texts, rowid, body, names) VALUES ('delete', ?, ?, ?)", row)
        for table in ("document", "newest"):
            self._connection.execute(f"DELETE FROM {table} WHERE id = ?", (document.id,))
        for word in set(filter(is_listed, f"{of_text} {of_names}".split())):
            if not self._rows("SELECT rowid FROM texts WHERE texts MATCH ? LIMIT 1", (quoted(word),)):
                self._vocabulary.remove(word)
        self._cutter.clear()

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
            self._rollback()
            raise Unusable.of(error) from error
        except BaseException:
            self._rollback()
            raise

    def _rollback(self) -> None:
        self._connection.rollback()
        self._cutter.clear()
        self._cutter.new.clear()

    def _unpacked(self, body: bytes) -> bytes:
        from zstandard import ZstdError

        from archiver.mail.parts.contents import TEXT_LENGTH

        try:
            return self._decompressor.decompress(body, max_output_size=TEXT_LENGTH * 4)
        except ZstdError as error:
            raise Unusable(str(error), is_damaged=True) from error

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise Unusable.of(error) from error

    def _each(self, statement: str, values: Sequence[Any]) -> Iterator[Any]:
        try:
            yield from self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise Unusable.of(error) from error


def _marks(count: int) -> str:
    return ", ".join("?" * count)
