"""`forget`: erase messages from an archive, for good."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct
from msgspec.structs import replace

from archiver.config.age import checked_age, day_of
from archiver.errors import ConfigError, Incomplete
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.mail.model import Digest
from pipelines.cli.accounts import load_one
from pipelines.cli.keeping import ForgetDone, reason_of, show_forgotten, summary, to_record, user
from pipelines.cli.matching import Selection, choosing_options, query_of
from pipelines.cli.options import PATH, config_argument, output_options, terminal_of
from pipelines.cli.references import Named, named_in
from pipelines.events import Important
from pipelines.outcome import AccountOutcome, Emit, run_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.account.archive import Archive
    from archiver.account.upkeep.forgetting import Doom
    from archiver.catalog.keeping import HeldPlace
    from archiver.config.settings import Settings
    from archiver.facts.query import Found

_FORGET = "forget"
_ALL = 1 << 40


@click.command
@config_argument
@click.argument("references", metavar="[REF]...", nargs=-1, help="What `search` and `show` name messages by.")
@click.option(
    "--refs", type=PATH, metavar="FILE", help="Read references, or what `search --json` printed; - is stdin."
)
@choosing_options
@click.option("--vanished", is_flag=True, help="Only what is gone from the source, from every folder.")
@click.option("--older-than", metavar="AGE", help="Arrived, or with --vanished gone, longer ago than 180d, 2y.")
@click.option("--everywhere", is_flag=True, help="Also messages that other folders have, which do not match.")
@click.option("--also-at-destination", is_flag=True, help="Also remove their copies at the destination.")
@click.option("--reason", metavar="TEXT", help="Why, for those who ask later; needed with --yes.")
@click.option("--yes", is_flag=True, help="Forget them; without it they are only listed.")
@click.option("--finish", is_flag=True, help="Try again what could not be removed, such as what a lock kept.")
@output_options
def forget(
    config: Path,
    references: Sequence[str],
    refs: Path | None,
    vanished: bool,
    older_than: str | None,
    everywhere: bool,
    also_at_destination: bool,
    reason: str | None,
    yes: bool,
    finish: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **matching: Any,
) -> int:
    """Erase messages from an archive, so that neither their octets nor their headers are left anywhere in it, and
    see to it that they never come back, even while the source still shows them.

    Without --yes the messages are only listed. They are named by REF, as `archiver search` prints it, or chosen by
    the options of `search`, of which --recipient is its --to. A message is forgotten in all folders at once. One
    that matches in a folder, and is also in another one where it does not match, stays and is named, unless
    --everywhere is given; so with --vanished one that was only moved stays.

    Gone are: the files, objects and packs with all their versions; the facts in the journal, in place of which
    their digests stand, so that it can still be proved; the rows of the catalog and of the indexes of searches;
    what reports said of them; and older catalogs that `rebuild` left. With --also-at-destination their copies there
    go, too. What stays is a fact: the digest, the folder and the UID, why, who, and when; and a list in the
    archive's folder forgotten/, whose digest is in the journal.

    What an Object Lock keeps is listed with its date, and the exit code is 3; give --finish when that has passed. A
    message that is held (`archiver hold`) stays, and the exit code is 3. If this is cut off, the next command that
    writes to the archive ends it.

    This cannot be undone. It does nothing about the source, about backups of the archive, and about exports.

    \b
      archiver forget configs/alice.toml INBOX/17
      archiver forget configs/alice.toml --from bob@example.net --reason "request of 2026-11-02" --yes
      archiver forget configs/alice.toml --vanished --older-than 2y --reason "our rules" --yes
      archiver forget configs/alice.toml --finish
    """
    chosen_by_options = any(matching.values()) or vanished or older_than is not None
    if not (references or refs or chosen_by_options or finish):
        hint = "`archiver search` finds them"
        raise ConfigError("archiver forget", ["which messages? Give REF, --refs, or options"], hint=hint)
    if (references or refs) and chosen_by_options:
        problem = "REF and --refs cannot be combined with options that choose messages"
        raise ConfigError("archiver forget", [problem])
    if finish and (references or refs or chosen_by_options or yes):
        raise ConfigError("archiver forget", ["--finish chooses no messages: it goes on with what was forgotten"])
    terminal = terminal_of(as_json, quiet, verbose)
    settings = load_one(config, _FORGET)
    if also_at_destination and settings.destination is None:
        raise ConfigError(str(settings.file), ["has no [destination]"], hint="leave out --also-at-destination")
    why = reason_of(reason, _FORGET) if yes else ""
    order = _Order(
        selection=Selection(
            named=(*(Named(each) for each in references), *named_in(refs, settings.account)),
            query=query_of(matching, vanished=True, gone=vanished, limit=_ALL) if chosen_by_options else None,
            folders=matching["folder"],
        ),
        vanished=vanished,
        before=None if older_than is None else _moment(older_than),
        everywhere=everywhere,
        there=also_at_destination,
        yes=yes,
        reason=why,
    )

    def work(settings: Settings, emit: Emit) -> AccountOutcome[ForgetDone]:
        return _finish(settings, emit) if finish else _forget(settings, order, emit)

    with terminal.progress([settings.account]) as display:
        (outcome,) = run_each([settings], _FORGET, display, work)
    done = outcome.result
    terminal.document({"format": "archiver-forget/1", **outcome.to_json({} if done is None else to_record(done))})
    if done is not None and not terminal.as_json:
        show_forgotten(outcome, done, terminal)
    return outcome.exit_code


class _Order(Struct, frozen=True):
    """What the command line asks for. `before`: messages that arrived, or are gone since, before that moment."""

    selection: Selection
    vanished: bool
    before: datetime | None
    everywhere: bool
    there: bool
    yes: bool
    reason: str


def _moment(age: str) -> datetime:
    try:
        day = day_of(checked_age(age), datetime.now(UTC).date())
    except ValueError as error:
        raise ConfigError("--older-than", [f'"{printable(age)}" {error}']) from error
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _forget(settings: Settings, order: _Order, emit: Emit) -> AccountOutcome[ForgetDone]:
    from archiver.account.account import Account
    from archiver.account.upkeep import forgetting

    account = Account(settings)
    account.fetch_catalog(_FORGET, STOP.check)
    look = account.looking(_FORGET, lambda text: emit(Important(text)))
    with account.writing(_FORGET) if order.yes else look as (archive, recorder):
        if (stranger := archive.stranger) is not None:
            raise stranger
        left: Mapping[int, Sequence[tuple[str, str]]] = {}
        if order.yes and order.there:  # what was cut off is said again, and no message matches any more
            left = forgetting.finish(archive, recorder, STOP.control(emit), there=True, again=True)
        doomed = _doomed(archive, order)
        headers = archive.catalog.index.headers(doomed.messages)
        subjects = {digest: headers[digest].subject for digest in doomed.messages if digest in headers}
        done = ForgetDone(doomed, subjects, archive.destination_number, order.there)
        if order.yes and doomed.messages:
            text = f"forgetting {counted(len(doomed.messages), 'message')} for good"
            emit(Important(text))
            number, kept = forgetting.forget(
                archive, recorder, doomed, order.reason, user(), STOP.control(emit), there=order.there
            )
            done = replace(done, number=number, kept=kept, subjects={})
        elif order.yes:
            done = replace(done, number=0, finished=left or None)
        done = replace(done, kept=[*(each for some in left.values() for each in some), *done.kept])
    code = Incomplete.exit_code if done.kept or (order.yes and doomed.held) else 0
    return AccountOutcome(settings.account, code, summary(done), done)


def _doomed(archive: Archive, order: _Order) -> Doom:
    """What was asked for, and what of it stays."""
    from archiver.account.upkeep.forgetting import digests_of, doom

    selection = order.selection
    if selection.query is None:
        return doom(archive, digests_of(selection.find(archive)))
    if order.before is not None and not order.vanished:
        moment = int(order.before.timestamp())
        before = selection.query.before
        query = replace(selection.query, before=moment if before is None else min(before, moment))
        selection = replace(selection, query=query)
    found = selection.find(archive)
    if order.before is not None and order.vanished:
        day = order.before.strftime("%Y-%m-%dT%H:%M:%SZ")
        found = [each for each in found if (each[0].gone_at or day) < day]
    return doom(archive, digests_of(found), None if order.everywhere else _meant(found, vanished=order.vanished))


def _meant(found: Sequence[Sequence[Found]], *, vanished: bool) -> Callable[[HeldPlace], bool]:
    """Which places match. One of an ended epoch of a folder is not found, but is meant with the present ones. Of
    what is `vanished`, what `prune` removed is not meant: nobody deleted it."""
    keys = {places[0].key for places in found}
    folders: Mapping[tuple[Digest, str], Collection[Any]] = {
        (places[0].placement.digest, places[0].placement.directory): () for places in found
    }

    def meant(place: HeldPlace) -> bool:
        its = place.placement
        if vanished and place.pruned:
            return False
        return place.key in keys or (place.gone_at is not None and (its.digest, its.directory) in folders)

    return meant


def _finish(settings: Settings, emit: Emit) -> AccountOutcome[ForgetDone]:
    from archiver.account.account import Account
    from archiver.account.upkeep import forgetting

    account = Account(settings)
    account.fetch_catalog(_FORGET, STOP.check)
    with account.writing(_FORGET) as (archive, recorder):
        if (stranger := archive.stranger) is not None:
            raise stranger
        left = forgetting.finish(archive, recorder, STOP.control(emit), there=True, again=True)
        kept = [each for some in left.values() for each in some]
        done = ForgetDone(
            forgetting.Doom({}, {}, {}), {}, archive.destination_number, True, finished=left, kept=kept
        )
    code = Incomplete.exit_code if kept else 0
    return AccountOutcome(settings.account, code, summary(done), done)
