"""`archive`: the archive step of a run alone."""

from __future__ import annotations

from pipelines.cli.options import (
    Configs,
    DryRun,
    Json,
    NewArchive,
    NewDestination,
    NewSource,
    Quiet,
    RunId,
    SchedulerUrl,
    Verbose,
    Workers,
    destination_answer,
    run_id_of,
    terminal_of,
)
from pipelines.cli.run import run_or_plan


def archive(
    configs: Configs,
    dry_run: DryRun = False,
    run_id: RunId = None,
    workers: Workers = None,
    scheduler_url: SchedulerUrl = None,
    new_source: NewSource = False,
    new_archive: NewArchive = False,
    new_destination: NewDestination = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Archive the accounts without replaying them; see `archiver run --help`.

    \b
      archiver archive configs/alice.toml
    """
    from pipelines.engine import Options

    options = Options(
        steps="archive",
        run_id=run_id_of(run_id),
        scheduler_url=scheduler_url,
        new_source=new_source,
        new_archive=new_archive,
        destination_is=destination_answer(same=False, new=new_destination),
    )
    return run_or_plan(configs, options, workers, terminal_of(as_json, quiet, verbose), dry_run=dry_run)
