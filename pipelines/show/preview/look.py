"""A preview of an account: what the server has, and what a run would do with it.

It uses one connection and tries one login (a second one may lock the user out). Nothing is written: not on the
server, not on disk, not even the archive's directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from msgspec.structs import replace

from archiver.account.account import Account
from archiver.account.archive import Archive
from archiver.account.archiving import rules_of
from archiver.account.meeting import check_source
from archiver.account.others import sharing_of
from archiver.archive.plan.amounts import expected_fetch
from archiver.archive.plan.folders import Plan, plan_run
from archiver.archive.run import plan_archive
from archiver.config.settings import Settings
from archiver.config.tables.server import admin_of
from archiver.control.run import utc_today
from archiver.errors import ArchiverError, ConnectionLost, Where
from archiver.events import silent
from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.imap.capabilities import ServerFacts
from archiver.journal.numbering import RecordedNumbers
from archiver.mail.folder_names import directory_of, matches, printable
from archiver.mail.model import Folder, Listed
from archiver.mail.window import may_be_part
from archiver.replay.identify import IdentityAnswer
from archiver.report.document import Notice
from archiver.report.notices import admin_notices, doubts_seen, empty_notices, renewed_notices, window_notice
from archiver.source.numbering import Numbering, UnrecordedNumbers
from archiver.source.spelling import recognised
from pipelines.failures import logged
from pipelines.show.preview.bucket import BucketPreview, preview_bucket
from pipelines.show.preview.destination import AtSource, preview_destination
from pipelines.show.preview.in_time import Looks
from pipelines.show.preview.pace import samples_of
from pipelines.show.preview.place import ArchivePlace, nowhere, place_of
from pipelines.show.preview.result import Beginning, FolderPreview, Preview
from pipelines.show.preview.token import preview_token
from pipelines.show.preview.too_large import count_too_large
from pipelines.stop import STOP

SIDE_BY_SIDE = 16
PATIENCE = 120.0  # seconds for each account
_SLOW = "look at this account alone with --verbose, or give it more time with --timeout"


def preview_accounts(
    accounts: Sequence[Settings],
    *,
    new_source: bool = False,
    new_archive: bool = False,
    answer: IdentityAnswer = "ask",
    with_destination: bool = True,
    at_once: int = SIDE_BY_SIDE,
    seconds: float = PATIENCE,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Preview]:
    """Preview accounts and their destinations, `at_once` at a time, each for that many seconds at most; `progress`
    gets the number of those that are done. Never raises for an account's failure.

    Raises:
        Interrupted: a signal arrived.
    """
    stages: dict[Path, str] = {}

    def look(settings: Settings) -> Preview:
        account = Account(settings)
        stages[settings.file] = settings.source.address
        preview, listed = preview_account(account, new_source=new_source, answer=answer)
        stages[settings.file] = str(account.medium.name)
        preview = replace(preview, bucket=preview_bucket(account), token=preview_token(settings.source))
        preview = replace(preview, place=_tried(preview.place, account), samples=tuple(samples_of(settings)))
        if not _is_begun(account, preview.bucket):
            reason = account.note.why_not_begin("confirmed" if new_archive else "first")
            preview = replace(preview, beginning=Beginning(account.medium.name, reason))
        if settings.destination is None or not with_destination:
            return preview
        stages[settings.file] = settings.destination.address
        there = preview_destination(account, listed, answer)
        if preview.error is None and there.append_limit is not None:
            stages[settings.file] = settings.source.address
            there = replace(there, too_large=count_too_large(account, there.append_limit, listed.chosen))
        return replace(preview, destination=there)

    def never_raises(settings: Settings) -> Preview:
        try:
            return look(settings)
        except Exception as error:  # whatever it is, it ends only this account
            return Preview(Account(settings), nowhere(settings.archive.path), error=logged(error))

    def give_up(settings: Settings) -> Preview:
        where = Where(stages.get(settings.file, settings.source.address))
        error = ConnectionLost(f"no answer for {seconds:.0f} seconds", where=where, hint=_SLOW)
        return Preview(Account(settings), nowhere(settings.archive.path), error=error)

    sharing = sharing_of(accounts)
    looks = Looks(never_raises, give_up, at_once=at_once, seconds=seconds)
    return [replace(each, sharing=sharing[each.settings.file]) for each in looks.results(accounts, progress)]


def _tried(place: ArchivePlace, account: Account) -> ArchivePlace:
    """The place with a problem if messages cannot be stored there."""
    if place.problem is not None:
        return place
    try:
        account.medium.require_fit()
    except ArchiverError as error:
        return replace(place, problem=str(error))
    return place


def _is_begun(account: Account, bucket: BucketPreview | None) -> bool:
    """Whether there is an archive, as far as visible."""
    if bucket is not None:
        return bucket.is_begun or bucket.error is not None
    try:
        return account.has_archive()
    except ArchiverError:
        return True  # opening it will report why it is not visible


def preview_account(
    account: Account, *, new_source: bool = False, answer: IdentityAnswer = "ask"
) -> tuple[Preview, AtSource]:
    """Preview one account; also returns what its source listed."""
    place = place_of(account.settings.archive.path)
    server = None
    try:
        STOP.check()
        with ExitStack() as stack:
            archive = _opened(account, stack)
            numbering = RecordedNumbers(archive.catalog) if isinstance(archive, Archive) else UnrecordedNumbers()
            server, listed = _look(account, numbering)
            if archive is None:
                plan = _plan_anew(account.settings, listed)
                return _preview(account, place, server, listed, plan, {}, {}, {}), AtSource(listed, _chosen(plan))
            if isinstance(archive, ArchiverError):
                raise archive
            if (stranger := archive.stranger) is not None and not new_source:
                raise stranger
            control = STOP.control(silent)
            with closing(account.source.connect(numbering=numbering, control=control, attempts=1)) as source:
                check = check_source(
                    archive, source, listed, answer=answer, replays=False, run="check", progress=silent
                )
            preview, plan = _compared(account, archive, place, server, listed)
            notices = (*renewed_notices(check.renewed), *preview.notices)
            return replace(preview, notices=notices), AtSource(listed, _chosen(plan))
    except Exception as error:  # whatever it is, it ends only this account
        return Preview(account, place, server, error=logged(error)), AtSource((), ())


def _opened(account: Account, stack: ExitStack) -> Archive | ArchiverError | None:
    """The account's archive, to read; None if there is none, or why it cannot be read. The source is looked at all
    the same."""
    try:
        return stack.enter_context(account.reading()) if account.catalog.exists() else None
    except ArchiverError as error:
        return error


def _chosen(plan: Plan) -> list[Folder]:
    return [each.folder for each in (*(each for each, _ in plan.visit), *plan.unchanged)]


def _look(account: Account, numbering: Numbering) -> tuple[ServerFacts, Sequence[Listed]]:
    """Log in and list. Exchange 2003 hangs up on anything but the plainest LIST, so that is tried second."""
    source = account.source.connect_once(numbering)
    try:
        listed = source.list_folders()
        return source.facts, listed  # in this order: with the list comes the answer to ID
    except ConnectionLost:
        STOP.check()
    finally:
        source.close()
    source = account.source.connect_once(numbering, fallback=True)
    try:
        listed = source.list_folders()
        return source.facts, listed
    finally:
        source.close()


def _plan_anew(settings: Settings, listed: Sequence[Listed]) -> Plan:
    rules = rules_of(settings)
    search = settings.messages.criteria(utc_today())
    return plan_run(
        listed, {}, {}, include=rules.include, exclude=rules.exclude, whole=rules.whole, search=search, waiting=()
    )


def _compared(
    account: Account, archive: Archive, place: ArchivePlace, server: ServerFacts, listed: Sequence[Listed]
) -> tuple[Preview, Plan]:
    settings, catalog = account.settings, archive.catalog
    listed = recognised(listed, catalog.account.folders())
    plan = plan_archive(
        catalog, listed, rules_of(settings), search=settings.messages.criteria(utc_today()), retry="due"
    )
    held = {tally.name: tally.stored for tally in catalog.account.tallies()}
    return _preview(
        account, place, server, listed, plan, catalog.account.folders(), catalog.account.epochs(), held
    ), plan


def _preview(
    account: Account,
    place: ArchivePlace,
    server: ServerFacts,
    listed: Sequence[Listed],
    plan: Plan,
    known: Mapping[bytes, KnownFolder],
    epochs: Mapping[int, KnownEpoch],
    held: Mapping[str, int],
) -> Preview:
    directories, has_directories = _directories(account, listed, known), account.medium.has_directories
    reasons = {each.folder.raw: why for each, why in plan.visit}
    chosen = {each.folder.raw for each, _ in plan.visit} | {each.folder.raw for each in plan.unchanged}

    def folder(each: Listed) -> FolderPreview:
        reason = reasons.get(each.folder.raw)
        to_fetch, octets = expected_fetch(each, known, epochs, held) if reason else (0, 0)
        return FolderPreview(
            name=printable(each.folder.name),
            directory=f"Maildir/{directories[each.folder.raw]}".rstrip("/.") if has_directories else "",
            messages=each.status.messages if each.status else None,
            size=each.status.size if each.status else None,
            reason=reason,
            to_fetch=to_fetch,
            octets=octets,
        )

    return Preview(
        account,
        place,
        server,
        folders=tuple(folder(each) for each in listed if each.folder.raw in chosen),
        skipped=tuple((printable(each.name), why) for each, why in plan.skip),
        notices=(
            *empty_notices(listed),
            *doubts_seen([each for each in listed if each.folder.raw in chosen]),
            *admin_notices(admin_of(account.settings.source), [each.folder.name for each in listed]),
            *(
                notice
                for each in listed
                if each.folder.raw in chosen
                for notice in _of_window(account.settings, each, known, epochs)
            ),
        ),
    )


def _of_window(
    settings: Settings, listed: Listed, known: Mapping[bytes, KnownFolder], epochs: Mapping[int, KnownEpoch]
) -> Iterator[Notice]:
    """The notice about a folder of which the server probably shows only a part."""
    shown = listed.status.messages if listed.status is not None else 0
    folder = known.get(listed.folder.raw)
    epoch = epochs.get(folder.number) if folder is not None else None
    hidden = epoch.hidden or 0 if epoch is not None else 0
    if may_be_part(shown, hidden) and not matches(listed.folder.path, settings.folders.whole):
        yield window_notice(printable(listed.folder.name), shown, hidden)


def _directories(
    account: Account, listed: Sequence[Listed], known: Mapping[bytes, KnownFolder]
) -> dict[bytes, str]:
    """Each folder's directory: the one it has, or the one a run would assign, by the same rule and order."""
    taken, names = {each.directory for each in known.values()}, account.medium.directory_names()
    places = {}
    for folder in sorted((each.folder for each in listed), key=lambda folder: folder.raw):
        before = known.get(folder.raw)
        places[folder.raw] = before.directory if before else directory_of(folder.path, folder.raw, taken, names)
        taken.add(places[folder.raw])
    return places
