"""`worker`: do the accounts of a fleet whose time has come, on as many hosts as there are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec import field

from archiver.errors import ArchiverError, ConfigError, LedgerUnavailable, stopped_code, worst
from archiver.events import Noted
from pipelines.cli.accounts import Accounts, load_accounts
from pipelines.cli.indexing import read_after_run
from pipelines.cli.options import (
    Duration,
    configs_argument,
    max_duration_option,
    output_options,
    scheduler_url_option,
    terminal_of,
    workers_option,
)
from pipelines.cli.others import Others
from pipelines.cli.run import board_of, show_results, shown_on, to_json
from pipelines.cli.terminal import Terminal
from pipelines.events import forward_logs
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings
    from pipelines.attempts import Options
    from pipelines.events import Listener
    from pipelines.graph.board import Board

_AT_A_TIME = 4
_DAY = 86_400.0
_LOOK_SECONDS = 10.0  # between two looks for accounts that are due


@click.command
@configs_argument
@click.option("--once", is_flag=True, help="Do what is due, and end; for a timer.")
@click.option(
    "--every",
    metavar="TIME",
    type=Duration(),
    default="24h",
    show_default=True,
    help="How long an account waits after it was done, as in 24h or 90m; not with --once.",
)
@workers_option
@scheduler_url_option
@max_duration_option
@output_options
def worker(
    configs: Chosen,
    once: bool,
    every: float,
    workers: int | None,
    scheduler_url: str | None,
    max_seconds: float | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Do what `archiver run` does for each account of a fleet that is due, beginning with those that have waited
    longest, and go on until you stop it. Start it on as many hosts as you like, with the same account files: the
    fleet's ledger, a PostgreSQL database that `[fleet] ledger` in their defaults.toml names, says which host does
    which account. If a host dies, others take over its accounts within three minutes.

    Keep the archives in a bucket, which every host reaches. On a disk they work only if one host has all accounts.

    \b
      archiver worker configs/                  until it is stopped; see configs/examples for a systemd unit
      archiver worker configs/ --every 1h       each account every hour
      archiver worker configs/ --once           what is due now, for a timer
    """
    from pipelines.attempts import Options

    terminal = terminal_of(as_json, quiet, verbose)
    options = Options(steps="run", workers=workers or _AT_A_TIME, scheduler_url=scheduler_url)
    host = _Host(configs, options, None if once else every, terminal)
    return host.work(max_seconds)


class _Host:
    def __init__(self, configs: Chosen, options: Options, every: float | None, terminal: Terminal) -> None:
        self._configs, self._options, self._every, self._terminal = configs, options, every, terminal
        self._once = _Once(terminal.as_json, terminal.quiet, terminal.verbose, terminal.log)
        self._was_there = False
        self._results: list[dict[str, Any]] = []

    def work(self, max_seconds: float | None) -> int:
        """Work until nothing is due, or for ever; returns the exit code."""
        from archiver.account.others import sharing_of
        from pipelines.cli.accounts import warn_of_sharing

        began, terminal = time.monotonic(), self._terminal
        accounts = load_accounts(self._configs, terminal)
        _require_fleet(accounts.settings)
        warn_of_sharing(sharing_of(accounts.settings).values(), terminal, with_destination=True)
        board = board_of(self._options.scheduler_url, accounts.names, terminal)
        with terminal.progress(accounts.names) as display, forward_logs(lambda text: display("", Noted(text))):
            if max_seconds is not None:
                STOP.after(max_seconds)
            while True:
                self._round(accounts, display, board)
                if self._every is None or not self._wait():
                    break
                accounts = self._loaded_again(accounts)
        return self._end(accounts, began)

    def _round(self, accounts: Accounts, listener: Listener, board: Board | None) -> None:
        """Do what is due."""
        from pipelines.fleet.record import FleetRecord
        from pipelines.hosts.share import run_due

        try:
            record = FleetRecord("run", accounts.settings, self._terminal.warn)
            with record.listening(listener) as recording, shown_on(board, recording) as shown:
                outcomes = run_due(accounts.settings, self._options, shown, record.remembered, self._every)
        except LedgerUnavailable as error:
            if self._every is None or not self._was_there:
                raise
            self._once.problem(f"{error}; the worker goes on when it is back")
            return
        self._was_there = True
        self._once.told.clear()
        results = [to_json(each) for each in outcomes]
        if not results:
            return
        done = {each["account"] for each in results}
        told = Accounts([each for each in accounts.settings if each.account in done], [])
        others = Others("run", told, self._terminal)
        others.write_metrics(results)
        others.tell(results, worst(each["exit_code"] for each in results))
        if STOP.signal is None:
            read_after_run(told.settings, self._terminal)
        if self._every is None:
            self._results = results

    def _wait(self) -> bool:
        """Wait until something may be due; False if the worker is to end."""
        until = time.monotonic() + _LOOK_SECONDS
        while STOP.signal is None and time.monotonic() < until:
            time.sleep(0.1)
        return STOP.signal is None

    def _loaded_again(self, before: Accounts) -> Accounts:
        """The account files as they are now. What is wrong with them is said once."""
        try:
            accounts = load_accounts(self._configs, self._once)
            _require_fleet(accounts.settings)
        except ArchiverError as error:
            self._once.problem(f"{error}; the worker goes on with the account files that it knows")
            return before
        return accounts

    def _end(self, accounts: Accounts, began: float) -> int:
        results = [*self._results, *(to_json(each) for each in accounts.refused)]
        exit_code = worst(each["exit_code"] for each in results) if self._every is None else 0
        if self._every is None and STOP.signal is not None:
            exit_code = stopped_code(STOP.signal)
        self._terminal.document(
            {
                "format": "archiver-run/1",
                "accounts": [{key: value for key, value in each.items() if key != "document"} for each in results],
                "exit_code": exit_code,
            }
        )
        if not self._terminal.as_json and self._every is None:
            show_results(results, self._terminal, time.monotonic() - began)
        return exit_code


class _Once(Terminal, frozen=True, dict=True):
    """Says each thing once: the account files are read again and again."""

    told: set[str] = field(default_factory=set)

    def problem(self, text: str, account: str = "") -> None:
        if text not in self.told:
            self.told.add(text)
            super().problem(text, account)

    def warn(self, text: str, account: str = "") -> None:
        if text not in self.told:
            self.told.add(text)
            super().warn(text, account)


def _require_fleet(accounts: Sequence[Settings]) -> None:
    """
    Raises:
        ConfigError: an account belongs to no fleet.
    """
    for each in accounts:
        if each.fleet is None:
            problem = "belongs to no fleet: there is no defaults.toml in its folder"
            hint = "write one, with [fleet] ledger if several hosts share the accounts; see docs/scale.md"
            raise ConfigError(str(each.file), [problem], hint=hint)
