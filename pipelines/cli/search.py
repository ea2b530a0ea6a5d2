"""`search`: find messages by their headers, their text and their attachments."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct
from msgspec.structs import replace

from archiver.errors import ArchiverError, ConfigError, Interrupted, Locked
from archiver.events import Noted, Planned, Verified
from archiver.facts.query import Found, Query
from archiver.mail.counts import counted
from archiver.mail.folder_names import matches, printable
from archiver.report.units import size
from archiver.upkeep.index_headers import index_headers
from pipelines.cli.accounts import finish, load_accounts
from pipelines.cli.indexing import INDEX, Reading, not_in_index, read_contents
from pipelines.cli.matching import in_folders, matching_options, query_of
from pipelines.cli.options import Integer, configs_argument, json_option, terminal_of
from pipelines.cli.references import arrived_text, digest_reference, found_to_record, reference_of
from pipelines.events import Began, Listener
from pipelines.failures import with_file
from pipelines.outcome import AccountOutcome, Emit, look_up_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from rich.table import Table

    from archiver.account.account import Account
    from archiver.account.archive import Archive
    from archiver.catalog.port import MessageIndex
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings
    from pipelines.cli.terminal import Terminal

_SENDER_WIDTH, _FLAGS_WIDTH, _REFERENCE_WIDTH = 28, 24, 40
_LEAST_REST = 24
_TAKES_LONG = 100_000  # headers: some seconds
_NAMED = 3  # of folders
_READ_FIRST = 2000  # messages: some seconds, too


@click.command
@configs_argument
@matching_options
@click.option("--vanished", is_flag=True, help="Also messages that are gone from the source.")
@click.option(
    "--limit",
    type=Integer(min=1),
    metavar="N",
    show_default=True,
    default=100,
    help="The newest N messages of each account.",
)
@click.option("--index", "index", is_flag=True, help="First read all messages whose text is not indexed yet.")
@json_option
def search(configs: Chosen, vanished: bool, limit: int, index: bool, as_json: bool, **matching: Any) -> int:
    """Find messages in the archives: messages that match all options, newest first. TEXT may be anywhere in the
    field. Upper and lower case are the same, in any script, and encoded words (RFC 2047) are searched decoded.

    --body, --attachment and --has need [search] index = "text" in the account file. Then each run, when all else is
    done, reads what is new into an index (`bodies.sqlite`): the text of text/plain and text/html parts, and the
    names of attachments. --index reads all that is not in it, from the archive; with no other option it does only
    that. It may be stopped and goes on where it was.

    A date is when a message arrived (INTERNALDATE): a year, a month, a day or a minute, in local time. Sizes are in
    bytes, with powers of ten. Folders are patterns as in [folders] include: * matches any characters, ? matches
    one.

    Each line ends with what `archiver show` and `archiver restore` take: FOLDER/UID, or the beginning of the
    digest. If nothing matches, messages that are gone from the source are counted.

    No mail server is contacted. Headers are indexed since version 0.3.0. Those of older messages are read from the
    archive by the first search, which locks the account. While another run holds the lock, messages that are not
    indexed yet are skipped and counted.

    In an archive of more than 5,000 messages, an index of these texts (`search.sqlite`) makes searches fast. They
    make it and keep it up to date; it may be removed.

    The exit code is 0 even if nothing is found; scripts can use --json, which lists what was found.

    \b
      archiver search configs/alice.toml --from bob --since 2025
      archiver search configs/ --text invoice --larger 1M --folder "INBOX*"
      archiver search configs/alice.toml --vanished --subject "minutes" --json
    """
    _require_paths(configs)
    query, folder = query_of(matching, vanished=vanished, limit=limit), matching["folder"]
    asked = Asked(query, folder, index=index)
    terminal = terminal_of(as_json)
    accounts = load_accounts(configs, terminal)
    with terminal.progress(accounts.names) as display:
        outcomes = look_up_each(accounts.settings, lambda each: _search(each, asked, display))
    _, exit_code = finish(terminal, "archiver-search/1", accounts, outcomes, to_json)
    for each in outcomes:
        if each.message:
            terminal.problem(f"{each.account}: {each.message}")
        if each.result is not None and each.result.unindexed:
            left = counted(
                each.result.unindexed,
                "message is not indexed yet and was not searched by header",
                "messages are not indexed yet and were not searched by header",
            )
            terminal.warn(f"{each.account}: {left}: {each.result.note}")
        if each.result is not None and each.result.reading.missing:
            reading, file = each.result.reading, _file_of(accounts.settings, each.account)
            terminal.warn(f"{each.account}: {not_in_index(reading.missing)}: {with_file(reading.why, file)}")
    if terminal.tables and asked.only_indexes:
        for each in outcomes:
            if each.result is not None:
                read = (
                    counted(each.result.reading.messages, "message")
                    if each.result.reading.messages
                    else "no new message"
                )
                cut = each.result.reading.cut
                left = f"; {cut:,} of them have more than is indexed" if cut else ""
                terminal.out.say(f"{each.account}: {read} read into the index of texts{left}")
    elif terminal.tables:
        _show(outcomes, terminal, several=accounts.several)
    return exit_code


def _require_paths(configs: Chosen) -> None:
    """
    Raises:
        ConfigError: something that is no path is given as one: most probably a text to search for.
    """
    there = [each for each in configs.paths if each.exists()]
    for path in configs.paths if there else ():
        if path not in there and path.suffix != ".toml" and path.name == str(path):
            text = shlex.quote(str(path))
            hint = f"`archiver search {there[0]} --text {text}` finds it in senders, recipients and subjects, "
            hint += f"`--body {text}` in what messages say"
            raise ConfigError(
                "search", [f'"{printable(str(path))}" is no account file and no folder of them'], hint=hint
            )


class SearchResult(Struct, frozen=True):
    """The messages that were found, newest first. `more`: there are more than the limit. `unindexed` messages could
    not be searched by their headers; `note` says why. `vanished` messages match that are gone from the source, if
    no other does and they were not asked for; one more than the `limit` if there are even more. Folders that are
    `unfinished` may have mail that is not in the archive yet."""

    file: str | None = None
    found: Sequence[Found] = ()
    more: bool = False
    unindexed: int = 0
    note: str | None = None
    vanished: int = 0
    limit: int = 0
    reading: Reading = Reading()
    unfinished: Sequence[str] = ()


class Asked(Struct, frozen=True):
    """What is searched for, in folders by globs over their decoded paths; none means all folders. `index`: first
    all messages are read whose contents are not indexed yet."""

    query: Query
    folders: Sequence[str]
    index: bool

    @property
    def only_indexes(self) -> bool:
        """Whether nothing is searched for."""
        return self.index and not self.folders and self.query == Query(limit=self.query.limit)


def _search(settings: Settings, asked: Asked, listener: Listener) -> AccountOutcome[SearchResult]:
    """Search one account. Headers that are not indexed yet are read first, and contents if they are few."""
    from archiver.account.account import Account

    query, folders = asked.query, asked.folders
    if (query.asks_inside or asked.index) and settings.search.index != "text":
        problem = "--body, --attachment, --has and --index need an index of texts, which this account does not keep"
        hint = 'set index = "text" in its table [search]; then `archiver search --index` reads all messages once'
        raise ConfigError(str(settings.file), [problem], hint=hint)
    account = Account(settings)
    account.fetch_catalog(INDEX, STOP.check)
    with account.reading(with_catalog=True) as archive:
        note = _index(account, archive, lambda event: listener(settings.account, event))
        reading = Reading()
        if query.asks_inside or asked.index:
            most = None if asked.index else _READ_FIRST
            reading = read_contents(archive, lambda event: listener(settings.account, event), most)
        if asked.only_indexes:
            return AccountOutcome(
                settings.account, 0, None, SearchResult(str(settings.file), note=note, reading=reading)
            )
        index = archive.catalog.index
        _cover(index, lambda event: listener(settings.account, event))
        chosen = in_folders(archive, query, folders)
        found = [] if chosen is None else index.find(replace(chosen, limit=query.limit + 1))
        vanished = 0
        if chosen is not None and not (found or query.vanished):
            vanished = len(index.find(replace(chosen, vanished=True, limit=query.limit + 1)))
        unindexed = index.count_unindexed() if note else 0
        unfinished = [
            each for each in archive.unfinished_folders() if not folders or matches(each.folder.path, folders)
        ]
    more = len(found) > query.limit
    names = [printable(each.folder.name) for each in unfinished]
    result = SearchResult(
        str(settings.file), found[: query.limit], more, unindexed, note, vanished, query.limit, reading, names
    )
    return AccountOutcome(settings.account, 0, None, result)


def _file_of(accounts: Sequence[Settings], account: str) -> Path:
    return next(each.file for each in accounts if each.account == account)


def _index(account: Account, archive: Archive, emit: Emit) -> str | None:
    """Index the headers that are not indexed yet; returns why some still are not, None if all are."""
    missing = archive.catalog.index.count_unindexed()
    if not missing:
        return None
    try:
        with account.writing(INDEX) as (ours, recorder):
            emit(Began(INDEX))
            emit(
                Noted(
                    f"{counted(missing, 'message has', 'messages have')} no indexed headers yet: reading them once"
                )
            )
            done = index_headers(ours.catalog.index, ours.store, recorder, control=ours.guarded(STOP.control(emit)))
    except Interrupted:
        raise
    except Locked:
        return "another run holds the account's lock; search again when it has ended"
    except ArchiverError as error:
        return str(error)
    return f"{done.unreadable:,} cannot be read; `archiver verify` lists them" if done.unreadable else None


def _cover(index: MessageIndex, emit: Emit) -> None:
    """Extend the index of texts, so that this search and later ones read few headers."""
    uncovered = index.count_uncovered()
    if not uncovered:
        return
    emit(Began(INDEX))
    if uncovered >= _TAKES_LONG:
        emit(Noted(f"indexing the texts of {uncovered:,} headers once, so that searches are fast"))
    emit(Planned(uncovered, 0))
    for added in index.cover():
        emit(Verified(added, 0))
        STOP.check()


def to_json(outcome: AccountOutcome[SearchResult]) -> dict[str, Any]:
    result = outcome.result or SearchResult()
    return outcome.to_json(
        {
            "file": result.file,
            "found": [_record(each) for each in result.found],
            "more": result.more,
            "vanished": result.vanished,
            "unindexed": result.unindexed,
            "note": result.note,
            "not_in_index": result.reading.missing,
            "unfinished": list(result.unfinished),
        }
    )


def _record(found: Found) -> dict[str, Any]:
    """As it is, and where in its contents it has what was asked for."""
    place = {} if found.snippet is None else {"snippet": printable(found.snippet)}
    return {**found_to_record(found), **place}


def _show(outcomes: Sequence[AccountOutcome[SearchResult]], terminal: Terminal, *, several: bool) -> None:
    out = terminal.out
    results = [(each.account, each.result) for each in outcomes if each.result is not None]
    for account, result in results:
        if not result.found:
            continue
        if several:
            out.say(f"\n{account}", "bold")
        out.table(_table(result.found, out.width))
        if result.more:
            shown = "message is" if len(result.found) == 1 else f"{len(result.found):,} are"
            out.say(f"only the newest {shown} shown; --limit shows more")
    found = sum(len(result.found) for _, result in results)
    if found or len(results) == len(outcomes):
        word = "shown" if any(result.more for _, result in results) else "found"
        vanished = sum(result.vanished for _, result in results)
        nothing = f"nothing found; {_among_vanished(vanished, results)}" if vanished else "nothing found"
        out.say(f"{found:,} {word}" if found else nothing)
    for account, result in results:
        if result.unfinished and not result.found:
            terminal.warn(f"{account}: {_incomplete(result.unfinished)}")


def _incomplete(folders: Sequence[str]) -> str:
    """That more may be at the source than was searched."""
    names = ", ".join(f'"{name}"' for name in folders[:_NAMED])
    more = f" and {len(folders) - _NAMED:,} more" if len(folders) > _NAMED else ""
    were = counted(len(folders), "folder was", "folders were")
    return f"the archive is not complete: {were} not read to the end ({names}{more}); `archiver run` goes on there"


def _among_vanished(count: int, results: Sequence[tuple[str, SearchResult]]) -> str:
    at_least = any(result.vanished > result.limit for _, result in results)
    number = f"more than {count - 1:,} match" if at_least else counted(count, "message matches", "messages match")
    them = "it" if count == 1 else "them"
    return f"{number} among the mail that is gone from the source: --vanished shows {them}"


def _table(found: Sequence[Found], width: int) -> Table:
    """The reference is never cut, because it is to be copied; the other columns share the rest of `width`."""
    from rich.table import Table
    from rich.text import Text

    rows = [_cells(each) for each in found]
    arrived, sender, subject, octets, flags, reference = (
        max(len(line) for cell in column for line in cell.split("\n")) for column in zip(*rows, strict=True)
    )
    reference = max(min(reference, _REFERENCE_WIDTH), len("message"))
    rest = max(_LEAST_REST, width - arrived - max(octets, len("size")) - reference - 2 * len(rows[0]))
    flags = max(min(flags, _FLAGS_WIDTH, rest // 4), len("flags"))
    sender = max(min(sender, _SENDER_WIDTH, max(rest // 3, rest - flags - subject)), len("from"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("arrived", no_wrap=True, min_width=arrived)
    table.add_column("from", no_wrap=True, overflow="ellipsis", width=sender)
    table.add_column("subject", no_wrap=True, overflow="ellipsis", max_width=rest - sender - flags)
    table.add_column("size", no_wrap=True, justify="right", min_width=octets)
    table.add_column("flags", no_wrap=True, overflow="ellipsis", width=flags)
    table.add_column("message", overflow="fold", width=reference)
    for *cells, last in rows:
        table.add_row(*map(Text, cells), Text(last, style="cyan"))
    return table


def _cells(found: Found) -> tuple[str, ...]:
    headers, place = found.headers, found.placement
    return (
        _local_time(place.arrived),
        printable(headers.sender) if headers else "",
        _subject_and_place(found),
        size(place.size),
        _flags(found),
        _short_reference(found),
    )


def _subject_and_place(found: Found) -> str:
    subject = printable(found.headers.subject) if found.headers else ""
    return f"{subject}\n{printable(found.snippet)}" if found.snippet else subject


def _short_reference(found: Found) -> str:
    """A reference that fits into a line, so that each line ends with it."""
    reference = reference_of(found)
    return reference if len(reference) <= _REFERENCE_WIDTH else digest_reference(found)


def _local_time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # a year that no calendar has
        return arrived_text(seconds)


def _flags(found: Found) -> str:
    gone = [] if found.gone_at is None else [f"gone {found.gone_at[:10]}"]
    words = [*sorted(found.placement.flags), *sorted(found.placement.message.labels or ())]
    return ", ".join(gone + [printable(word.removeprefix("\\")) for word in words])
