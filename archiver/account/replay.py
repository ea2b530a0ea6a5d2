"""An account's destination, wired: what the steps of a replay need, from its settings and its archive."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from archiver.account.meeting import known_number, meet_destination
from archiver.account.opening import Archive, no_spool
from archiver.account.others import AccountsBeside
from archiver.account.past import past_catalog
from archiver.archive.plan import gone_folders
from archiver.catalog.port import Catalog
from archiver.catalog.replicas import PendingMessages
from archiver.config.load import DestinationSettings, Settings
from archiver.control import RunControl
from archiver.destination.folder_map.mapping import MapRules
from archiver.destination.open import open_destination
from archiver.destination.port import MailDestination
from archiver.errors import ConfigError
from archiver.facts.replica import DestinationFolders
from archiver.imap.auth import authenticator_of
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import matches
from archiver.mail.model import KnownFolder
from archiver.replay.as_of import PastPending
from archiver.replay.compare import DestinationCheck, DestinationVerifier
from archiver.replay.connection import DestinationConnection
from archiver.replay.context import RefusalRetry, ReplayContext, ReplayRulesOfAccount
from archiver.replay.identify import IdentityAnswer
from archiver.replay.run import ReplayResult, replay_folders


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What the command line asks of a replay. `moment` (UTC, ISO 8601): the folders as they stood then. `beside`:
    files of other accounts that the command works on. `answer` is what the user says about a destination that is
    not known."""

    retry: RefusalRetry = "due"
    include_vanished: bool = False
    include_removed: bool = False
    confirm_deletions: bool = False
    moment: str | None = None
    beside: tuple[Path, ...] = ()
    answer: IdentityAnswer = "ask"


def destination_settings(settings: Settings) -> DestinationSettings:
    """The account's destination.

    Raises:
        ConfigError: it has none.
    """
    if settings.destination is None:
        raise ConfigError(str(settings.file), ["has no [destination] to replay to"], hint="add that table")
    return settings.destination


def look_at_destination(settings: Settings) -> MailDestination:
    """A single attempt at a logged-in connection, for a look that fetches no message."""
    server = destination_settings(settings)
    return open_destination(server, authenticator_of(server), no_spool)


def map_rules(settings: Settings) -> MapRules:
    """The account's rules for folders at the destination."""
    return MapRules(settings.folders.rename, destination_settings(settings).prefix)


def chosen_folders(
    archive: Archive, *, unlisted: bool = False, catalog: Catalog | None = None
) -> list[KnownFolder]:
    """The folders that the account's rules choose; `unlisted`: also those that the source no longer has. `catalog`:
    a past catalog instead of the present one."""
    rules = archive.settings.folders
    return [
        each
        for each in (catalog or archive.catalog).account.folders().values()
        if (each.listed or unlisted)
        and each.folder.selectable
        and matches(each.folder.path, rules.include)
        and not matches(each.folder.path, rules.exclude)
    ]


def gone_from_source(archive: Archive) -> dict[int, KnownFolder]:
    """The folders that the account's rules choose and that the source no longer has, by their numbers."""
    rules = archive.settings.folders
    gone = gone_folders(archive.catalog.account.folders().values(), include=rules.include, exclude=rules.exclude)
    return {each.number: each for each in gone}


def stranded_copies(archive: Archive) -> dict[str, int]:
    """How many copies of ours are at the account's destination of folders that the source no longer has, by their
    names."""
    number = destination_number(archive)
    if number is None:
        return {}
    counts, gone = archive.catalog.replicas.folders.stranded(number), gone_from_source(archive)
    return {gone[folder].folder.name: count for folder, count in counts.items() if folder in gone}


def destination_number(archive: Archive) -> int | None:
    """Under which number the catalog knows the account's destination; None if it does not, or there is none."""
    return known_number(archive.settings, archive.catalog)


def replay_account(
    archive: Archive,
    recorder: Recorder,
    options: ReplayOptions,
    *,
    control: RunControl,
) -> ReplayResult:
    """The replay step over this archive.

    Raises:
        ConfigError: the archive began after the moment that is to be restored; or the user has to say first
            which mailbox the destination is.
        ArchiverError: the account could not be finished; what was done so far is recorded.
    """
    with _state(archive, options.moment, control) as then:
        pending = PastPending(then, archive.catalog) if then else archive.catalog.replicas.pending
        context = _context(archive, recorder, options, pending, control)
        if then is None:
            folders = chosen_folders(archive, unlisted=options.include_vanished)
        else:
            folders = chosen_folders(archive, catalog=then)
        connections = destination_settings(archive.settings).connections

        def identify(connection: DestinationConnection, listed: DestinationFolders) -> int:
            return meet_destination(
                archive, recorder, connection, listed, answer=options.answer, progress=control.progress
            )

        return replay_folders(context, folders, map_rules(archive.settings), connections, identify)


def _state(archive: Archive, moment: str | None, control: RunControl) -> AbstractContextManager[Catalog | None]:
    """The past catalog; None if the present one is meant."""
    return nullcontext() if moment is None else past_catalog(archive, moment, "as-of", control.check_stop)


def _context(
    archive: Archive,
    recorder: Recorder,
    options: ReplayOptions,
    pending: PendingMessages,
    control: RunControl,
) -> ReplayContext:
    settings = destination_settings(archive.settings)
    authenticator = authenticator_of(settings)
    return ReplayContext(
        connect=lambda: open_destination(settings, authenticator, archive.spool),
        store=archive.store,
        prefetch=archive.prefetch,
        replicas=archive.catalog.replicas,
        pending=pending,
        recorder=recorder,
        others=AccountsBeside(archive.settings, options.beside),
        rules=ReplayRulesOfAccount(
            repairs=archive.settings.replay.repair,
            vanished=archive.settings.replay.vanished,
            retry=options.retry,
            # What was there then may be gone from the source now; and nothing is taken away for that.
            include_vanished=options.include_vanished or options.moment is not None,
            include_removed=options.include_removed,
            confirm_deletions=options.confirm_deletions,
            of_now=options.moment is None,
        ),
        attempts=settings.attempts,
        control=archive.guarded(control),
        gone=gone_from_source(archive),
        read_timeout=settings.read_timeout,
    )


@dataclass(frozen=True, slots=True)
class _ConnectPolicy:
    """How a connection is made, and how long it insists."""

    connect: Callable[[], MailDestination]
    attempts: int
    control: RunControl
    patient: bool


def verify_at_destination(
    archive: Archive,
    *,
    deep: bool,
    control: RunControl,
    unlisted: bool = False,
    all_sent: bool = True,
    patient: bool = False,
) -> DestinationCheck:
    """Compare the archive with what the destination shows; `unlisted`: also where the source lost the folder;
    `all_sent`: what was not sent there is a difference, too; `patient`: a server that throttles is waited for."""
    number = destination_number(archive)
    if number is None:
        settings = destination_settings(archive.settings)
        raise ConfigError(
            str(archive.settings.file),
            [f"nothing was replayed to {settings.user} at {settings.host} yet"],
            hint="`archiver run` does it",
        )

    def compare(destination: MailDestination) -> DestinationCheck:
        verifier = DestinationVerifier(
            connection=destination,
            store=archive.store,
            catalog=archive.catalog,
            destination=number,
            control=control,
            deep=deep,
            all_sent=all_sent,
        )
        return verifier.run(chosen_folders(archive, unlisted=unlisted))

    with closing(destination_connection(archive, control, patient=patient)) as connection:
        return connection.with_retries(compare)


def destination_connection(archive: Archive, control: RunControl, *, patient: bool) -> DestinationConnection:
    """A connection to the account's destination that is opened when it is first used."""
    settings = destination_settings(archive.settings)
    authenticator = authenticator_of(settings)
    return DestinationConnection(
        _ConnectPolicy(
            lambda: open_destination(settings, authenticator, archive.spool),
            settings.attempts,
            control,
            patient,
        )
    )
