"""Garbage collection: what crashed runs left in buckets is listed, or removed; one account after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from archiver.account.gc import collect_garbage
from archiver.account.opening import writing
from archiver.account.reading import looking
from archiver.config.load import Settings
from archiver.errors import Incomplete
from archiver.mail.folder_names import printable
from archiver.upkeep.gc import Garbage, GarbageResult
from pipelines.events import AnyEvent, Began, Important, Listener, failed
from pipelines.failures import foreseen
from pipelines.stop import STOP

_GC = "gc"


@dataclass(frozen=True, slots=True)
class GarbageOutcome:
    """How the gc of one account ended. `result` is None where it could not be done, or where there is no bucket;
    `message` says why, or what was found."""

    settings: Settings
    result: GarbageResult | None
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
            document["segments"] = result.segments
            document["deleted"] = result.deleted
            document["held_back"] = result.held_back
            document["garbage"] = [_record(each) for each in result.garbage]
            document["octets"] = result.octets
            document["young"] = {"objects": result.young, "octets": result.young_octets}
        return document


def _record(garbage: Garbage) -> dict[str, Any]:
    return {
        "path": printable(garbage.place),
        "size": garbage.size,
        "since": datetime.fromtimestamp(garbage.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "kept": None if garbage.kept is None else printable(garbage.kept),
    }


def collect_accounts(
    accounts: Sequence[Settings], listener: Listener, *, delete: bool, confirmed: bool = False
) -> list[GarbageOutcome]:
    """List the garbage of each account's bucket, or remove it, beyond the brake only if `confirmed`. Never raises
    for an account's failure."""
    return [_collect(settings, listener, delete=delete, confirmed=confirmed) for settings in accounts]


def _collect(settings: Settings, listener: Listener, *, delete: bool, confirmed: bool) -> GarbageOutcome:
    def tell(event: AnyEvent) -> None:
        listener(settings.account, event)

    try:
        STOP.check()
        tell(Began(_GC))
        look = looking(settings, _GC, lambda text: tell(Important(text)))
        with writing(settings, _GC) if delete else look as (archive, recorder):
            if archive.bucket is None:
                return GarbageOutcome(settings, None, 0, "its archive is a Maildir: there is nothing to collect")
            check_stop = archive.guarded(STOP.check)
            result = collect_garbage(
                archive,
                recorder,
                archive.bucket,
                delete=delete,
                confirmed=confirmed,
                check_stop=check_stop,
                progress=tell,
            )
    except Exception as raised:
        error = foreseen(raised)
        tell(failed(error))
        return GarbageOutcome(settings, None, error.exit_code, str(error))
    exit_code = Incomplete.exit_code if result.held_back else 0
    return GarbageOutcome(settings, result, exit_code, _summary(result))


def _summary(result: GarbageResult) -> str:
    words = [f"{result.segments} segments of the journal name all but {len(result.garbage)} old objects"]
    if not result.garbage:
        words = [f"{result.segments} segments of the journal name all old objects: nothing to remove"]
    elif result.held_back:
        words.append(f"nothing is removed: {result.held_back}; so does a journal look that was lost and begun anew")
        look = "look at docs/damage-runbook.md first"
        words.append(f"{look}; --delete --confirm-deletions removes them ({result.octets / 1e6:.1f} MB)")
    elif result.deleted:
        removed = len(result.garbage) - len(result.kept)
        words.append(f"{removed} removed, {result.octets / 1e6:.1f} MB")
    else:
        words.append(f"{result.octets / 1e6:.1f} MB; --delete removes them")
    if result.kept:
        words.append(f"{len(result.kept)} had to stay")
    if result.young:
        words.append(f"{result.young} more are not a week old ({result.young_octets / 1e6:.1f} MB)")
    return "; ".join(words)
