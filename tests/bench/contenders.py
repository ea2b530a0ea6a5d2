"""What is measured side by side: mbsync and the archiver, each from the same account into a fresh directory."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measured import Measured, measured
from tests.servers.dovecot import PASSWORD

ARCHIVER = (sys.executable, "-c", "from pipelines.cli.main import main; main()", "run")
"""The installed command, without a need to be installed."""

_MBSYNC = """\
IMAPAccount source
Host 127.0.0.1
Port {port}
User {user}
Pass {password}
SSLType None
AuthMechs LOGIN

IMAPStore source
Account source

MaildirStore copy
Path {path}/
Inbox {path}/INBOX
SubFolders Verbatim

Channel all
Far :source:
Near :copy:
Patterns *
Sync Pull
Create Near
Remove Near
Expunge Near
CopyArrivalDate yes
SyncState *
"""

_ACCOUNT = """\
[source]
host = "127.0.0.1"
port = {port}
tls = "off"
user = "{user}"
password = {{ env = "BENCH_PASSWORD" }}

[archive]
path = "{path}"
durability = "{durability}"
"""


@dataclass(frozen=True)
class Contender:
    """A tool with its configuration; `run` brings its copy at `path` up to date."""

    name: str
    path: Path
    command: tuple[str, ...]

    def run(self) -> Measured:
        """One run, measured."""
        return measured(self.command, self.path.with_suffix(".log"), environment={"BENCH_PASSWORD": PASSWORD})


def mbsync(directory: Path, port: int, user: str) -> Contender:
    """mbsync into a Maildir with its default durability, dates kept as the archiver keeps them."""
    path = directory / "mbsync"
    path.mkdir()
    configuration = directory / "mbsyncrc"
    configuration.write_text(_MBSYNC.format(port=port, user=user, password=PASSWORD, path=path))
    return Contender("mbsync", path, ("mbsync", "-c", str(configuration), "-q", "all"))


def has_mbsync() -> bool:
    """Whether mbsync is installed."""
    return shutil.which("mbsync") is not None


def archiver(directory: Path, port: int, user: str, durability: str = "batch") -> Contender:
    """`archiver run` as cron would run it."""
    name = "archiver" if durability == "batch" else f"archiver, durability {durability}"
    path = directory / f"archive-{durability}"
    account = directory / f"bench-{durability}.toml"
    account.write_text(_ACCOUNT.format(port=port, user=user, path=path, durability=durability))
    return Contender(name, path, (*ARCHIVER, str(account)))
