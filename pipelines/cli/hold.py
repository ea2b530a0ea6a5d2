"""`hold`: forbid that messages are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from archiver.control.run import utc_now
from archiver.errors import ConfigError
from archiver.facts.keeping import HoldFact
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from pipelines.cli.accounts import finish_document, load_accounts
from pipelines.cli.keeping import hold_to_record, hold_words, reason_of, user
from pipelines.cli.options import configs_argument, output_options, terminal_of
from pipelines.outcome import AccountOutcome, Emit, run_each

if TYPE_CHECKING:
    from archiver.account.archive import Archive
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings

_HOLD = "hold"


@click.command
@configs_argument
@click.option("--reason", metavar="TEXT", help="Why, for those who ask later; it has to be given.")
@click.option("--folder", multiple=True, metavar="GLOB", help='Only what is in these folders, like "Work/*".')
@click.option("--address", multiple=True, metavar="ADDR", help="Only what is from, or was sent to, this address.")
@output_options
def hold(
    configs: Chosen,
    reason: str | None,
    folder: Sequence[str],
    address: Sequence[str],
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Protect messages for as long as the hold lasts: no verb and no rule may forget them, in the archive, or prune
    them, at the source. Archiving goes on, and messages that come later are held, too.

    Without options everything is held. --folder holds what is or was in these folders; --address holds what has
    that text in its sender or recipients; with both, a message must match both. Either may be given several times:
    then one match is enough. A message whose headers are not recorded, or whose list of recipients is very long, is
    held under every address.

    Each account gets a hold of its own, with its own number. `archiver release --held-for` with the same reason
    ends all of them together.

    The journal records who made the hold, when and why. `archiver status` shows it, with its number. It lasts until
    `archiver release` ends it.

    \b
      archiver hold configs/alice.toml --reason "lawsuit 12 O 34/26"
      archiver hold configs/ --reason "lawsuit 12 O 34/26" --address carol@example.org
      archiver hold configs/alice.toml --reason "audit" --folder "Invoices*" --address bob@example.net
    """
    terminal = terminal_of(as_json, quiet, verbose)
    why = reason_of(reason, _HOLD)
    for option, values in (("--folder", folder), ("--address", address)):
        if not all(each.strip() for each in values):
            raise ConfigError(option, ["is empty"], hint="leave it out to hold everything")

    def work(settings: Settings, emit: Emit) -> AccountOutcome[HoldFact]:
        from archiver.account.account import Account

        account = Account(settings)
        account.fetch_catalog(_HOLD, lambda: None)
        with account.writing(_HOLD) as (archive, recorder):
            if (stranger := archive.stranger) is not None:
                raise stranger
            holds = archive.catalog.keeping.holds()
            number = max((each.hold.number for each in holds), default=0) + 1
            fact = HoldFact(number, tuple(folder), tuple(address), why, user(), utc_now())
            recorder.write([fact])
            unknown = "; no folder matches yet" if folder and not _has_folder(archive, folder) else ""
        words = f"hold {number}: {hold_words(hold_to_record(fact))}{unknown}"
        return AccountOutcome(settings.account, 0, words, fact)

    accounts = load_accounts(configs, terminal)
    with terminal.progress(accounts.names) as display:
        outcomes = run_each(accounts.settings, _HOLD, display, work)
    _, exit_code = finish_document(terminal, "archiver-hold/1", accounts, outcomes, _to_json)
    made = [each for each in outcomes if each.result is not None]
    if terminal.tables:
        for each in made:
            terminal.out.say(f"{each.account}: {printable(each.message or '')}", "green")
        if accounts.several:
            total = len(accounts.settings) + len(accounts.refused)
            terminal.out.say(f"in all: {len(made):,} of {counted(total, 'account')} held")
    return exit_code


def _to_json(outcome: AccountOutcome[HoldFact]) -> dict[str, Any]:
    return outcome.to_json({"hold": outcome.result and hold_to_record(outcome.result)})


def _has_folder(archive: Archive, globs: Sequence[str]) -> bool:
    from archiver.mail.folder_names import matches

    return any(matches(each.folder.path, globs) for each in archive.catalog.account.folders().values())
