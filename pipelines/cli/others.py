"""What others get to know of a run: pings when it begins, metrics, notices and pings when it has ended.

None of it is imported for accounts that ask for none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from archiver.control.run import utc_now
from archiver.errors import ArchiveNotWritable, ArchiverError, worst
from pipelines.cli.accounts import Accounts
from pipelines.failures import foreseen, logged
from pipelines.outcome import AccountOutcome
from pipelines.show.lines import difference_lines, failure_lines, folder_in
from pipelines.show.live.display import LogLine
from pipelines.show.reasons import reason_of

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen
    from pipelines.cli.terminal import Terminal
    from pipelines.events import Listener
    from pipelines.notify.results import Result, Watched


class Others:
    """Those who want to know of one command, `verb`, about these accounts."""

    def __init__(self, verb: str, accounts: Accounts, terminal: Terminal) -> None:
        self._verb, self._terminal = verb, terminal
        self._began = utc_now()
        self._watched: Sequence[Watched] = ()
        self._counts: Any = None
        if accounts.wrong or any(map(_has_others, accounts.settings)):
            from pipelines.notify.results import watched_accounts
            from pipelines.notify.samples import Counts

            self._watched = watched_accounts(accounts.settings, _wrong(accounts))
            self._counts = Counts()

    def announce(self) -> None:
        """Send the pings of the start."""
        if self._watched:
            with self._harmless():
                from pipelines.notify.deliver import announce

                announce(self._verb, self._watched, self._terminal.problem)

    def listening(self, listener: Listener) -> Listener:
        """The listener of the run, with what metrics need counted on the way."""
        if self._counts is None:
            return listener
        from pipelines.notify.metrics import counting

        return counting(self._counts, listener)

    def write_metrics(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Write the metrics, and the end of each account into the log for machines."""
        if self._terminal.log is not None:
            for each in results:
                self._log(each)
        if self._watched:
            with self._harmless():
                from pipelines.notify.metrics import write_metrics

                write_metrics(self._results(results), self._counts, self._terminal.problem)

    def tell(
        self,
        results: Sequence[Mapping[str, Any]],
        exit_code: int,
        is_first: Callable[[], bool] = lambda: True,
    ) -> None:
        """Send the notices and the pings of the end. `is_first`: whether no other host has sent the notices."""
        if self._watched:
            with self._harmless():
                from pipelines.notify.deliver import tell
                from pipelines.notify.notice import Command

                command = Command(self._verb, self._began, utc_now(), exit_code)
                tell(command, self._results(results), self._terminal.problem, is_first)

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        """Whatever goes wrong here, the run has ended as it has: it is one line, and a bug keeps its traceback."""
        try:
            yield
        except Exception as raised:
            self._terminal.problem(f"notices: {logged(raised)}")

    def tell_error(self, raised: Exception) -> None:
        """An error ended the whole command: none of its accounts is complete."""
        error = foreseen(raised)
        results = [{"exit_code": error.exit_code, "message": str(error)} for _ in self._watched]
        self.write_metrics(results)
        self.tell(results, error.exit_code)

    def _results(self, results: Sequence[Mapping[str, Any]]) -> list[Result]:
        from pipelines.notify.results import Result

        return [
            Result(
                watched=watched,
                exit_code=each["exit_code"],
                run=each.get("run"),
                status=each.get("status") or "failed",
                message=each.get("message"),
                report=each.get("report"),
                document=each.get("document") or {},
            )
            for watched, each in zip(self._watched, results, strict=True)
        ]

    def _log(self, result: Mapping[str, Any]) -> None:
        log = self._terminal.log
        if log is None or not result["exit_code"] or result.get("message") or "account" not in result:
            return  # a failure was logged when it happened
        document = result.get("document") or {}
        why = reason_of(document) or "see `archiver report`"
        lines = [f"{result.get('status')}, exit code {result['exit_code']}: {why}"]
        lines += [*failure_lines(document.get("failures", ())), *difference_lines(document.get("differences", ()))]
        for text in map(str.strip, lines):
            now, run = datetime.now().astimezone(), result.get("run")
            log.write(LogLine(now, "warning", result["account"], folder_in(text), run, text))


class Receivers(Struct, frozen=True):
    """Who would get to know of runs: lines for people, with the answers if it was tried; what does not work, and
    its exit code; and the same for JSON."""

    lines: Sequence[str] = ()
    problems: Sequence[str] = ()
    exit_code: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)


def receivers_of(accounts: Accounts, *, try_out: bool) -> Receivers:
    """Who would get to know of runs of these accounts; with `try_out` everybody gets a test notice."""
    if not (accounts.wrong or any(map(_has_others, accounts.settings))):
        text = "no [notify] table names anybody; see docs/monitoring.md"
        return Receivers(problems=[text] if try_out else (), exit_code=2 if try_out else 0, fields=_NOBODY)
    from pipelines.notify.deliver import as_json, groups_of
    from pipelines.notify.deliver import try_out as tried_out
    from pipelines.notify.metrics import why_not_writable
    from pipelines.notify.results import watched_accounts

    watched = watched_accounts(accounts.settings, _wrong(accounts))
    answers = tried_out(watched) if try_out else [(group, None) for group in groups_of(watched)]
    lines: list[str] = []
    problems: list[str] = []
    codes: list[int] = []
    for group, answer in answers:
        if isinstance(answer, ArchiverError):
            problems.append(f"{group.channel.name}: {answer}")
            codes.append(answer.exit_code)
        else:
            lines.append(f"notices: {group.line}" + (f": {answer}" if answer is not None else ""))
    files = dict.fromkeys(each.metrics.textfile for each in watched if each.metrics.textfile is not None)
    for file in files:
        lines.append(f"metrics: {file}")
        if (why := why_not_writable(file)) is not None:
            problems.append(f"[metrics] textfile: {why}")
            codes.append(ArchiveNotWritable.exit_code)
    fields = {"notify": as_json(answers), "metrics": [str(file) for file in files]}
    return Receivers(lines, problems, worst(codes), fields)


_NOBODY: Mapping[str, Any] = {"notify": [], "metrics": []}


def _has_others(settings: Any) -> bool:
    notify = settings.notify
    channels = (notify.mail, notify.webhook, notify.command, notify.ping)
    return settings.metrics.textfile is not None or any(each is not None for each in channels)


def _wrong(accounts: Accounts) -> list[tuple[str, Path]]:
    """The names of the accounts that were refused, and their files."""
    return [(each.account, file) for each, file in zip(accounts.refused, accounts.wrong, strict=True)]


def tell_refused(verb: str, chosen: Chosen, error: ArchiverError, terminal: Terminal) -> None:
    """The only account, or the only folder, cannot even be begun."""
    from archiver.config.fleet.files import find_accounts
    from archiver.config.layers import DEFAULTS

    found = find_accounts(chosen)
    wrong = [(file.stem, file) for file in found.files] or [
        (name, Path(name) / DEFAULTS) for name in found.problems
    ]
    refused: list[AccountOutcome[Any]] = [AccountOutcome.of_error(name, error) for name, _ in wrong]
    Others(verb, Accounts((), refused, [file for _, file in wrong]), terminal).tell_error(error)
