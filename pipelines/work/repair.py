"""Repair: what archives lost is fetched again, one account after the other; one that fails stops only itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from archiver.account.opening import writing
from archiver.account.reading import looking
from archiver.account.repair import repair_archive
from archiver.config.load import Settings
from archiver.mail.folder_names import printable
from archiver.upkeep.repair import RepairResult
from pipelines.events import AnyEvent, Began, Important, Listener, failed
from pipelines.failures import foreseen
from pipelines.stop import STOP
from pipelines.work.verify import octets_to_read

_REPAIR = "repair"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RepairOptions:
    """`deep`: all octets are read to find damage, of a bucket, too; `dry_run`: nothing is written."""

    deep: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RepairOutcome:
    """How the repair of one account ended. `result` is None where it could not be done; `message` says why, or what
    was mended and what is lost."""

    settings: Settings
    result: RepairResult | None
    exit_code: int
    message: str

    def to_json(self) -> dict[str, Any]:
        """The document for `--json`."""
        document: dict[str, Any] = {
            "account": self.settings.account,
            "exit_code": self.exit_code,
            "message": self.message,
        }
        if (result := self.result) is not None:
            document["messages"] = result.messages
            document["mended"] = [_safe(asdict(each)) for each in result.mended]
            document["lost"] = [
                _safe(asdict(each) | {"arrived": arrived_text(each.arrived)}) for each in result.lost
            ]
            document["damage"] = [_safe(asdict(each)) for each in result.damage]
            document["unasked"] = [printable(each) for each in result.unasked]
        return document


def _safe(record: dict[str, Any]) -> dict[str, Any]:
    return {name: printable(value) if isinstance(value, str) else value for name, value in record.items()}


def arrived_text(seconds: int) -> str:
    """An INTERNALDATE for people, in UTC, whatever century it claims to be of."""
    try:
        return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:
        return f"{seconds} seconds since 1970"


def repair_accounts(
    accounts: Sequence[Settings], options: RepairOptions, listener: Listener
) -> list[RepairOutcome]:
    """Repair each account's archive. Never raises for an account's failure."""
    return [_repair(settings, options, listener) for settings in accounts]


def _repair(settings: Settings, options: RepairOptions, listener: Listener) -> RepairOutcome:
    def tell(event: AnyEvent) -> None:
        listener(settings.account, event)

    try:
        STOP.check()
        tell(Began(_REPAIR))
        look = looking(settings, _REPAIR, lambda text: tell(Important(text)))
        with look if options.dry_run else writing(settings, _REPAIR) as (archive, recorder):
            result = repair_archive(
                archive,
                recorder,
                octets_to_read(settings, None, deep=options.deep),
                dry_run=options.dry_run,
                check_stop=archive.guarded(STOP.check),
                pause=STOP.pause,
                progress=tell,
            )
    except Exception as raised:
        error = foreseen(raised)
        tell(failed(error))
        return RepairOutcome(settings, None, error.exit_code, str(error))
    return RepairOutcome(settings, result, result.exit_code, _summary(result, options))


def _summary(result: RepairResult, options: RepairOptions) -> str:
    looked = f"{result.messages} messages looked at"
    if not result.mended and not result.lost and not result.damage:
        return f"{looked}: nothing is missing or damaged"
    words = [looked]
    if result.mended:
        words.append(f"{len(result.mended)} " + ("could be mended" if options.dry_run else "mended"))
    if result.lost:
        words.append(f"{len(result.lost)} could not be, all listed")
    if result.damage:
        words.append(f"{len(result.damage)} damaged beside them")
    message = ", ".join(words)
    if result.unasked:
        return f"{message}; not asked: {'; '.join(result.unasked)}"
    return f"{message}; restore these from a backup" if result.lost else message
