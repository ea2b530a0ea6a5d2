"""Folders that we filled and that the destination's user removed or renamed.

A message that was removed at the destination is not sent again, and neither are the messages of a folder. People
clean up at their new server while late mail still comes from the old one: a folder that they renamed must not come
back with all its mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from archiver.destination.port import FolderOpener
from archiver.errors import FolderNotFound
from archiver.events import Noted
from archiver.facts.archive import Fact
from archiver.facts.destination import RemovedFact, TargetStateFact
from archiver.facts.mailbox import DestinationFolders
from archiver.facts.replica import ReplicaFolder
from archiver.mail.folder_names import decode_name, printable
from archiver.replay.connection import DestinationConnection
from archiver.replay.context import ReplayContext


def forget_removed(context: ReplayContext) -> None:
    """Forget what was removed there, so that it is sent again (--include-removed)."""
    facts = [
        RemovedFact(folder, tuple(sorted(uids)), "policy", context.control.now())
        for folder, uids in context.replicas.messages.removed(context.destination).items()
    ]
    context.recorder.write(facts)


def removed_folders(
    context: ReplayContext, connection: DestinationConnection, listed: DestinationFolders
) -> set[bytes]:
    """Folders that hold our copies and no longer exist; their copies are recorded as removed.

    NOTE: a LIST answer may be cut short, so each is opened by name before it counts as gone.
    """
    there = {each.folder.raw for each in listed.listed if each.folder.selectable}
    gone: set[bytes] = set()
    for raw, folder in _filled(context).items():
        if raw in there or not connection.with_retries(partial(_is_gone, raw)):
            continue
        gone.add(raw)
        live = tuple(
            sorted(uid for uid, is_live in context.replicas.messages.claimed(folder.number).items() if is_live)
        )
        if live:
            facts: list[Fact] = [RemovedFact(folder.number, live, "user", context.control.now())]
            if folder.state is not None:  # so that it is opened if it exists again
                facts.append(TargetStateFact(folder.number, folder.state.uidnext, 0, context.control.now()))
            context.recorder.write(facts)
            name = printable(decode_name(raw))
            context.control.progress(
                Noted(
                    f'destination folder "{name}": it was deleted or renamed there; {len(live):,} messages are '
                    "not sent again (`archiver replay --include-removed` sends them)"
                )
            )
    return gone


def _filled(context: ReplayContext) -> Mapping[bytes, ReplicaFolder]:
    folders = context.replicas.folders.current(context.destination)
    return {
        raw: folder
        for raw, folder in folders.items()
        if context.replicas.messages.newest(folder.number, 1, removed=True)
    }


def _is_gone(raw: bytes, destination: FolderOpener) -> bool:
    try:
        destination.open(raw, readonly=True)
    except FolderNotFound:
        return True
    return False
