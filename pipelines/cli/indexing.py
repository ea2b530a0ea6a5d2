"""What messages say, read into the index of contents: after a run, or for a search."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from archiver.errors import ArchiverError, Interrupted
from archiver.mail.counts import counted
from pipelines.events import AnyEvent, Began
from pipelines.failures import foreseen, with_file
from pipelines.outcome import Emit
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.account.archive import Archive
    from archiver.config.settings import Settings
    from pipelines.cli.terminal import Terminal

INDEX = "index"
_BEHIND = 10  # nice
_NEXT = "`archiver search --index` or the next run reads them"


class Reading(Struct, frozen=True):
    """How many messages were read into the index of contents, of how many of them some was left out, and how many
    are not in it; `why` says why."""

    messages: int = 0
    cut: int = 0
    missing: int = 0
    why: str = ""


def read_contents(archive: Archive, emit: Emit, most: int | None = None) -> Reading:
    """Read what is not in the index yet, unless that is more than `most`.

    Raises:
        Interrupted: a signal came; what was read is kept.
    """
    contents, with_documents = archive.catalog.index.contents, archive.settings.search.documents
    missing = contents.count_missing(documents=with_documents)
    if not missing:
        return Reading()
    if not contents.may_change:
        return Reading(missing=missing, why="this user may not change the index")
    if most is not None and missing > most:
        return Reading(missing=missing, why=_NEXT)
    from archiver.upkeep.documents.reader import DocumentReader
    from archiver.upkeep.index_contents import index_contents

    emit(Began(INDEX))
    try:
        with ExitStack() as stack:
            if most is None:
                stack.enter_context(behind_others())
            documents = stack.enter_context(DocumentReader(STOP.check)) if with_documents else None
            control = STOP.control(emit)
            done = index_contents(contents, archive.store, archive.storage.prefetch, control, documents)
    except Interrupted:
        raise
    except ArchiverError as error:
        return Reading(missing=contents.count_missing(documents=with_documents), why=str(error))
    if done is None:
        return Reading(
            missing=missing, why="another process is reading them, or this user may not change the index"
        )
    left = contents.count_missing(documents=with_documents)
    why = "they cannot be read; `archiver verify` lists what is wrong" if done.unreadable else _NEXT
    return Reading(done.messages - done.unreadable, done.cut, left, why if left else "")


@contextmanager
def behind_others() -> Iterator[None]:
    """What this thread does has to wait for other work of the machine, such as the next run."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, max(before, _BEHIND))
        yield
    finally:
        with suppress(OSError):  # only root may go back; for others the command is nearly over
            os.setpriority(os.PRIO_PROCESS, 0, before)


def read_after_run(accounts: Sequence[Settings], terminal: Terminal) -> None:
    """What a run brought is read for searches when all else is done: the report is written, no lock is held, and
    whatever happens here, the run has ended as it did."""
    wanted = [each for each in accounts if each.search.index == "text"]
    if not wanted:
        return
    from archiver.account.account import Account

    with terminal.progress([each.account for each in wanted]) as display:
        for settings in wanted:
            account = Account(settings)

            def emit(event: AnyEvent, account: str = settings.account) -> None:
                display(account, event)

            try:
                STOP.check()
                if not account.catalog.exists():
                    continue  # the run said why
                with account.reading(with_catalog=True) as archive:
                    done = read_contents(archive, emit)
            except Interrupted:
                return
            except Exception as raised:  # whatever it is, the run has ended well or not without it
                error = with_file(str(foreseen(raised)), settings.file)
                terminal.warn(f"{settings.account}: the index of texts: {error}", settings.account)
                continue
            if done.missing:
                why = with_file(done.why, settings.file)
                terminal.warn(f"{settings.account}: {not_in_index(done.missing)}: {why}", settings.account)


def not_in_index(missing: int) -> str:
    """How many messages are not in the index, for people."""
    return counted(missing, "message is not in the index of texts", "messages are not in the index of texts")
