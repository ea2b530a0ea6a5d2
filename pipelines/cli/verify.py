"""`verify`: archives compared with their journals, and with what their destinations show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from archiver.errors import ConfigError, Incomplete, IntegrityError, worst
from archiver.events import Noted
from archiver.journal.rebuild import replay_journal
from archiver.journal.recorder import Recorder
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.units import size
from archiver.upkeep.verify import Finding, Sample, VerifyResult, VerifyStep, every, none
from pipelines.cli.accounts import finish, load_accounts
from pipelines.cli.options import configs_argument, output_options, terminal_of
from pipelines.events import Began, Important, Listener, failed
from pipelines.failures import foreseen, with_file
from pipelines.fleet.progress import record_progress
from pipelines.outcome import AccountOutcome, Emit, run_each
from pipelines.show.lines import difference_lines
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.account.archive import Archive
    from archiver.account.store import Medium
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings
    from archiver.config.tables.server import DestinationSettings
    from archiver.mail.model import Placement
    from archiver.replay.compare.result import DestinationCheck
    from archiver.report.units import Row
    from pipelines.cli.terminal import Terminal

_VERIFY, _COMPARE = "verify", "compare"
_SHOWN = 50
_NOTHING_YET = "nothing was archived yet, so there is nothing to check; `archiver run` archives it"
_COUNTED = ("verified", "differences", "rewritten", "accepted", "changed", "removed", "refused")


@click.command
@configs_argument
@click.option("--sample", metavar="SHARE", help="Read only a share of the messages, for example 5%.")
@click.option(
    "--deep", is_flag=True, help="Read everything: each copy at the destination, each object in a bucket."
)
@click.option("--offline", is_flag=True, help="Contact no mail server; check only the archive.")
@output_options
def verify(
    configs: Chosen,
    sample: str | None,
    deep: bool,
    offline: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Check the archives: every message has its file, every file has the recorded SHA-256, there are no unexpected
    files, the journal is complete, and the catalog matches the journal.

    If the account has been replayed, its destination is compared with the archive, too: size, flags and
    INTERNALDATE of each message, and with --deep also the content of each copy. If a server rewrites messages (line
    ends, blanks in headers), that is ignored, and the message says so. What the destination's user changed or
    removed there is reported, but is not a difference.

    All files on a disk are read. In a bucket, a listing shows whether each object exists with its size, and nothing
    is downloaded; use --deep or --sample to find corrupted content. With --sample only that share is read, a
    different one each day; that every message exists is always checked.

    Each finding is listed by folder and UID: missing, damaged, or a stray, which is a file or an object that
    belongs to no message. `archiver repair` repairs the first two. The source is not contacted.

    Exit code 3: nothing was archived yet. Exit code 4: there are differences or strays. Exit code 6: the archive
    has lost something.

    \b
      archiver verify configs/
      archiver verify configs/ --sample 5%     every night; covers everything within a few weeks
      archiver verify configs/alice.toml --deep
      archiver verify configs/alice.toml --deep --offline     all of the archive, not the destination
    """
    options = VerifyOptions(_share(sample), deep, offline)
    terminal = terminal_of(as_json, quiet, verbose)
    accounts = load_accounts(configs, terminal)
    with terminal.progress(accounts.names) as display:
        outcomes = verify_accounts(accounts.settings, options, display)
    if not offline:
        intact = {each.account for each in outcomes if each.exit_code == 0}
        record_progress(_VERIFY, [each for each in accounts.settings if each.account in intact], terminal.warn)
    results, exit_code = finish(terminal, "archiver-verify/1", accounts, outcomes, to_json)
    if not terminal.as_json:
        for each in results:
            _show(each, terminal)
    return exit_code


def _share(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ConfigError("--sample", [f'"{text}" is not a share of the messages'], hint='write it like "5%"')
    return share


class VerifyOptions(Struct, frozen=True):
    """How much to check.

    `sample` is the share of messages (0.05) that are read from the archive, other ones every day.
    None: all are read from a disk, and from a bucket only if `deep`. `deep` also compares the content of each copy
    that the destination returns. `offline`: no mail server is contacted.
    """

    sample: float | None = None
    deep: bool = False
    offline: bool = False


class VerifyOutcome(Struct, frozen=True):
    """What was found in an archive, and at its destination; None if nothing was compared there."""

    archive: VerifyResult
    destination: DestinationCheck | None = None


def verify_accounts(
    accounts: Sequence[Settings], options: VerifyOptions, listener: Listener
) -> list[AccountOutcome[VerifyOutcome]]:
    """Verify each account's archive, and compare it with its destination. Never raises for an account's failure."""
    return run_each(accounts, _VERIFY, listener, lambda settings, emit: _verify(settings, options, emit))


def _verify(settings: Settings, options: VerifyOptions, emit: Emit) -> AccountOutcome[VerifyOutcome]:
    from archiver.account.account import Account
    from archiver.account.replay import verify_at_destination

    def outcome(message: str, code: int, check: DestinationCheck | None = None) -> AccountOutcome[VerifyOutcome]:
        if _nothing_yet(archive, result):
            found, codes = _NOTHING_YET, (Incomplete.exit_code, code)
        else:
            found, codes = _summary(archive.medium, result), (result.exit_code, code)
        return AccountOutcome(
            settings.account, worst(codes), f"{found}\n{message}".rstrip(), VerifyOutcome(result, check)
        )

    account = Account(settings)
    account.end_what_was_cut_off(_VERIFY, lambda text: emit(Important(text)))
    with account.reading() as archive, account.locked_for_reading(_VERIFY, lambda text: emit(Important(text))):
        result = _verify_archive(archive, options, emit)
        if options.offline or settings.destination is None:
            return outcome("", 0)
        if archive.destination_number is None:
            return outcome(_not_compared(archive, settings.destination), 0)
        emit(Began(_COMPARE))
        try:
            check = verify_at_destination(
                archive,
                deep=options.deep,
                control=STOP.control(emit),
                patient=True,
            )
        except Exception as raised:  # whatever it is, the archive's own result is reported
            error = foreseen(raised)
            emit(failed(error, settings.file))
            return outcome(str(error), error.exit_code)
    check.differences[:] = [replace(each, next=with_file(each.next, settings.file)) for each in check.differences]
    return outcome(_summary_there(settings.destination.host, check), check.exit_code, check)


def octets_to_read(archive: Archive, sample: float | None, *, deep: bool) -> Callable[[Placement], bool]:
    """Which messages are read: those of a sample, or all, if they are here or `deep` is set."""
    if sample is not None:
        from archiver.control.run import utc_now

        return Sample(sample, utc_now()[:10]).takes
    return every if deep or not archive.medium.is_remote else none


def _verify_archive(archive: Archive, options: VerifyOptions, emit: Emit) -> VerifyResult:
    began = archive.storage.other_writers()
    caught_up = _catch_up(archive)
    with archive.place.scratch(_VERIFY) as scratch:
        rebuilt = None
        if caught_up and options.sample is None:
            try:
                replay_journal(archive.journal, scratch, STOP.check, archive.catalog.last_segment()[0])
                rebuilt = scratch
            except IntegrityError:
                pass  # the step reads the journal too, and says what is wrong with it
        step = VerifyStep(
            store=archive.store,
            journal=archive.journal,
            catalog=archive.catalog,
            rebuilt=rebuilt,
            reads=octets_to_read(archive, options.sample, deep=options.deep),
            control=STOP.control(emit),
        )
        result = step.run()
    if result.strays and archive.storage.other_writers() != began:
        text = "another machine is working on this archive: unexpected objects may be its own, so none are listed"
        emit(Noted(text))
        return replace(result, strays=())
    return result


def _nothing_yet(archive: Archive, result: VerifyResult) -> bool:
    """Whether nothing is wrong with the archive only because nothing has come into it: it has no message, and not
    because all folders are empty."""
    if result.messages or result.exit_code:
        return False
    account = archive.catalog.account
    visited = {each.name for each in account.tallies() if each.visited}
    return not account.folders() or any(each.folder.name not in visited for each in archive.chosen_folders())


def _catch_up(archive: Archive) -> bool:
    """Apply the segments that a killed run left, so that they do not count as a difference. False if the journal
    cannot be read."""
    recorder = Recorder(archive.journal, archive.catalog, _VERIFY)
    try:
        recorder.catch_up(archive.begin_work)
    except IntegrityError:
        return False  # the step says what is wrong with it
    return True


def _summary(medium: Medium, result: VerifyResult) -> str:
    """What was found, and what next."""
    read = f"{result.checked:,} of {result.messages:,} messages read, {size(result.octets)}"
    if not result.messages:
        read = "0 messages, as all folders are empty"
    elif not result.checked:
        read = (
            f"{counted(result.messages, 'message')} looked up, sizes compared, content not read (--deep reads it)"
        )
    if result.exit_code == 0:
        if not result.messages:
            return read
        return f"{read}: " + ("all intact" if result.checked else "all present")
    found = []
    for name in ("missing", "damaged", "strays"):
        if findings := getattr(result, name):
            first = findings[0]
            found.append(f"{len(findings):,} {name} ({printable(first.path)}: {first.reason})")
    found += [problem for problem in (result.journal, result.catalog) if problem]
    return f"{read}: {', '.join(found)}; {_advice(medium, result)}"


def _advice(medium: Medium, result: VerifyResult) -> str:
    if result.journal:
        return "restore the journal from a backup"
    if result.missing or result.damaged:
        return "`archiver repair` fetches them again from wherever they still are"
    if result.catalog:
        return "`archiver rebuild` recreates the catalog"
    if medium.leaves_garbage:
        return "`archiver gc` lists what killed runs left behind; anything else does not belong to the archive"
    return "the next run adopts files left by an interrupted run; move other unexpected files elsewhere"


def _summary_there(host: str, check: DestinationCheck) -> str:
    """What was found at the destination."""
    counts = {name: sum(getattr(each, name) for each in check.folders.values()) for name in _COUNTED}
    compared = "bytes, flags and dates" if check.deep else "sizes, flags and dates"
    words = [f"{counted(counts['verified'], 'message')} compared with {host} ({compared})"]
    words.append(counted(counts["differences"], "difference") if counts["differences"] else "all are equal")
    if counts["rewritten"]:
        words.append(f"{counts['rewritten']:,} of them equal but for what that server rewrites")
    if counts["accepted"]:
        words.append(f"{counts['accepted']:,} more accepted as that server shows them, altered or cut off")
    if counts["changed"]:
        words.append(f"the mailbox's user changed the flags of {counts['changed']:,}")
    if counts["removed"]:
        words.append(f"{counts['removed']:,} removed there by the user")
    if counts["refused"]:
        words.append(f"{counts['refused']:,} more missing there because the server refused them")
    return "; ".join(words)


def _not_compared(archive: Archive, destination: DestinationSettings) -> str:
    """Why nothing is compared at a destination that this archive has not filled."""
    from archiver.account.sharing import address_in

    there = address_in(destination)
    if archive.catalog.replicas.destinations.with_history():
        unknown = f"the destination, {there}, is not known to this archive, so nothing was compared"
        return f"{unknown}; the next run will identify it"
    return f"nothing was replayed to {there} yet, so nothing was compared"


def to_json(outcome: AccountOutcome[VerifyOutcome]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    check = None
    if outcome.result is not None:
        result, check = outcome.result.archive, outcome.result.destination
        fields = {name: getattr(result, name) for name in ("messages", "checked", "octets", "journal", "catalog")}
        for name in ("missing", "damaged", "strays"):
            fields[name] = [_finding(each) for each in getattr(result, name)]
    return outcome.to_json({**fields, "destination": check and to_builtins(check)})


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        name: printable(value) if isinstance(value, str) else value for name, value in to_builtins(finding).items()
    }


def _show(result: Row, terminal: Terminal) -> None:
    """What was found in one account."""
    good = result["exit_code"] == 0
    if "checked" not in result or (good and terminal.quiet):  # an error was logged when it happened
        return
    out = terminal.out if good or not terminal.quiet else terminal.err
    for line in result["message"].splitlines():
        out.say(f"{result['account']}: {printable(line)}", "green" if good else "red")
    for kind in ("missing", "damaged", "strays"):
        findings = result[kind]
        for each in findings[:_SHOWN]:
            folder = f' (folder "{each["folder"]}", uid {each["uid"]})' if each.get("folder") else ""
            out.say(f"  {kind}: {each['path']}{folder}: {each['reason']}")
        if len(findings) > _SHOWN:
            out.say(f"  and {len(findings) - _SHOWN:,} more {kind}; --json lists them all")
    there = result["destination"]
    for line in difference_lines(there["differences"]) if there else ():
        out.say(line)
