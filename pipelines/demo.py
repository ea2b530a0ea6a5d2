"""The demo: an account on a server of its own, archived, changed, archived again and verified, in seconds.

It uses the real engine over a real connection, and compares what was put onto the server with what lies in the
archive by itself, so that what it says is seen and not only claimed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from archiver.config import Settings, load_account
from archiver.errors import ArchiveNotWritable, ConfigError
from pipelines.demo_mail import FOLDERS, NEW_FOLDER, RENAMED, SUBSCRIBED, USER, Mail, new_mail, sample_mail
from pipelines.demo_server import HOST, SampleServer, is_installed
from pipelines.engine import Options, run_accounts
from pipelines.events import AnyEvent
from pipelines.upkeep import VerifyOptions, verify_accounts

MARKER = "made-by-archiver-demo.txt"
_MARKER_TEXT = """\
This folder was made by `archiver demo`. The next demo in it clears configs and archive, and makes them anew.
"""
_OURS = (MARKER, "configs", "archive")
_OURS_IN_CONFIGS = ("demo.toml", "password")

_ACCOUNT_FILE = """\
# The account of the demo. A real one has tls = "implicit", which is the default, and no port.

[source]
host = "{host}"
port = {port}
tls = "off"                       # only because the demo's server is on this machine
user = "{user}"
password = {{ file = "password" }}  # never the password itself

[archive]
path = "../archive"
"""


def run_demo(directory: Path, console: Console) -> int:
    """Run the whole tour in `directory`, which is made; what an earlier demo made there is cleared first.

    Returns the exit code: 0, or that of the run that did not do what it should.

    Raises:
        ConfigError: pymap is not installed, or the directory holds something that no demo made.
    """
    if not is_installed():
        raise ConfigError(
            "archiver demo", ["its mail server, pymap, is not installed"], hint="pip install 'mail-archiver[demo]'"
        )
    clear(directory)
    with SampleServer(USER) as server:
        fill(server)
        return _Tour(directory, console, server).run()


def clear(directory: Path) -> None:
    """Make the directory, empty but for the marker of the demo.

    Raises:
        ConfigError: it is no directory, or holds something that no demo made; nothing was touched.
        ArchiveNotWritable: it cannot be made or cleared.
    """
    strange = _strange(directory)
    if strange:
        raise ConfigError(
            str(directory),
            [f"holds what no demo made: {', '.join(strange[:3])}{', …' if len(strange) > 3 else ''}"],
            hint="give an empty or a new folder with --dir",
        )
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / MARKER).write_text(_MARKER_TEXT, encoding="utf-8")
        for name in ("archive", "configs"):
            if (directory / name).is_dir():
                shutil.rmtree(directory / name)
    except OSError as error:
        raise ArchiveNotWritable(
            f"{directory}: {error.strerror}", hint="give a folder of your own with --dir"
        ) from error


def _strange(directory: Path) -> list[str]:
    """What lies in the directory and was not made by a demo."""
    if directory.exists() and not directory.is_dir():
        raise ConfigError(str(directory), ["is not a folder"], hint="give another one with --dir")
    present = sorted(each.name for each in directory.iterdir()) if directory.is_dir() else []
    if MARKER not in present:
        return present
    configs = directory / "configs"
    strange = [name for name in present if name not in _OURS or (directory / name).is_symlink()]
    if configs.is_dir() and not strange:
        strange = [f"configs/{each.name}" for each in configs.iterdir() if each.name not in _OURS_IN_CONFIGS]
    return strange


def fill(server: SampleServer) -> None:
    """Put the sample account onto the server."""
    for folder in FOLDERS:
        server.create(folder, subscribed=folder in SUBSCRIBED)
    for folder, mails in sample_mail().items():
        for mail in mails:
            server.deliver(folder, mail)


class _Tour:
    """The demo's steps, in order; every one says in plain words what happened."""

    def __init__(self, directory: Path, console: Console, server: SampleServer) -> None:
        self._directory = directory
        self._console = console
        self._server = server
        self._delivered: list[Mail] = [mail for mails in sample_mail().values() for mail in mails]
        self._exit_code = 0

    def run(self) -> int:
        settings = load_account(self._account_file())
        self._say(
            f"An IMAP server listens on {HOST}:{self._server.port}, with the account of {USER}: "
            f"{len(FOLDERS)} folders, {len(self._delivered)} messages, some of them odd.\n"
            f"The account file is {self._directory / 'configs' / 'demo.toml'}."
        )
        for step in (self._first, self._second, self._third, self._verify):
            step(settings)
            if self._exit_code:
                return self._exit_code
        self._farewell()
        return 0

    def _account_file(self) -> Path:
        configs = self._directory / "configs"
        configs.mkdir(mode=0o700)
        password = configs / "password"
        password.touch(mode=0o600)
        password.write_text(self._server.password + "\n", encoding="utf-8")
        file = configs / "demo.toml"
        file.write_text(_ACCOUNT_FILE.format(host=HOST, port=self._server.port, user=USER), encoding="utf-8")
        return file

    def _first(self, settings: Settings) -> None:
        self._title("1. The first run: everything is new")
        report = self._archive(settings)
        if report is None:
            return
        self._console.print(_table(report["folders"]))
        self._expect("messages fetched", len(self._delivered), report["totals"]["fetched"])
        self._compare()

    def _second(self, settings: Settings) -> None:
        self._title("2. The mailbox changes")
        arrived = list(new_mail())
        self._server.create(NEW_FOLDER)
        for folder, mail in arrived:
            self._server.deliver(folder, mail)
        self._delivered += [mail for _, mail in arrived]
        self._server.add_flags("INBOX", 3, "\\Seen")
        self._server.add_flags("Sent", 0, "\\Flagged", "$label1")
        self._server.expunge("Trash", 0)
        self._server.rename(*RENAMED)
        self._say(
            f"{len(arrived)} messages arrive, one in the new folder {NEW_FOLDER}; a message is read, another "
            f"gets a flag and a keyword; one is expunged from Trash; {RENAMED[0]} is renamed to {RENAMED[1]}."
        )
        report = self._archive(settings)
        if report is None:
            return
        self._console.print(_table(each for each in report["folders"] if _touched(each)))
        totals = report["totals"]
        self._expect("messages fetched", len(arrived), totals["fetched"])
        self._expect("flags followed", 2, totals["flags_changed"])
        self._expect("vanished and kept", 1, totals["vanished"])
        self._say("The messages of the renamed folder were known again and not fetched.")
        self._compare()

    def _third(self, settings: Settings) -> None:
        self._title("3. The third run: nothing changed")
        report = self._archive(settings)
        if report is not None:
            self._expect("messages fetched", 0, report["totals"]["fetched"])

    def _archive(self, settings: Settings) -> dict[str, Any] | None:
        """One real run; its report, None if it did not end well."""
        (outcome,) = run_accounts([settings], Options(), _unheard)
        report: dict[str, Any] = {}
        if outcome.report is not None:
            report = json.loads(outcome.report.read_text(encoding="utf-8"))
        if outcome.exit_code == 0:
            return report
        self._exit_code = outcome.exit_code or 1
        reasons = [outcome.message, *(each["reason"] for each in report.get("failures", ()))]
        self._say(f"The run failed: {next(filter(None, reasons), 'it did not say why')}")
        return None

    def _compare(self) -> None:
        """Every message that was ever on the server, against the files: with no help from catalog or journal."""
        digests = Counter(
            hashlib.sha256(path.read_bytes()).hexdigest()
            for tree in ("Maildir", "vanished")
            for path in (self._directory / "archive" / tree).rglob("cur/*")
        )
        wanted = {hashlib.sha256(mail.octets).hexdigest() for mail in self._delivered}
        self._expect(
            "different messages with their exact octets on disk", len(wanted), len(wanted & digests.keys())
        )

    def _verify(self, settings: Settings) -> None:
        self._title("4. Verify: every message has its octets, every digest matches, no file is a stranger")
        (outcome,) = verify_accounts([settings], VerifyOptions(), _unheard)
        self._say(outcome.message)
        self._exit_code = outcome.exit_code

    def _farewell(self) -> None:
        archive = quote(str(self._directory / "archive"))
        account_file = quote(str(self._directory / "configs" / "demo.toml"))
        self._title("The archive")
        self._say(
            f"It lies in {archive}. The server is gone now; the archive stays. Look at it:\n"
            f"  ls -A {archive}/Maildir  # each folder is a directory\n"
            f"  ls -A {archive}/vanished  # what is gone from the server\n"
            f"  mutt -f {archive}/Maildir\n"
            f"  {_command()} status {account_file}\n"
            f"  {_command()} verify {account_file}\n"
            f"  zcat {archive}/journal/*.gz | head  # the facts, line by line\n"
            f"  ls {archive}/runs  # a report of every run"
        )

    def _expect(self, what: str, expected: int, actual: int) -> None:
        if actual == expected:
            self._say(f"[green]✓[/green] {actual} {what}", markup=True)
            return
        self._exit_code = 1
        self._say(f"[red]✗[/red] {actual} {what}, {expected} were expected", markup=True)

    def _title(self, text: str) -> None:
        self._console.print()
        self._console.print(text, style="bold", markup=False, highlight=False)

    def _say(self, text: str, *, markup: bool = False) -> None:
        self._console.print(text, markup=markup, highlight=False, soft_wrap=True)


def _unheard(_account: str, _event: AnyEvent) -> None:
    """The demo's runs are over before a display would help."""


def _touched(folder: Mapping[str, Any]) -> bool:
    return any(folder[name] for name in ("fetched", "flags_changed", "vanished")) or folder["name"] == RENAMED[1]


_COLUMNS = ("on_server", "stored", "fetched", "fetched_bytes", "flags_changed", "vanished")


def _table(folders: Iterable[Mapping[str, Any]]) -> Table:
    table = Table("folder", box=None, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name.replace("_", " "), justify="right")
    for folder in folders:
        table.add_row(Text(folder["name"]), *(f"{folder[name]:,}" if folder[name] else "·" for name in _COLUMNS))
    return table


def _command() -> str:
    """How this program is called here: by its name where the shell would find it."""
    called = Path(sys.argv[0])
    return "archiver" if called.name != "archiver" or shutil.which("archiver") else str(called.absolute())
