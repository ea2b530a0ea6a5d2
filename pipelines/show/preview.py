"""A preview of an account: what the server has, and what a run would do with it.

It uses one connection and tries one login (a second one may lock the user out). Nothing is written: not on the
server, not on disk, not even the archive's directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from archiver.account.account import Account
from archiver.account.archive import Archive
from archiver.account.archiving import rules_of
from archiver.account.meeting import check_source
from archiver.account.others import sharing_of
from archiver.account.sharing import Sharing
from archiver.account.store import Medium
from archiver.archive.plan import expected_fetch, plan_run
from archiver.archive.run import plan_archive
from archiver.config.load import Settings
from archiver.config.settings import admin_of
from archiver.control import utc_today
from archiver.errors import ArchiverError, ConfigError, ConnectionLost, worst
from archiver.events import silent
from archiver.imap.capabilities import ServerFacts
from archiver.journal.numbering import RecordedNumbers
from archiver.mail.folder_names import directory_of, matches, printable
from archiver.mail.model import Folder, KnownEpoch, KnownFolder, Listed, Plan
from archiver.mail.window import may_be_part
from archiver.replay.identify import IdentityAnswer
from archiver.report.document import Notice
from archiver.report.notices import admin_notices, doubts_seen, empty_notices, renewed_notices, window_notice
from archiver.source.numbering import Numbering, UnrecordedNumbers
from archiver.source.spelling import recognised
from pipelines.failures import logged
from pipelines.show.place import ArchivePlace, place_of
from pipelines.show.preview_bucket import BucketPreview, preview_bucket
from pipelines.show.preview_destination import AtSource, DestinationPreview, preview_destination, server_to_json
from pipelines.show.preview_token import TokenPreview, preview_token
from pipelines.show.provider import provider_to_json
from pipelines.stop import STOP

_SIDE_BY_SIDE = 8


class FolderPreview(Struct, frozen=True):
    """A folder that is archived. `reason` is why a run opens it, None if it need not. Numbers that the server does
    not report are None. `to_fetch` messages of about `octets` octets would be fetched."""

    name: str
    directory: str
    messages: int | None
    size: int | None
    reason: str | None
    to_fetch: int
    octets: int


class Beginning(Struct, frozen=True):
    """There is no archive yet at `place`; `problem` is why a run will not begin one."""

    place: str
    problem: ArchiverError | None


class Preview(Struct, frozen=True):
    """The preview of an account; `error` is what ended it early."""

    account: Account
    place: ArchivePlace
    server: ServerFacts | None = None
    folders: tuple[FolderPreview, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    error: ArchiverError | None = None
    destination: DestinationPreview | None = None
    bucket: BucketPreview | None = None
    notices: tuple[Notice, ...] = ()
    sharing: Sharing | None = None
    beginning: Beginning | None = None
    token: TokenPreview | None = None

    @property
    def settings(self) -> Settings:
        """The account file."""
        return self.account.settings

    @property
    def medium(self) -> Medium:
        """Where the archive lies."""
        return self.account.medium

    @property
    def refusal(self) -> ConfigError | None:
        """Why a run would refuse this account together with the others."""
        return self.sharing.refusal if self.sharing and self.destination else None

    @property
    def exit_code(self) -> int:
        if self.refusal is not None:
            return worst((self.refusal.exit_code, self._found))
        return self._found

    @property
    def _found(self) -> int:
        if self.error is not None:
            return self.error.exit_code
        if self.place.problem or (self.beginning and self.beginning.problem):
            return 8
        if self.bucket is not None and self.bucket.error is not None:
            return self.bucket.error.exit_code
        return self.destination.exit_code if self.destination else 0

    @property
    def message(self) -> str | None:
        """What is wrong, as text for people."""
        there = self.destination.error if self.destination else None
        bucket = self.bucket.error if self.bucket else None
        begin = self.beginning.problem if self.beginning else None
        found = str(self.error or begin or self.place.problem or bucket or there or "")
        return "\n".join(filter(None, [str(self.refusal or ""), found])) or None

    @property
    def totals(self) -> dict[str, int]:
        """The sums over all folders."""
        return {
            "folders": len(self.folders),
            "messages": sum(each.messages or 0 for each in self.folders),
            "size": sum(each.size or 0 for each in self.folders),
            "to_visit": sum(each.reason is not None for each in self.folders),
            "to_fetch": sum(each.to_fetch for each in self.folders),
            "octets": sum(each.octets for each in self.folders),
        }

    def to_json(self) -> dict[str, Any]:
        """One account in the documents of `check` and of a dry run."""
        server = self.server
        return {
            "account": self.settings.account,
            "exit_code": self.exit_code,
            "message": self.message,
            "warnings": list(self.settings.warnings),
            "shares": self.sharing and self.sharing.to_json(),
            "server": server
            and {
                "address": self.settings.source.address,
                **server_to_json(server),
                "provider": provider_to_json(self.settings.source, server),
            },
            "token": self.token and to_builtins(self.token),
            "archive": {
                "path": str(self.place.path),
                "exists": self.place.exists,
                "begun": self.beginning is None,
                "free": self.place.free_octets,
                "problem": self.place.problem,
                "bucket": self.bucket and self.bucket.to_json(),
            },
            "folders": [to_builtins(each) for each in self.folders],
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
            "notices": [to_builtins(each) for each in self.notices],
            "totals": self.totals,
            "destination": self.destination and self.destination.to_json(),
        }


def preview_accounts(
    accounts: Sequence[Settings],
    *,
    new_source: bool = False,
    new_archive: bool = False,
    answer: IdentityAnswer = "ask",
    with_destination: bool = True,
) -> list[Preview]:
    """Preview accounts and their destinations, several at a time. Never raises for an account's failure."""

    def look(settings: Settings) -> Preview:
        account = Account(settings)
        preview, listed = preview_account(account, new_source=new_source, answer=answer)
        preview = replace(preview, bucket=preview_bucket(account), token=preview_token(settings.source))
        preview = replace(preview, place=_tried(preview.place, account))
        if not _is_begun(account, preview.bucket):
            reason = account.note.why_not_begin("confirmed" if new_archive else "first")
            preview = replace(preview, beginning=Beginning(account.medium.name, reason))
        if settings.destination is None or not with_destination:
            return preview
        return replace(preview, destination=preview_destination(account, listed, answer))

    sharing = sharing_of(accounts)
    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="look") as pool:
        return [replace(each, sharing=sharing[each.settings.file]) for each in pool.map(look, accounts)]


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
