"""`retry`: a run that tries quarantined and refused messages again, or accepts their loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipelines.cli.options import configs_argument, output_options, terminal_of, workers_option
from pipelines.cli.run import run_accounts_of

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen


@click.command
@configs_argument
@click.option("--accept", is_flag=True, help="Accept what the servers give and show now, or else the loss.")
@workers_option
@output_options
def retry(
    configs: Chosen,
    accept: bool,
    workers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Try all quarantined and refused messages again, including those that failed before. Performs a normal run:
    new messages are archived and replayed, too.

    With --accept a server's placeholder is accepted as the message. A message that still cannot be fetched, or that
    the destination refuses, is marked as accepted: it stays listed, but a run no longer ends with exit code 3
    because of it. If it can be fetched or sent later, it is. A copy that the destination shows altered or cut off
    is accepted as it is: it stays listed, but is no longer a difference (exit code 4), and is not sent again.

    \b
      archiver retry configs/alice.toml
      archiver retry configs/alice.toml --accept
    """
    from pipelines.attempts import Options

    options = Options(retry="accept" if accept else "all")
    return run_accounts_of(configs, options, workers, terminal_of(as_json, quiet, verbose))
