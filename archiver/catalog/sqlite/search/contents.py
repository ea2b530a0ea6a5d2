"""The index of contents, kept up with the catalog: what is new there is to be read, what is gone is removed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.messages import SqlMessages
from archiver.catalog.sqlite.reading import any_of, json_list
from archiver.catalog.sqlite.search.bodies import Bodies, Unusable
from archiver.catalog.sqlite.search.body_index import BodyIndex
from archiver.catalog.sqlite.search.history import belongs, state_of
from archiver.catalog.sqlite.search.texts import Covered
from archiver.errors import ArchiveNotWritable
from archiver.mail.model import Digest, Placement

if TYPE_CHECKING:
    from archiver.mail.parts.contents import Contents

_AFTER = "SELECT id, digest FROM header WHERE id > ? ORDER BY id LIMIT ?"
_COUNT = "SELECT count(*) FROM header WHERE id > ?"
_KNOWN = f"SELECT DISTINCT digest FROM message WHERE digest IN {any_of('digests')}"
_AT_ONCE = 5000


class SqlContents:
    """Implements `archiver.catalog.port.ContentIndex`; `bodies` is None where there can be no index."""

    def __init__(self, database: Database, bodies: BodyIndex | None = None) -> None:
        self._database = database
        self._bodies = bodies

    @property
    def may_change(self) -> bool:
        """Whether it may be extended here."""
        return self._bodies is not None and self._bodies.may_change

    def count_missing(self, *, documents: bool | None = None) -> int:
        """How many messages, by digest, are not in it: all, if it is not as asked with or without documents."""
        if self._bodies is None:
            return 0
        with self._bodies.reading() as bodies, self._database.reading() as connection:
            if bodies is not None and documents not in (None, bodies.has_documents):
                return int(connection.execute(_COUNT, (0,)).fetchone()[0])
            try:
                covered = None if bodies is None else bodies.covered
                if covered is not None and bodies is not None and belongs(connection, covered):
                    unread = len(bodies.unread(_AT_ONCE))
                    return int(connection.execute(_COUNT, (covered.header,)).fetchone()[0]) + unread
                every = int(connection.execute(_COUNT, (0,)).fetchone()[0])
                return max(0, every - (0 if bodies is None else bodies.count()))
            except Unusable:
                return int(connection.execute(_COUNT, (0,)).fetchone()[0])

    @contextmanager
    def extending(self, *, documents: bool | None = None) -> Iterator[Extending | None]:
        """The index, to be extended; None: this user cannot, or another process is just doing it. It is made again
        if it is not as asked with or without documents.

        Raises:
            ArchiveNotWritable: it could not be written; what was added before is in it.
        """
        if self._bodies is None:
            yield None
            return
        unusable: Unusable | None = None
        with self._bodies.writing(documents=documents) as bodies:
            if bodies is None:
                yield None
                return
            try:
                yield Extending(self._database, bodies)
            except Unusable as error:
                unusable = error
        if unusable is not None:
            if unusable.is_damaged:
                self._bodies.remove()
            hint = "`archiver search --index` makes it again" if unusable.is_damaged else "free space on its disk"
            raise ArchiveNotWritable(f"{self._bodies.file}: {unusable}", hint=hint) from unusable


class Extending:
    """The index while it is extended; no other process does so meanwhile."""

    def __init__(self, database: Database, bodies: Bodies) -> None:
        self._database = database
        self._bodies = bodies
        self._next: Covered | None = None
        self._arrived: dict[Digest, int] = {}
        self._is_begun = False

    def next(self, limit: int) -> Sequence[Placement]:
        """The next messages that are not in it, each once, in the order in which they were archived; none if all
        are. They have to be added before others are asked for."""
        if not self._is_begun:
            self._is_begun = True
            with self._database.reading() as connection:
                last = self._bodies.covered
                known = last is not None and belongs(connection, last)
                state = state_of(connection)
            number = last.header if last is not None and known else 0
            self._next = Covered(state.catalog, state.segment, state.digest, number)
            if not known:
                self._remove_strangers()
            if again := self._placements(self._bodies.unread(limit)):
                return again
        while True:
            assert self._next is not None
            with self._database.reading() as connection:
                rows = connection.execute(_AFTER, (self._next.header, limit)).fetchall()
                state = state_of(connection)
            if not rows:
                return ()
            self._next = Covered(state.catalog, state.segment, state.digest, rows[-1][0])
            digests = [Digest(digest) for _, digest in rows]
            has = self._bodies.numbers(digests)
            placements = self._placements([each for each in digests if each not in has])
            if placements:
                return placements
            self._bodies.cover(self._next)

    def add(self, contents: Mapping[Digest, Contents | None]) -> None:
        """Add the messages that `next` returned; None: it could not be read, and is tried again the next time.
        Durable on return."""
        assert self._next is not None
        self._bodies.add(contents, self._arrived, self._next)

    def discard(self, digests: Collection[Digest]) -> None:
        """Remove what these messages say; durable on return, fine if they are not there."""
        self._bodies.discard(list(digests))

    def _remove_strangers(self) -> None:
        """The catalog is another one than last time: messages that it does not know are removed."""
        last = 0
        while some := self._bodies.every(last, _AT_ONCE):
            last = some[-1][0]
            digests = {digest for _, digest in some}
            with self._database.reading() as connection:
                known = {digest for (digest,) in connection.execute(_KNOWN, {"digests": json_list(digests)})}
            if digests - known:
                self.discard(digests - known)

    def _placements(self, digests: Sequence[Digest]) -> Sequence[Placement]:
        places: dict[Digest, Placement] = {}
        self._arrived = {}
        for each in SqlMessages(self._database).candidates(digests=digests):
            self._arrived[each.digest] = max(each.arrived, self._arrived.get(each.digest, each.arrived))
            if each.digest not in places or (each.present and not places[each.digest].present):
                places[each.digest] = each
        return [places[digest] for digest in digests if digest in places]
