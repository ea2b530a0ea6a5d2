"""Finds the places of messages by their keys."""

from __future__ import annotations

from collections.abc import Iterable

from archiver.catalog.port import CatalogMessages
from archiver.facts.replica import MessageKey, by_epoch
from archiver.mail.model import Placement


def places_of(messages: CatalogMessages, keys: Iterable[MessageKey]) -> dict[MessageKey, Placement]:
    """The places of these messages, present or vanished; those that the catalog does not know are left out."""
    return {
        (epoch, place.uid): place
        for epoch, uids in by_epoch(keys).items()
        for place in messages.placements(epoch, uids=uids)
    }
