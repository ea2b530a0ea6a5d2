"""The archive step: from a list of folders to an archive that holds them, over several connections."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from archiver.archive.access import record_access
from archiver.archive.context import Context
from archiver.archive.plan.amounts import expected_rows
from archiver.archive.plan.folders import Plan, is_due, plan_run
from archiver.archive.queue import Member, WorkQueue
from archiver.archive.scanned import QuarantineRetry
from archiver.archive.unrecorded import unrecorded_fact
from archiver.archive.worker import FetchWorker
from archiver.catalog.port import Catalog
from archiver.errors import BackendError
from archiver.events import Noted
from archiver.facts.archive import FolderFact, StoredFact
from archiver.facts.known import KnownFolder
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import DirectoryNames, directory_of
from archiver.mail.model import Folder, Listed, Placement


class Rules(Struct, frozen=True):
    """Which folders an account archives, and over how many connections. `include`, `exclude` and `whole` are globs;
    folders that match `whole` count as complete, whatever number of messages they show."""

    include: Sequence[str]
    exclude: Sequence[str]
    connections: int
    whole: Sequence[str] = ()


def plan_archive(
    catalog: Catalog,
    listed: Sequence[Listed],
    rules: Rules,
    *,
    search: str | None,
    retry: QuarantineRetry,
    by_age: bool = False,
) -> Plan:
    """What `archive_folders` would do; `by_age`: what it would find to do, if `search` is about dates alone."""
    due = {each.epoch for each in catalog.account.quarantined() if retry == "all" or is_due(each)}
    return plan_run(
        listed,
        catalog.account.folders(),
        catalog.account.epochs(),
        include=rules.include,
        exclude=rules.exclude,
        whole=rules.whole,
        search=search,
        waiting=due,
        by_age=by_age,
    )


def archive_folders(context: Context, listed: Sequence[Listed], rules: Rules) -> None:
    """Archive what is new in the listed folders. `context` has the folders that `record_folders` returned.

    Raises:
        ArchiverError: the account could not be finished; what was done so far is recorded.
    """
    plan = plan_archive(context.catalog, listed, rules, search=context.search, retry=context.retry)
    chosen = [each.folder for each in (*(each for each, _ in plan.visit), *plan.unchanged)]
    context = replace(context, identify=len(chosen) > 1)
    if context.metadata is not None:
        subscribed = [context.folders[each.raw].directory for each in chosen if each.subscribed]
        context.metadata.write_subscriptions([*subscribed, *_subscribed_besides(context, listed)])

    def work_off(member: Member, extra: bool) -> None:
        try:
            source = context.connect(extra, member.leave)
        except BackendError as error:
            if not member.leave():
                raise
            # Servers limit the connections of a user; the first one does all the work if necessary.
            context.control.progress(Noted(f"{error.reason}: going on with one connection less"))
            return
        worker = FetchWorker(context, member, source)
        try:
            if not extra:
                record_access(context, source, chosen)
            worker.work_off()
        finally:
            worker.close()

    def expected(listed: Listed) -> int:
        return expected_rows(listed, context.folders, context.epochs)

    queue = WorkQueue(rules.connections, context.control.progress, work_off, expected)
    # Who goes on with complete folders should have some soon, and all the time.
    queue.run((each for each, _ in plan.visit), smallest_first=context.follower is not None)
    record_left_over(context)


def _subscribed_besides(context: Context, listed: Sequence[Listed]) -> list[str]:
    """The directories of subscribed folders that hold mail and are not among the listed ones: what was imported,
    or, where that is listed, the source's."""
    account, here = context.catalog.account, {each.folder.raw for each in listed}
    epochs = account.epochs()
    return [
        each.directory
        for raw, each in account.folders().items()
        if raw not in here and each.listed and each.folder.subscribed and each.number in epochs
    ]


def record_left_over(context: Context) -> None:
    """Record what a crashed run left unrecorded in folders that this run did not open, as present: nothing says
    that it vanished."""
    numbers = {folder.directory: folder.number for folder in context.catalog.account.folders().values()}
    epochs = context.catalog.account.epochs()
    facts: list[StoredFact] = []
    moves: list[tuple[Placement, Placement]] = []
    for placement in context.unrecorded.left():
        epoch = epochs.get(numbers.get(placement.directory, 0))
        if epoch is None or placement.uid not in context.unrecorded.of(placement.directory, epoch):
            continue
        if any(context.catalog.messages.placements(epoch.number, uids=[placement.uid])):
            continue
        facts.append(unrecorded_fact(context.store, epoch, placement, None, context.control.now))
        moves.append((placement, replace(placement, generation=epoch.generation, present=True)))
    context.store.move(moves)
    context.recorder.write(facts)


def record_folders(
    listed: Sequence[Listed],
    catalog: Catalog,
    recorder: Recorder,
    at: str,
    names: DirectoryNames,
    *,
    imports: bool = False,
) -> dict[bytes, KnownFolder]:
    """Record folders that are new, whose attributes changed, and that are no longer listed. A folder's directory is
    assigned once, in the order of raw names and so that it fits among `names`, and never changes. A source does not
    list what was imported; what an import lists says nothing of other folders."""
    known = dict(catalog.account.folders())
    taken = {each.directory for each in known.values()}
    facts: list[FolderFact] = []
    for folder in sorted((each.folder for each in listed), key=lambda folder: folder.raw):
        before = known.get(folder.raw)
        if before is not None and before.listed and before.folder == replace(folder, spelled=None):
            continue
        directory = before.directory if before else directory_of(folder.path, folder.raw, taken, names)
        taken.add(directory)
        fact = _folder_fact(before.number if before else 0, folder, directory, listed=True, at=at)
        if before is None:
            fact = recorder.number_folder(fact)
        known[folder.raw] = KnownFolder(fact.number, folder, directory, True)
        facts.append(fact)
    here = {each.folder.raw for each in listed}
    for raw, before in known.items():
        if before.listed and raw not in here and not (imports or before.folder.is_imported):
            facts.append(_folder_fact(before.number, before.folder, before.directory, listed=False, at=at))
    recorder.write(facts)
    return {raw: folder for raw, folder in known.items() if raw in here}


def _folder_fact(number: int, folder: Folder, directory: str, *, listed: bool, at: str) -> FolderFact:
    return FolderFact(
        number=number,
        raw=folder.raw,
        path=folder.path,
        delimiter=folder.delimiter,
        directory=directory,
        attributes=folder.attributes,
        subscribed=folder.subscribed,
        listed=listed,
        at=at,
    )
