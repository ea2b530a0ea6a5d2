"""The export of one account, without a server and without Luigi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archiver.account.export import ExportOptions, export_account, export_to_record
from archiver.account.opening import Archive, locked
from archiver.account.reading import open_for_reading
from archiver.config.load import Settings
from archiver.errors import Interrupted, Locked
from archiver.export.run import ExportResult
from archiver.journal.recorder import Recorder
from pipelines.events import Began, Listener, failed
from pipelines.failures import foreseen
from pipelines.stop import STOP

_EXPORT = "export"


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """How an export ended. `result` is None where it did not come to its end; `message` is one line for people."""

    settings: Settings
    options: ExportOptions
    result: ExportResult | None
    exit_code: int
    message: str

    def to_json(self) -> dict[str, Any]:
        """The document for `--json`."""
        document: dict[str, Any] = {
            "account": self.settings.account,
            "exit_code": self.exit_code,
            "message": self.message,
            "path": str(self.options.path),
        }
        return document if self.result is None else document | export_to_record(self.options, self.result)


def run_export(settings: Settings, options: ExportOptions, listener: Listener) -> ExportOutcome:
    """Export an account's archive. Never raises for the account's failure.

    The account's lock is not held: an export reads, and a run beside it moves messages but removes none.
    """
    try:
        STOP.check()
        listener(settings.account, Began(_EXPORT))
        with open_for_reading(settings) as archive:
            _catch_up(archive)
            result = export_account(
                archive,
                options,
                check_stop=STOP.check,
                progress=lambda event: listener(settings.account, event),
            )
    except Exception as raised:
        error = foreseen(raised)
        if isinstance(error, Interrupted):
            error.hint = "remove what was begun, and export again"
        listener(settings.account, failed(error))
        return ExportOutcome(settings, options, None, error.exit_code, str(error))
    return ExportOutcome(settings, options, result, result.exit_code, _summary(options, result))


def _catch_up(archive: Archive) -> None:
    """A run that was killed may have left a segment that the catalog does not know. One that is at work will see to
    that itself, and what it has not recorded yet is not exported. A copy of the catalog is nobody else's."""
    if archive.is_copy:
        Recorder(archive.journal, archive.catalog, _EXPORT).catch_up(archive.begin_work)
        return
    try:
        with locked(archive.settings, _EXPORT):
            Recorder(archive.journal, archive.catalog, _EXPORT).catch_up(archive.begin_work)
    except Locked:
        pass


def _summary(options: ExportOptions, result: ExportResult) -> str:
    messages, octets = (sum(getattr(each, name) for each in result.folders) for name in ("messages", "octets"))
    then = f", as they stood at {options.moment}" if options.moment else ""
    folders = "1 folder" if len(result.folders) == 1 else f"{len(result.folders)} folders"
    done = f"{messages} messages of {folders} exported, {octets / 1e6:.1f} MB{then}"
    if result.left_out:
        gone = "1 folder" if result.left_out == 1 else f"{result.left_out} folders"
        done += f"; {gone} gone from the source left out (--include-vanished exports them)"
    if not result.damaged:
        return done
    return f"{done}; {len(result.damaged)} damaged ones left out, see `archiver verify`"
