"""What a report says about the source and the archive: the folders, and what is missing or odd there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from archiver.account.archive import Archive
from archiver.archive.plan.folders import Plan, plan_run
from archiver.config.settings import Settings
from archiver.config.tables.server import FilesSettings, admin_of
from archiver.errors import ArchiverError, BackendError, Interrupted
from archiver.facts.known import KnownFolder, Quarantined, Tally
from archiver.mail.counts import counted
from archiver.mail.folder_names import folder_path, printable
from archiver.mail.model import Listed
from archiver.report.balance import folder_failures, with_unreached
from archiver.report.document import Failure, Notice
from archiver.report.failures import quarantine_failures, unreached_failures
from archiver.report.notices import (
    admin_notices,
    doubtful_notices,
    pop3_notices,
    renewed_notices,
    unnumbered_notices,
    window_notices,
)
from pipelines.results import listing_from_json, refused_from_json, renewed_from_json


class SourceSide(Struct, frozen=True):
    """What a run found at the source, and what the archive has of it. `asked` are the names of the folders that the
    source listed and the account's rules choose, none if the run did not contact it. `renewed` is how many folders
    have a new UIDVALIDITY, if all of them have."""

    plan: Plan
    asked: frozenset[str]
    tallies: Sequence[Tally]
    quarantined: Sequence[Quarantined]
    failures: Sequence[Failure]
    renewed: int


def source_side(archive: Archive, run_id: str, error: ArchiverError | None) -> SourceSide:
    """The source's side of a run, from the present state of the ledger."""
    listing = archive.catalog.ledger.step_result(run_id, "enumerate")
    listed = listing_from_json(listing) if listing else []
    plan = _plan(archive, listed)
    visited = [each for each, _ in plan.visit]
    asked = frozenset(each.folder.name for each in [*visited, *plan.unchanged])
    held = archive.chosen_folders()
    chosen = {each.folder.name for each in held if each.folder.is_imported or not listed} | asked
    quarantined = [each for each in archive.catalog.account.quarantined() if each.folder in chosen]
    tallies = [each for each in archive.catalog.account.tallies(run_id) if each.name in chosen]
    unreached = _unreached(archive, run_id, plan, listed, tallies, error)
    failures = [
        *folder_failures(tallies),
        *quarantine_failures(quarantined),
        *_emptied(archive, held, tallies),
        *unreached_failures(unreached),
    ]
    tallies = with_unreached(tallies, visited, unreached)
    tallies.sort(key=lambda each: (each.name != "INBOX", each.name))
    renewed = renewed_from_json(listing) if listing else 0
    return SourceSide(plan, asked, tallies, quarantined, failures, renewed)


def _plan(archive: Archive, listed: Sequence[Listed]) -> Plan:
    """What the run had to do, from its listing of the source."""
    folders = archive.settings.folders
    return plan_run(
        listed,
        archive.catalog.account.folders(),
        archive.catalog.account.epochs(),
        include=folders.include,
        exclude=folders.exclude,
        search=None,
        waiting=(),
    )


def _unreached(
    archive: Archive,
    run_id: str,
    plan: Plan,
    listed: Sequence[Listed],
    tallies: Sequence[Tally],
    error: ArchiverError | None,
) -> dict[str, str]:
    """The folders that were not archived, and why: the server refused them, or the run ended before."""
    refused = refused_from_json(archive.catalog.ledger.step_result(run_id, "archive") or "{}")
    unreached = {each.folder.name: refused[each.folder.raw] for each in listed if each.folder.raw in refused}
    if error is not None:
        visited = {each.name for each in tallies if each.visited} | unreached.keys()
        unfinished = [each.folder.name for each, _ in plan.visit if each.folder.name not in visited]
        unreached |= {name: _not_reached(error, name) for name in unfinished}
    return unreached


def _not_reached(error: ArchiverError, folder: str) -> str:
    if isinstance(error, Interrupted):
        return "the run was stopped before this folder"
    within = error.reason_within(printable(folder)) if isinstance(error, BackendError) else error.message
    return f"not reached: {within}"


def _emptied(archive: Archive, held: Sequence[KnownFolder], tallies: Sequence[Tally]) -> list[Failure]:
    """The folders of which the archive should have messages, and has no file at all."""
    stored = {each.name: each.stored for each in tallies if each.stored}
    directories: dict[str, list[str]] = {}
    for each in held:  # several folders may be spelled alike
        directories.setdefault(each.folder.name, []).append(each.directory)
    lost = [
        name for name in stored if name in directories and all(map(archive.medium.is_emptied, directories[name]))
    ]
    why = "no file is where the archive has {} of this folder"
    advice = "restore the files from a backup, or `archiver repair` fetches them again"
    return [
        Failure(printable(name), None, "archive", why.format(counted(stored[name], "message")), None, advice)
        for name in lost
    ]


def source_notices(archive: Archive, side: SourceSide, tallies: Sequence[Tally]) -> list[Notice]:
    """What people should know about the source. `tallies` are of all folders of the report."""
    settings, names = archive.settings, [each.name for each in tallies]
    shown = [*names, *(each.name for each, _ in side.plan.skip)]
    return [
        *renewed_notices(side.renewed),
        *unnumbered_notices([each.name for each in tallies if each.uidvalidity == 0], "source"),
        *window_notices(tallies),
        *admin_notices(admin_of(settings.source), shown),
        *_doubtful(settings, names),
        *(_pop3_notices(archive, tallies) if settings.source.protocol == "pop3" else ()),
    ]


def _doubtful(settings: Settings, names: Collection[str]) -> list[Notice]:
    """Messages in files that could be read in another way."""
    if not isinstance(settings.source, FilesSettings):
        return []
    from archiver.account.servers import doubts_of

    doubts = doubts_of(settings)
    by_name = {"/".join(folder_path(raw, "/")): found for raw, found in doubts.items()}
    return doubtful_notices({name: found for name, found in by_name.items() if name in names})


def _pop3_notices(archive: Archive, tallies: Sequence[Tally]) -> Iterator[Notice]:
    folders = {each.folder.name: each.number for each in archive.catalog.account.folders().values()}
    for each in tallies:
        if each.name in folders:
            by_digest = archive.catalog.account.numbering(folders[each.name]).by_digest
            yield from pop3_notices(printable(each.name), each.fetched, by_digest)
