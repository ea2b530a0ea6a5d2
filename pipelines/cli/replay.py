"""`replay`: the steps of a run that bring a destination up to date with the archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archiver.config.moment import moment_of
from archiver.errors import ConfigError
from pipelines.cli.options import (
    after_cutover_option,
    as_of_option,
    configs_argument,
    confirm_deletions_option,
    destination_answer,
    include_removed_option,
    include_vanished_option,
    max_duration_option,
    new_destination_option,
    output_options,
    run_id_of,
    run_id_option,
    same_destination_option,
    scheduler_url_option,
    terminal_of,
    workers_option,
)
from pipelines.cli.run import run_accounts_of

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen


@click.command
@configs_argument
@include_vanished_option
@include_removed_option
@confirm_deletions_option
@after_cutover_option
@as_of_option
@same_destination_option
@new_destination_option
@run_id_option
@workers_option
@scheduler_url_option
@max_duration_option
@output_options
def replay(
    configs: Chosen,
    include_vanished: bool,
    include_removed: bool,
    confirm_deletions: bool,
    after_cutover: bool,
    as_of: str | None,
    same_destination: bool,
    new_destination: bool,
    run_id: str | None,
    workers: int | None,
    scheduler_url: str | None,
    max_seconds: float | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Bring the destinations up to date with the archives, and compare them. The sources are not contacted and need
    not exist any more: this is how an archive is restored.

    Folders are created and subscribed, and messages are appended byte for byte with their dates, flags and
    keywords, each once, whatever happens in between. A message that is already there is recognised and not sent
    again. Flags that changed in the archive are updated. What the destination's user changed or deleted there stays
    that way. Nothing is deleted there, unless [replay] vanished says so, and never more than 50 messages or 10 % of
    a folder or the account without --confirm-deletions.

    If this archive never filled the mailbox, and the mailbox is already in use, nothing is sent without
    --new-destination; see `archiver run --help`.

    --include-vanished also sends messages that were deleted at the source, for instance after a mailbox was wiped;
    --include-removed sends messages again that were deleted at the destination.

    With --as-of the folders are replayed as the archive knew them then: each message that was in a folder is sent,
    with the flags it had, unless it is already there. Nothing else happens: messages at the destination keep their
    flags, and nothing is deleted or marked, whatever [replay] vanished says. A day means its end in local time. To
    get exactly the folders of that day, replay into an empty mailbox.

    \b
      archiver replay configs/alice.toml
      archiver replay configs/alice.toml --include-vanished
      archiver replay configs/alice.toml --as-of 2026-11-20
    """
    from pipelines.attempts import Options

    moment = None
    if as_of is not None:
        if include_vanished or confirm_deletions:
            other = "--include-vanished" if include_vanished else "--confirm-deletions"
            raise ConfigError("--as-of", [f"cannot be combined with {other}"])
        moment = moment_of(as_of, "--as-of")
    options = Options(
        steps="replay",
        run_id=run_id_of(run_id),
        scheduler_url=scheduler_url,
        max_seconds=max_seconds,
        destination_is=destination_answer(same_destination, new_destination),
        include_vanished=include_vanished,
        include_removed=include_removed,
        confirm_deletions=confirm_deletions,
        after_cutover=after_cutover,
        as_of=moment,
    )
    return run_accounts_of(configs, options, workers, terminal_of(as_json, quiet, verbose))
