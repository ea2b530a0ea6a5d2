"""`demo`: the whole job, on mail servers of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.errors import Interrupted
from pipelines.cli.options import PATH, json_option, terminal_of
from pipelines.cli.verify import VerifyOptions, VerifyOutcome, verify_accounts
from pipelines.outcome import AccountOutcome
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.config.settings import Settings
    from archiver.replay.compare.result import DestinationCheck


@click.command
@click.option(
    "--dir",
    "directory",
    type=PATH,
    metavar="DIR",
    default=Path("archiver-demo"),
    show_default=True,
    help="The folder for the demo; cleared each time.",
)
@json_option
def demo(
    directory: Path,
    as_json: bool,
) -> int:
    """See everything work in less than a minute, without an account: starts two mail servers of its own, archives
    the mailbox of the first and replays it to the second, changes the mailbox and does that again, compares both
    servers message by message, verifies, and says where to find the report and the archive.

    Needs the extra: pip install 'mail-archiver[demo]'. A folder that was not made by a demo is never touched.

    \b
      archiver demo --dir /tmp/archiver-demo
    """
    from pipelines.demo.run import run_demo

    terminal = terminal_of(as_json)
    directory = directory.absolute()
    STOP.install()
    try:
        exit_code = run_demo(directory, terminal.err if as_json else terminal.out, verify_deep)
    except Interrupted as stopped:
        terminal.warn("the demo was stopped; the next one starts over")
        exit_code = stopped.exit_code
    terminal.document({"format": "archiver-demo/1", "directory": str(directory), "exit_code": exit_code})
    return exit_code


def verify_deep(settings: Settings) -> tuple[AccountOutcome[VerifyOutcome], DestinationCheck | None]:
    """Verify the demo's archive, and every copy at its destination octet for octet."""
    (outcome,) = verify_accounts([settings], VerifyOptions(deep=True), lambda *_: None)
    return outcome, outcome.result.destination if outcome.result is not None else None
