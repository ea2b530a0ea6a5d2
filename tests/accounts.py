"""The tests' own words for an account: its file, a run of it, its report, and what its archive holds.

`run` runs the pipelines in this process, which is quick; `command` is the command line as a person types it. Two
archives are the same when their `archive_state` is equal: paths, octets, times, flags, control files and rows, but
not when and by which run it was done.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import PIPE
from typing import Any, Protocol

from archiver.config.load import load_account
from archiver.control.run import RunControl
from pipelines.attempts import Options
from pipelines.engine.run import run_accounts
from pipelines.events import log_line
from tests.patience import PATIENCE
from tests.servers.wire import Append
from tests.warm import WarmProcess

PROJECT = Path(__file__).resolve().parents[1]
ARCHIVER = ("-m", "pipelines")
UNPRIVILEGED = ("-m", "tests.faults.unprivileged")
UNSTOPPED = RunControl(lambda: None, lambda _: None)
"""It is never stopped, pauses take no time, and no listener is attached."""
CATALOG = "catalog.sqlite"
CONTROL_FILES = frozenset(
    {"dovecot-uidlist", "dovecot-keywords", "subscriptions", "archiver-folder.json", "maildirfolder"}
)

_PASSWORDS = {"alice": "secret", "bob": "secret", "carol": "secret"}
_runs = itertools.count(1)


Archiver = Callable[..., dict[str, Any]]
"""`archiver ARGUMENTS... --json` in this process: the arguments, and `expect`, the exit code → its document."""


class Server(Protocol):
    """A test server: where it listens, without TLS."""

    host: str
    port: int


def account_file(directory: Path, server: Server, user: str, **keys: Any) -> Path:
    """Write `directory`/USER.toml, whose archive is `directory`/archive.

    `keys` are values by their names with `__` for the dot: `source__connections=1`, `messages__search="SEEN"`. One
    that is None is left out. `name` names the account instead of the user.
    """
    directory.mkdir(parents=True, exist_ok=True)
    name = keys.pop("name", user)
    password = directory / f"{name}.password"
    password.write_text(_PASSWORDS.get(user, "pw") + "\n")
    password.chmod(0o600)
    values = {
        "source__host": server.host,
        "source__port": server.port,
        "source__tls": "off",
        "source__user": user,
        "source__password": {"file": str(password)},
        "source__attempts": 2,
        "archive__path": str(directory / "archive"),
        "archive__durability": "none",
        **keys,
    }
    tables: dict[str, list[str]] = {}
    for key, value in values.items():
        table, _, word = key.partition("__")
        if value is not None:
            tables.setdefault(table, []).append(f"{word} = {_toml(value)}")
    file = directory / f"{name}.toml"
    file.write_text("".join(f"[{table}]\n" + "\n".join(lines) + "\n\n" for table, lines in tables.items()))
    return file


def _key(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `report` is the JSON it wrote, empty if it wrote none; `output` is what a person sees."""

    exit_code: int
    report: Mapping[str, Any]
    output: str

    def folder(self, name: str = "INBOX") -> Mapping[str, Any]:
        """A folder's line of the report."""
        return next(folder for folder in self.report["folders"] if folder["name"] == name)

    def total(self, *names: str) -> tuple[int, ...]:
        """These counts over all folders."""
        return tuple(self.report["totals"][name] for name in names)

    @property
    def balanced(self) -> bool:
        """Whether every folder's equation holds."""
        return all(
            folder["on_server"] == folder["stored"] + folder["excluded"] + folder["quarantined"]
            for folder in self.report["folders"]
        )


def run(config: Path, *, expect: int | None = 0, **options: Any) -> RunResult:
    """Run the account in this process; it must end with the exit code `expect`, None for any.

    `options` are those of the engine: `run_id`, `retry`, `new_source`.
    """
    reported: list[str] = []
    options.setdefault("run_id", f"run-{next(_runs):06}")
    (outcome,) = run_accounts(
        [load_account(config)], Options(**options), lambda _, event: reported.append(log_line(event) or "")
    )
    output = "\n".join(filter(None, [*reported, outcome.message]))
    assert expect in (None, outcome.exit_code), output
    report = outcome.result and outcome.result.report
    document = json.loads(report.read_text()) if report else {}
    return RunResult(outcome.exit_code, document, output)


def command(*arguments: str | Path, expect: int | None = 0, program: Sequence[str] = ARCHIVER) -> RunResult:
    """Run `archiver ARGUMENTS...` as its own process; it must end with the exit code `expect`, None for any.

    `report` is the JSON on stdout, where there is one.
    """
    line, environment = [*program, *map(str, arguments)], {**os.environ, "PYTHONPATH": str(PROJECT)}
    with (
        WarmProcess(line, PROJECT, environment)
        if program in (ARCHIVER, UNPRIVILEGED)
        else subprocess.Popen([sys.executable, *line], cwd=PROJECT, env=environment, stdout=PIPE, stderr=PIPE)
    ) as process:
        try:
            out, err = (octets.decode() for octets in process.communicate(timeout=PATIENCE))
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert expect in (None, process.returncode), f"exit {process.returncode}\n{out}{err}"
    try:
        document = json.loads(out)
    except ValueError:
        document = {}
    return RunResult(process.returncode, document if isinstance(document, dict) else {}, out + err)


def archive_of(config: Path) -> Path:
    """Where the account's archive is."""
    return load_account(config).archive.path


def report(archive: Path) -> Mapping[str, Any]:
    """The newest run's report as stored in the archive."""
    newest = max((archive / "runs").glob("*/report.json"), key=lambda path: path.stat().st_mtime_ns)
    found: Mapping[str, Any] = json.loads(newest.read_text())
    return found


# -- what an archive holds ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    """A message's file: SHA-256 of its octets and its mtime; its path says the rest."""

    digest: str
    mtime: int


@dataclass(frozen=True, order=True)
class Epoch:
    """A folder under one UIDVALIDITY, by names that do not depend on the order in which things were met."""

    folder: bytes
    uidvalidity: int
    generation: int


@dataclass(frozen=True)
class Message:
    """A row of the catalog, its time and its run aside."""

    digest: str
    size: int
    internaldate: str | None
    flags: frozenset[str]
    present: bool
    rest: tuple[object, ...]


@dataclass(frozen=True)
class ArchiveState:
    """All that makes two archives the same one. `history` has the changes of flags and of presence, in order."""

    files: Mapping[str, File]
    control_files: Mapping[str, bytes]
    folders: Mapping[bytes, tuple[object, ...]]
    epochs: Mapping[Epoch, tuple[object, ...]]
    messages: Mapping[tuple[Epoch, int], Message]
    quarantine: frozenset[tuple[object, ...]]
    history: Sequence[tuple[object, ...]]

    @property
    def present(self) -> ArchiveState:
        """The part of it that mirrors the server as it is now: what a new archive of the same server holds."""
        current = {epoch for epoch, row in self.epochs.items() if row[0]}
        renamed = {epoch: replace(epoch, generation=1) for epoch in current}
        return ArchiveState(
            files={path: file for path, file in self.files.items() if path.startswith("Maildir/")},
            control_files={p: text for p, text in self.control_files.items() if p.startswith("Maildir/")},
            folders=self.folders,
            epochs={renamed[epoch]: row[2:] for epoch, row in self.epochs.items() if epoch in current},
            messages={
                (renamed[epoch], uid): replace(message, rest=message.rest[:-1])
                for (epoch, uid), message in self.messages.items()
                if epoch in current and message.present
            },
            quarantine=self.quarantine,
            history=(),
        )

    def uids(self, folder: bytes = b"INBOX", *, present: bool = True) -> list[int]:
        """The folder's messages that are present, or those that vanished from its current epoch."""
        current = {epoch for epoch, row in self.epochs.items() if row[0] and epoch.folder == folder}
        return sorted(uid for (epoch, uid), m in self.messages.items() if epoch in current and m.present == present)

    def digests(self, folder: bytes = b"INBOX") -> dict[int, str]:
        """The folder's present messages: uid → digest."""
        current = {epoch for epoch, row in self.epochs.items() if row[0] and epoch.folder == folder}
        return {uid: m.digest for (epoch, uid), m in self.messages.items() if epoch in current and m.present}


def archive_state(archive: Path) -> ArchiveState:
    """Read the archive with nothing of the archiver's; its catalog is only read."""
    files, control_files = {}, {}
    for tree in ("Maildir", "vanished"):
        for path in sorted((archive / tree).rglob("*")):
            if path.is_file():
                name = path.relative_to(archive).as_posix()
                if path.name in CONTROL_FILES:
                    control_files[name] = path.read_bytes()
                else:
                    files[name] = File(_digest(path), int(path.stat().st_mtime))
    with closing(sqlite3.connect(f"file:{archive / CATALOG}?mode=ro", uri=True)) as catalog:
        catalog.row_factory = sqlite3.Row
        return _with_rows(ArchiveState(files, control_files, {}, {}, {}, frozenset(), ()), catalog)


def _with_rows(state: ArchiveState, catalog: sqlite3.Connection) -> ArchiveState:
    folders = {row["number"]: row for row in catalog.execute("SELECT * FROM folder")}
    epochs, rows = {}, {}
    for row in catalog.execute("SELECT * FROM epoch"):
        epoch = Epoch(folders[row["folder"]]["raw"], row["uidvalidity"], row["generation"])
        epochs[row["number"]] = epoch
        complete = row["completed_run"] is not None
        rows[epoch] = (row["ended_at"] is None, row["reason"], complete, *_values(row, _STATE))
    messages = {
        (epochs[row["epoch"]], row["uid"]): Message(
            digest=row["digest"],
            size=row["size"],
            internaldate=row["internaldate"],
            flags=frozenset(json.loads(row["flags"])),
            present=row["vanished_at"] is None,
            rest=_values(row, _REST),
        )
        for row in catalog.execute("SELECT * FROM message")
    }
    waiting = catalog.execute("SELECT * FROM quarantine")
    changes = [
        (epochs[row["epoch"]], row["uid"], *_values(row, columns))
        for table, columns in (("flag_change", ("flags_before", "flags_after")), ("presence_change", ("present",)))
        for row in catalog.execute(f"SELECT * FROM {table} ORDER BY epoch, uid, id")
    ]
    return replace(
        state,
        folders={row["raw"]: _values(row, _FOLDER) for row in folders.values()},
        epochs=rows,
        messages=messages,
        quarantine=frozenset((epochs[row["epoch"]], row["uid"], *_values(row, _WAITING)) for row in waiting),
        history=sorted(changes, key=lambda change: (change[0], change[1])),
    )


_FOLDER = ("path", "delimiter", "directory", "attributes", "subscribed", "listed")
_STATE = ("uidnext", "highestmodseq", "messages", "filter")
_REST = ("crlf_size", "server_size", "arrived", "message_id", "header_digest", "emailid", "matched")
_WAITING = ("step", "reason", "server_reply", "accepted")


def _values(row: sqlite3.Row, columns: Iterable[str]) -> tuple[object, ...]:
    return tuple(row[column] for column in columns)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assert_whole(archive: Path) -> ArchiveState:
    """Nothing lost, nothing twice: every row has its one file with its octets, there is no other file, and what is
    served of a folder is just its present messages. Returns the state."""
    state = archive_state(archive)
    with closing(sqlite3.connect(f"file:{archive / CATALOG}?mode=ro", uri=True)) as catalog:
        places = catalog.execute(
            "SELECT directory, uidvalidity, generation, uid, digest, message.size, crlf_size, arrived,"
            " vanished_at IS NULL AND ended_at IS NULL FROM message"
            " JOIN epoch ON epoch.number = message.epoch JOIN folder ON folder.number = epoch.folder"
        ).fetchall()
    expected = Counter()
    digests = {}
    for directory, uidvalidity, generation, uid, digest, size, crlf_size, arrived, present in places:
        again = f"-{generation}" if generation > 1 else ""
        tree = (
            f"Maildir/{directory}/" if present else f"vanished/{directory or '.INBOX'}.V{uidvalidity}{again}/"
        ).replace("//", "/")
        name = f"{tree}cur/{arrived}.V{uidvalidity}U{uid}.{digest[:16]},S={size},W={crlf_size}"
        expected[name] += 1
        digests[name] = (digest, arrived)
    found = Counter(path.partition(":2,")[0] for path in state.files)
    assert found == expected
    held = {path.partition(":2,")[0]: (file.digest, file.mtime) for path, file in state.files.items()}
    assert held == digests
    return state


def snapshot_files(archive: Path) -> dict[str, tuple[int, int, int, int]]:
    """Every file of the two trees, as (inode, size, mtime, ctime) in ns. Equal snapshots: none was touched."""
    found = {}
    for tree in ("Maildir", "vanished"):
        for path in sorted((archive / tree).rglob("*")):
            reported = path.stat()
            if path.is_file():
                where = path.relative_to(archive).as_posix()
                found[where] = (reported.st_ino, reported.st_size, reported.st_mtime_ns, reported.st_ctime_ns)
    return found


def journal_files(archive: Path) -> list[str]:
    """The journal's segments, oldest first."""
    return sorted(path.name for path in (archive / "journal").iterdir())


def mail(number: int, *, body: str = "", message_id: bool = True) -> bytes:
    """A message that is like no other of another number; with `body` its size can be chosen."""
    identity = f"Message-ID: <{number}@example.org>\r\n" if message_id else ""
    return (
        f"From: a{number}@example.org\r\nTo: b@example.org\r\nSubject: message {number}\r\n{identity}\r\n"
        f"This is message {number}.\r\n{body or '.' * (number % 50)}\r\n"
    ).encode()


def mails(numbers: Iterable[int], *, message_id: bool = True) -> list[Append]:
    """Messages to append, a minute between each."""
    return [
        Append(
            mail(number, message_id=message_id), (), f"02-Jan-2020 {number // 60 % 24:02}:{number % 60:02}:00 +0000"
        )
        for number in numbers
    ]
