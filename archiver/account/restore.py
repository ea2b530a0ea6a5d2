"""Messages that somebody asks for go back to a mailbox: the account's source, its destination, or another's source.

A source is written to from here, and by `prune` (`archiver.account.upkeep.pruning`).
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.account.archive import Archive
from archiver.account.meeting import meet_destination
from archiver.account.others import AccountsBeside
from archiver.account.replay import map_rules
from archiver.account.servers import destination_of
from archiver.account.sharing import address_in
from archiver.catalog.places import places_of
from archiver.catalog.port import Catalog
from archiver.config.settings import Settings
from archiver.config.tables.server import DestinationSettings, ServerSettings
from archiver.control.run import RunControl
from archiver.destination.open import open_destination
from archiver.destination.pace import Pace
from archiver.errors import ConfigError, IntegrityError
from archiver.facts.destination import RestoreFact, RestorePlaceFact
from archiver.facts.known import KnownFolder
from archiver.facts.mailbox import DestinationFolders
from archiver.facts.outgoing import Refused
from archiver.facts.query import Found
from archiver.facts.replica import Address, MessageKey, ReplicaFolder
from archiver.facts.restored import Restored
from archiver.journal.recorder import Recorder
from archiver.login.choose import authenticator_of
from archiver.login.port import Authenticator
from archiver.mail.folder_names import decode_name
from archiver.replay.connection import DestinationConnection
from archiver.replay.context import ReplayContext, ReplayRulesOfAccount
from archiver.replay.identify import IdentityAnswer
from archiver.replay.restore.choice import Candidate, RestoreChoice, Wishes, choose, distinct
from archiver.replay.restore.pending import ChosenPending
from archiver.replay.restore.run import FolderPart, look_again, parts_below, parts_in_place, restore_messages

_FACT_MESSAGES = 1000
_AT_ONCE = 1000

Role = Literal["source", "destination", "other"]


class _SourceToFill(DestinationSettings, frozen=True, kw_only=True):
    side: ClassVar[str] = "source"


class RestoreMailbox(Struct, frozen=True):
    """The mailbox to restore to, as an account file has it: the account's own source or destination, or the source
    of an `other` account."""

    role: Role
    settings: DestinationSettings
    authenticator: Authenticator

    @property
    def address(self) -> Address:
        """By what the places there are known. An archive has one source, and a port does not make it another."""
        address = address_in(self.settings)
        return Address(address.host, address.user, None) if self.role == "source" else address

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.settings.user} at {self.settings.address}"


def source_to_fill(settings: Settings, role: Role) -> RestoreMailbox:
    """An account's source, as the mailbox to restore to.

    Raises:
        ConfigError: nothing can be written to it.
    """
    source = settings.source
    if not isinstance(source, ServerSettings) or source.protocol != "imap":
        what = "files" if not isinstance(source, ServerSettings) else "a POP3 maildrop"
        hint = "restore with --to destination or --to OTHER.toml, whose mailbox is on an IMAP server; or "
        hint += "`archiver export` writes messages into files"
        raise ConfigError(str(settings.file), [f"its source is {what}, to which nothing can be written"], hint=hint)
    values: dict[str, Any] = {name: getattr(source, name) for name in ServerSettings.__struct_fields__}
    return RestoreMailbox(role, _SourceToFill(**values), authenticator_of(source))


def destination_to_fill(settings: Settings) -> RestoreMailbox:
    """An account's destination, as the mailbox to restore to.

    Raises:
        ConfigError: it has none.
    """
    server = destination_of(settings)
    return RestoreMailbox("destination", server.settings, server.authenticator)


class RestoreRequest(Struct, frozen=True):
    """What is to be restored to which mailbox: below the folder `into`, or (None) to the folders that the messages
    were in. `answer` is what the user says about a destination that is not known."""

    mailbox: RestoreMailbox
    into: str | None
    wishes: Wishes
    candidates: Sequence[Candidate]
    answer: IdentityAnswer = "ask"


class RestoreResult(Struct, frozen=True):
    """What became of the messages that were `chosen`. `back` are those that are there now, `refused` others with
    the server's reasons, `errors` why folders could not be finished; `damage` is something that the archive has
    lost. With nothing of that, nothing was sent."""

    chosen: Sequence[RestoreChoice]
    back: Mapping[MessageKey, Restored] = field(default_factory=dict)
    refused: Mapping[MessageKey, Refused] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    damage: IntegrityError | None = None

    @property
    def wanted(self) -> Sequence[Candidate]:
        """The messages to send."""
        return [each.candidate for each in self.chosen if each.standing == "wanted"]


def candidates_of(archive: Archive, found: Iterable[Found], then: Catalog | None) -> list[Candidate]:
    """Messages that were found, as candidates; of a past moment those that were in their folder `then`, with their
    flags of that time."""
    folders = {each.directory: each for each in archive.catalog.account.folders().values()}
    every = [Candidate(each, folders[each.placement.directory], each.placement.flags) for each in found]
    if then is None:
        return every
    past = places_of(then.messages, [each.key for each in every])
    return [
        Candidate(each.found, each.folder, past[each.key].flags)
        for each in every
        if each.key in past and past[each.key].present
    ]


def look_at(archive: Archive, request: RestoreRequest) -> RestoreResult:
    """What would be restored, as far as the archive knows. No server is contacted."""
    restores = archive.catalog.replicas.restores
    places = restores.places(request.mailbox.address)
    made = {raw for each in places if each.into for raw in archive.catalog.replicas.folders.current(each.number)}
    candidates = distinct(request.candidates, made)
    numbers = [each.number for each in places]
    if request.mailbox.role == "destination" and request.into is None:
        numbers += [number for number in [archive.destination_number] if number is not None]
    chosen: list[RestoreChoice] = []
    for start in range(0, len(candidates), _AT_ONCE):
        part = candidates[start : start + _AT_ONCE]
        before = restores.outcomes(numbers, [each.key for each in part])
        chosen += choose(part, request.wishes, _there(archive, request.mailbox, part), before)
    return RestoreResult(chosen)


def _there(
    archive: Archive, mailbox: RestoreMailbox, candidates: Sequence[Candidate]
) -> Callable[[Candidate], Mapping[str, bool]]:
    """Which folders still have a message: of the source, or of the destination if it is the mailbox to fill."""
    restores = archive.catalog.replicas.restores
    digests = {each.digest for each in candidates}
    if mailbox.role == "destination":
        number = archive.destination_number
        held = {} if number is None else restores.at_destination(number, digests)
        return lambda each: {decode_name(raw): False for raw in held.get(each.digest, ())}
    # What was imported is in folders of the archive alone.
    folders = {
        each.number: each for each in archive.catalog.account.folders().values() if not each.folder.is_imported
    }
    shown = restores.at_source(digests)
    is_own = mailbox.role == "source"
    return lambda each: {
        folders[number].folder.name: is_own and number == each.folder.number
        for number in shown.get(each.digest, ())
        if number in folders
    }


def restore(archive: Archive, recorder: Recorder, request: RestoreRequest, control: RunControl) -> RestoreResult:
    """Send what `look_at` names to the mailbox, each message once, wherever it is interrupted.

    Raises:
        ConfigError: the user has to say first which mailbox it is, or the folders cannot be mapped.
        ArchiverError: the mailbox could not be finished; what was done so far is recorded.
    """
    if (stranger := archive.stranger) is not None:
        raise stranger
    first = look_at(archive, request)
    if not first.wanted:
        return first
    control = archive.guarded(control)
    catalog, server = archive.catalog, request.mailbox.settings
    context = _context(archive, recorder, request.mailbox, first, control)
    connection = DestinationConnection(context)
    try:
        listed = connection.with_retries(lambda destination: destination.list_folders())
        if folders := _uncertain(archive, request, first):
            look_again(context, connection, folders)
            first = look_at(archive, replace(request, wishes=replace(request.wishes, checked=True)))
            context.pending = _pending(archive, first)
        if not first.wanted:
            return first
        context.destination = _place(archive, recorder, request, connection, listed, control)
        _record(recorder, context.destination, first, control)
        errors = restore_messages(context, connection, listed, _parts(archive, request, first), server.connections)
    finally:
        connection.close()
    keys = [each.key for each in first.wanted]
    back = catalog.replicas.restores.outcomes([context.destination], keys)
    return RestoreResult(
        first.chosen,
        back={key: each for key, each in back.items() if not each.removed},
        refused={each.key: each for each in context.pending.refused(context.destination) if each.key not in back},
        errors=errors,
        damage=context.damage,
    )


def _uncertain(
    archive: Archive, request: RestoreRequest, result: RestoreResult
) -> Sequence[tuple[int, ReplicaFolder]]:
    """Folders in which an earlier attempt was sending something, or in which something was that is asked for once
    more, each with the number of its place."""
    replicas = archive.catalog.replicas
    known = [each.number for each in replicas.restores.places(request.mailbox.address)]
    folders = {folder.number: (place, folder) for place, folder in replicas.restores.unresolved(known)}
    before = {
        (each.before.place, each.before.raw)
        for each in result.chosen
        if each.before and each.standing == "wanted" and not each.before.removed
    }
    for place, raw in before:
        if (folder := replicas.folders.current(place).get(raw)) is not None:
            folders[folder.number] = (place, folder)
    return list(folders.values())


def _pending(archive: Archive, result: RestoreResult) -> ChosenPending:
    replicas = archive.catalog.replicas
    chosen = ((each.folder.number, each.outgoing) for each in result.wanted)
    return ChosenPending(chosen, replicas.restores, replicas.pending)


def _context(
    archive: Archive, recorder: Recorder, mailbox: RestoreMailbox, result: RestoreResult, control: RunControl
) -> ReplayContext:
    server = mailbox.settings
    return ReplayContext(
        connect=lambda: open_destination(server, mailbox.authenticator, archive.spool),
        leave=lambda connection: connection.close(),
        store=archive.store,
        prefetch=archive.storage.prefetch,
        replicas=archive.catalog.replicas,
        pending=_pending(archive, result),
        recorder=recorder,
        others=AccountsBeside(archive.settings, ()),
        rules=ReplayRulesOfAccount(
            repairs=archive.settings.replay.repair, vanished="keep", retry="all", of_now=False
        ),
        attempts=server.attempts,
        control=control,
        started=control.now(),
        pace=Pace(server.read_timeout),
    )


def _place(
    archive: Archive,
    recorder: Recorder,
    request: RestoreRequest,
    connection: DestinationConnection,
    listed: DestinationFolders,
    control: RunControl,
) -> int:
    """The number of the place to restore to, recorded if it is new. What goes back to its own folders at the
    account's destination is what a replay brings there."""
    if request.mailbox.role == "destination" and request.into is None:
        return meet_destination(
            archive, recorder, connection, listed, answer=request.answer, progress=control.progress
        )
    address = request.mailbox.address
    for each in archive.catalog.replicas.restores.places(address):
        if each.into == request.into:
            return each.number
    fact = recorder.number_destination(
        RestorePlaceFact(0, address.host, address.user, address.port, request.into, control.now())
    )
    recorder.write([fact])
    return fact.number


def _record(recorder: Recorder, place: int, result: RestoreResult, control: RunControl) -> None:
    """Record what was asked for, before anything is sent."""
    keys, by, now = [each.key for each in result.wanted], _who(), control.now()
    for start in range(0, len(keys), _FACT_MESSAGES):
        recorder.write([RestoreFact(place, tuple(keys[start : start + _FACT_MESSAGES]), by, now)])


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name
        return socket.gethostname()


def _parts(archive: Archive, request: RestoreRequest, result: RestoreResult) -> Sequence[FolderPart]:
    """Where the folders of these messages go."""
    chosen: dict[int, KnownFolder] = {each.folder.number: each.folder for each in result.wanted}
    folders = sorted(chosen.values(), key=lambda each: each.number)
    if request.into is not None:
        return parts_below(folders, request.into)
    if request.mailbox.role == "source":
        return parts_in_place(folders)
    rules = map_rules(archive.settings) if request.mailbox.role == "destination" else None
    return [FolderPart(folders, rules) if rules else FolderPart(folders)]
