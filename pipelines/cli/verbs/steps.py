"""The steps of a run, together or one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from archiver.errors import ConfigError
from pipelines.cli.verbs.options import (
    AsOf,
    Configs,
    ConfirmDeletions,
    DryRun,
    IncludeRemoved,
    IncludeVanished,
    Json,
    NewArchive,
    NewDestination,
    NewSource,
    Quiet,
    RunId,
    SameDestination,
    SchedulerUrl,
    Verbose,
    Workers,
    destination_word,
    run_id_of,
    terminal_of,
)


def run(
    configs: Configs,
    dry_run: DryRun = False,
    run_id: RunId = None,
    workers: Workers = None,
    scheduler_url: SchedulerUrl = None,
    new_source: NewSource = False,
    new_archive: NewArchive = False,
    same_destination: SameDestination = False,
    new_destination: NewDestination = False,
    confirm_deletions: ConfirmDeletions = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Archive the accounts: list the folders, fetch what is new by UID, follow flags, mark what vanished, and write
    a report. Only what is new is fetched, so run it every night; a run that was stopped or killed goes on where it
    stopped. Several accounts run side by side, and one that fails stops only itself.

    An account with a [destination] is then replayed: folders, messages, flags and dates go there from the archive,
    each message once, and every copy is compared with the archive. Run it again and again while people still use
    the old server, and a last time on the night of the move.

    A destination is known by the copies it shows, not by its address. Nothing is sent where the mailbox is not the
    one of before, where one that this archive never filled is in use already, or where it is the source's own:
    the run ends with exit code 2 until --same-destination or --new-destination is given, once.

    The source is never changed: folders are opened read-only and nothing is marked as read. What is deleted on the
    server stays in the archive. Messages that cannot be had, or that the destination refuses, are listed, tried
    again in the next runs, and end the run with exit code 3.

    The first run begins an archive and says so. From then on a file beside the account file (alice.archive) says
    that there is one, and a run that does not find it ends with exit code 8, as when a disk is not mounted;
    --new-archive begins another one all the same.

    \b
      archiver run configs/alice.toml          one account
      archiver run configs/                    all accounts of a folder
      archiver run configs/ --dry-run          what would be fetched, and which folder goes where
      archiver run configs/ --quiet            for cron: speaks only of trouble
      archiver run configs/ --json >run.json   for programs
    """
    given = _Given(
        run_id,
        scheduler_url,
        new_source,
        destination_is=destination_word(same_destination, new_destination),
        confirm_deletions=confirm_deletions,
        new_archive=new_archive,
    )
    return _run(configs, "run", given, dry_run, workers, terminal_of(as_json, quiet, verbose))


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
    """Archive the accounts and leave their destinations alone; see `archiver run --help`.

    \b
      archiver archive configs/alice.toml
    """
    given = _Given(
        run_id,
        scheduler_url,
        new_source,
        destination_is=destination_word(same=False, new=new_destination),
        new_archive=new_archive,
    )
    return _run(configs, "archive", given, dry_run, workers, terminal_of(as_json, quiet, verbose))


def replay(
    configs: Configs,
    include_vanished: IncludeVanished = False,
    include_removed: IncludeRemoved = False,
    confirm_deletions: ConfirmDeletions = False,
    as_of: AsOf = None,
    same_destination: SameDestination = False,
    new_destination: NewDestination = False,
    run_id: RunId = None,
    workers: Workers = None,
    scheduler_url: SchedulerUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Bring the destinations up to date with the archives, and compare them. The sources are not contacted and may
    be long gone: this is how an archive is restored.

    Folders are made and subscribed, messages appended octet for octet with their dates, flags and keywords, each
    once, whatever happens in between. What is there already is known again by its octets and not sent twice. Flags
    that changed in the archive are followed; what the destination's user changed or deleted there stays as he left
    it. Nothing is deleted there, unless [replay] vanished says so, and then never more than 50 messages or 10 % of
    a folder or the account without --confirm-deletions.

    Into a mailbox that this archive never filled and that is in use already nothing is sent without
    --new-destination; see `archiver run --help`.

    With --include-vanished messages come back that were deleted at the source, as after a mailbox was wiped; with
    --include-removed those that were deleted at the destination.

    With --as-of the folders are replayed as the archive knew them then: every message that was in a folder comes,
    with the flags it had, if it is not there already. Nothing else is done: what is at the destination stays, with
    the flags it has there, and nothing is deleted or marked, whatever [replay] vanished says. A day means its end
    in local time. To have the folders of a day and nothing else, replay into an empty mailbox.

    \b
      archiver replay configs/alice.toml
      archiver replay configs/alice.toml --include-vanished
      archiver replay configs/alice.toml --as-of 2026-11-20
    """
    moment = None
    if as_of is not None:
        from archiver.mail.dates import moment_of

        if include_vanished or confirm_deletions:
            other = "--include-vanished" if include_vanished else "--confirm-deletions"
            raise ConfigError("--as-of", [f"it says what is sent, and {other} something else; give one of them"])
        moment = moment_of(as_of, "--as-of")
    given = _Given(
        run_id,
        scheduler_url,
        destination_is=destination_word(same_destination, new_destination),
        include_vanished=include_vanished,
        include_removed=include_removed,
        confirm_deletions=confirm_deletions,
        as_of=moment,
    )
    return _run(configs, "replay", given, False, workers, terminal_of(as_json, quiet, verbose))


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
    from pipelines.cli.run import run_configs
    from pipelines.engine import Options

    options = Options(retry="accept" if accept else "all")
    return run_configs(configs, terminal_of(as_json, quiet, verbose), options, workers=workers)


@dataclass(frozen=True, slots=True)
class _Given:
    """The options of a run."""

    run_id: str | None
    scheduler_url: str | None
    new_source: bool = False
    destination_is: Any = "ask"
    include_vanished: bool = False
    include_removed: bool = False
    confirm_deletions: bool = False
    as_of: str | None = None
    new_archive: bool = False


def _run(configs: list[Path], steps: Any, given: _Given, dry_run: bool, workers: int | None, terminal: Any) -> int:
    run_id = run_id_of(given.run_id)
    if dry_run:
        from pipelines.cli.check import plan_accounts

        return plan_accounts(
            configs,
            terminal,
            new_source=given.new_source,
            new_archive=given.new_archive,
            word=given.destination_is,
            with_destination=steps == "run",
        )
    from pipelines.cli.run import run_configs
    from pipelines.engine import Options

    options = Options(
        run_id=run_id,
        scheduler_url=given.scheduler_url,
        new_source=given.new_source,
        new_archive=given.new_archive,
        destination_is=given.destination_is,
        steps=steps,
        include_vanished=given.include_vanished,
        include_removed=given.include_removed,
        confirm_deletions=given.confirm_deletions,
        as_of=given.as_of,
    )
    return run_configs(configs, terminal, options, workers=workers)
