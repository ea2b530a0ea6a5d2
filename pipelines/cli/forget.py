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
from pipelines.cli.accounts import finish_document, load_accounts
from pipelines.cli.keeping import ForgetDone, reason_of, show_forgotten, summary, to_record, user
from pipelines.cli.matching import Selection, choosing_options, in_folders, query_of
from pipelines.cli.options import PATH, Integer, configs_and, output_options, terminal_of
from pipelines.cli.references import Named, is_digest, is_forgotten, is_reference, read_names
from pipelines.events import Important
from pipelines.outcome import AccountOutcome, Emit, run_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.account.archive import Archive
    from archiver.account.upkeep.forgetting import Doom
    from archiver.catalog.keeping import HeldPlace
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings
    from archiver.facts.query import Found

_FORGET = "forget"
_ALL = 1 << 40


@click.command
@configs_and("[REF]...", "What `search` and `show` name messages by.", is_reference)
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
@click.option(
    "--number",
    "numbers",
    multiple=True,
    metavar="N",
    type=Integer(min=1),
    help="With --finish: only what was forgotten under this number; repeatable.",
)
@output_options
def forget(
    configs: Chosen,
    names: Sequence[str],
    refs: Path | None,
    vanished: bool,
    older_than: str | None,
    everywhere: bool,
    also_at_destination: bool,
    reason: str | None,
    yes: bool,
    finish: bool,
    numbers: Sequence[int],
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **matching: Any,
) -> int:
    """Erase messages from archives, so that neither their octets nor their headers are left anywhere in them, and
    see to it that they never come back, even while the source still shows them.

    Without --yes the messages are only listed, of all accounts. They are named by REF, as `archiver search` prints
    it, or chosen by the options of `search`, of which --recipient is its --to. FOLDER/UID names a message of one
    account; a digest names it in all of them. A message is forgotten in all folders at once. One that matches in a
    folder, and is also in another one where it does not match, stays and is named, unless --everywhere is given; so
    with --vanished one that was only moved stays.

    Gone are: the files, objects and packs with all their versions; the facts in the journal, in place of which
    their digests stand, so that it can still be proved; the rows of the catalog and of the indexes of searches;
    what reports said of them; and older catalogs that `rebuild` left. What stays is a fact: the digest, the folder
    and the UID, why, who, and when; and a list in the archive's folder forgotten/, whose digest is in the journal.

    With --also-at-destination their copies there go, too; without it, `archiver status` says how many are left, and
    --finish --also-at-destination removes them later. A copy is removed only under the UIDVALIDITY and the UID that
    are recorded, and if its octets are those of the message. Copies of what [retention] forgot stay, unless its
    --number is given.

    What an Object Lock keeps is listed with its date, and the exit code is 3; give --finish when that has passed. A
    message that is held (`archiver hold`) stays, and the exit code is 3. If this is cut off, the next command that
    writes to the archive ends it.

    This cannot be undone. Mail at the source, backups of the archive and exports are not touched.

    \b
      archiver forget configs/alice.toml INBOX/17
      archiver forget configs/alice.toml --from bob@example.net --reason "request of 2026-11-02" --yes
      archiver forget configs/ --text bob@example.net
      archiver forget configs/alice.toml --vanished --older-than 2y --reason "our rules" --yes
      archiver forget configs/alice.toml --finish --also-at-destination
    """
    chosen_by_options = any(matching.values()) or vanished or older_than is not None
    chosen = bool(names or refs or chosen_by_options)
    _require_sense(names or refs, chosen_by_options, finish=finish, yes=yes, numbers=numbers)
    terminal = terminal_of(as_json, quiet, verbose)
    accounts = load_accounts(configs, terminal)
    if also_at_destination and not accounts.several and accounts.settings[0].destination is None:
        raise ConfigError(
            str(accounts.settings[0].file), ["has no [destination]"], hint="leave out --also-at-destination"
        )
    why = reason_of(reason, _FORGET) if yes else ""
    named = read_names(refs)
    named = replace(named, anywhere=[*(Named(each) for each in names), *named.anywhere])
    if accounts.several:
        _require_digests(named.anywhere, len(accounts.settings) + len(accounts.refused))
    if others := [name for name, its in named.by_account.items() if its and name not in accounts.names]:
        some = ", ".join(map(printable, sorted(others)[:5]))
        terminal.warn(f"--refs has messages of accounts that are not named, and stay: {some}")
    before = None if older_than is None else _moment(older_than)
    query = query_of(matching, vanished=True, gone=vanished, limit=_ALL) if chosen_by_options else None
    known: set[str] = set()

    def work(settings: Settings, emit: Emit) -> AccountOutcome[ForgetDone]:
        there = also_at_destination and settings.destination is not None
        if not chosen:
            return _finish(settings, numbers, emit, copies=there)
        order = _Order(
            selection=Selection(named.of(settings.account), query, matching["folder"]),
            vanished=vanished,
            before=before,
            everywhere=everywhere,
            there=there,
            yes=yes,
            reason=why,
            known=known if accounts.several else None,
        )
        return _forget(settings, order, emit)

    with terminal.progress(accounts.names) as display:
        outcomes = run_each(accounts.settings, _FORGET, display, work)
    unknown = [each.reference for each in named.anywhere if accounts.several and each.reference not in known]
    if unknown:
        outcomes = [*outcomes, *(_unknown(each) for each in unknown)]
    results, exit_code = finish_document(terminal, "archiver-forget/1", accounts, outcomes, _to_json)
    if not terminal.as_json:
        show_forgotten(outcomes, results, terminal)
    return exit_code


def _require_sense(
    named: object, chosen_by_options: bool, *, finish: bool, yes: bool, numbers: Sequence[int]
) -> None:
    """
    Raises:
        ConfigError: nothing says which messages, or two things contradict each other.
    """
    if not (named or chosen_by_options or finish):
        hint = "`archiver search` finds them"
        raise ConfigError("archiver forget", ["which messages? Give REF, --refs, or options"], hint=hint)
    if named and chosen_by_options:
        problem = "REF and --refs cannot be combined with options that choose messages"
        raise ConfigError("archiver forget", [problem])
    if finish and (named or chosen_by_options or yes):
        raise ConfigError("archiver forget", ["--finish chooses no messages: it goes on with what was forgotten"])
    if numbers and not finish:
        raise ConfigError("archiver forget", ["--number goes with --finish"])


def _require_digests(named: Sequence[Named], accounts: int) -> None:
    """
    Raises:
        ConfigError: one of them names a message of one account, and there are several.
    """
    for each in named:
        if not is_digest(each.reference):
            problem = f"names a message of one account, and {accounts:,} are named"
            hint = "name that account alone; or give the digest, which `archiver search --json` has, or --refs"
            raise ConfigError(each.reference, [problem], hint=hint)


def _unknown(reference: str) -> AccountOutcome[ForgetDone]:
    """A digest that no account has."""
    error = ConfigError(reference, ["no such message in any of the archives"], hint="`archiver search` finds them")
    return AccountOutcome.of_error(reference, error)


def _to_json(outcome: AccountOutcome[ForgetDone]) -> dict[str, Any]:
    return outcome.to_json({} if outcome.result is None else to_record(outcome.result))


class _Order(Struct, frozen=True):
    """What the command line asks for. `before`: messages that arrived, or are gone since, before that moment.
    `known`: of several accounts, the digests that one of them has; it grows."""

    selection: Selection
    vanished: bool
    before: datetime | None
    everywhere: bool
    there: bool
    yes: bool
    reason: str
    known: set[str] | None = None


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
        before = forgetting.Finished({})
        if order.yes and order.there:  # what was cut off is said again, and no message matches any more
            before = forgetting.finish_again(archive, recorder, STOP.control(emit), copies=False)
        named, was_before = _left_to_forget(archive, order)
        order = replace(order, selection=replace(order.selection, named=named))
        doomed = _doomed(archive, order)
        done = ForgetDone(
            doomed,
            _subjects(archive, doomed),
            archive.numbers_there,
            order.there,
            left=_left(archive),
            before=was_before,
        )
        if order.yes and doomed.messages:
            text = f"forgetting {counted(len(doomed.messages), 'message')} for good"
            emit(Important(text))
            number, kept = forgetting.forget(
                archive, recorder, doomed, order.reason, user(), STOP.control(emit), there=order.there
            )
            staying = doomed.held.keys() | doomed.elsewhere.keys()
            subjects = {digest: text for digest, text in done.subjects.items() if digest in staying}
            done = replace(done, number=number, kept=kept, subjects=subjects)
        elif order.yes:
            done = replace(done, number=0, finished=before.kept or None)
        done = replace(done, kept=list(dict.fromkeys([*before.lines, *done.kept])))
    stays = doomed.held or (order.there and doomed.unsure)
    code = Incomplete.exit_code if done.kept or (order.yes and stays) else 0
    return AccountOutcome(settings.account, code, summary(done), done)


def _doomed(archive: Archive, order: _Order) -> Doom:
    """What was asked for, and what of it stays."""
    from archiver.account.upkeep.forgetting import digests_of, doom

    selection = order.selection
    if selection.query is None:
        return doom(archive, digests_of(selection.find(archive)))
    if order.known is not None and in_folders(archive, selection.query, selection.folders) is None:
        return doom(archive, ())
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


def _left_to_forget(archive: Archive, order: _Order) -> tuple[list[Named], int]:
    """Those of the messages that are named which are not forgotten yet, and how many are: the command may be given
    again. Of several accounts, those that this one has; what any of them has is added to `order.known`."""
    left: list[Named] = []
    before = 0
    for each in order.selection.named:
        reference = each.digest or each.reference
        if is_forgotten(archive, reference):
            before += 1
        elif order.known is None or each.digest is not None or _is_here(archive, reference):
            left.append(each)
        else:
            continue
        if order.known is not None:
            order.known.add(each.reference)
    return left, before


def _is_here(archive: Archive, digest: str) -> bool:
    from archiver.facts.query import Query

    return bool(archive.catalog.index.find(Query(digest=digest.lower(), vanished=True, limit=1)))


def _subjects(archive: Archive, doomed: Doom) -> dict[Digest, str]:
    digests = [*doomed.messages, *doomed.held, *doomed.elsewhere]
    headers = archive.catalog.index.headers(digests)
    return {digest: headers[digest].subject for digest in digests if digest in headers}


def _left(archive: Archive) -> int:
    """How many copies of what was forgotten before are still at destinations, without those of a rule."""
    if archive.settings.destination is None:
        return 0
    return sum(each.copies_left for each in archive.catalog.keeping.forgets() if not each.by_rule)


def _finish(settings: Settings, numbers: Sequence[int], emit: Emit, *, copies: bool) -> AccountOutcome[ForgetDone]:
    from archiver.account.account import Account
    from archiver.account.upkeep import forgetting

    account = Account(settings)
    account.fetch_catalog(_FORGET, STOP.check)
    with account.writing(_FORGET) as (archive, recorder):
        if (stranger := archive.stranger) is not None:
            raise stranger
        known = [each.number for each in archive.catalog.keeping.forgets()]
        if unknown := [number for number in numbers if number not in known]:
            problem = f"nothing was forgotten under the number {unknown[0]}"
            raise ConfigError("archiver forget", [problem], hint="`archiver status --json` has the numbers")
        control = STOP.control(emit)
        finished = forgetting.finish_again(archive, recorder, control, copies=copies, numbers=numbers)
        done = ForgetDone(
            forgetting.Doom(),
            {},
            archive.numbers_there,
            there=True,
            finished=finished.kept,
            removed=finished.removed,
            kept=finished.lines,
            left=_left(archive),
        )
    code = Incomplete.exit_code if done.kept else 0
    return AccountOutcome(settings.account, code, summary(done), done)
