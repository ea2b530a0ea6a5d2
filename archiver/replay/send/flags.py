"""Flags that changed in the archive brought to the copies, after the messages themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archiver.destination.port import FlagStore
from archiver.facts.archive import Fact
from archiver.facts.destination import MarkedFact, ReflaggedFact
from archiver.facts.replica import Replica
from archiver.replay.context import JobFolder, ReplayContext
from archiver.replay.flag_merge import all_respelled, change_of, grouped

BATCH_MESSAGES = 500


def follow_flags(context: ReplayContext, destination: FlagStore, folder: JobFolder) -> None:
    """Replay flags that changed in the archive; adopted mail gets the archive's flags for the first time."""
    if not context.rules.follows:
        return
    after = 0
    while replicas := context.replicas.changes.reflagged(folder.number, after=after, limit=BATCH_MESSAGES):
        context.control.check_stop()
        after = replicas[-1].uid
        context.recorder.write(list(_followed(context, destination, folder, replicas)))
        folder.job.steps += 1


def _followed(
    context: ReplayContext, destination: FlagStore, folder: JobFolder, replicas: Sequence[Replica]
) -> Iterator[Fact]:
    spelling = {replica.uid: replica.message.flags | replica.source_flags for replica in replicas}
    now = all_respelled(destination.flags(spelling.keys()), spelling)
    there = [replica for replica in replicas if replica.uid in now]
    changes = {replica.uid: change_of(replica, now[replica.uid], folder.opened) for replica in there}
    groups = grouped(changes)
    shown = now | (all_respelled(destination.store(groups), spelling) if groups else {})
    for replica in there:
        flags, added = shown[replica.uid], changes[replica.uid].added
        lost = changes[replica.uid].lost | (replica.message.flags & (replica.lost | added) - flags)
        yield ReflaggedFact(folder.number, replica.uid, replica.message.flags, flags, lost, context.control.now())
    unmarked = tuple(replica.uid for replica in there if replica.marked)
    if unmarked:
        yield MarkedFact(folder.number, unmarked, False, context.control.now())
