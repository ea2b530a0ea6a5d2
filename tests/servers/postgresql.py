"""A PostgreSQL of the tests' own: a cluster in memory, on a Unix socket and a port of loopback.

On the socket everybody is who they say; on the port a password is asked for. PostgreSQL refuses to run as root, so
there it runs as the user that Debian's package made for it, or as nobody.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

from tests.patience import PATIENCE
from tests.servers.mail_server import free_port, temporary_root, wait

OWNER, OWNER_PASSWORD = "archiver", "secret of the ledger"

_INSTALLED = Path("/usr/lib/postgresql")  # Debian's; a directory for each version
_STARTS = 5

# The disk is memory, so syncing gains nothing: what was written outlives the processes that are killed.
_CONFIG = """\
listen_addresses = '127.0.0.1'
unix_socket_directories = '{root}'
unix_socket_permissions = 0777
max_connections = 60
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
fsync = off
full_page_writes = off
autovacuum = off
wal_level = minimal
max_wal_senders = 0
password_encryption = scram-sha-256
log_timezone = UTC
timezone = UTC
"""

_WHO = """\
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""


class Postgresql:
    """A server; a context manager. `socket` is the directory of its socket, `port` the number of both ways in.

    `kill` and `start` in turn are what a crash is; `stop` ends it in order, without its files. After `start` it has
    its old port and all that was committed.
    """

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = itertools.count(1)

    @staticmethod
    def missing() -> str | None:
        """Why it cannot run here, or None."""
        names = [name for name in ("initdb", "postgres", "psql") if not _program(name).exists()]
        names += [name for name in ("setpriv",) if shutil.which(name) is None]
        return f"PostgreSQL: not installed: {', '.join(names)} (.ci/install-servers installs it)" if names else None

    # -- life ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.root = temporary_root("pg")
        try:
            self._make_cluster()
            for _ in range(_STARTS):
                self.port = free_port()
                self._launch()
                if self._answers():
                    break
                self.kill()
            else:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log()}")
            self.psql(f"CREATE ROLE {OWNER} LOGIN CREATEDB PASSWORD '{OWNER_PASSWORD}'")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def start(self) -> None:
        """Start it again after `stop` or `kill`."""
        self._launch()
        if not self._answers():
            raise RuntimeError(f"PostgreSQL did not start again:\n{self.log()}")

    def stop(self) -> None:
        """End it in order: sessions are ended, with an error for those that are at work."""
        self._end(signal.SIGINT)

    def restart(self) -> None:
        """As an upgrade of the package does it."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill all of its processes."""
        self._end(signal.SIGKILL)

    def log(self) -> str:
        """What it printed."""
        path = self.root / "printed"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- use -------------------------------------------------------------------------------------------------

    def fresh_database(self) -> str:
        """The name of a new, empty database of `OWNER`."""
        name = f"ledger{next(self._databases)}"
        self.psql(f"CREATE DATABASE {name} OWNER {OWNER}")
        return name

    def url(self, database: str) -> str:
        """Its address over TCP, as it belongs into a configuration: without the password."""
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str) -> str:
        """Its address on the socket, which needs no password, and which other network namespaces reach, too."""
        return f"postgresql://{OWNER}@/{database}?host={self.root}&port={self.port}"

    def environment(self) -> dict[str, str]:
        """The password where libpq looks for it."""
        return {"PGPASSWORD": OWNER_PASSWORD}

    def psql(self, statement: str, database: str = "postgres") -> str:
        """What a statement of the administrator returns: a line for each row, its columns parted by tabs."""
        ended = subprocess.run(
            [str(_program("psql")), "-XqtA", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h", str(self.root),
             "-p", str(self.port), "-U", "postgres", "-c", statement, database],
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        if ended.returncode:
            raise RuntimeError(f"{statement}: {ended.stderr}")
        return ended.stdout

    # -- inside ----------------------------------------------------------------------------------------------

    def _make_cluster(self) -> None:
        data = self.root / "data"
        data.mkdir(mode=0o700)
        if (user := _user()) is not None:
            os.chown(data, user.pw_uid, user.pw_gid)
            os.chown(self.root, user.pw_uid, user.pw_gid)
        command = [str(_program("initdb")), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        ended = subprocess.run(
            [*_as_user(), *command, "--locale=C", "--no-sync"], capture_output=True, text=True,
            timeout=PATIENCE, cwd="/",
        )  # fmt: skip
        if ended.returncode:
            raise RuntimeError(f"initdb: {ended.stdout}{ended.stderr}")
        (data / "pg_hba.conf").write_text(_WHO)
        with (data / "postgresql.conf").open("a") as config:
            config.write(_CONFIG.format(root=self.root))

    def _launch(self) -> None:
        command = [str(_program("postgres")), "-D", str(self.root / "data"), "-p", str(self.port)]
        with (self.root / "printed").open("ab") as printed:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "QUIT", *_as_user()[1:], *command], cwd="/",
                stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, start_new_session=True,
            )  # fmt: skip

    def _answers(self) -> bool:
        """Wait until it takes connections; False if the process ended (the port was taken)."""
        assert self._process is not None
        process = self._process

        def ready() -> bool:
            with contextlib.suppress(RuntimeError):
                return process.poll() is not None or self.psql("SELECT 1") != ""
            return False

        wait(ready, "PostgreSQL to take connections")
        return process.poll() is None

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        children = _children(self._process.pid)
        if self._process.poll() is None:
            self._process.send_signal(how)
        if how == signal.SIGKILL:
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, how)
        self._process.wait(PATIENCE)
        wait(lambda: not any(map(_lives, children)), "the end of all processes")
        self._process = None


def _program(name: str) -> Path:
    """A program of the newest version that is installed."""
    found = sorted(_INSTALLED.glob("*/bin"), key=lambda path: [int(part) for part in re.findall(r"\d+", str(path))])
    return (found[-1] if found else _INSTALLED / "bin") / name


def _user() -> pwd.struct_passwd | None:
    """Who it runs as if that is not this user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _as_user() -> list[str]:
    """The beginning of a command that runs as that user."""
    if (user := _user()) is None:
        return ["setpriv"]
    return ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]


def _children(process: int) -> list[int]:
    """The processes that a process started: each of PostgreSQL's has a session of its own."""
    try:
        names = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [int(name) for name in names]


def _lives(process: int) -> bool:
    """Whether a process still has its memory; one that nobody waited for yet has none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
