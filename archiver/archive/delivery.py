"""Whether the server delivers any message at all, or opens any folder: checked before a message that did not come,
or a folder at which it hangs up, is blamed for it."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.archive.context import Context
from archiver.archive.queue import Job
from archiver.errors import ConnectionLost, PermanentError, ServerUnavailable, TemporaryError, Throttled
from archiver.mail.model import Folder, Listed
from archiver.source.port import MailSource

_FOLDERS = 3
_LARGE = 10_000  # messages; a larger folder that the archive does not know is not searched for UIDs


class DeliveryProbe:
    """Requests one octet of other messages over one connection. Another folder may be open afterwards."""

    def __init__(self, context: Context, source: MailSource) -> None:
        self._context = context
        self._source = source

    def delivers(self, job: Job, *, here: bool = False) -> bool | None:
        """Whether the server delivers a message of another folder, or with `here` one of the same folder. None:
        there is no message to try.

        Raises:
            Throttled: the server answered unmistakably that a limit is reached.
        """
        delivered: bool | None = None
        for is_delivered in self._tries(job, here=here):
            if is_delivered:
                return True
            delivered = False
        return delivered

    def opens_another(self, job: Job) -> bool:
        """Whether the server opens another folder."""
        folder = _folder_of(job)
        others = [each.folder for each in self._context.folders.values() if each.folder != folder]
        for each in [each for each in others if each.selectable][:_FOLDERS]:
            try:
                self._source.open(each)
                return True
            except (PermanentError, TemporaryError) as error:
                _raise_certain(error)
                if isinstance(error, ConnectionLost) and not error.at_opening:
                    return False
        return False

    def _tries(self, job: Job, *, here: bool) -> Iterator[bool]:
        folder = _folder_of(job)
        if here and not isinstance(job, Listed):
            known = self._context.catalog.messages.uids(job.scanned.epoch.number)
            # The first of the requested UIDs is the suspect, so it is tried last.
            after = job.uids - [job.uids.first]
            some = [known.last] if known else [after.last, after.first] if after else []
            try:
                self._source.open(folder)
                yield from map(self._source.gives, dict.fromkeys(some))
            except (PermanentError, TemporaryError) as error:
                _raise_certain(error)
        epochs = self._context.catalog.account.epochs()
        others = [
            each for each in self._context.folders.values() if each.folder != folder and each.folder.selectable
        ]
        known_of = {
            each.folder.raw: self._context.catalog.messages.uids(epoch.number)
            for each in others
            if (epoch := epochs.get(each.number)) is not None and not epoch.other_source
        }
        others.sort(key=lambda each: not known_of.get(each.folder.raw))
        tried = 0
        for each in others:
            if tried == _FOLDERS:
                return
            try:
                messages = self._source.open(each.folder).status.messages
                if not messages:
                    continue
                uids = known_of.get(each.folder.raw) or (self._source.uids() if messages <= _LARGE else None)
                if not uids:
                    continue
                tried += 1
                yield self._source.gives(uids.last)
            except (PermanentError, ServerUnavailable):
                tried += 1
                yield False
            except (ConnectionLost, Throttled) as error:
                _raise_certain(error)
                yield False
                return


def _folder_of(job: Job) -> Folder:
    return job.folder if isinstance(job, Listed) else job.scanned.listed.folder


def _raise_certain(error: PermanentError | TemporaryError) -> None:
    if isinstance(error, Throttled) and error.certain:
        raise error
