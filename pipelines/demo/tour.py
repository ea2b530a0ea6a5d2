"""The demo's steps, in order: each runs the real commands, says what happened, and checks the numbers.

The proof uses neither catalog nor journal nor IMAP: it compares the files of the archive, and the memory of the
destination's server, with the record of what was delivered to the source.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from msgspec import to_builtins
from rich.console import Console

from archiver.config.settings import Settings
from archiver.mail.folder_names import printable
from archiver.replay.compare.result import DestinationCheck
from archiver.report.units import Row, completed
from archiver.report.verdict import verdict
from pipelines.attempts import Options
from pipelines.demo.mail import NEW_USER, RENAMED, USER, Mail
from pipelines.demo.mailbox import SourceMailbox
from pipelines.demo.server import HOST, SampleServer
from pipelines.engine.run import run_accounts
from pipelines.events import AnyEvent
from pipelines.outcome import AccountOutcome
from pipelines.reporting.files import write_page
from pipelines.show.lines import destination_equation, difference_lines, equation, failure_lines, loss_lines
from pipelines.show.tables import destination_table, folders_table
from pipelines.stop import STOP

_PROSE_WIDTH = 96

Verify = Callable[[Settings], tuple[AccountOutcome[Any], DestinationCheck | None]]
"""Verifies an account and all octets that its destination returns; also returns the destination's result."""


class Tour:
    """All steps for the account of `settings`, from `source` to `destination`, shown on `console`."""

    def __init__(
        self,
        settings: Settings,
        console: Console,
        source: SourceMailbox,
        destination: SampleServer,
        verify: Verify,
    ) -> None:
        self._settings = settings
        self._console = console
        self._source = source
        self._destination = destination
        self._deep_verify = verify
        self._archive = settings.archive.path.resolve()
        self._exit_code = 0
        self._report: dict[str, Any] = {}
        self._page = Path()

    def run(self) -> int:
        """Run every step; returns 0, or the exit code of the step that failed.

        Raises:
            Interrupted: a signal was received.
        """
        self._welcome()
        for step in (self._first, self._second, self._third, self._proof, self._verify, self._farewell):
            step()
            STOP.check()
            if self._exit_code:
                return self._exit_code
        return 0

    def _welcome(self) -> None:
        source, destination = self._source, self._destination
        self._explain("Two IMAP servers run in this process for the demo, and Alice moves from one to the other.")
        self._say(
            f"  source       {USER} at {HOST}:{source.server.port}: {source.folders} folders, "
            f"{source.messages} messages, some of them odd\n"
            f"  destination  {NEW_USER} at {HOST}:{destination.port}: an empty account\n"
            f"  account file {_short(self._settings.file)}"
        )

    def _first(self) -> None:
        self._title("1. The first run: all mail goes into the archive, and from there to the destination")
        wanted, different = self._source.messages, self._source.different_messages
        if not self._run():
            return
        folders, totals = self._report["folders"], self._report["totals"]
        self._console.print(folders_table(folders, totals, every=True))
        self._expect("messages fetched from the source, one for two folders", different, totals["fetched"])
        self._explain(f"\nAt the destination, {NEW_USER}:")
        self._console.print(destination_table(folders, totals, every=True))
        self._expect("messages replayed to the destination", wanted, totals["destination"]["replayed"])
        self._expect("compared there by size, date and flags: equal", wanted, totals["destination"]["verified"])
        self._explain(
            "\nOne thing is not copied: this destination does not store keywords (its PERMANENTFLAGS have no \\*), "
            "so none are sent. The archive has them, and the report lists which folders they are in:"
        )
        for line in loss_lines(self._report["losses"]):
            self._say(line)

    def _second(self) -> None:
        self._title("2. The mailbox changes, and the second run handles only the changes")
        arrived, story = self._source.change()
        self._explain(story)
        if not self._run():
            return
        folders, totals = self._report["folders"], self._report["totals"]
        touched = [each for each in folders if _is_touched(each)]
        self._console.print()
        self._console.print(folders_table(touched, totals, every=True))
        self._explain(f"The total includes all folders; the other {len(folders) - len(touched)} did not change.")
        self._expect("messages fetched: those that arrived", arrived, totals["fetched"])
        self._expect("messages with new flags", 2, totals["flags_changed"])
        self._expect("message vanished from the source, kept in the archive", 1, totals["vanished"])
        self._explain("\nAt the destination:")
        self._console.print(destination_table(touched, totals, every=True))
        self._expect("messages replayed: those that arrived", arrived, totals["destination"]["replayed"])
        self._explain(
            f"\nThe messages of the renamed folder were recognised and not fetched again. At the destination "
            f"{RENAMED[0]} was renamed to {RENAMED[1]}, so they were not sent again either. Nothing is deleted "
            f"there: the message from Trash stays. The destination does not store the new keyword either."
        )

    def _third(self) -> None:
        self._title("3. The third run: nothing changed, so nothing is done")
        if not self._run():
            return
        totals = self._report["totals"]
        self._say(f"archive:     {equation(totals)}")
        self._say(f"destination: {destination_equation(totals)}")
        self._expect("messages fetched", 0, totals["fetched"])
        self._expect("messages sent", 0, totals["destination"]["replayed"])

    def _proof(self) -> None:
        self._title("4. The proof, without using the archiver")
        ever, there = self._source.ever(), self._destination.contents()
        wanted = self._source.to_be_there()
        count = sum(map(len, ever.values()))
        self._explain(
            f"The demo kept its own list of what it delivered to the source. With the message that was expunged, "
            f"and the renamed folder under both names, it has {count} messages in {len(ever)} folders. It is "
            f"compared with the files of the archive, and with the memory of the destination's server."
        )
        self._expect(
            "files in the archive, each with exactly the bytes of its message", count, _on_disk(self._archive, ever)
        )
        self._expect("folders at the destination", len(wanted), len(there) if wanted.keys() == there.keys() else 0)
        agreeing = {what: _agreeing(wanted, there, key) for what, key in _COMPARED.items()}
        for what, number in agreeing.items():
            self._expect(what, sum(map(len, wanted.values())), number)
        lost = min(agreeing.values()) - _agreeing(wanted, there, lambda mail: mail)
        listed = sum(each["count"] for each in self._report["losses"] if each["kind"] == "flags")
        self._expect("of them without their keywords, and the report lists the same number", lost, listed)
        strange = sum(map(len, there.values())) - max(agreeing.values())
        self._expect("messages there that are not from the source", 0, strange)

    def _verify(self) -> None:
        self._title("5. Verify --deep: every copy is fetched from the destination and compared")
        outcome, check = self._deep_verify(self._settings)
        STOP.check()
        for line in (outcome.message or "").splitlines():
            self._say(printable(line))
        self._exit_code = outcome.exit_code
        if check is None:
            self._exit_code = self._exit_code or 1
            return
        for line in difference_lines([to_builtins(each) for each in check.differences]):
            self._say(line)
        verified = sum(each.verified for each in check.folders.values())
        self._expect("messages of the source came back with exactly their bytes", self._source.messages, verified)
        self._explain("Messages that are gone from the source were verified only in the archive.")

    def _farewell(self) -> None:
        archive, account_file = quote(_short(self._archive)), quote(_short(self._settings.file))
        found = verdict(completed(self._report))
        written = self._page.with_suffix(".json").stat().st_mtime_ns
        write_page(self._page, self._report, written)
        self._title("6. The report: every run writes one for programs, and this page is made from it")
        self._explain(f"The last one says: {found.headline}. {' '.join(found.sentences)}")
        self._say(
            f"  {quote(str(self._page))}\n"
            f"  {_command()} report {account_file} --open  # this page in the browser\n"
            f"  {_command()} report {account_file}  # the same as text"
        )
        self._title("The archive stays")
        self._explain("Both servers are gone when the demo ends. The archive stays as plain files; have a look:")
        self._say(
            f"  ls -A {archive}/Maildir  # each folder is a directory\n"
            f"  ls -A {archive}/vanished  # what is gone from the source\n"
            f"  mutt -f {archive}/Maildir\n"
            f"  {_command()} status {account_file}\n"
            f"  {_command()} verify {account_file} --offline\n"
            f"  zcat {archive}/journal/*.gz | head  # the recorded facts, one per line"
        )

    def _run(self) -> bool:
        """One real run, archive and replay; returns False if it failed, after reporting it."""
        (outcome,) = run_accounts([self._settings], Options(steps="run"), _unheard)
        STOP.check()  # before the result is shown: after a signal the demo ends
        self._report = {}
        if outcome.result is not None and outcome.result.report is not None:
            path = self._archive / outcome.result.report.relative_to(self._settings.archive.path)
            self._report = json.loads(path.read_text(encoding="utf-8"))
            self._page = path.with_suffix(".html")
        if outcome.exit_code == 0:
            return True
        self._exit_code = outcome.exit_code or 1
        self._say(f"The run failed with exit code {self._exit_code}: {printable(outcome.message or 'see below')}")
        for line in failure_lines(self._report.get("failures", ())):
            self._say(line)
        for line in difference_lines(self._report.get("differences", ())):
            self._say(line)
        return False

    def _expect(self, what: str, expected: int, actual: int) -> None:
        if actual == expected:
            self._say(f"[green]✓[/green] {actual} {what}", markup=True)
            return
        self._exit_code = 1
        self._say(f"[red]✗[/red] {actual} {what}; {expected} were expected", markup=True)

    def _title(self, text: str) -> None:
        self._console.print()
        self._console.print(text, style="bold", markup=False, highlight=False)

    def _explain(self, text: str) -> None:
        """Print sentences, wrapped between words."""
        width = min(self._console.width, _PROSE_WIDTH)
        self._console.print(text, markup=False, highlight=False, width=width)

    def _say(self, text: str, *, markup: bool = False) -> None:
        """Print lines that may be copied, so they are never wrapped."""
        self._console.print(text, markup=markup, highlight=False, soft_wrap=True)


_COMPARED: Mapping[str, Callable[[Mail], Hashable]] = {
    "messages there with the same bytes, in the same folder": lambda mail: mail.octets,
    "of them with the same date of arrival (INTERNALDATE)": lambda mail: (mail.octets, mail.arrived),
    "of them also with the same flags, except keywords": lambda mail: (
        mail.octets,
        mail.arrived,
        mail.system_flags,
    ),
}
"""What is compared of every message at the destination; each entry adds a property."""


def _agreeing(
    expected: Mapping[str, Sequence[Mail]], found: Mapping[str, Sequence[Mail]], key: Callable[[Mail], Hashable]
) -> int:
    """How many messages of each folder were found, each counted once, comparing only `key` of them."""
    return sum(
        (Counter(map(key, mails)) & Counter(map(key, found.get(folder, ())))).total()
        for folder, mails in expected.items()
    )


def _on_disk(archive: Path, expected: Mapping[str, Sequence[Mail]]) -> int:
    """How many of the messages have their own file with their octets."""
    files = (path for tree in ("Maildir", "vanished") for path in (archive / tree).rglob("cur/*"))
    found = Counter(hashlib.sha256(path.read_bytes()).digest() for path in files)
    wanted = Counter(hashlib.sha256(mail.octets).digest() for mails in expected.values() for mail in mails)
    return (wanted & found).total()


def _unheard(_account: str, _event: AnyEvent) -> None:
    """Ignore events: the demo's runs are too short for a display."""


def _is_touched(folder: Row) -> bool:
    done = any(folder[name] for name in ("fetched", "flags_changed", "vanished"))
    return done or bool(folder["destination"]["replayed"])


def _command() -> str:
    """The command that starts this program: its name if the shell finds it, otherwise its path."""
    called = Path(sys.argv[0])
    if called.name != "archiver" or shutil.which("archiver"):
        return "archiver"
    return quote(_short(called.absolute()))


def _short(path: Path) -> str:
    """The path, relative to the current directory if possible."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
