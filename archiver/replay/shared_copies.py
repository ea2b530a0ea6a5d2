"""Copies that a deletion must not touch because another account of ours counts on them.

Two accounts may share one destination mailbox. A message that both have is stored there once, appended by one and
adopted by the other. When it is deleted at the first one's source, the other still needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from archiver.errors import ArchiverError
from archiver.events import Noted
from archiver.facts.archive import Fact
from archiver.facts.replica import Replica, ReplicaFolder
from archiver.mail.folder_names import decode_name, printable
from archiver.replay.context import ReplayContext


class LeftToOthers(Struct, frozen=True):
    """How many copies in a folder of the destination other accounts count on, and the text for people."""

    folder: str
    count: int
    text: str


class Spared(Struct, frozen=True):
    """Why nothing may be deleted and what to do about it, None if deletions are allowed; and the copies that were
    left to other accounts."""

    blocked_reason: str | None = None
    advice: str | None = None
    left: tuple[LeftToOthers, ...] = ()


def spare(context: ReplayContext, folders: Iterable[ReplicaFolder]) -> Spared:
    """Check whether other accounts count on copies that are about to be deleted. Such copies are recorded as
    adopted, so this account never deletes them."""
    due = {folder: replicas for folder in folders if (replicas := _due(context, folder))}
    if not due:
        return Spared()
    total = sum(map(len, due.values()))
    try:
        if (block := context.others.deletion_block([folder.raw for folder in due])) is not None:
            return _held_back(context, total, block.reason, block.advice)
        claimed = context.others.claimed(due)
    except ArchiverError as error:
        advice = "make that account's archive readable, or move its file to another directory if it is retired"
        return _held_back(context, total, str(error), advice)
    left: list[LeftToOthers] = []
    for folder, its in claimed.items():
        context.recorder.write(_left_to_others(context, folder, [c for c in due[folder] if c.uid in its]))
        left.append(_left(folder, its))
        context.control.progress(Noted(left[-1].text))
    return Spared(left=tuple(left))


def _due(context: ReplayContext, folder: ReplicaFolder) -> Sequence[Replica]:
    replicas = context.replicas.changes.deletable(folder.number, gone=context.gone)
    return [replica for replica in replicas if context.rules.vanished == "expunge" or not replica.marked]


def _held_back(context: ReplayContext, total: int, reason: str, advice: str) -> Spared:
    words = "1 copy of a message" if total == 1 else f"{total:,} copies of messages"
    blocked_reason = f"{words} gone from the source stayed: {reason}"
    context.control.progress(Noted(f"{blocked_reason}; {advice}"))
    return Spared(blocked_reason, advice)


def _left_to_others(context: ReplayContext, folder: ReplicaFolder, replicas: Sequence[Replica]) -> list[Fact]:
    return [
        replica.copied_fact(folder.number, replica.key, "adopted", context.control.now()) for replica in replicas
    ]


def _left(replica_folder: ReplicaFolder, claimed: Mapping[int, str]) -> LeftToOthers:
    folder = printable(decode_name(replica_folder.raw))
    whose = ", ".join(sorted(set(claimed.values())))
    words = "1 copy of a message that is" if len(claimed) == 1 else f"{len(claimed):,} copies of messages that are"
    text = f'destination folder "{folder}": {words} gone from the source stayed, since they also belong to {whose}'
    return LeftToOthers(folder, len(claimed), text)
