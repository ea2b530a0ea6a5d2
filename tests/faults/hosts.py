"""Hosts that share a fleet: each a mount and UTS namespace with a disk of its own, which has the same path on all.

They see the same mail server, bucket and PostgreSQL. A host has account files of its own, local files of the
archives, and a name.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.accounts import ARCHIVER, PROJECT, account_file, mails
from tests.patience import PATIENCE
from tests.servers.dovecot import Dovecot
from tests.servers.postgresql import Postgresql
from tests.servers.s3_endpoint import Endpoint
from tests.servers.served import ServedFolder

_ENTER = 'hostname "$0" && mount --bind "$1" "$2" && shift 2 && exec "$@"'

_SHORT = """
import sys
from archiver.journal import recorder
from archiver.storage.bucket import lease
from pipelines.hosts import claims
from pipelines.cli import worker
from pipelines.cli.main import main
lease.TTL = {lease}
claims.TTL = {claim}
recorder.BATCH_MESSAGES = {batch}
worker._LOOK_SECONDS = 1.0
main()
"""


def missing() -> str | None:
    """Why there can be no hosts here, or None."""
    if os.geteuid() != 0:
        return "hosts: needs root, because they are namespaces"
    try:
        subprocess.run(["unshare", "-m", "-u", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "hosts: this kernel lets nobody make namespaces"
    return None


class Fleet:
    """Accounts `a00`, `a01`... with as many messages as `sizes` says, and hosts that may run them.

    `quick`: claims and leases last for seconds, and batches are small, so that a kill finds something unfinished.
    """

    def __init__(
        self, root: Path, dovecot: Dovecot, endpoint: Endpoint, postgresql: Postgresql, sizes: Sequence[int], *,
        quick: bool = True,
    ) -> None:  # fmt: skip
        self.root, self.dovecot, self.endpoint, self.postgresql = root, dovecot, endpoint, postgresql
        self.bucket, self.database = endpoint.fresh_bucket(), postgresql.fresh_database()
        self.sizes, self.quick = list(sizes), quick
        self.disk = root / "disk"
        self.disk.mkdir(parents=True)
        self.users = [dovecot.fresh_user() for _ in sizes]
        for user, size in zip(self.users, sizes, strict=True):
            dovecot.append_many(user, "INBOX", mails(range(size)))
        self.commands: list[Command] = []
        self.targets = [dovecot.fresh_user() for _ in sizes]

    @property
    def configs(self) -> Path:
        """The folder of the account files, as each host sees it."""
        return self.disk / "configs"

    @property
    def names(self) -> list[str]:
        """The names of the accounts."""
        return [f"a{number:02}" for number in range(len(self.sizes))]

    def host(self, name: str, *, replays: bool = True) -> Host:
        """A host with the account files, and nothing of the archives."""
        own = self.root / name
        (own / "configs").mkdir(parents=True)
        table = {
            "bucket": self.bucket, "endpoint_url": self.endpoint.url, "region": self.endpoint.region,
            "addressing_style": "path", "attempts": 3,
        }  # fmt: skip
        ledger = self.postgresql.socket_url(self.database)
        (own / "configs" / "defaults.toml").write_text(f'[fleet]\nledger = "{ledger}"\n')
        for number, user in enumerate(self.users):
            account = f"a{number:02}"
            there: dict[str, Any] = {}
            if replays:
                there = {
                    "destination__host": self.dovecot.host, "destination__port": self.dovecot.port,
                    "destination__tls": "off", "destination__user": self.targets[number],
                    "destination__password": {"file": str(self.configs / f"{account}.password")},
                }  # fmt: skip
            account_file(
                own / "configs", self.dovecot, user, name=account, archive__store="s3", archive__s3=table,
                archive__path=str(self.disk / "archives" / account),
                source__password={"file": str(self.configs / f"{account}.password")}, **there,
            )  # fmt: skip
        return Host(self, name, own)

    def assert_arrived(self) -> None:
        """Assert that every message is at its destination, once."""
        for user, target, size in zip(self.users, self.targets, self.sizes, strict=True):
            served, arrived = (_digests(self.dovecot.dump(each)) for each in (user, target))
            assert served.total() == size
            assert arrived == served

    def assert_whole(self) -> None:
        """The same, and that every message is in its archive, as a host sees it that has no local files."""
        self.assert_arrived()
        verifier = self.host("verifier")
        for verb in (("run",), ("verify", "--deep")):
            verified = verifier.run(*verb, str(self.configs))
            assert verified.process.returncode == 0, verified.said

    def end(self) -> None:
        """Kill what still runs."""
        for each in self.commands:
            if each.process.poll() is None:
                each.kill()
                each.process.wait()

    def claims(self) -> dict[str, str]:
        """Who holds which account just now."""
        if not self.is_made:
            return {}
        rows = self.postgresql.psql(
            "SELECT account, owner FROM archiver.account WHERE owner IS NOT NULL AND claimed_until > "
            "extract(epoch FROM clock_timestamp())", self.database,
        )  # fmt: skip
        return dict(row.split("\t")[:2] for row in rows.splitlines())

    @property
    def is_made(self) -> bool:
        """Whether a host has made the ledger."""
        made = self.postgresql.psql("SELECT to_regclass('archiver.ledger') IS NOT NULL", self.database)
        return made.strip() == "t"

    def runs(self) -> list[list[str]]:
        """Account, owner, exit code, begin, end and status of each run in the ledger, by their begin."""
        if not self.is_made:
            return []
        rows = self.postgresql.psql(
            "SELECT account, owner, exit_code, began, ended, status FROM archiver.run ORDER BY began, account",
            self.database,
        )
        return [row.split("\t") for row in rows.splitlines()]


class Host:
    """One host; `own` is its disk."""

    def __init__(self, fleet: Fleet, name: str, own: Path) -> None:
        self.fleet, self.name, self.own = fleet, name, own

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Command:
        """Start a command there."""
        command = Command(self, arguments, environment or {})
        self.fleet.commands.append(command)
        return command

    def run(self, *arguments: str) -> Command:
        """Run a command there to its end."""
        command = self.start(*arguments)
        command.wait()
        return command


class Command:
    """A command on a host, in a session of its own."""

    _numbers = 0

    def __init__(self, host: Host, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        Command._numbers += 1
        self.host = host
        self.out = host.own / f"out{Command._numbers}"
        self.err = host.own / f"err{Command._numbers}"
        program = ARCHIVER if not host.fleet.quick else ("-c", _SHORT.format(lease=8.0, claim=9.0, batch=10))
        command = [
            "unshare", "-m", "-u", "--propagation", "private", "sh", "-c", _ENTER, host.name, str(host.own),
            str(host.fleet.disk), sys.executable, *program, *arguments,
        ]  # fmt: skip
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env={**os.environ, "NO_COLOR": "1", **environment}, stdin=subprocess.DEVNULL,
                stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        """What it printed for people so far."""
        return self.err.read_text(errors="replace")

    @property
    def document(self) -> Any:
        """The JSON document that it printed."""
        return json.loads(self.out.read_text())

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to all its processes, as the loss of power does it, or a frozen host."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        return self.process.wait(PATIENCE * 4)


def _digests(folders: Mapping[bytes, ServedFolder]) -> Counter[str]:
    return Counter(message.digest for folder in folders.values() for message in folder.messages.values())
