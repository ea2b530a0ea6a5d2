"""Whether the server gives any message at all: asked before one that did not come is blamed for it."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.archive.context import Context
from archiver.archive.queue import Job
from archiver.errors import ConnectionLost, PermanentError, ServerUnavailable, TemporaryError, Throttled
from archiver.mail.model import Listed
from archiver.source.port import MailSource

_FOLDERS = 3
_LARGE = 10_000  # messages; the UIDs of a larger folder that the archive does not know are not asked for


class Others:
    """Asks over one connection for an octet of other messages. Another folder may be open afterwards."""

    def __init__(self, context: Context, source: MailSource) -> None:
        self._context = context
        self._source = source

    def give(self, job: Job, *, here: bool = False) -> bool | None:
        """Whether a message of another folder is given, or with `here` one of the same folder. None: there is none
        that could be asked for.

        Raises:
            Throttled: the server says for certain that it is a limit.
        """
        given: bool | None = None
        for source_gives in self._asked(job, here=here):
            if source_gives:
                return True
            given = False
        return given

    def _asked(self, job: Job, *, here: bool) -> Iterator[bool]:
        folder = job.folder if isinstance(job, Listed) else job.surveyed.listed.folder
        if here and not isinstance(job, Listed):
            known = self._context.catalog.known(job.surveyed.epoch.number)
            # Of what was asked for, the first one is the suspect.
            some = [max(known)] if known else job.uids[1:][-1:] + job.uids[1:][:1]
            try:
                self._source.open(folder)
                yield from map(self._source.gives, dict.fromkeys(some))
            except (PermanentError, TemporaryError) as error:
                _raise_certain(error)
        epochs = self._context.catalog.epochs()
        others = [
            each for each in self._context.folders.values() if each.folder != folder and each.folder.selectable
        ]
        known_of = {
            each.folder.raw: self._context.catalog.known(epoch.number)
            for each in others
            if (epoch := epochs.get(each.number)) is not None and not epoch.foreign
        }
        others.sort(key=lambda each: not known_of.get(each.folder.raw))
        asked = 0
        for each in others:
            if asked == _FOLDERS:
                return
            try:
                messages = self._source.open(each.folder).status.messages
                if not messages:
                    continue
                uids = known_of.get(each.folder.raw) or (self._source.uids() if messages <= _LARGE else ())
                if not uids:
                    continue
                asked += 1
                yield self._source.gives(max(uids))
            except (PermanentError, ServerUnavailable):
                asked += 1
                yield False
            except (ConnectionLost, Throttled) as error:
                _raise_certain(error)
                yield False
                return


def _raise_certain(error: PermanentError | TemporaryError) -> None:
    if isinstance(error, Throttled) and error.certain:
        raise error
