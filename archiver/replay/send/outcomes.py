"""Reopening a folder, and the fact of a refusal; used for sending and for finding late arrivals."""

from __future__ import annotations

from archiver.destination.port import FolderOpener, MailDestination
from archiver.errors import FolderChanged, FolderNotFound, FolderRefused, IntegrityError, Where
from archiver.events import Noted
from archiver.facts.destination import RefusedFact, UnsentFact
from archiver.facts.mailbox import SelectedFolder
from archiver.facts.outgoing import Outgoing
from archiver.mail.content import HEADER_OCTETS, header_value
from archiver.mail.folder_names import printable
from archiver.mail.headers import readable
from archiver.replay.context import JobFolder, ReplayContext, ReplayJob


def open_or_create(context: ReplayContext, destination: MailDestination, job: ReplayJob) -> SelectedFolder:
    """The job's folder, opened for a pass.

    NOTE: Gmail may list a folder that cannot be opened before it is created. One that was opened before and is gone
    was deleted by somebody, and is not created here.
    """
    try:
        return open_folder(context, destination, job)
    except FolderNotFound as error:
        if job.known is not None:
            raise
        try:
            destination.create(job.raw, None)
        except FolderRefused:
            raise error from None
        return open_folder(context, destination, job)


def open_folder(context: ReplayContext, destination: FolderOpener, job: ReplayJob) -> SelectedFolder:
    """The job's folder, opened.

    Raises:
        FolderNotFound: it does not exist. If it did earlier in this run, somebody deleted it: then what was on its
            way there is over, unless the server was silent and may still be at work.
    """
    try:
        return destination.open(job.raw)
    except FolderNotFound as error:
        if not job.resolved or job.known is None:
            raise
        keys = tuple(each.outgoing.key for each in context.pending.intents(job.known.number))
        if keys and not job.longest_silence:
            context.recorder.write([UnsentFact(job.known.number, keys, context.control.now())])
        raise FolderNotFound(
            f"the folder was deleted during the run: {error.reason}",
            where=error.where,
            server_reply=error.server_reply,
            hint="the next run creates it again and sends what was not there yet",
        ) from error


def reopened(context: ReplayContext, destination: FolderOpener, folder: JobFolder) -> SelectedFolder:
    """The folder of a pass, opened again.

    Raises:
        FolderNotFound: as in `open_folder`.
        FolderChanged: its UIDVALIDITY changed, so what is known about its UIDs is void.
    """
    now = open_folder(context, destination, folder.job)
    if now.uidvalidity != folder.opened.uidvalidity:
        raise FolderChanged(
            "UIDVALIDITY changed at the destination during the run",
            where=Where(folder=printable(folder.job.name)),
            hint="the next run matches its messages again",
        )
    return now


def refusal_of(
    context: ReplayContext, folder: JobFolder, outgoing: Outgoing, refusal: str, reason: str, reply: str | None
) -> RefusedFact:
    """The fact that a message was refused in this run; also reported as a note. The caller records it."""
    header = b""
    try:
        with context.store.open(outgoing.placement) as file:
            header = file.read(HEADER_OCTETS)
    except IntegrityError:
        pass  # then this is the reason why it is refused
    values = (header_value(header, name) for name in ("Date", "Subject"))
    date, subject = (None if value is None else readable(value) for value in values)
    epoch, uid = outgoing.key
    server_reply = f" ({reply})" if reply else ""
    context.control.progress(
        Noted(f'folder "{printable(folder.job.name)}": a message is refused: {reason}{server_reply}')
    )
    folder.job.refused.add(outgoing.key)
    folder.job.send_alone.discard(outgoing.key)
    accepted = context.retry == "accept"
    return RefusedFact(
        folder.number, epoch, uid, refusal, reason, reply, date, subject, accepted, context.control.now()
    )
