"""Reopening a folder, and the fact of a refusal; used for sending and for finding late arrivals."""

from __future__ import annotations

from archiver.destination.port import FolderOpener
from archiver.errors import FolderChanged, FolderNotFound, IntegrityError
from archiver.events import Noted
from archiver.facts.destination import RefusedFact
from archiver.facts.replica import Outgoing, SelectedFolder
from archiver.mail.content import HEADER_OCTETS, header_value
from archiver.mail.folder_names import printable
from archiver.mail.headers import readable
from archiver.replay.context import JobFolder, ReplayContext


def reopened(destination: FolderOpener, folder: JobFolder) -> SelectedFolder:
    """The folder, opened again.

    Raises:
        FolderChanged: its UIDVALIDITY changed, so what is known about its UIDs is void.
    """
    opened = destination.open(folder.job.raw)
    if opened.uidvalidity != folder.opened.uidvalidity:
        reason = f'destination folder "{folder.job.name}": UIDVALIDITY changed during the run'
        raise FolderChanged(reason, hint="the next run matches its messages again")
    return opened


def require_folder(destination: FolderOpener, folder: JobFolder) -> None:
    """Find out whether a refusal is due to the folder: open it again.

    Raises:
        FolderNotFound: somebody deleted it during the run.
        FolderChanged: somebody deleted it and created it again.
    """
    try:
        reopened(destination, folder)
    except FolderNotFound as error:
        raise FolderNotFound(
            f"the folder was deleted during the run: {error.reason}",
            where=error.where,
            server_reply=error.server_reply,
            hint="the next run creates it again and sends what was not there yet",
        ) from error


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
