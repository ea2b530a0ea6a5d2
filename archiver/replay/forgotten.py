"""Copies of forgotten messages are removed from a destination: those that are recorded, under their UIDs, and no
others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from archiver.destination.port import FlagStore
from archiver.errors import BackendError, FolderNotFound
from archiver.facts.replica import ReplicaFolder
from archiver.mail.counts import counted
from archiver.mail.folder_names import decode_name, printable
from archiver.replay.connection import DestinationConnection
from archiver.replay.flag_merge import DELETED, NO_FLAGS

_COPIES = ("copy", "copies")


def expunge_forgotten(
    connection: DestinationConnection, copies: Mapping[ReplicaFolder, Collection[int]]
) -> Sequence[tuple[str, str]]:
    """Remove these UIDs from their folders; returns what stays, for people, each with the reason. What is gone
    already is fine."""
    kept: list[tuple[str, str]] = []
    for folder, uids in copies.items():
        where = f'{counted(len(uids), *_COPIES)} in "{printable(decode_name(folder.raw))}"'
        try:
            reason = connection.with_retries(partial(_expunge, folder, uids))
        except FolderNotFound:
            continue
        except BackendError as error:
            reason = printable(error.reason)
        if reason is not None:
            kept.append((where, reason))
    return kept


def _expunge(folder: ReplicaFolder, uids: Collection[int], destination: FlagStore) -> str | None:
    """Why something stays; None if all are gone."""
    opened = destination.open(folder.raw)
    if not opened.uidvalidity or opened.uidvalidity != folder.uidvalidity:
        return (
            "the folder has another UIDVALIDITY now, so nobody knows which messages they are: look for them there"
        )
    there = set(destination.flags(uids))
    if not there:
        return None
    if not destination.can_expunge:
        return "the server cannot remove single messages (UIDPLUS): delete them there"
    destination.store({(DELETED, NO_FLAGS): tuple(sorted(there))})
    destination.expunge(tuple(sorted(there)))
    left = destination.flags(there)
    return f"the server still shows {counted(len(left), *_COPIES)}" if left else None
