"""The demo's steps, in order: each does the real thing, says in plain words what happened, and checks the numbers.

The proof in the middle asks neither catalog nor journal nor IMAP: it holds the files of the archive, and the memory
of the destination's server, against the record of what was delivered to the source.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console

from archiver.config.load import Settings
from archiver.mail.folder_names import printable
from archiver.replay.compare import DestinationCheck
from archiver.report.units import Row, completed
from archiver.report.verdict import verdict
from pipelines.demo.mail import NEW_USER, RENAMED, USER, Mail
from pipelines.demo.mailbox import SourceMailbox
from pipelines.demo.server import HOST, SampleServer
from pipelines.engine import Options, run_accounts
from pipelines.events import AnyEvent
from pipelines.outcome import AccountOutcome
from pipelines.show.lines import destination_equation, difference_lines, equation, failure_lines, loss_lines
from pipelines.show.tables import destination_table, folders_table
from pipelines.stop import STOP

_PROSE_WIDTH = 96

Verify = Callable[[Settings], tuple[AccountOutcome[Any], DestinationCheck | None]]
"""Verifies an account with all octets that its destination gives back; also what the destination shows."""


class Tour:
    """The whole job on the account of `settings`, from `source` to `destination`, told on `console`."""

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
        """Take every step; returns 0, or the exit code of the step that did not do what it should.

        Raises:
            Interrupted: a signal asked for an end.
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
        self._tell("Two IMAP servers run in this process for the demo, and Alice moves from one to the other.")
        self._say(
            f"  source       {USER} at {HOST}:{source.server.port}: {source.folders} folders, "
            f"{source.messages} messages, some of them odd\n"
            f"  destination  {NEW_USER} at {HOST}:{destination.port}: an empty account\n"
            f"  account file {_short(self._settings.file)}"
        )

    def _first(self) -> None:
        self._title("1. The first run: all mail goes into the archive, and from there to the destination")
        wanted = self._source.messages
        if not self._run():
            return
        folders, totals = self._report["folders"], self._report["totals"]
        self._console.print(folders_table(folders, totals, work=True, every=True))
        self._expect("messages fetched from the source", wanted, totals["fetched"])
        self._tell(f"\nAt the destination, {NEW_USER}:")
        self._console.print(destination_table(folders, totals, every=True))
        self._expect("messages replayed to the destination", wanted, totals["destination"]["replayed"])
        self._expect("compared there by size, date and flags: equal", wanted, totals["destination"]["verified"])
        self._tell(
            "\nOne thing does not come along: this destination does not offer to keep keywords (its PERMANENTFLAGS "
            "have no \\*), so none are sent. The archive has them, and the report lists whose they are:"
        )
        for line in loss_lines(self._report["losses"]):
            self._say(line)

    def _second(self) -> None:
        self._title("2. The mailbox changes, and the second run does only what is new")
        arrived, story = self._source.change()
        self._tell(story)
        if not self._run():
            return
        folders, totals = self._report["folders"], self._report["totals"]
        touched = [each for each in folders if _is_touched(each)]
        self._console.print()
        self._console.print(folders_table(touched, totals, work=True, every=True))
        self._tell(f"The total is of all folders; the other {len(folders) - len(touched)} are as they were.")
        self._expect("messages fetched: those that arrived", arrived, totals["fetched"])
        self._expect("messages with new flags", 2, totals["flags_changed"])
        self._expect("message vanished from the source, kept in the archive", 1, totals["vanished"])
        self._tell("\nAt the destination:")
        self._console.print(destination_table(touched, totals, every=True))
        self._expect("messages replayed: those that arrived", arrived, totals["destination"]["replayed"])
        self._tell(
            f"\nThe messages of the renamed folder were known again and not fetched. At the destination "
            f"{RENAMED[0]} was renamed to {RENAMED[1]}, so they were not sent again either. Nothing is deleted "
            f"there: the message from Trash stays. The new keyword is one more that is not kept there."
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
        self._title("4. The proof, without asking the archiver")
        ever, there = self._source.ever(), self._destination.contents()
        wanted = self._source.to_be_there()
        count = sum(map(len, ever.values()))
        self._tell(
            f"The demo kept a list of its own of what it put onto the source. With the message that was expunged, "
            f"and the renamed folder under both its names, it has {count} messages in {len(ever)} folders. The "
            f"files of the archive are held against it, and what the destination's server has in its memory."
        )
        self._expect(
            "files in the archive, each with the octets of its message", count, _on_disk(self._archive, ever)
        )
        self._expect("folders at the destination", len(wanted), len(there) if wanted.keys() == there.keys() else 0)
        agreeing = {what: _agreeing(wanted, there, key) for what, key in _COMPARED.items()}
        for what, number in agreeing.items():
            self._expect(what, sum(map(len, wanted.values())), number)
        lost = min(agreeing.values()) - _agreeing(wanted, there, lambda mail: mail)
        listed = sum(each["count"] for each in self._report["losses"] if each["kind"] == "flags")
        self._expect("of them without their keywords, and as many are listed in the report", lost, listed)
        strange = sum(map(len, there.values())) - max(agreeing.values())
        self._expect("messages there that are not from the source", 0, strange)

    def _verify(self) -> None:
        self._title("5. Verify --deep: every copy is fetched back from the destination and compared")
        outcome, check = self._deep_verify(self._settings)
        STOP.check()
        for line in (outcome.message or "").splitlines():
            self._say(printable(line))
        self._exit_code = outcome.exit_code
        if check is None:
            self._exit_code = self._exit_code or 1
            return
        for line in difference_lines([asdict(each) for each in check.differences]):
            self._say(line)
        verified = sum(each.verified for each in check.folders.values())
        self._expect("messages of the source came back octet for octet", self._source.messages, verified)
        self._tell("What is gone from the source was read in the archive, and not looked for at the destination.")

    def _farewell(self) -> None:
        archive, account_file = quote(_short(self._archive)), quote(_short(self._settings.file))
        found = verdict(completed(self._report))
        self._title("6. The report: every run writes one, for people and for programs")
        self._tell(f"The last one says: {found.headline}. {' '.join(found.sentences)}")
        self._say(
            f"  {quote(str(self._page))}\n"
            f"  {_command()} report {account_file} --open  # this page in the browser\n"
            f"  {_command()} report {account_file}  # the same as text"
        )
        self._title("The archive stays")
        self._tell("Both servers are gone when the demo ends. The archive is plain files; look at it:")
        self._say(
            f"  ls -A {archive}/Maildir  # each folder is a directory\n"
            f"  ls -A {archive}/vanished  # what is gone from the source\n"
            f"  mutt -f {archive}/Maildir\n"
            f"  {_command()} status {account_file}\n"
            f"  {_command()} verify {account_file} --offline\n"
            f"  zcat {archive}/journal/*.gz | head  # the facts, line by line"
        )

    def _run(self) -> bool:
        """One real run, archive and replay; False if it did not end well, which is told."""
        (outcome,) = run_accounts([self._settings], Options(steps="run"), _unheard)
        STOP.check()  # before the run's own words: what is cut off here is not gone on with
        self._report = {}
        if outcome.result is not None and outcome.result.report is not None:
            path = self._archive / outcome.result.report.relative_to(self._settings.archive.path)
            self._report = json.loads(path.read_text(encoding="utf-8"))
            self._page = path.with_suffix(".html")
        if outcome.exit_code == 0:
            return True
        self._exit_code = outcome.exit_code or 1
        self._say(
            f"The run did not end well, exit code {self._exit_code}: {printable(outcome.message or 'see below')}"
        )
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

    def _tell(self, text: str) -> None:
        """Sentences, broken between words."""
        width = min(self._console.width, _PROSE_WIDTH)
        self._console.print(text, markup=False, highlight=False, width=width)

    def _say(self, text: str, *, markup: bool = False) -> None:
        """Lines that may be copied, never broken by us."""
        self._console.print(text, markup=markup, highlight=False, soft_wrap=True)


_COMPARED: Mapping[str, Callable[[Mail], Hashable]] = {
    "messages there with the same octets, in the same folder": lambda mail: mail.octets,
    "of them with the same date of arrival (INTERNALDATE)": lambda mail: (mail.octets, mail.arrived),
    "of them with the same flags, too; keywords aside": lambda mail: (mail.octets, mail.arrived, mail.system_flags),
}
"""What is compared of every message at the destination, each time more of it."""


def _agreeing(
    expected: Mapping[str, Sequence[Mail]], found: Mapping[str, Sequence[Mail]], key: Callable[[Mail], Hashable]
) -> int:
    """How many messages of each folder are there, each counted once, by what `key` takes of them."""
    return sum(
        (Counter(map(key, mails)) & Counter(map(key, found.get(folder, ())))).total()
        for folder, mails in expected.items()
    )


def _on_disk(archive: Path, expected: Mapping[str, Sequence[Mail]]) -> int:
    """How many of the messages have a file of their own with their octets."""
    files = (path for tree in ("Maildir", "vanished") for path in (archive / tree).rglob("cur/*"))
    found = Counter(hashlib.sha256(path.read_bytes()).digest() for path in files)
    wanted = Counter(hashlib.sha256(mail.octets).digest() for mails in expected.values() for mail in mails)
    return (wanted & found).total()


def _unheard(_account: str, _event: AnyEvent) -> None:
    """The demo's runs are over before a display would help."""


def _is_touched(folder: Row) -> bool:
    done = any(folder[name] for name in ("fetched", "flags_changed", "vanished"))
    return done or bool(folder["destination"]["replayed"])


def _command() -> str:
    """How this program is called here: by its name where the shell would find it."""
    called = Path(sys.argv[0])
    if called.name != "archiver" or shutil.which("archiver"):
        return "archiver"
    return quote(_short(called.absolute()))


def _short(path: Path) -> str:
    """The path as it can be given here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
