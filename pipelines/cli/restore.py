"""`restore`: put messages back into a mailbox."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct
from msgspec.structs import replace

from archiver.config.moment import moment_of
from archiver.errors import ConfigError
from archiver.mail.folder_names import printable
from pipelines.cli.accounts import load_one
from pipelines.cli.matching import Selection, choosing_options, query_of
from pipelines.cli.options import (
    PATH,
    as_of_option,
    config_argument,
    destination_answer,
    new_destination_option,
    output_options,
    same_destination_option,
    terminal_of,
)
from pipelines.cli.references import Named, named_in, reference_of
from pipelines.cli.restored import RestoreDone, mailbox_to_record, show_restored, summary, to_record
from pipelines.events import Important
from pipelines.outcome import AccountOutcome, Emit, run_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.account.archive import Archive
    from archiver.account.restore import RestoreMailbox, RestoreRequest, RestoreResult
    from archiver.catalog.port import Catalog
    from archiver.config.settings import Settings
    from archiver.replay.restore.choice import Candidate

_RESTORE = "restore"
_INTO = "Restored/{date}"
_ALL = 1 << 40
_ROLES = {"source": "the account's source", "destination": "the account's destination", "other": "another account"}


@click.command
@config_argument
@click.argument("references", metavar="[REF]...", nargs=-1, help="What `search` and `show` name messages by.")
@click.option(
    "--refs", type=PATH, metavar="FILE", help="Read references, or what `search --json` printed; - is stdin."
)
@choosing_options
@as_of_option
@click.option("--vanished", is_flag=True, help="Only what is gone from the mailbox: the default.")
@click.option("--also-present", is_flag=True, help="Also what is still there, in another folder.")
@click.option("--again", is_flag=True, help="Also what was restored before and has been moved or deleted since.")
@click.option(
    "--to",
    metavar="WHERE",
    default="source",
    show_default=True,
    help="The mailbox: source, destination, or the account file whose source it is.",
)
@click.option(
    "--into", metavar="FOLDER", help="Below this folder; by default Restored/{date}, where {date} is today."
)
@click.option("--in-place", is_flag=True, help="Back into the folders that the messages were in.")
@click.option("--yes", is_flag=True, help="Restore more than one message; without it they are only listed.")
@click.option("--dry-run", is_flag=True, help="Only list what would be restored.")
@same_destination_option
@new_destination_option
@output_options
def restore(
    config: Path,
    references: Sequence[str],
    refs: Path | None,
    as_of: str | None,
    vanished: bool,
    also_present: bool,
    again: bool,
    to: str,
    into: str | None,
    in_place: bool,
    yes: bool,
    dry_run: bool,
    same_destination: bool,
    new_destination: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **matching: Any,
) -> int:
    """Put messages of an archive back into a mailbox, byte for byte, with the dates, flags and keywords that they
    had. This is the only command that adds to a source, and it says so first. It adds messages and the folders
    for them; nothing that is there is changed or removed.

    Messages are named by REF, as `archiver search` prints it (INBOX/17, or the beginning of a digest), or chosen by
    the options of `search`, of which --recipient is its --to. Only what is gone is restored: a message that was
    moved to another folder is still there, unless --also-present is given. With --as-of the messages are those
    that were in their folders then, with their flags at that time. Of equal messages in a folder one is restored.

    They go below the folder "Restored/{date}": what was in INBOX into it, what was in Work into its folder Work.
    With --in-place they go back to their own folders, which are created if they are gone. There a message gets a
    new UID; the next run archives it as a new message, and the old one stays in the archive as vanished.

    One message is restored at once. More are only listed, unless --yes is given.

    Each message arrives once, however often this is called and wherever it is cut off: call it again, and it finds
    out what arrived before it sends anything. What was restored before and then moved or deleted by its user is
    left alone, unless --again is given. `archiver status` shows what was restored, and what still waits.

    The message's digest is checked before it is sent; one that is damaged is refused, and the exit code is 6. The
    exit code is 3 if the server refuses a message, and 0 if there is nothing to do.

    \b
      archiver restore configs/alice.toml INBOX/17
      archiver restore configs/alice.toml --folder "Work*" --as-of 2026-11-20 --in-place --yes
      archiver search configs/alice.toml --vanished --from bob --json |
          archiver restore configs/alice.toml --refs - --yes
      archiver restore configs/alice.toml INBOX/17 --to configs/bob.toml --into "From Alice"
    """
    chosen_by_options = any(value for value in matching.values())
    _require_sense(references, refs, chosen_by_options, into, in_place)
    if vanished and also_present:
        raise ConfigError(_RESTORE, ["--vanished and --also-present contradict each other"])
    terminal = terminal_of(as_json, quiet, verbose)
    settings = load_one(config, _RESTORE)
    mailbox = _mailbox(settings, to)
    gone = not also_present and mailbox.role != "destination"  # what is gone from there is gone in another way
    order = _Order(
        selection=Selection(
            named=(*(Named(each) for each in references), *named_in(refs, settings.account)),
            query=query_of(matching, vanished=True, gone=gone, limit=_ALL) if chosen_by_options else None,
            folders=matching["folder"],
        ),
        moment=None if as_of is None else moment_of(as_of, "--as-of"),
        mailbox=mailbox,
        into=None if in_place else _folder(into or _INTO),
        also_present=also_present,
        again=again,
        yes=yes,
        dry_run=dry_run,
    )
    answer = destination_answer(same_destination, new_destination)

    def work(settings: Settings, emit: Emit) -> AccountOutcome[RestoreDone]:
        return _restore(settings, order, answer, emit)

    with terminal.progress([settings.account]) as display:
        (outcome,) = run_each([settings], _RESTORE, display, work)
    done = outcome.result
    fields = {"mailbox": mailbox_to_record(order.mailbox), "into": order.into}
    fields |= {} if done is None else to_record(done)
    terminal.document({"format": "archiver-restore/1", **outcome.to_json(fields)})
    if done is not None and not terminal.as_json:
        show_restored(outcome, done, terminal)
    return outcome.exit_code


def _require_sense(
    references: Sequence[str], refs: Path | None, chosen_by_options: bool, into: str | None, in_place: bool
) -> None:
    """
    Raises:
        ConfigError: nothing says which messages, or two things contradict each other.
    """
    if not (references or refs or chosen_by_options):
        hint = '`archiver search --vanished` finds them; --folder "*" means all that are gone'
        raise ConfigError(_RESTORE, ["which messages? Give REF, --refs, or options that choose them"], hint=hint)
    if (references or refs) and chosen_by_options:
        raise ConfigError(_RESTORE, ["REF and --refs cannot be combined with options that choose messages"])
    if into is not None and in_place:
        raise ConfigError(_RESTORE, ["--into and --in-place contradict each other"])


class _Order(Struct, frozen=True):
    """What the command line asks for."""

    selection: Selection
    moment: str | None
    mailbox: RestoreMailbox
    into: str | None
    also_present: bool
    again: bool
    yes: bool
    dry_run: bool

    def of_interest(self, result: RestoreResult) -> RestoreResult:
        """What people want to know of: of messages that match, not those that are where they always were."""
        if self.selection.query is None:
            return result
        chosen = [
            each for each in result.chosen if each.standing != "there" or each.candidate.found.gone_at is not None
        ]
        return replace(result, chosen=chosen)


def _mailbox(settings: Settings, to: str) -> RestoreMailbox:
    from archiver.account.restore import destination_to_fill, source_to_fill

    if to == "source":
        return source_to_fill(settings, "source")
    if to == "destination":
        return destination_to_fill(settings)
    if not to.endswith(".toml"):
        raise ConfigError("--to", [f'"{to}" is neither source nor destination nor an account file (OTHER.toml)'])
    return source_to_fill(load_one(Path(to), _RESTORE), "other")


def _folder(into: str) -> str:
    name = into.replace("{date}", datetime.now().strftime("%Y-%m-%d"))
    levels = set(name.split("/"))
    if not name.strip() or levels & {"", ".", ".."} or not name.isprintable():
        hint = 'write a folder\'s name with "/" between levels, as in "Restored/{date}"'
        raise ConfigError("--into", [f'"{printable(into)}" is not the name of a folder'], hint=hint)
    return name


def _restore(settings: Settings, order: _Order, answer: Any, emit: Emit) -> AccountOutcome[RestoreDone]:
    from archiver.account.account import Account
    from archiver.account.restore import look_at
    from archiver.account.restore import restore as restore_to

    account = Account(settings)
    account.fetch_catalog(_RESTORE, STOP.check)
    look = account.looking(_RESTORE, lambda text: emit(Important(text)))
    with look if order.dry_run else account.writing(_RESTORE) as (archive, recorder):
        request = _request(archive, order, answer)
        result = order.of_interest(look_at(archive, request))
        dry = order.dry_run or (len(result.wanted) > 1 and not order.yes)
        if result.wanted:
            emit(Important(_announcement(order, dry=dry)))
        if result.wanted and not dry:
            result = order.of_interest(restore_to(archive, recorder, request, STOP.control(emit)))
    done = RestoreDone(
        result, order.mailbox, order.into, dry, asked_dry=order.dry_run, gone_only=not order.also_present
    )
    return AccountOutcome(settings.account, done.exit_code, summary(done), done)


def _announcement(order: _Order, *, dry: bool) -> str:
    would = "would write" if dry else "writes"
    only = ": the only command that adds to it" if order.mailbox.role == "source" else ""
    return f"restore {would} to {order.mailbox.name}, {_ROLES[order.mailbox.role]}{only}"


def _request(archive: Archive, order: _Order, answer: Any) -> RestoreRequest:
    from archiver.account.restore import RestoreRequest
    from archiver.replay.restore.choice import Wishes

    past = nullcontext() if order.moment is None else archive.as_it_was(order.moment, _RESTORE, STOP.check)
    with past as then:
        candidates = _candidates(archive, order, then)
    wishes = Wishes(order.also_present, order.again, in_place=order.into is None)
    return RestoreRequest(order.mailbox, order.into, wishes, candidates, answer)


def _candidates(archive: Archive, order: _Order, then: Catalog | None) -> list[Candidate]:
    """The messages that were asked for.

    Raises:
        ConfigError: a reference names none, or several; or none that was there at that time.
    """
    from archiver.account.restore import candidates_of

    asked = order.selection.find(archive)
    if then is None or order.selection.query is not None:
        return candidates_of(archive, (places[0] for places in asked), then)
    found: list[Candidate] = []
    for places in asked:
        past = candidates_of(archive, places, then)
        if not past:
            problem = f"was in no folder at {order.moment}"
            raise ConfigError(reference_of(places[0]), [problem], hint="choose another --as-of")
        found.append(next((one for one in past if one.found.folder == places[0].folder), past[0]))
    return found
