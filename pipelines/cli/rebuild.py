"""`rebuild`: recreate an archive's catalog from its journal and store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from archiver.errors import IntegrityError
from archiver.events import Noted
from archiver.journal.rebuild import replay_journal, require_no_loss, restore_store
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from pipelines.cli.accounts import load_one
from pipelines.cli.options import config_argument, output_options, terminal_of
from pipelines.events import Listener
from pipelines.outcome import AccountOutcome, Emit, run_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.account.archive import Archive
    from archiver.config.settings import Settings

_REBUILD = "rebuild"


@click.command
@config_argument
@output_options
def rebuild(
    config: Path,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Recreate an archive's catalog from its store and its journal, after it was lost or damaged.

    No server is contacted and no message is touched. The old catalog is kept next to the new one. If the journal is
    damaged, the old catalog stays in place.

    \b
      archiver rebuild configs/alice.toml
    """
    terminal = terminal_of(as_json, quiet, verbose)
    settings = load_one(config, "rebuild")
    with terminal.progress([settings.account]) as display:
        outcome = rebuild_account(settings, display)
    terminal.document({"format": "archiver-rebuild/1", **to_json(outcome)})
    if outcome.result is not None and terminal.tables:
        terminal.out.say(f"{outcome.account}: {printable(outcome.message or '')}", "green")
        if outcome.result.aside is not None:
            terminal.out.say(f"  the old catalog is kept: {outcome.result.aside}")
    return outcome.exit_code


class Rebuilt(Struct, frozen=True):
    """What a catalog was made from. `orphans` are messages in the store that the journal does not know; `aside` is
    where the old catalog is kept, None if there was none."""

    segments: int = 0
    messages: int = 0
    orphans: tuple[str, ...] = ()
    aside: str | None = None


def rebuild_account(settings: Settings, listener: Listener) -> AccountOutcome[Rebuilt]:
    """Recreate an account's catalog from its journal and store. The old one is kept next to it, and stays in its
    place if the new one cannot be completed. Never raises for an account's failure."""
    (outcome,) = run_each([settings], _REBUILD, listener, _rebuild)
    return outcome


def _rebuild(settings: Settings, emit: Emit) -> AccountOutcome[Rebuilt]:
    from archiver.account.account import Account

    account = Account(settings)
    if account.medium.is_remote:
        account.make_archive("never")  # what is there is all that is needed
    with account.opened() as archive, account.locked(_REBUILD):
        rebuilt = _make_catalog(archive, emit)
    message = f"{counted(rebuilt.messages, 'message')} from {counted(rebuilt.segments, 'segment')} of the journal"
    if rebuilt.orphans:
        message += f"; {counted(len(rebuilt.orphans), 'message')} without a record: the next run adopts them"
    return AccountOutcome(settings.account, 0, message, rebuilt)


def _make_catalog(archive: Archive, emit: Emit) -> Rebuilt:
    with archive.place.scratch(_REBUILD, to_install=True) as scratch:
        segments = replay_journal(archive.journal, scratch, STOP.check)
        require_no_loss(scratch, _last_known(archive, emit))
        emit(Noted(f"{segments} segments of the journal read; reading the store"))
        restored = restore_store(archive.store, archive.storage.metadata, scratch)
        orphans = tuple(archive.store.display_path(each) for each in restored)
        messages = sum(1 for _ in scratch.messages.placements())
        scratch.close()
        archive.begin_work()  # the next run ends it: it adopts what has no record
        archive.catalog.close()
        aside = archive.place.install(_REBUILD)
    return Rebuilt(segments, messages, orphans, aside)


def _last_known(archive: Archive, emit: Emit) -> int:
    """The last segment that the old catalog knows; 0 if there is no catalog or it cannot be read."""
    if not archive.place.exists():
        return 0
    try:
        return archive.catalog.last_segment()[0]
    except IntegrityError as error:
        emit(Noted(f"{error.message}: replacing it"))
        return 0


def to_json(outcome: AccountOutcome[Rebuilt]) -> dict[str, Any]:
    rebuilt = outcome.result or Rebuilt()
    return outcome.to_json(
        {
            "segments": rebuilt.segments,
            "messages": rebuilt.messages,
            "orphans": [printable(path) for path in rebuilt.orphans],
            "aside": rebuilt.aside,
        }
    )
