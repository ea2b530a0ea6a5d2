"""What moves an account from one user to another: the archiver by way of its archive, the others straight."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.bench.contenders import ARCHIVER, ENVIRONMENT
from tests.bench.measured import Measured, measured
from tests.servers.dovecot import PASSWORD, Dovecot

_MBSYNC_STORE = """\
IMAPStore {name}
Host 127.0.0.1
Port {port}
User {user}
Pass {password}
SSLType None
AuthMechs LOGIN

"""

# NOTE: "Expunge None" has \\Deleted messages copied too, as the others do.
_MBSYNC_CHANNEL = """\
Channel all
Far :source:
Near :destination:
Patterns *
Sync PullNew PullFlags
Create Near
Expunge None
CopyArrivalDate yes
SyncState {state}/
"""

_SERVER = """\
[{name}]
host = "127.0.0.1"
port = {port}
tls = "off"
user = "{user}"
password = {{ env = "BENCH_PASSWORD" }}

"""


@dataclass(frozen=True)
class Mover:
    """A tool and the new user to whom it brings the account; `run` brings that up to date."""

    name: str
    user: str
    command: tuple[str, ...]
    log: Path

    def run(self) -> Measured:
        """One run, measured."""
        return measured(self.command, self.log, environment=ENVIRONMENT)


def archiver(directory: Path, port: int, source: str, user: str) -> Mover:
    """`archiver run` as cron would run it: archived, replayed and compared."""
    account = directory / f"{user}.toml"
    servers = [
        _SERVER.format(name=name, port=port, user=whose)
        for name, whose in (("source", source), ("destination", user))
    ]
    account.write_text("".join(servers) + f'[archive]\npath = "{directory / user}"\n')
    return Mover("archiver", user, (*ARCHIVER, str(account)), directory / f"{user}.log")


def mbsync(directory: Path, port: int, source: str, user: str) -> Mover:
    """mbsync from server to server, dates kept."""
    state = directory / user
    state.mkdir()
    stores = [
        _MBSYNC_STORE.format(name=name, port=port, user=whose, password=PASSWORD)
        for name, whose in (("source", source), ("destination", user))
    ]
    configuration = directory / f"{user}.mbsyncrc"
    configuration.write_text("".join(stores) + _MBSYNC_CHANNEL.format(state=state))
    return Mover("mbsync", user, ("mbsync", "-c", str(configuration), "-q", "all"), directory / f"{user}.log")


def has_mbsync() -> bool:
    """Whether mbsync is installed."""
    return shutil.which("mbsync") is not None


def imapsync(script: Path, directory: Path, port: int, source: str, user: str) -> Mover:
    """imapsync as its documents advise for large mailboxes: UIDs in a cache, no counting, no log, no mail."""
    servers = [
        word
        for number, whose in (("1", source), ("2", user))
        for word in (
            f"--host{number}", "127.0.0.1", f"--port{number}", str(port), f"--user{number}", whose,
            f"--password{number}", PASSWORD, f"--nossl{number}", f"--notls{number}", f"--noemailreport{number}",
        )
    ]  # fmt: skip
    cache = directory / f"imapsync-{user}"
    cache.mkdir()
    options = ("--delete2", "--useuid", "--usecache", "--nofoldersizes", "--nofoldersizesatend", "--nolog",
               "--exitonload", "0", "--tmpdir", str(cache))  # fmt: skip
    return Mover("imapsync", user, ("perl", str(script), *servers, *options), directory / f"{user}.log")


def dsync(directory: Path, server: Dovecot, port: int, source: str, user: str) -> Mover:
    """Dovecot's own tool, at the destination: it writes into the mailboxes there and asks the source by IMAP."""
    given = {
        "imapc_host": "127.0.0.1", "imapc_port": port, "imapc_user": source, "imapc_password": PASSWORD,
        "imapc_features": "rfc822.size fetch-headers", "mail_prefetch_count": 50,
    }  # fmt: skip
    options = [word for name, value in given.items() for word in ("-o", f"{name}={value}")]
    command = ("doveadm", "-c", str(server.root / "dovecot.conf"), *options, "backup", "-R", "-u", user, "imapc:")
    return Mover("dsync", user, command, directory / f"{user}.log")
