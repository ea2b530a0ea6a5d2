"""Where the catalog of an account's archive is: the only module that names an engine."""

from __future__ import annotations

from archiver.catalog.port import CatalogPlace
from archiver.catalog.sqlite.place import SqlitePlace
from archiver.config.settings import Settings


def catalog_place(settings: Settings) -> CatalogPlace:
    """Where the catalog of this account is, whether there is one yet or not."""
    return SqlitePlace(settings.archive.path / "catalog.sqlite")
