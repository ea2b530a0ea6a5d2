"""What is asked of a run of accounts, and what is known of each account's run so far."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from archiver.account.account import Account
from archiver.config.settings import Settings
from pipelines.events import AnyEvent, Ended, Failed, Named, Unchanged
from pipelines.outcome import AccountOutcome

if TYPE_CHECKING:
    from archiver.account.note import Begin
    from archiver.replay.identify import IdentityAnswer


class Options(Struct, frozen=True):
    """How to run. `steps`: "run" (replay too, where there is a destination), "archive" or "replay"; `retry`: "due",
    "all" or "accept"; `destination_is`: what the user says about an unknown destination; `workers`: accounts at the
    same time; `after_cutover`: change what is at the destination although people live there; `as_of`: replay the
    folders as they were then (UTC, ISO 8601); `max_seconds`: how long all may take; `waits`: for accounts that are
    to be tried again later; `scheduler_url`: the luigid that shows it."""

    run_id: str | None = None
    workers: int = 1
    scheduler_url: str | None = None
    waits: bool = True
    retry: str = "due"
    new_source: bool = False
    new_archive: bool = False
    destination_is: IdentityAnswer = "ask"
    steps: Literal["run", "archive", "replay"] = "run"
    include_vanished: bool = False
    include_removed: bool = False
    confirm_deletions: bool = False
    after_cutover: bool = False
    as_of: str | None = None
    max_seconds: float | None = None

    @property
    def begin(self) -> Begin:
        """Whether an archive may be begun. A replay by itself has nothing to begin one with."""
        if self.steps == "replay":
            return "never"
        return "confirmed" if self.new_archive else "first"


class RunScope(Struct, frozen=True):
    """What a run includes. `with_destination`: a replay; `include_vanished`: also of messages that are gone from
    the source; `as_of`: of the folders as they were then."""

    with_destination: bool = False
    include_vanished: bool = False
    as_of: str | None = None


class Remembered(Struct, frozen=True):
    """What the ledger of its fleet has of an account in which nothing was left to do: its fingerprint, the name of
    its last run, and whether that was of the verb that runs now and ended well."""

    fingerprint: str
    run: str | None
    was_done: bool


class Run(Struct, frozen=True):
    """An account's run: its name, its report, None if it wrote none, and how often the account was tried. `since`:
    nothing is new since the run of this name, whose report it is."""

    run_id: str
    report: Path | None
    tries: int
    since: str | None = None


class Attempt(Struct):
    """What is known about an account's run so far. `exit_code` is None until it ends; `again`: in how many seconds
    another of its `tries` may succeed; `since`: nothing is new since that run."""

    account: Account
    run_id: str
    exit_code: int | None = None
    report: Path | None = None
    message: str | None = None
    again: float | None = None
    tries: int = 0
    since: str | None = None

    @property
    def settings(self) -> Settings:
        """The account file."""
        return self.account.settings

    def begin(self) -> None:
        """Forget how the last try ended."""
        self.tries += 1
        self.exit_code = self.report = self.message = self.again = None

    def hear(self, event: AnyEvent) -> None:
        """What an event of the account says about how this try ended."""
        match event:
            case Ended(exit_code, report, _):
                self.exit_code, self.report = exit_code, Path(report)
            case Unchanged(since, report):
                self.exit_code, self.report, self.since = 0, Path(report), since
            case Failed(message, exit_code, _, again):
                self.exit_code, self.message, self.again = exit_code, message, again
            case Named(run):
                self.run_id = run
            case _:
                pass

    def outcome(self, exit_code: int) -> AccountOutcome[Run]:
        run = Run(self.run_id, self.report, self.tries, self.since)
        return AccountOutcome(self.settings.account, exit_code, self.message, run)


def new_run_id() -> str:
    """A run's default name: its start time in UTC."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
