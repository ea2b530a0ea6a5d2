"""Gmail's labels brought to copies at Gmail (`[replay] labels = "labels"`), after the messages themselves.

A copy whose labels are not recorded as replayed gets them, however it came there: sent, found after a cut, or
adopted. To store a label twice changes nothing, so an interrupted run is simply repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archiver.destination.port import Labelling, LabelStore, MailDestination
from archiver.errors import ConfigError
from archiver.facts.destination import LabelledFact
from archiver.facts.replica import Replica
from archiver.replay.context import JobFolder, ReplayContext
from archiver.replay.flag_merge import all_respelled, grouped, label_change_of, labels_to_replay

_MESSAGES = 500


def require_labels(destination: MailDestination) -> None:
    """Raises ConfigError if the destination has no labels."""
    if destination.labels is None:
        problem = 'labels = "labels" needs a destination of Gmail, and this one does not offer X-GM-EXT-1'
        raise ConfigError("[replay]", [problem], hint='write "folders" or "all-mail"')


def follow_labels(context: ReplayContext, destination: Labelling, folder: JobFolder) -> None:
    """Replay labels that changed in the archive, and all labels of copies that have just come."""
    store = destination.labels if context.rules.labels else None
    if store is None:
        return
    for replicas in labels_due(context, folder.number):
        context.control.check_stop()
        context.recorder.write(_followed(context, store, folder, replicas))
        folder.job.steps += 1


def labels_due(context: ReplayContext, folder: int) -> Iterator[Sequence[Replica]]:
    """The copies in a folder that have to get labels, some at a time. If nothing that is there may be changed, only
    messages of ours that have none yet."""
    after = 0
    while replicas := context.replicas.changes.relabelled(folder, after=after, limit=_MESSAGES):
        after = replicas[-1].uid
        due = [each for each in replicas if not context.rules.only_adds or _is_new(each)]
        if due:
            yield due


def _is_new(replica: Replica) -> bool:
    return replica.source_labels is None and replica.how != "adopted"


def _followed(
    context: ReplayContext, store: LabelStore, folder: JobFolder, replicas: Sequence[Replica]
) -> list[LabelledFact]:
    wanted = {each.uid: labels_to_replay(each.message.labels) for each in replicas}
    spelling = {each.uid: wanted[each.uid] | (each.source_labels or frozenset()) for each in replicas}
    now = all_respelled(store.read(wanted.keys()), spelling)
    there = [each for each in replicas if each.uid in now]
    changes = {each.uid: label_change_of(each, now[each.uid]) for each in there}
    groups = grouped(changes)
    shown = now | (all_respelled(store.store(groups), spelling) if groups else {})
    at = context.control.now()
    return [
        LabelledFact(
            folder.number,
            each.uid,
            each.message.labels or frozenset(),
            shown[each.uid],
            (changes[each.uid].added | (each.lost_labels & wanted[each.uid])) - shown[each.uid],
            at,
        )
        for each in there
    ]
