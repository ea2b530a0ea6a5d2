"""`retry`: a run that tries quarantined and refused messages again, or accepts their loss."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import Configs, Json, Quiet, Verbose, Workers, terminal_of
from pipelines.cli.run import run_accounts_of


def retry(
    configs: Configs,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take what the server gives now, or else accept that it is lost.")
    ] = False,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Try all quarantined and refused messages again, also those that were tried before in vain. It is a run: what
    is new is archived and replayed, too.

    With --accept a server's placeholder is taken for the message, and what still cannot be had, or is refused by
    the destination, is marked as accepted: it stays listed but no longer ends a run with exit code 3. A message
    that can be fetched or sent later is.

    \b
      archiver retry configs/alice.toml
      archiver retry configs/alice.toml --accept
    """
    from pipelines.engine import Options

    options = Options(retry="accept" if accept else "all")
    return run_accounts_of(configs, options, workers, terminal_of(as_json, quiet, verbose))
