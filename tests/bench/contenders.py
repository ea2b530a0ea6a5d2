"""What archives an account: the archiver and what Debian has besides, each into a fresh directory.

The others do less than is asked for: offlineimap loses the date of arrival, getmail puts all folders into one and
follows neither flags nor deletions, and mbsync alters every message. They are compared all the same.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measured import Measured, measured
from tests.servers.dovecot import PASSWORD


def archiver_verb(verb: str) -> tuple[str, ...]:
    """The installed command, without a need to be installed."""
    return (sys.executable, "-c", "from pipelines.cli.main import main; main()", verb)


ARCHIVER = archiver_verb("run")

ENVIRONMENT = {"BENCH_PASSWORD": PASSWORD}

_MBSYNC = """\
IMAPAccount source-{user}
Host 127.0.0.1
Port {port}
User {user}
Pass {password}
SSLType None
AuthMechs LOGIN

IMAPStore source-{user}
Account source-{user}

MaildirStore copy-{user}
Path {path}/
Inbox {path}/INBOX
SubFolders Verbatim

Channel {user}
Far :source-{user}:
Near :copy-{user}:
Patterns *
Sync Pull
Create Near
Remove Near
Expunge Near
CopyArrivalDate yes
SyncState *

"""

_OFFLINEIMAP = """\
[general]
accounts = A
metadata = {path}/.state
ui = quiet
fsync = True
[Account A]
localrepository = L
remoterepository = R
[Repository L]
type = Maildir
localfolders = {path}/mail
sep = /
[Repository R]
type = IMAP
remotehost = 127.0.0.1
remoteport = {port}
remoteuser = {user}
remotepass = {password}
ssl = no
starttls = no
auth_mechanisms = PLAIN, LOGIN
readonly = True
"""

_GETMAIL = """\
[retriever]
type = SimpleIMAPRetriever
server = 127.0.0.1
port = {port}
username = {user}
password = {password}
mailboxes = ALL
[destination]
type = Maildir
path = {path}/
[options]
read_all = false
delivered_to = false
received = false
verbose = 0
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
"""


@dataclass(frozen=True)
class Contender:
    """A tool with its configuration; `run` brings its copy up to date."""

    name: str
    command: tuple[str, ...]
    log: Path

    def run(self) -> Measured:
        """One run, measured."""
        return measured(self.command, self.log, environment=ENVIRONMENT)


def archiver(directory: Path, port: int, user: str, name: str = "archiver", more: str = "") -> Contender:
    """`archiver run` as cron would run it; `more` ends its account file."""
    account = account_file(directory, port, user, more)
    return Contender(name, (*ARCHIVER, str(account)), directory / f"{name}.log")


def account_file(directory: Path, port: int, user: str, more: str = "") -> Path:
    """An account file whose archive is next to it."""
    account = directory / f"{user}.toml"
    account.write_text(_ACCOUNT.format(port=port, user=user, path=directory / f"archive-{user}") + more)
    return account


def mbsync(directory: Path, port: int, user: str, *more: str) -> Contender:
    """mbsync into Maildirs with its default durability, dates kept as the archiver keeps them; of all users."""
    configuration = directory / "mbsyncrc"
    text = ""
    for each in (user, *more):
        path = directory / f"mbsync-{each}"
        path.mkdir(exist_ok=True)
        text += _MBSYNC.format(port=port, user=each, password=PASSWORD, path=path)
    configuration.write_text(text)
    return Contender("mbsync", ("mbsync", "-c", str(configuration), "-q", "-a"), directory / "mbsync.log")


def offlineimap(directory: Path, port: int, user: str) -> Contender:
    """offlineimap3 into a Maildir, synced as it does by itself."""
    path, configuration = directory / "offlineimap", directory / "offlineimaprc"
    path.mkdir()
    configuration.write_text(_OFFLINEIMAP.format(port=port, user=user, password=PASSWORD, path=path))
    return Contender("offlineimap", ("offlineimap", "-c", str(configuration)), directory / "offlineimap.log")


def getmail(directory: Path, port: int, user: str) -> Contender:
    """getmail6 into a Maildir, as another user: it delivers nothing as root."""
    path, state, configuration = directory / "getmail", directory / "getmail-state", directory / "getmailrc"
    for each in (path, *(path / part for part in ("cur", "new", "tmp")), state):
        each.mkdir()
        shutil.chown(each, "nobody")
    configuration.write_text(_GETMAIL.format(port=port, user=user, password=PASSWORD, path=path))
    as_nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    command = (*as_nobody, "getmail", "--getmaildir", str(state), "--rcfile", str(configuration))
    return Contender("getmail", command, directory / "getmail.log")


Make = Callable[[Path, int, str], Contender]

PEERS: dict[str, tuple[Make, bool]] = {
    "mbsync": (mbsync, False),
    "offlineimap": (offlineimap, True),
    "getmail": (getmail, True),
}
"""How each peer is made, by its command, and whether it is slow."""


def peers_here(*, slow: bool) -> list[Make]:
    """The peers that are installed, the slow ones if they are wanted."""
    return [make for name, (make, is_slow) in PEERS.items() if shutil.which(name) and (slow or not is_slow)]


def peers_missing() -> list[str]:
    """Those that are not installed."""
    return [name for name in PEERS if not shutil.which(name)]
