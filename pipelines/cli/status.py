"""`status`: what archives hold, from their catalogs alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct
from msgspec.structs import replace

from archiver.config.fleet.files import Chosen, FleetFiles, find_accounts
from archiver.errors import ArchiveMissing, ArchiverError, ConfigError, worst
from archiver.mail.counts import counted
from archiver.report.units import size
from pipelines.cli.accounts import Accounts, load_found, nobody_in
from pipelines.cli.held import (
    RUN_AGAIN,
    SUMMED_THERE,
    UNFINISHED,
    WORDS_THERE,
    Fields,
    held,
    last_run_words,
    standing_of,
)
from pipelines.cli.keeping import hold_words
from pipelines.cli.options import PATH, configs_argument, output_options, terminal_of
from pipelines.failures import with_file
from pipelines.fleet.ages import age_words, at_words
from pipelines.fleet.ledgers import Ledgers
from pipelines.fleet.look import FleetLook, Looked
from pipelines.fleet.standing import SORTS, Standing, aged, by_ledger, in_order, seconds_of
from pipelines.fleet.table import lines, problems, summary, write
from pipelines.fleet.watch import watch
from pipelines.outcome import AccountOutcome, look_up_each
from pipelines.show.lines import equation, failure_lines, notice_lines

if TYPE_CHECKING:
    from archiver.config.settings import Settings
    from pipelines.cli.terminal import Terminal

_BELOW = 8  # reasons below the table of --watch


@click.command
@configs_argument
@click.option("--runs", is_flag=True, help="List all runs, newest first.")
@click.option("--failed", is_flag=True, help="Show only accounts whose exit code is not 0.")
@click.option(
    "--sort",
    type=click.Choice(tuple(SORTS)),
    default="problem",
    show_default=True,
    help="The order of several accounts.",
)
@click.option("--watch", "watched", is_flag=True, help="Show the table on a terminal, again every few seconds.")
@click.option(
    "--html", "page", metavar="FILE", type=PATH, help="Write a page for the browser, with a chart and a search."
)
@click.option("--max-age", metavar="AGE", help="Exit with 3 if a last success is older than 26h, 90m or 3d.")
@output_options
def status(
    configs: Chosen,
    runs: bool,
    failed: bool,
    sort: str,
    watched: bool,
    page: Path | None,
    max_age: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Show what the archives hold: each folder's balance (on server = stored + excluded + quarantined + forgotten),
    the last run, and which messages are in quarantine: they could not be fetched, or the destination refused them,
    and why. No server is contacted and nothing is changed.

    For several accounts there is a line for each, the worst first: how far its migration is, how much is done and
    to go, the last success and how the last run ended. Below are the reasons, and what to do about them. Accounts
    of a fleet (with a defaults.toml) are shown by its ledger, which takes a second for ten thousand; --verbose,
    --runs and --json look into each archive.

    The exit code is that of the last run; it is 3 if that did not end or was stopped, or if something is missing
    from an archive or its destination. With --max-age it is 3, too, if a night did not happen: if the last success
    is older, or there was none.

    --html writes one page that needs no server: a chart, all accounts with search and sorting, and links to their
    newest reports. It is readable by its owner alone (0600), and replaced as a whole.

    \b
      archiver status configs/
      archiver status configs/ --failed
      archiver status configs/ --state frozen --sort to-go
      archiver status configs/ --watch
      archiver status configs/ --html fleet.html         one page for those who have no shell
      archiver status configs/ --max-age 26h --quiet     for cron or Nagios
      archiver status configs/alice.toml --runs
    """
    terminal = terminal_of(as_json, quiet, verbose)
    most = None if max_age is None else seconds_of(max_age, "--max-age")
    view = _View(configs, most, failed, sort)
    if watched:
        if not terminal.out.is_terminal or as_json or quiet or page is not None:
            problem = "needs a terminal, and goes with no other output"
            raise ConfigError("--watch", [problem], hint="without it the table is printed once")
        return watch(lambda: _drawn(replace(view), terminal))  # which finds new account files
    is_short = not (as_json or runs or verbose) and (page is not None or view.is_of_several)
    with Ledgers() as ledgers:
        seen, accounts = _look(view, terminal, ledgers, quickly=is_short)
    exit_code = worst(each.standing.exit_code for each in seen)
    line = summary([each.standing for each in seen])
    seen = view.chosen(seen)
    results = [each.to_json() for each in seen]
    terminal.document({"format": "archiver-status/1", "accounts": results, "exit_code": exit_code})
    if page is not None:
        _write_page(page, [each.standing for each in seen], terminal)
    elif is_short or (terminal.tables and accounts.several):
        _show_several(seen, line, terminal)
    for each in seen if not is_short else ():
        if each.fields is None and not accounts.several and not as_json:
            terminal.problem(f"{each.standing.account}: {each.standing.cause}")
        elif quiet and each.standing.exit_code:
            terminal.problem(next(problems([each.standing])))
        elif terminal.tables and each.fields is not None:
            _show(each.to_json(), terminal, runs=runs)
    return exit_code


def _look(view: _View, terminal: Terminal, ledgers: Ledgers, *, quickly: bool) -> tuple[list[Seen], Accounts]:
    """The accounts in a view, and those that were loaded. `quickly`: by the ledgers where that is enough."""
    look, found = FleetLook(ledgers), view.files
    looked = look.look(found.files) if quickly else Looked((), found.files)
    accounts = load_found(replace(found, files=tuple(looked.unknown)), terminal, others=len(looked.known))
    outcomes = look_up_each(accounts.settings, lambda each: _status(each, look))
    for problem in look.problems:
        terminal.warn(problem)
    seen = [_seen(each, settings, look) for each, settings in zip(outcomes, accounts.settings, strict=True)]
    for refused, file in zip(accounts.refused, accounts.wrong, strict=True):
        seen.append(replace(_refused(refused, file), is_told=True))
    return view.of(seen + [Seen(each) for each in looked.known]), accounts


def _drawn(view: _View, terminal: Terminal) -> tuple[list[str], list[str], int]:
    """What --watch shows."""
    with Ledgers() as ledgers:
        seen, _ = _look(view, terminal, ledgers, quickly=True)
    standings = [each.standing for each in view.chosen(seen)]
    coloured = terminal.out.color_system is not None
    below = [*list(problems(standings))[:_BELOW], summary([each.standing for each in seen])]
    below.append(f"{time.strftime('%H:%M:%S %Z')}; Ctrl-C ends")
    return list(lines(standings, coloured=coloured)), below, worst(each.standing.exit_code for each in seen)


def _write_page(page: Path, standings: Sequence[Standing], terminal: Terminal) -> None:
    from archiver.config.layers import KnownDefaults
    from archiver.config.load import load_account
    from pipelines.fleet.page import write_fleet_page

    archives, defaults = {}, KnownDefaults()
    for each in standings:
        with suppress(ArchiverError):  # what is wrong with a file is on the page
            archives[each.file] = load_account(Path(each.file), defaults).archive.path
    write_fleet_page(page, standings, archives)
    if terminal.tables:
        terminal.out.say(str(page))


class _View(Struct, frozen=True, dict=True):
    """Which accounts are shown, and how: only those in one of the chosen states, and those of which nobody knows
    that; `most` is how old a last success may be; `failed`: only those whose exit code is not 0."""

    configs: Chosen
    most: float | None
    failed: bool
    sort: str

    @cached_property
    def files(self) -> FleetFiles:
        """The account files that are meant."""
        return find_accounts(self.configs)

    @property
    def is_of_several(self) -> bool:
        """Whether these are several accounts."""
        return len(self.files.files) + len(self.files.problems) > 1

    def of(self, seen: Sequence[Seen]) -> list[Seen]:
        """What is seen in this view, in its order; those that did not fail are still among them.

        Raises:
            ConfigError: no account is in one of the states.
        """
        states = self.configs.states
        kept = (each for each in seen if not states or each.standing.state in (*states, None))
        found = {id(each.standing): each for each in (_with_age(each, self.most) for each in kept)}
        if states and not found:
            raise nobody_in(states)
        return [found[id(each)] for each in in_order([each.standing for each in found.values()], self.sort)]

    def chosen(self, seen: Sequence[Seen]) -> list[Seen]:
        """Those that are shown."""
        return [each for each in seen if each.standing.exit_code or not self.failed]


class Seen(Struct, frozen=True):
    """How an account stands, and what its archive holds, if somebody looked. `message` is why it could not be
    looked at; `is_told`: people have read that."""

    standing: Standing
    fields: Fields | None = None
    message: str | None = None
    is_told: bool = False

    def to_json(self) -> Fields:
        """The account in the document."""
        outcome: AccountOutcome[None] = AccountOutcome(self.standing.account, self.standing.exit_code, self.message)
        return outcome.to_json((self.fields or {}) | self.standing.to_json())


def _with_age(seen: Seen, most: float | None) -> Seen:
    return replace(seen, standing=aged(seen.standing, most))


def _seen(outcome: AccountOutcome[Seen], settings: Settings, look: FleetLook) -> Seen:
    """What was seen of an account; if its archive cannot be looked at, what its ledger knows, and why not."""
    if outcome.result is not None:
        return outcome.result
    row = look.row_of(settings)
    if row is None or row.last is None:
        refused = _refused(outcome, settings.file)
        if outcome.exit_code != ConfigError.exit_code or _has_begun(settings):
            return refused
        state = row.state if row is not None else "new"
        return replace(refused, standing=replace(refused.standing, condition="never", state=state))
    at_work = row.claim is not None
    standing = by_ledger(outcome.account, str(settings.file), row, time.time(), at_work=at_work)
    if not standing.exit_code:
        failed: dict[str, Any] = {"condition": "failed", "exit_code": outcome.exit_code}
        standing = replace(standing, **failed, cause=outcome.message, next_step=None)
    return Seen(standing, None, outcome.message)


def _has_begun(settings: Settings) -> bool:
    """Whether there is an archive, as far as can be seen here."""
    from archiver.account.account import Account

    account = Account(settings)
    return account.medium.is_remote or account.has_archive()


def _refused(outcome: AccountOutcome[Any], file: Path) -> Seen:
    standing = Standing(
        account=outcome.account,
        file=str(file),
        condition="failed",
        exit_code=outcome.exit_code,
        cause=outcome.message,
    )
    return Seen(standing, None, outcome.message)


def _show_several(seen: Sequence[Seen], of_all: str, terminal: Terminal) -> None:
    untold = [each.standing for each in seen if not each.is_told]
    if terminal.quiet:
        for line in problems(untold):
            terminal.problem(line)
        return
    colours = terminal.out.is_terminal and terminal.out.color_system is not None
    if seen:
        write(lines([each.standing for each in seen], coloured=colours))
    for line in problems(untold):
        terminal.out.say(line, "yellow")
    terminal.out.say(of_all, "bold")


def _status(settings: Settings, look: FleetLook) -> AccountOutcome[Seen]:
    from archiver.account.account import Account

    account = Account(settings)
    with account.reading(with_catalog=True) as archive:
        reason = account.note.why_not_begin("never") if archive.catalog.account.identity() is None else None
        # A first run that was refused left its reason here, but no mail.
        if isinstance(reason, ArchiveMissing) or (reason and not archive.catalog.ledger.runs()):
            raise reason
        fields, exit_code = held(archive)
        row = look.row_of(settings)
        standing = standing_of(archive, fields, exit_code, row)
        return AccountOutcome(settings.account, standing.exit_code, None, Seen(standing, fields))


def _shared_words(result: Fields) -> str:
    """Which access rights and annotations there are; "" if there are none beside the user's own rights."""
    own = {(result["source"] or {}).get("user"), "owner", "administrators"}
    shared = [each["folder"] for each in result["sharing"] if (each["rights"] or {}).keys() - own]
    noted = sum(len(each["annotations"]) for each in result["sharing"])
    words = []
    if shared:
        words.append(f'{counted(len(shared), "folder")} shared with others (the first is "{shared[0]}")')
    if noted:
        words.append(counted(noted, "annotation"))
    return ", ".join(words) and f"recorded besides: {', '.join(words)}; `--json` lists them"


def _whose(source: Fields) -> str:
    return (
        f"the files at {source['user']}"
        if source["protocol"] == "files"
        else f"{source['user']} at {source['host']}"
    )


def _show(result: Fields, terminal: Terminal, *, runs: bool) -> None:
    from pipelines.show.tables import held_table, runs_table

    out, source = terminal.out, result["source"]
    of = f" of {_whose(source)}" if source else ""
    out.say(f"\n{result['account']}: {result['archive']}{of}", "bold")
    if runs:
        out.table(runs_table(result["runs"]))
    if result["folders"]:
        out.table(held_table(result["folders"], result["totals"]))
        counted_all = not any(each["state"] in UNFINISHED for each in result["folders"])
        balance = equation(result["totals"], counted=counted_all)
        several = f", in {len(result['folders']):,} folders" if len(result["folders"]) > 1 else ""
        out.say(f"{balance}{several}; {size(result['totals']['stored_bytes'])}")
    if (there := result["destination"]) is not None:
        words = ", ".join(
            f"{there['totals'][name]:,} {WORDS_THERE.get(name, name)}"
            for name in SUMMED_THERE
            if there["totals"][name]
        )
        out.say(f"at {there['server']}, {there['user']}: {words or 'nothing yet'}")
    if words := _shared_words(result):
        out.say(words)
    for each in result["restored"]:
        out.say(_restored_words(each), "yellow" if each["waiting"] or each["refused"] else None)
    if result["forgotten"]:
        words, style = _forgotten_words(result["forgotten"])
        out.say(with_file(words, Path(result["file"])), style)
    for each in result["holds"]:
        out.say(f"hold {each['number']}: {hold_words(each)}", "yellow")
    if words := _pruned_words(result["pruned"]):
        out.say(words)
    if result["runs"]:
        out.say(f"last run {last_run_words(result['runs'][0])}")
    if result["state"]:
        since = f" since {at_words(result['state_since'])}" if result["state_since"] else ""
        success = "" if result["age_seconds"] is None else f"; last success {age_words(result['age_seconds'])} ago"
        out.say(f"state: {result['state']}{since}{success}")
    if result["exit_code"] and result["condition"] not in ("incomplete", "stopped"):
        out.say(result["cause"] or "", "yellow")
    if result["exit_code"] and result["next"]:
        out.say(f"→ {result['next']}", "yellow")
    failed = [
        {"folder": each["name"], "uid": None, "reason": each["error"], "server_reply": None, "next": RUN_AGAIN}
        for each in result["folders"]
        if each["error"]
    ]
    if failed:
        out.say(f"{counted(len(failed), 'folder')} failed:", "yellow")
        for line in failure_lines(failed):
            out.say(line)
    for line in notice_lines(result["notices"]):
        out.say(line, "yellow")
    _show_quarantine(result, terminal)
    if there is not None and there["refused"]:
        out.say(f"{len(there['refused'])} refused by {there['server']}:", "yellow")
        for line in failure_lines(there["refused"]):
            out.say(line)


_WORDS_RESTORED = {
    "removed": "of them moved or deleted there since",
    "refused": "refused",
    "waiting": "not sent yet: give the same `archiver restore` again",
}


def _pruned_words(pruned: Fields) -> str:
    """What was removed from the source, in one line; "" if nothing was."""
    words = []
    if pruned["messages"]:
        many, last = counted(pruned["messages"], "message"), pruned["last"][:10]
        words.append(f"pruned from the source: {many}, last on {last}")
    if pruned["unsent"]:
        words.append(f"{pruned['unsent']:,} of them not at the destination yet: `archiver run` sends them")
    if pruned["unknown"]:
        words.append(f"of {counted(pruned['unknown'], 'message')} it is not known: the next prune finds out")
    return "; ".join(words)


def _restored_words(each: Fields) -> str:
    """What was restored to one place, in one line."""
    where = "their own folders" if each["into"] is None else f'"{each["into"]}"'
    words = [f"restored to {where} of {each['user']} at {each['host']} on {each['at'][:10]} by {each['by']}"]
    words.append(counted(each["restored"] + each["removed"], "message"))
    words += [f"{each[name]:,} {text}" for name, text in _WORDS_RESTORED.items() if each[name]]
    return f"{words[0]}: {', '.join(words[1:])}"


def _forgotten_words(forgets: Sequence[Fields]) -> tuple[str, str | None]:
    """What was forgotten, in one line, and its colour."""
    messages = sum(each["messages"] for each in forgets)
    words = f"{counted(messages, 'message')} forgotten, the last on {forgets[-1]['at'][:10]}"
    if not all(each["done"] for each in forgets):
        return f"{words}; a forget was cut off: the next command that writes to the archive ends it", "yellow"
    if kept := sum(len(each["kept"]) for each in forgets):
        words += f"; {kept:,} could not be removed: `archiver forget --finish` tries again"
    if left := sum(each["copies_left"] for each in forgets if not each["by_rule"]):
        words += f"; {counted(left, 'copy is', 'copies are')} still at the destination: "
        words += "`archiver forget --finish --also-at-destination` removes them"
    if kept or left:
        return words, "yellow"
    return words, None


def _show_quarantine(result: Fields, terminal: Terminal) -> None:
    waiting = result["quarantined"]
    if not waiting:
        return
    terminal.out.say(f"{len(waiting)} in quarantine:", "yellow")
    lines = [each | {"next": _next(each, result["file"])} for each in waiting]
    for line in failure_lines(lines):
        terminal.out.say(line)


def _next(quarantined: Fields, file: str) -> str:
    if quarantined["accepted"]:
        return "you accepted that these are not in the archive"
    advice = "`archiver retry` tries again; `archiver retry --accept` accepts what the server gives, or the loss"
    return with_file(advice, Path(file))
