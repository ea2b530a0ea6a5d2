"""Messages that the archive has are removed from the account's source: the prune step, wired."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import TypeVar

from msgspec import Struct

from archiver.account.archive import Archive
from archiver.account.restore import source_to_fill
from archiver.account.servers import no_spool
from archiver.config.settings import Settings
from archiver.config.tables.server import FilesSettings
from archiver.control.run import RunControl
from archiver.destination.open import open_destination
from archiver.destination.port import MailDestination
from archiver.errors import ConfigError
from archiver.facts.replica import MessageKey
from archiver.journal.recorder import Recorder
from archiver.mail.model import INBOX
from archiver.replay.connection import DestinationConnection
from archiver.replay.flag_merge import exceeds_deletion_limit
from archiver.upkeep.prune import PruneResult, PruneStep
from archiver.upkeep.prune_plan import FolderPlan, IsThere, PruneRules, left_at_source, limited, plan_prune
from archiver.upkeep.pruned_list import PrunedList

T = TypeVar("T")


class _Connecting(Struct, frozen=True):
    """How a connection is made, and how often it is tried."""

    connect: Callable[[], MailDestination]
    attempts: int
    control: RunControl
    patient: bool = True


class PruneRequest(Struct, frozen=True):
    """What is to be pruned, by whom, under which name of a run."""

    rules: PruneRules
    by: str
    run: str


def require_prunable(settings: Settings) -> None:
    """Check that messages can be removed from the account's source, as far as its file says.

    Raises:
        ConfigError: they cannot.
    """
    source = settings.source
    if isinstance(source, FilesSettings) or source.protocol != "imap":
        what = "files, which are never changed" if isinstance(source, FilesSettings) else "a POP3 maildrop"
        problem = f"its source is {what}: nothing can be pruned there"
        raise ConfigError(str(settings.file), [problem], hint="prune needs a source on an IMAP server")
    if settings.archive.durability == "none":
        problem = '[archive] durability = "none": a power cut could lose what was removed from the source'
        raise ConfigError(str(settings.file), [problem], hint='set it to "batch", run once, and prune then')


def plan_of(archive: Archive, rules: PruneRules) -> list[FolderPlan]:
    """What may be removed, as far as the archive knows."""
    if (stranger := archive.stranger) is not None:
        raise stranger
    folders = sorted(archive.chosen_folders(), key=lambda each: (each.folder.raw != INBOX, each.folder.name))
    plans = plan_prune(archive.catalog, folders, rules, _there(archive))
    epochs = archive.catalog.account.epochs()
    numbers = [epochs[each.number].number for each in folders if each.number in epochs]
    present = sum(len(left_at_source(archive.catalog, number)) for number in numbers)
    return limited(plans, present, exceeds_deletion_limit, confirmed=rules.confirm_deletions)


def _there(archive: Archive) -> IsThere | None:
    """Which messages have a copy at the account's destination; None if it has none."""
    if archive.settings.destination is None:
        return None
    number = archive.destination_number

    def is_there(keys: Collection[MessageKey]) -> Collection[MessageKey]:
        found = archive.catalog.replicas.restores.outcomes([] if number is None else [number], keys)
        return {key for key, each in found.items() if not each.removed}

    return is_there


def look_at_source(settings: Settings) -> None:
    """Log in, and check that the server can remove given messages and no others.

    Raises:
        ConfigError: it cannot.
        BackendError: it cannot be reached, or refuses the login.
    """
    with closing(_connect(settings)) as mailbox:
        _require_able(settings, mailbox)


def prune_source(
    archive: Archive, recorder: Recorder, plans: Sequence[FolderPlan], request: PruneRequest, control: RunControl
) -> PruneResult:
    """Remove what is planned from the source. Without work nobody logs in.

    Raises:
        ConfigError: the server cannot remove given messages and no others; nothing was done.
    """
    settings, control = archive.settings, archive.guarded(control)

    def connect() -> MailDestination:
        mailbox = _connect(settings)
        try:
            _require_able(settings, mailbox)
        except BaseException:
            mailbox.close()
            raise
        return mailbox

    listing = PrunedList(settings.archive.path, request.run)
    policy = _Connecting(connect, settings.source.attempts, control)
    with closing(DestinationConnection(policy)) as connection:

        def over(work: Callable[[MailDestination], T]) -> T:
            return connection.with_retries(work)

        step = PruneStep(
            store=archive.store,
            prefetch=archive.storage.prefetch,
            catalog=archive.catalog,
            recorder=recorder,
            over=over,
            list_pruned=listing.add,
            keep_flagged=request.rules.keep_flagged,
            by=request.by,
            control=control,
        )
        return step.run(plans)


def _connect(settings: Settings) -> MailDestination:
    mailbox = source_to_fill(settings, "source")
    return open_destination(mailbox.settings, mailbox.authenticator, no_spool)


def _require_able(settings: Settings, mailbox: MailDestination) -> None:
    server = settings.source.address
    if mailbox.labels is not None:
        problem = f"{server} is Gmail, where an EXPUNGE takes a label away and the message stays in All Mail"
        hint = "nothing was removed; delete mail in Gmail itself"
        raise ConfigError(str(settings.file), [problem], hint=hint)
    if not mailbox.can_expunge:
        problem = (
            f"{server} offers no UID EXPUNGE (UIDPLUS); a plain EXPUNGE would also remove what others have marked"
        )
        raise ConfigError(
            str(settings.file), [problem], hint="nothing was removed, and nothing can be pruned there"
        )
