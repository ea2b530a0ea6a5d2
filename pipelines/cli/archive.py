"""`archive`: the archive step of a run alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipelines.cli.options import (
    configs_argument,
    destination_answer,
    dry_run_option,
    max_duration_option,
    new_archive_option,
    new_destination_option,
    new_source_option,
    output_options,
    run_id_of,
    run_id_option,
    scheduler_url_option,
    terminal_of,
    workers_option,
)
from pipelines.cli.run import run_or_plan

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen


@click.command
@configs_argument
@dry_run_option
@run_id_option
@workers_option
@scheduler_url_option
@max_duration_option
@new_source_option
@new_archive_option
@new_destination_option
@output_options
def archive(
    configs: Chosen,
    dry_run: bool,
    run_id: str | None,
    workers: int | None,
    scheduler_url: str | None,
    max_seconds: float | None,
    new_source: bool,
    new_archive: bool,
    new_destination: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Archive the accounts without replaying them; see `archiver run --help`.

    \b
      archiver archive configs/alice.toml
    """
    from pipelines.attempts import Options

    options = Options(
        steps="archive",
        run_id=run_id_of(run_id),
        scheduler_url=scheduler_url,
        max_seconds=max_seconds,
        new_source=new_source,
        new_archive=new_archive,
        destination_is=destination_answer(same=False, new=new_destination),
    )
    return run_or_plan(configs, options, workers, terminal_of(as_json, quiet, verbose), dry_run=dry_run)
