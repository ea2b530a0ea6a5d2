"""Whether a folder of the destination is still the one that we know: its UIDs name the same messages."""

from __future__ import annotations

from itertools import chain

from archiver.destination.port import MailDestination
from archiver.events import Noted
from archiver.facts.destination import TargetFact
from archiver.facts.mailbox import SelectedFolder
from archiver.facts.replica import ReplicaFolder
from archiver.mail.dates import internaldate_seconds, same_moment
from archiver.mail.unnumbered import NamedMessage, names_other_mail
from archiver.replay.context import ReplayContext, ReplayJob

_NEWEST = 20


def number_of(context: ReplayContext, destination: MailDestination, job: ReplayJob, opened: SelectedFolder) -> int:
    """The open folder's number in the catalog; a new one, which is recorded, if the server reassigns UIDs to other
    mail."""
    known, reason = job.known, "first"
    if known is not None:
        if (change := _change_of(context, destination, job, known, opened)) is None:
            return known.number
        reason, why = change
        job.renumbered |= bool(context.pending.intents(known.number))
        words = f"its messages have new UIDs ({why}); they will be matched, not sent again"
        if not opened.messages:
            words = f"it is empty, and no longer the folder that it was ({why})"
        context.control.progress(Noted(f'destination folder "{job.name}": {words}'))
    fact = context.recorder.number_target(
        TargetFact(0, context.destination, job.raw, opened.uidvalidity, reason, context.control.now())
    )
    context.recorder.write([fact])
    job.known = ReplicaFolder(fact.number, job.raw, opened.uidvalidity)
    job.fetched.clear()
    return fact.number


def _change_of(
    context: ReplayContext,
    destination: MailDestination,
    job: ReplayJob,
    known: ReplicaFolder,
    opened: SelectedFolder,
) -> tuple[str, str] | None:
    """Why UIDs name other messages than they did, as a fact has it and for people; None if they do not."""
    newest = context.replicas.messages.newest(known.number, 1, removed=True)
    highest = newest[0].uid if newest else 0
    if not opened.uidvalidity:
        if not _are_renumbered(context, destination, known.number):
            return None
        return "renumbered", "the server gives no UIDVALIDITY, and its UIDs name other messages now"
    if known.uidvalidity != opened.uidvalidity:
        return "uidvalidity", "UIDVALIDITY changed"
    if (
        opened.uidnext <= highest
        or (known.state is not None and opened.uidnext < known.state.uidnext)
        or (job.moved(opened) and _are_other_mail(context, destination, known.number))
    ):
        return "rewound", "the server went back to an earlier state"
    return None


def _are_other_mail(context: ReplayContext, destination: MailDestination, folder: int) -> bool:
    """Whether a server that was restored to an older state reassigned the UIDs of our newest copies, which UIDNEXT
    no longer reveals once enough new mail has arrived. NOTE: a different size alone proves nothing, since some
    servers count differently from one day to the next; nor does a different date alone, since copying files can
    change it."""
    newest = {replica.uid: replica for replica in context.replicas.messages.newest(folder, _NEWEST)}
    return any(
        replica.dated
        and replica.size is not None
        and seen.size not in (None, replica.size)
        and not same_moment(internaldate_seconds(seen.internaldate), replica.message.arrived)
        for seen in destination.scan(newest)
        if (replica := newest.get(seen.uid)) is not None
    )


def _are_renumbered(context: ReplayContext, destination: MailDestination, folder: int) -> bool:
    """Whether the UIDs of our copies in a folder without UIDVALIDITY name other messages than they did, also those
    of copies that were removed and seem to be back."""
    present, replicas = destination.uids(), context.replicas.messages
    back = (each for each in replicas.all(folder, removed=True) if each.uid in present)
    known = (
        NamedMessage(
            uid=each.uid,
            size=each.size,
            arrived=each.message.arrived if each.dated else None,
            message_id=each.message.message_id,
            has_header=each.likeness not in ("cut", "other"),
        )
        for each in chain(replicas.all(folder), back)
    )
    return names_other_mail(destination, known, present)
