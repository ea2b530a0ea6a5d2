"""`retry`: a run that tries quarantined and refused messages again, or accepts their loss."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import Configs, Json, Quiet, Verbose, Workers, terminal_of
from pipelines.cli.run import run_accounts_of


def retry(
    configs: Configs,
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept what the servers give and show now, or else the loss.")
    ] = False,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
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
    from pipelines.engine import Options

    options = Options(retry="accept" if accept else "all")
    return run_accounts_of(configs, options, workers, terminal_of(as_json, quiet, verbose))
