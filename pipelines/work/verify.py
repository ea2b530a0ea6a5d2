"""Verify and rebuild: what is done to archives without a source and without Luigi.

Accounts are looked at one after the other, since a disk is read fastest by one reader; one that fails stops only
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from archiver.account.lease import observed
from archiver.account.meeting import address_in
from archiver.account.note import make_archive
from archiver.account.opening import Archive, install_catalog, locked, open_archive, scratch_catalog, utc_now
from archiver.account.reading import locked_for_reading, open_for_reading
from archiver.account.replay import check_to_record, destination_number, destination_settings, verify_at_destination
from archiver.config.load import Settings
from archiver.errors import IntegrityError, worst
from archiver.events import Noted
from archiver.journal.rebuild import replay_journal, require_no_loss, restore_store
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import printable
from archiver.mail.model import Placement
from archiver.replay.compare import DestinationCheck
from archiver.upkeep.verify import Finding, Sample, VerifyResult, VerifyStep, every, none
from pipelines.events import AnyEvent, Began, Important, Listener, failed
from pipelines.failures import foreseen
from pipelines.stop import STOP

_VERIFY, _COMPARE, _REBUILD = "verify", "compare", "rebuild"

Tell = Callable[[AnyEvent], None]


@dataclass(frozen=True, slots=True)
class VerifyOutcome:
    """How the verify of one account ended. `result` is None where it could not be done, `there` where nothing was
    compared with a destination; `message` says why, or what was found, a line for each."""

    settings: Settings
    result: VerifyResult | None
    exit_code: int
    message: str
    there: DestinationCheck | None = None

    def to_json(self) -> dict[str, Any]:
        """The document for `--json`."""
        document: dict[str, Any] = {
            "account": self.settings.account,
            "exit_code": self.exit_code,
            "message": self.message,
        }
        if (result := self.result) is not None:
            document |= {name: getattr(result, name) for name in ("messages", "checked", "octets")}
            document |= {"journal": result.journal, "catalog": result.catalog}
            for name in ("missing", "damaged", "strays"):
                document[name] = [_finding(each) for each in getattr(result, name)]
        document["destination"] = None if self.there is None else check_to_record(self.there)
        return document


def _finding(finding: Finding) -> dict[str, Any]:
    return {name: printable(value) if isinstance(value, str) else value for name, value in asdict(finding).items()}


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How closely to look. `sample` is the share of messages whose octets are read from the archive (0.05), chosen
    anew every day, the same ones on one day. None: all from a disk, and none from a bucket unless `deep`, which is
    also that the octets that the destination gives back are compared. `offline`: no mail server is contacted."""

    sample: float | None = None
    deep: bool = False
    offline: bool = False


def verify_accounts(
    accounts: Sequence[Settings], options: VerifyOptions, listener: Listener
) -> list[VerifyOutcome]:
    """Verify each account's archive, and compare it with its destination. Never raises for an account's failure."""
    return [_verify(settings, options, listener) for settings in accounts]


def _verify(settings: Settings, options: VerifyOptions, listener: Listener) -> VerifyOutcome:
    tell = _teller(settings, listener)
    try:
        STOP.check()
        tell(Began(_VERIFY))
        with (
            open_for_reading(settings) as archive,
            locked_for_reading(settings, _VERIFY, lambda text: tell(Important(text))),
        ):
            result = _verified(archive, options, tell)
            message, code = _summary(settings, result), result.exit_code
            if options.offline or settings.destination is None:
                return VerifyOutcome(settings, result, code, message)
            if destination_number(archive) is None:
                return VerifyOutcome(settings, result, code, f"{message}\n{_not_compared(archive)}")
            tell(Began(_COMPARE))
            try:
                there = verify_at_destination(
                    archive,
                    deep=options.deep,
                    check_stop=STOP.check,
                    pause=STOP.pause,
                    progress=tell,
                    patient=True,
                )
            except Exception as raised:
                error = foreseen(raised)
                tell(failed(error))
                return VerifyOutcome(settings, result, worst((code, error.exit_code)), f"{message}\n{error}")
    except Exception as raised:
        error = foreseen(raised)
        tell(failed(error))
        return VerifyOutcome(settings, None, error.exit_code, str(error))
    message += f"\n{_summary_there(settings, there)}"
    return VerifyOutcome(settings, result, worst((code, there.exit_code)), message, there)


def octets_to_read(settings: Settings, sample: float | None, *, deep: bool) -> Callable[[Placement], bool]:
    """Whose octets are read: those of a sample, or all, where they are near or it was asked for."""
    if sample is not None:
        return Sample(sample, utc_now()[:10]).takes
    return every if deep or settings.archive.s3 is None else none


def _verified(archive: Archive, options: VerifyOptions, tell: Tell) -> VerifyResult:
    began = _lease(archive)
    caught_up = _catch_up(archive)
    with scratch_catalog(archive, _VERIFY) as scratch:
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
            reads=octets_to_read(archive.settings, options.sample, deep=options.deep),
            progress=tell,
            check_stop=STOP.check,
        )
        result = step.run()
    if result.strays and _lease(archive) != began:
        tell(Noted("another machine works on this archive: what it has not recorded yet is not told as strays"))
        return replace(result, strays=())
    return result


def _lease(archive: Archive) -> object:
    """What stays the same while no other machine writes to the archive, and is never the same while one does."""
    if archive.bucket is None:
        return None
    number, held = observed(archive.bucket, archive.settings.archive.path)
    return object() if held else number


def _catch_up(archive: Archive) -> bool:
    """A run that was killed may have left a segment that the catalog does not know; that is no difference. False if
    the journal cannot be read."""
    recorder = Recorder(archive.journal, archive.catalog, _VERIFY)
    try:
        recorder.catch_up(archive.begin_work)
    except IntegrityError:
        return False  # the step says what is wrong with it
    return True


def _summary(settings: Settings, result: VerifyResult) -> str:
    """What was found, and what next."""
    read = f"{result.checked} of {result.messages} messages read, {result.octets / 1e6:.1f} MB"
    if result.messages and not result.checked:
        read = f"{result.messages} messages looked for, sizes compared, octets not read (--deep reads them)"
    if result.exit_code == 0:
        return f"{read}: " + ("all is as it was stored" if result.checked else "all are there")
    found = []
    for name in ("missing", "damaged", "strays"):
        if findings := getattr(result, name):
            first = findings[0]
            found.append(f"{len(findings)} {name} ({printable(first.path)}: {first.reason})")
    found += [problem for problem in (result.journal, result.catalog) if problem]
    return f"{read}: {', '.join(found)}; {_advice(settings, result)}"


def _summary_there(settings: Settings, check: DestinationCheck) -> str:
    """What was found at the destination."""
    counts = {name: sum(getattr(each, name) for each in check.folders.values()) for name in _COUNTED}
    compared = "octets, flags and dates" if check.deep else "sizes, flags and dates"
    words = [f"{counts['verified']} messages compared with {destination_settings(settings).host} ({compared})"]
    words.append(f"{counts['differences']} differ" if counts["differences"] else "all are equal")
    if counts["rewritten"]:
        words.append(f"{counts['rewritten']} of them but for what that server writes in its own way")
    if counts["changed"]:
        words.append(f"its user changed the flags of {counts['changed']}")
    if counts["removed"]:
        words.append(f"{counts['removed']} were removed there by its user")
    if counts["refused"]:
        words.append(f"{counts['refused']} more are not there, since it refused them")
    return "; ".join(words)


def _not_compared(archive: Archive) -> str:
    """Why nothing is compared at a destination that the archive does not know."""
    there = address_in(destination_settings(archive.settings))
    if archive.catalog.destinations().with_history():
        return f"the destination, {there}, is not known to this archive: not compared (a run finds out what it is)"
    return f"nothing was replayed to {there} yet: not compared"


_COUNTED = ("verified", "differences", "rewritten", "changed", "removed", "refused")


def _advice(settings: Settings, result: VerifyResult) -> str:
    if result.journal:
        return "restore the journal from a backup"
    if result.missing or result.damaged:
        return "`archiver repair` fetches them again from wherever they still are"
    if result.catalog:
        return "archiver rebuild makes the catalog again"
    if settings.archive.s3 is not None:
        return "`archiver gc` lists what killed runs left and may go; all else is not the archive's"
    return "the next run takes in what a stopped one left; move away what is not the archive's"


@dataclass(frozen=True, slots=True)
class RebuildOutcome:
    """How a rebuild ended. `orphans` are messages in the store that the journal does not know; `aside` is where
    the catalog is that was there before; `message` is one line for people."""

    settings: Settings
    exit_code: int
    message: str
    segments: int = 0
    messages: int = 0
    orphans: tuple[str, ...] = ()
    aside: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The document for `--json`."""
        return {
            "account": self.settings.account,
            "exit_code": self.exit_code,
            "message": self.message,
            "segments": self.segments,
            "messages": self.messages,
            "orphans": [printable(path) for path in self.orphans],
            "aside": None if self.aside is None else str(self.aside),
        }


def rebuild_account(settings: Settings, listener: Listener) -> RebuildOutcome:
    """Make an account's catalog again from its journal and store. The one that was there is kept beside it, and
    stays in its place if the new one cannot be completed. Never raises for an account's failure."""
    tell = _teller(settings, listener)
    try:
        STOP.check()
        tell(Began(_REBUILD))
        if settings.archive.s3 is not None:
            make_archive(settings, "never")  # the bucket is all that is needed
        with open_archive(settings) as archive, locked(settings, _REBUILD):
            return _rebuilt(archive, tell)
    except Exception as raised:
        error = foreseen(raised)
        tell(failed(error))
        return RebuildOutcome(settings, error.exit_code, str(error))


def _rebuilt(archive: Archive, tell: Tell) -> RebuildOutcome:
    with scratch_catalog(archive, _REBUILD) as scratch:
        segments = replay_journal(archive.journal, scratch, STOP.check)
        require_no_loss(scratch, _last_known(archive, tell))
        tell(Noted(f"{segments} segments of the journal read; looking through the store"))
        orphans = tuple(archive.store.place(each) for each in restore_store(archive.store, scratch))
        messages = sum(1 for _ in scratch.placements())
        scratch.close()
        archive.begin_work()  # whose end the next run makes: it adopts what has no record
        aside = install_catalog(archive, _REBUILD)
    left = f"; {len(orphans)} messages without a record wait for the next run, which adopts them" if orphans else ""
    return RebuildOutcome(
        settings=archive.settings,
        exit_code=0,
        message=f"{messages} messages from {segments} segments of the journal{left}",
        segments=segments,
        messages=messages,
        orphans=orphans,
        aside=aside,
    )


def _last_known(archive: Archive, tell: Tell) -> int:
    """The last segment that the catalog knows which is there; 0 if there is none or it cannot be read."""
    if not archive.catalog_file.exists():
        return 0
    try:
        return archive.catalog.last_segment()[0]
    except IntegrityError as error:
        tell(Noted(f"{error.message}: it is replaced"))
        return 0


def _teller(settings: Settings, listener: Listener) -> Tell:
    return lambda event: listener(settings.account, event)
