"""Where an archive's catalog is: an SQLite file, which need not exist yet."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.catalog.sqlite.copying import can_write, copy_catalog
from archiver.catalog.sqlite.replica.claims import SqlClaims
from archiver.catalog.sqlite.search.body_index import BodyIndex
from archiver.catalog.sqlite.search.texts import TextIndex
from archiver.catalog.sqlite.swap import remove_catalog, swap_catalog
from archiver.errors import ArchiveNotWritable, ArchiverError
from archiver.storage.files import Writing
from archiver.storage.scratch_lock import LOCK, abandoned, in_use

_ASIDE = "before-"
_TEXTS, _BODIES = "search.sqlite", "bodies.sqlite"


class SqlitePlace(Struct, frozen=True, eq=False):
    """Implements `archiver.catalog.port.CatalogPlace`. A scratch catalog is a file next to `file`, named after its
    `word`, with a lock file of its own. `copy_of` is the file of which `file` is a copy."""

    file: Path
    copy_of: Path | None = None

    def __str__(self) -> str:
        return os.fspath(self.file)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SqlitePlace) and self.file.resolve() == other.file.resolve()

    def __hash__(self) -> int:
        return hash(self.file.resolve())

    def exists(self) -> bool:
        """Whether there is a catalog.

        Raises:
            ArchiveNotWritable: this user has no access to that place.
        """
        try:
            return self.file.exists()
        except OSError as error:
            hint = "give this user access to the archive, or change [archive] path"
            raise ArchiveNotWritable(f"{self.file}: {error.strerror}", hint=hint) from error

    def is_writable(self) -> bool:
        """Whether this user can write to the catalog, and its disk has space. Other problems show when it is
        used."""
        if not can_write(self.file):
            return False
        if self.file.exists():
            try:
                with closing(self.open()) as catalog:
                    catalog.last_segment()
            except ArchiveNotWritable:
                return False
            except ArchiverError:
                pass
        return True

    def open(self) -> SqlCatalog:
        """The catalog. The file is opened when it is first used, and created if there is none."""
        own, may_change = self.copy_of or self.file, self.copy_of is None
        texts = TextIndex(own.with_name(_TEXTS), may_change=may_change)
        bodies = BodyIndex(own.with_name(_BODIES), may_change=may_change)
        return SqlCatalog(self.file, texts=texts, bodies=bodies)

    @contextmanager
    def scratch(self, word: str, *, to_install: bool = False) -> Iterator[SqlCatalog]:
        """A new, empty scratch catalog next to the archive's own, removed at the end of the block. Those that
        killed processes left are removed first. Only one that is `to_install` is durable."""
        self._remove_abandoned()
        file = self._scratch(word)
        with in_use(file):
            remove_catalog(file)
            catalog = SqlCatalog(file, durable=to_install)
            try:
                yield catalog
            finally:
                catalog.close()
                remove_catalog(file)

    def install(self, word: str) -> str | None:
        """Replace the archive's own catalog with the scratch catalog `word`. Both must be closed. The old one is
        kept; returns its new path, or None if there was none.

        If interrupted, the old one is in place, or the new one, or none (then the next run rebuilds it from the
        journal).
        """
        aside = self._scratch(f"{_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        return os.fspath(aside) if swap_catalog(self._scratch(word), self.file, aside) else None

    def copied(self, directory: Path) -> SqlitePlace:
        """A copy of the catalog in `directory`, consistent even while a run writes to it. If there is no catalog,
        there is no copy. Nothing is written next to the catalog itself.

        Raises:
            ArchiveNotWritable: this user cannot read it, or there is no space for the copy.
            IntegrityError: it is damaged.
            Locked: another process kept writing to it.
        """
        copy = directory / self.file.name
        copy_catalog(self.file, copy)
        return SqlitePlace(copy, self.file)

    def discard_replaced(self) -> Sequence[str]:
        """Remove the catalogs that were replaced by `install`, and those that killed processes left; returns the
        paths of the former."""
        self._remove_abandoned()
        found = sorted(self.file.parent.glob(f"{self.file.name}.{_ASIDE}*"))
        with Writing(os.fspath(self.file)):
            for each in found:
                each.unlink(missing_ok=True)
        return [os.fspath(each) for each in found]

    def claims(self) -> SqlClaims:
        """What the account of this catalog claims at destinations; the file is read as it is."""
        return SqlClaims(self.file)

    def _remove_abandoned(self) -> None:
        for lock in self.file.parent.glob(f"{self.file.name}.*{LOCK}"):
            file = lock.with_name(lock.name.removesuffix(LOCK))
            with abandoned(file) as is_abandoned:
                if is_abandoned:
                    remove_catalog(file)

    def _scratch(self, word: str) -> Path:
        return self.file.with_name(f"{self.file.name}.{word}")
