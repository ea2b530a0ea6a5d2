"""Where an account's archive and its catalog lie.

No other module asks whether an archive is on a disk or in a bucket, and none names the engine of a catalog.
"""

from __future__ import annotations

from archiver.account.store import Medium
from archiver.catalog.port import CatalogPlace
from archiver.catalog.sqlite.place import SqlitePlace
from archiver.config.settings import Settings


def medium_of(settings: Settings) -> Medium:
    """Where the account's archive lies; nothing is opened or looked at."""
    archive = settings.archive
    if archive.s3 is None:
        from archiver.account.disk import OnDisk

        return OnDisk(archive.path, archive.durability)
    from archiver.account.bucket import InBucket

    return InBucket(settings, archive.s3)


def catalog_place(settings: Settings) -> CatalogPlace:
    """Where the account's catalog is, whether there is one yet or not."""
    return SqlitePlace(settings.archive.path / "catalog.sqlite")
