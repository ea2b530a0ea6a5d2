"""An account's destination, wired: what the steps of a replay need, from its settings and its archive."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from archiver.account.archive import Archive
from archiver.account.meeting import meet_destination, record_refusal, was_refused
from archiver.account.others import AccountsBeside
from archiver.account.servers import destination_of
from archiver.catalog.port import Catalog
from archiver.catalog.replicas import PendingMessages
from archiver.config.settings import Settings
from archiver.control.run import RunControl
from archiver.destination.folder_map.choices import MapRules
from archiver.destination.folder_map.replayed import require_all_mail
from archiver.destination.pace import Pace
from archiver.destination.port import MailDestination
from archiver.destination.rights import RightsRules
from archiver.errors import BackendError, ConfigError
from archiver.events import Event, Noted
from archiver.facts.mailbox import DestinationFolders
from archiver.fleet.fingerprint import digest_of_destination
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import printable
from archiver.mail.model import Listed
from archiver.replay.ahead import Begun, ReplayAhead
from archiver.replay.compare.result import DestinationCheck
from archiver.replay.compare.unchanged import is_unchanged
from archiver.replay.compare.verifier import DestinationVerifier
from archiver.replay.connection import DestinationConnection
from archiver.replay.context import RefusalRetry, ReplayContext, ReplayRulesOfAccount
from archiver.replay.identify import IdentityAnswer
from archiver.replay.restore.as_of import PastPending
from archiver.replay.run import ListedDestination, ReplayResult, is_quiet, replay_folders
from archiver.source.kept import KeptConnection, is_keeping

#: Fewer messages are not worth it: the next step is there in a moment. 2,000 take as long as without it.
_WORTH_A_BEGINNING = 5_000

#: What was begun while the account was being archived.
_begun = KeptConnection[Begun]()


class ReplayOptions(Struct, frozen=True):
    """What the command line asks of a replay. `moment` (UTC, ISO 8601): the folders as they stood then. `beside`:
    files of other accounts that the command works on. `answer` is what the user says about a destination that is
    not known. `after_cutover`: what is there may be changed although people live there."""

    retry: RefusalRetry = "due"
    include_vanished: bool = False
    include_removed: bool = False
    confirm_deletions: bool = False
    moment: str | None = None
    beside: tuple[Path, ...] = ()
    answer: IdentityAnswer = "ask"
    after_cutover: bool = False


def leaves_as_it_is(archive: Archive) -> bool:
    """Whether nothing is changed at the destination but additions: people said that it is theirs now, or they may
    have said so, or may have pruned the source, after the backup that this archive was restored from."""
    marks = archive.catalog.keeping.marks()
    return (bool(marks) and marks[-1].state == "cutover") or archive.is_older


def map_rules(settings: Settings) -> MapRules:
    """The account's rules for folders at the destination."""
    prefix, into_all = destination_of(settings).settings.prefix, settings.replay.labels != "folders"
    return MapRules(settings.folders.rename, prefix, into_all)


def replay_account(
    archive: Archive,
    recorder: Recorder,
    options: ReplayOptions,
    *,
    control: RunControl,
    seen: ListedDestination | None = None,
) -> ReplayResult:
    """The replay step over this archive. `seen` is what a look at the destination found a moment ago.

    Raises:
        ConfigError: the archive began after the moment that is to be restored; or the user has to say first
            which mailbox the destination is.
        ArchiverError: the account could not be finished; what was done so far is recorded.
    """
    labels = archive.settings.replay.labels
    if labels == "labels" and options.moment is not None:
        problem = 'labels of a past moment are not replayed: labels = "labels" and --as-of do not go together'
        raise ConfigError("[replay]", [problem], hint='write "folders" or "all-mail" for it')
    require_all_mail((each.folder for each in archive.chosen_folders()), labels)
    begun = None if options.moment is not None else _begun.take(archive.settings.file)
    if begun is not None:
        control = _without(control, begun.notes)
    with _turn(archive, options, control), _state(archive, options.moment, control) as then:
        pending = PastPending(then, archive.catalog) if then else archive.catalog.replicas.pending
        context = _context(archive, recorder, options, pending, control)
        if begun is not None:
            context.begun, context.pace, context.damage = begun.jobs, begun.pace, begun.damage
        if then is None:
            folders = archive.folders_to_send(unlisted=options.include_vanished)
        else:
            folders = archive.replayed_folders(catalog=then)
        connections = destination_of(archive.settings).settings.connections

        def identify(connection: DestinationConnection, listed: DestinationFolders) -> int:
            return meet_destination(
                archive, recorder, connection, listed, answer=options.answer, progress=control.progress
            )

        return replay_folders(context, folders, map_rules(archive.settings), connections, identify, seen)


def _turn(archive: Archive, options: ReplayOptions, control: RunControl) -> AbstractContextManager[None]:
    """Accounts that fill one mailbox fill it one after the other."""
    if not destination_of(archive.settings).settings.shared:
        return nullcontext()
    return AccountsBeside(archive.settings, options.beside).turn(control)


def _without(control: RunControl, notes: Collection[str]) -> RunControl:
    """The same control, which shows nobody again what was shown."""

    def progress(event: Event) -> None:
        if not (isinstance(event, Noted) and event.text in notes):
            control.progress(event)

    return RunControl(control.check_stop, control.pause, progress, control.now)


def replay_ahead(
    archive: Archive,
    recorder: Recorder,
    run: str,
    at_source: Sequence[Listed],
    expected: int,
    control: RunControl,
) -> AbstractContextManager[ReplayAhead | None]:
    """Begin the replay step early, for an archive step over the folders `at_source` that expects so many messages.
    None if that would gain nothing, or if anything has to be followed at a destination first: if something was
    replayed anywhere before. It uses its own connection, which the replay step takes over, so both steps have to be
    in this process."""
    known = archive.catalog.replicas.destinations.with_history()
    if known or expected < _WORTH_A_BEGINNING or archive.medium.is_remote or not is_keeping():
        return nullcontext()
    if archive.settings.replay.labels != "folders" or was_refused(archive, run):
        return nullcontext()
    if destination_of(archive.settings).settings.shared:  # it is another account's turn, perhaps
        return nullcontext()
    context = _context(archive, recorder, ReplayOptions(), archive.catalog.replicas.pending, control)
    context.attempts = 1
    context.rules = replace(context.rules, vanished="keep")
    folders = archive.replayed_folders()
    here = {each.folder.raw for each in at_source if each.status is None or each.status.messages}

    def identify(connection: DestinationConnection, listed: DestinationFolders) -> int:
        return meet_destination(
            archive, recorder, connection, listed, answer="ask", progress=context.control.progress
        )

    return ReplayAhead(
        context,
        folders,
        {each.number for each in folders if each.folder.raw in here},
        map_rules(archive.settings),
        at_source,
        identify,
        lambda refusal: record_refusal(archive, run, refusal),
        lambda begun: _begun.keep(archive.settings.file, begun),
    )


def look_for_changes(
    archive: Archive,
    recorder: Recorder,
    run: str,
    control: RunControl,
    leave: Callable[[MailDestination], None],
) -> ListedDestination | None:
    """List the folders of a destination; None if a replay would find something to do, or if it cannot be listed.
    Nothing is recorded, but a refused login for `require_login`. `leave` closes the connection, if it is None or
    when the replay is done."""
    number = archive.destination_number
    keeps = archive.settings.replay.vanished == "keep" or leaves_as_it_is(archive)
    if number is None or not keeps or not _shows_changes(archive, number):
        return None
    if was_refused(archive, run):
        return None  # a moment ago, and servers lock out users after a few wrong passwords
    context = _context(archive, recorder, ReplayOptions(), archive.catalog.replicas.pending, control)
    context.destination = number
    try:
        connection = context.connect()
    except BackendError as error:
        record_refusal(archive, run, error)
        return None
    listed = None
    try:
        listed = connection.list_folders()
        folders = archive.folders_to_send()
        lacks_labels = context.rules.labels and connection.labels is None
        if folders and not lacks_labels and is_quiet(context, listed, folders):
            return ListedDestination(connection, listed, leave)
    except BackendError:
        return None  # the run meets it, too, and reports it
    finally:
        if listed is None:
            connection.hang_up()
    leave(connection)
    return None


def _is_as_compared(archive: Archive, recorder: Recorder, listed: DestinationFolders, control: RunControl) -> bool:
    """Whether a destination that listed this has everything, as the archive is now, and shows no change since its
    copies were compared."""
    number, rules = archive.destination_number, archive.settings.replay
    if number is None or rules.vanished != "keep" or rules.labels != "folders":
        return False
    unwatched = RunControl(control.check_stop, control.pause, now=control.now)
    context = _context(archive, recorder, ReplayOptions(), archive.catalog.replicas.pending, unwatched)
    context.destination = number
    chosen = archive.folders_to_send()
    if not chosen or not is_quiet(context, listed, chosen):
        return False
    folders = archive.catalog.replicas.folders
    mapped, current, held = folders.mapped(number), folders.current(number), folders.holding(number)
    statuses = {each.folder.raw: each.status for each in listed.listed}
    raws = {mapped[each.number].raw for each in chosen}
    return all(not held[raw][1] or is_unchanged(current[raw], statuses.get(raw)) for raw in raws)


def _shows_changes(archive: Archive, destination: int) -> bool:
    """Whether every folder with copies there had a status that shows changes when they were last compared."""
    folders = archive.catalog.replicas.folders
    held = folders.holding(destination)
    return all(each.compared for raw, each in folders.current(destination).items() if held[raw][1])


def _state(archive: Archive, moment: str | None, control: RunControl) -> AbstractContextManager[Catalog | None]:
    """The past catalog; None if the present one is meant."""
    return nullcontext() if moment is None else archive.as_it_was(moment, "as-of", control.check_stop)


def _context(
    archive: Archive,
    recorder: Recorder,
    options: ReplayOptions,
    pending: PendingMessages,
    control: RunControl,
) -> ReplayContext:
    server = destination_of(archive.settings)
    only_adds = not options.after_cutover and options.moment is None and leaves_as_it_is(archive)
    return ReplayContext(
        connect=lambda: server.connect_or_take(archive.spool, control),
        leave=server.leave_open,
        store=archive.store,
        prefetch=archive.storage.prefetch,
        replicas=archive.catalog.replicas,
        pending=pending,
        recorder=recorder,
        others=AccountsBeside(archive.settings, options.beside),
        rules=ReplayRulesOfAccount(
            repairs=archive.settings.replay.repair,
            vanished="keep" if only_adds else archive.settings.replay.vanished,
            retry=options.retry,
            # What was there then may be gone from the source now; and nothing is taken away for that.
            include_vanished=options.include_vanished or options.moment is not None,
            include_removed=options.include_removed,
            confirm_deletions=options.confirm_deletions,
            of_now=options.moment is None,
            only_adds=only_adds,
            rights=_rights_rules(archive.settings),
            labels=archive.settings.replay.labels == "labels",
        ),
        attempts=server.settings.attempts,
        control=archive.guarded(control),
        started=control.now(),
        pace=Pace(server.settings.read_timeout),
        limits=server.share.limits,
        gone=archive.gone_folders(),
    )


def _rights_rules(settings: Settings) -> RightsRules | None:
    """How access rights go to the destination; None: they do not."""
    if not settings.replay.acls:
        return None
    return RightsRules(settings.replay.acl_users, settings.source.user, destination_of(settings).settings.user)


def verify_at_destination(
    archive: Archive,
    *,
    deep: bool,
    control: RunControl,
    unlisted: bool = False,
    all_sent: bool = True,
    patient: bool = False,
    recorder: Recorder | None = None,
    unchanged: Collection[int] = (),
    seen: DestinationFolders | None = None,
) -> DestinationCheck:
    """Compare the archive with what the destination shows; `unlisted`: also where the source lost the folder;
    `all_sent`: what was not sent there is a difference, too; `patient`: a server that throttles is waited for;
    `recorder` and `unchanged`: as in `DestinationVerifier`; `seen` is what a look at the destination listed that
    found nothing to do."""
    server, number = destination_of(archive.settings), archive.destination_number
    if number is None:
        nothing = f"nothing was replayed to {server.settings.user} at {server.settings.host} yet"
        raise ConfigError(str(archive.settings.file), [nothing], hint="`archiver run` does it")

    connection = server.connect(archive.spool, control, patient=patient)
    follows = not leaves_as_it_is(archive)
    with closing(connection):
        verifier = DestinationVerifier(
            connection=connection,
            store=archive.store,
            catalog=archive.catalog,
            destination=number,
            control=control,
            deep=deep,
            all_sent=all_sent,
            recorder=recorder,
            unchanged=unchanged,
            compares_rights=follows and archive.settings.replay.acls,
            follows=follows,
            labels=archive.settings.replay.labels == "labels",
        )
        result = verifier.run(archive.replayed_folders(unlisted=unlisted))
        for tally in archive.left_out() if all_sent else ():
            result.add_missing(printable(tally.folder), tally.pending)
        for folder, count in archive.unsent_pruned() if all_sent else ():
            result.add_missing(printable(folder.folder.name), count)
        connection.leave(server.leave_open)
        listed = verifier.listed or seen
        if recorder is not None and listed is not None and _is_as_compared(archive, recorder, listed, control):
            result.shown = digest_of_destination(listed)
        return result
