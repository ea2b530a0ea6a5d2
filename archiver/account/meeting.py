"""Source and destination met, wired: whether each is the mailbox that it was, and neither is the other."""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from contextlib import closing
from functools import partial

from msgspec import Struct

from archiver.account.archive import Archive
from archiver.account.medium import catalog_place
from archiver.account.others import neighbours_of
from archiver.account.servers import destination_of, source_of
from archiver.account.sharing import address_in, mailbox_of
from archiver.catalog.port import Catalog
from archiver.config.secrecy import seal
from archiver.config.settings import Settings
from archiver.config.tables.server import DestinationSettings, FilesSettings
from archiver.control.run import RunControl, utc_now
from archiver.destination.port import MailDestination
from archiver.errors import AuthenticationFailed, BackendError, ConfigError
from archiver.events import Noted, Progress
from archiver.facts.destination import DestinationFact, DistinctFact, ReachedFact
from archiver.facts.mailbox import DestinationFolders
from archiver.facts.replica import Address
from archiver.journal.numbering import RecordedNumbers
from archiver.journal.recorder import Recorder
from archiver.mail.counts import counted
from archiver.mail.model import Listed
from archiver.replay.connection import DestinationConnection
from archiver.replay.contents import ConfiguredDestination, SharingFiles, require_unused
from archiver.replay.identify import (
    DestinationIdentifier,
    Identification,
    IdentityAnswer,
    alike_if_new,
    like_destination,
    one_mailbox,
)
from archiver.source.numbering import UnrecordedNumbers
from archiver.source.port import MailSource
from archiver.source.same_mailbox import Resemblance, renewed

_REFUSED = "refused"
"""The step of a run under which the ledger has the destination's refusal of a login."""


class SourceCheck(Struct, frozen=True):
    """What a source was found to be: how many folders it has if all are `renewed`, and the number of a destination
    that looks like it, although the user said that it is not."""

    renewed: int = 0
    distinct: int | None = None


def check_source(
    archive: Archive,
    source: MailSource,
    listed: Sequence[Listed],
    *,
    answer: IdentityAnswer,
    replays: bool,
    run: str,
    progress: Progress,
) -> SourceCheck:
    """Look whether the source, which listed these folders, is the destination's mailbox. Nothing was changed
    before, at neither side nor in the archive. A destination that is not known yet is logged in to, if the run
    `replays`; a refusal is recorded for `require_login`.

    Raises:
        ConfigError: they are one, and the user did not say otherwise.
    """
    count = renewed(listed, archive.catalog.account.folders(), archive.catalog.account.epochs())
    settings = archive.settings.destination
    if settings is None or isinstance(archive.settings.source, FilesSettings):
        return SourceCheck(count)
    destinations = archive.catalog.replicas.destinations
    known, found = destinations.at(address_in(settings)), Resemblance()
    if known is None and replays:
        found = _met_both(archive, source, listed, run, progress)
    elif known is not None and not destinations.is_distinct(known.number):
        found = like_destination(source, listed, archive.catalog, known.number)
    if found.proven and answer != "new":
        raise _are_one(archive.settings, settings, found)
    return SourceCheck(count, known.number if known and found.proven else None)


def _met_both(
    archive: Archive, source: MailSource, listed: Sequence[Listed], run: str, progress: Progress
) -> Resemblance:
    server = destination_of(archive.settings)
    try:
        there = server.connect_once()
        try:
            found = alike_if_new(source, listed, there, there.list_folders(), archive.catalog)
        except BaseException:
            there.close()
            raise
        server.leave_open(there)
        return found
    except BackendError as error:
        # The archive can be brought up to date all the same, and nothing is sent before it is looked at again.
        progress(Noted(str(error)))
        record_refusal(archive, run, error)
        return Resemblance()


def record_refusal(archive: Archive, run: str, error: BackendError) -> None:
    """If the destination refused the login, record that for `require_login`."""
    if isinstance(error, AuthenticationFailed) and error.server_reply is not None:
        refused = {
            "secret": seal(destination_of(archive.settings).authenticator.secret().reveal()),
            "message": error.message,
            "server_reply": error.server_reply,
            "hint": error.hint,
        }
        archive.catalog.ledger.begin(run, utc_now())
        archive.catalog.ledger.complete_step(run, _REFUSED, json.dumps(refused), utc_now())


def was_refused(archive: Archive, run: str) -> bool:
    """Whether the destination refused the login earlier in this run."""
    return bool(archive.catalog.ledger.step_result(run, _REFUSED))


def require_login(archive: Archive, run: str) -> None:
    """Repeat the destination's refusal earlier in this run, without asking again, if the secret is still the same:
    servers lock out users after a few wrong passwords. A resumed run asks again.

    Raises:
        AuthenticationFailed: the destination refused this very secret.
        ConfigError: there is no secret where the account file says.
    """
    ledger = archive.catalog.ledger
    if not (recorded := ledger.step_result(run, _REFUSED)):
        return
    ledger.complete_step(run, _REFUSED, "", utc_now())
    refused = json.loads(recorded)
    secret = destination_of(archive.settings).authenticator.secret().reveal()
    if hmac.compare_digest(refused["secret"], seal(secret)):
        raise AuthenticationFailed(refused["message"], server_reply=refused["server_reply"], hint=refused["hint"])


def _are_one(settings: Settings, there: DestinationSettings, proof: Resemblance) -> ConfigError:
    problem = (
        f"the source, {settings.source.mailbox_at_port}, is the mailbox of the destination, {address_in(there)}"
    )
    return one_mailbox(str(settings.file), problem, proof)


def look_at_both(
    settings: Settings,
    catalog: Catalog | None,
    listed: Sequence[Listed],
    destination: MailDestination,
    there: DestinationFolders,
    answer: IdentityAnswer,
    control: RunControl,
) -> None:
    """What `check_source` would find out about a destination that is not known yet, where both sides are logged in
    to anyway; the source, once more, only if they look like one.

    Raises:
        ConfigError: they are one, and the user did not say otherwise.
    """
    at = settings.destination
    if (
        at is None
        or isinstance(settings.source, FilesSettings)
        or answer == "new"
        or (catalog is not None and catalog.replicas.destinations.at(address_in(at)) is not None)
    ):
        return
    numbering = UnrecordedNumbers() if catalog is None else RecordedNumbers(catalog)
    with closing(source_of(settings).connect(numbering=numbering, control=control, attempts=1)) as source:
        found = alike_if_new(source, listed, destination, there, catalog)
    if found.proven:
        raise _are_one(settings, at, found)


def look_at_meeting(
    settings: Settings,
    catalog: Catalog | None,
    destination: MailDestination,
    listed: DestinationFolders,
    answer: IdentityAnswer,
) -> Identification:
    """How a run would meet the destination; nothing is recorded. `catalog` is None where there is no archive yet.

    Raises:
        ConfigError: the user has to say first which mailbox it is.
    """
    if catalog is not None:
        return DestinationIdentifier(_place_of(settings), catalog, answer).identify(destination, listed)
    if answer != "new":
        require_unused(_place_of(settings), destination, listed, None)
    return Identification(None)


def words_of(identified: Identification, held: int) -> str:
    """What a destination is to the archive, for people."""
    if identified.number is None:
        return "new: nothing was sent there yet"
    if identified.before is not None:
        return f"the same as {identified.before} before, {counted(held, 'copy', 'copies')} known"
    return f"known, {counted(held, 'copy', 'copies')}"


def meet_destination(
    archive: Archive,
    recorder: Recorder,
    connection: DestinationConnection,
    listed: DestinationFolders,
    *,
    answer: IdentityAnswer,
    progress: Progress,
) -> int:
    """The number of the destination that listed these folders; what was found out is recorded.

    Raises:
        ConfigError: the user has to say first which mailbox it is.
        BackendError: it could not be looked at.
    """
    identifier = DestinationIdentifier(_place_of(archive.settings), archive.catalog, answer)
    address = identifier.place.address
    identified = connection.with_retries(lambda destination: identifier.identify(destination, listed))
    if identified.before is not None and identified.number is not None:
        held = copies_at(archive.catalog, identified.number)
        known = f"the same mailbox as {identified.before} before, {counted(held, 'copy', 'copies')} known"
        progress(Noted(f"{address}: {known}"))
    return _record(recorder, address, identified)


def _record(recorder: Recorder, address: Address, identified: Identification) -> int:
    """Record how a destination was met; returns its number."""
    facts: list[DestinationFact | ReachedFact | DistinctFact] = []
    at, number = utc_now(), identified.number
    port = address.port or 0
    if number is None:
        fact = recorder.number_destination(DestinationFact(0, address.host, address.user, at, port))
        number = fact.number
        facts.append(fact)
    elif not identified.address_known:
        facts.append(ReachedFact(number, address.host, address.user, port, at))
    if identified.distinct:
        facts.append(DistinctFact(number, at))
    recorder.write(facts)
    return number


def copies_at(catalog: Catalog | None, destination: int | None) -> int:
    """How many messages of the archive a destination holds, as far as is recorded."""
    if catalog is None or destination is None:
        return 0
    return sum(each.replayed + each.already_there for each in catalog.replicas.folders.tallies(destination, None))


def removed_at(catalog: Catalog | None, destination: int | None) -> int:
    """How many messages of the archive the destination's user removed; they are not sent again."""
    if catalog is None or destination is None:
        return 0
    return sum(each.removed for each in catalog.replicas.folders.tallies(destination, None))


def _others(settings: Settings) -> SharingFiles:
    """Which other account files in the same folder name the same mailbox."""
    there = settings.destination
    assert there is not None
    beside = [
        each
        for each in neighbours_of([settings.file]).settings
        if each.destination is not None and mailbox_of(each.destination) == mailbox_of(there)
    ]
    began = [each for each in beside if catalog_place(each).exists()]
    return SharingFiles(*([str(each.file) for each in some] for some in (beside, began)))


def _place_of(settings: Settings) -> ConfiguredDestination:
    there = settings.destination
    assert there is not None
    return ConfiguredDestination(
        str(settings.file), address_in(there), there.prefix, there.shared, partial(_others, settings)
    )
