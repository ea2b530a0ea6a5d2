"""`hold`: forbid that messages are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.control.run import utc_now
from archiver.errors import ConfigError
from archiver.facts.keeping import HoldFact
from archiver.mail.folder_names import printable
from pipelines.cli.accounts import load_one
from pipelines.cli.keeping import hold_to_record, hold_words, reason_of, user
from pipelines.cli.options import config_argument, output_options, terminal_of
from pipelines.outcome import AccountOutcome, Emit, run_each

if TYPE_CHECKING:
    from archiver.account.archive import Archive
    from archiver.config.settings import Settings

_HOLD = "hold"


@click.command
@config_argument
@click.option("--reason", metavar="TEXT", help="Why, for those who ask later; it has to be given.")
@click.option("--folder", multiple=True, metavar="GLOB", help='Only what is in these folders, like "Work/*".')
@click.option("--address", multiple=True, metavar="ADDR", help="Only what is from, or was sent to, this address.")
@output_options
def hold(
    config: Path,
    reason: str | None,
    folder: Sequence[str],
    address: Sequence[str],
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Forbid that messages of an account are lost, for as long as the hold lasts: no verb and no rule forgets them,
    in the archive, or prunes them, at the source. Archiving goes on; messages that come later are held, too.

    Without options it holds everything. With --folder it holds what is in these folders, or was; with --address
    what has that text among its sender and recipients; with both, what matches both. Either may be given several
    times: then one of them is enough. A message whose headers are not recorded, or has a very long list of
    recipients, counts as one of every address.

    A hold is a fact in the journal: who, when and why. `archiver status` shows it, with its number. It lasts until
    `archiver release` ends it.

    \b
      archiver hold configs/alice.toml --reason "lawsuit 12 O 34/26"
      archiver hold configs/alice.toml --reason "audit" --folder "Invoices*" --address bob@example.net
    """
    terminal = terminal_of(as_json, quiet, verbose)
    settings = load_one(config, _HOLD)
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

    with terminal.progress([settings.account]) as display:
        (outcome,) = run_each([settings], _HOLD, display, work)
    made = outcome.result
    fields = {"hold": made and hold_to_record(made)}
    terminal.document({"format": "archiver-hold/1", **outcome.to_json(fields)})
    if made is not None and not terminal.as_json and not quiet:
        terminal.out.say(f"{outcome.account}: {printable(outcome.message or '')}", "green")
    return outcome.exit_code


def _has_folder(archive: Archive, globs: Sequence[str]) -> bool:
    from archiver.mail.folder_names import matches

    return any(matches(each.folder.path, globs) for each in archive.catalog.account.folders().values())
