"""What the real servers have in common: how one is started and ended, and mail put into it over IMAP.

A server runs as a child and is ended by the kernel when this process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Self

from tests.patience import PATIENCE
from tests.servers.certificates import Certificate, make_certificates
from tests.servers.served import ServedFolder, dump
from tests.servers.wire import DATE, Append, Wire, append, quoted

PASSWORD = "pw"
MAIL_UID = 5000

_UNPACKED = Path("/var/lib/mail-archiver-tests")  # .ci/install-servers
_MEMORY = Path("/dev/shm")
_RESERVED = 40  # u1..u40 are for tests that name their user
_STARTS = 5
_PORTS = range(20000, 32000)  # below the ephemeral ports, so that no client's socket takes one in between


class MailServer(ABC):
    """A server of the test's own, with the users u1, u2... (password "pw"). A context manager: enter starts it.

    `port` takes plain text and STARTTLS, `tls_port` TLS; `ca` is the file a client has to trust. Folder names are
    text, or the octets of the wire. They are sent as they are: where a server has a prefix they begin with it.
    """

    name: ClassVar[str]
    users: ClassVar[int]
    death_signal: ClassVar[str] = "TERM"  # what the first process gets when this one dies
    literal_plus: ClassVar[bool] = True
    multiappend: ClassVar[bool] = True

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.host = "127.0.0.1"
        self.port = self.tls_port = 0
        self._given = certificate
        self._process: subprocess.Popen[bytes] | None = None
        self._fresh = itertools.count(_RESERVED + 1)

    # -- what each does its own way --------------------------------------------------------------------------

    @abstractmethod
    def _make_root(self) -> Path:
        """The server's directory, for its whole life."""

    @abstractmethod
    def _prepare(self) -> None:
        """Fill `root` with what does not depend on the ports."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Write the configuration for these ports; returns the options of setpriv that follow `--pdeathsig`, and
        the command that stays in the foreground."""

    @abstractmethod
    def log(self) -> str:
        """The server's log."""

    def _ask_to_end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()

    # -- life ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.root = self._make_root()
        try:
            self._certificate = self._given or make_certificates(self.root / "tls").good
            self.ca = self._certificate.ca
            self._prepare()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End all of it and remove its files; may be called twice."""
        self._end()
        shutil.rmtree(self.root, ignore_errors=True)

    def restart(self) -> None:
        """Stop and start again on the same ports with the same mail."""
        self._end()
        self._launch()
        if not self._answers():
            raise RuntimeError(f"{self.name} did not start again:\n{self.log()}")

    def _start(self) -> None:
        for _ in range(_STARTS):
            self.port, self.tls_port = free_port(), free_port()
            self._launch()
            if self._answers():
                return
            self._end()
        raise RuntimeError(f"{self.name} did not start:\n{self.log()}")

    def _launch(self) -> None:
        # NOTE: a session of its own, as Cyrus ends its processes by a signal to the whole process group.
        with (self.root / "printed").open("ab") as printed:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", self.death_signal, *self._command()],
                stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, start_new_session=True,
            )  # fmt: skip

    def _answers(self) -> bool:
        """Wait for the greeting; False if the process ended (the port was taken)."""
        assert self._process is not None
        process = self._process

        def greeted() -> bool:
            if process.poll() is not None:
                return True
            try:
                with Wire(self.port, timeout=5) as wire:
                    return wire.greeting.startswith(b"* OK")
            except OSError:
                return False

        try:
            wait(greeted, "the greeting")
        except TimeoutError as error:
            raise RuntimeError(f"{self.name} does not answer:\n{self.log()}") from error
        return process.poll() is None

    def _end(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._ask_to_end(self._process)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        try:
            wait(lambda: not self.processes(), f"the end of all processes of {self.name}", 1)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None

    def processes(self) -> list[int]:
        """Those of its processes that live; empty before the start and after the end."""
        return living(self._process.pid) if self._process is not None else []

    # -- mail ------------------------------------------------------------------------------------------------

    def fresh_user(self) -> str:
        """A user that no test has used, with an empty INBOX."""
        number = next(self._fresh)
        assert number <= self.users, f"{self.name} has no more than {self.users} users"
        return f"u{number}"

    def wire(self, user: str) -> Wire:
        """A logged-in raw connection."""
        return Wire(self.port, literal_plus=self.literal_plus).login(user, PASSWORD)

    def append(self, user: str, folder: str | bytes, octets: bytes, flags: Sequence[str] = (),
               internaldate: str = DATE) -> None:  # fmt: skip
        """APPEND one message."""
        self.append_many(user, folder, [Append(octets, flags, internaldate)])

    def append_many(self, user: str, folder: str | bytes, messages: Iterable[Append]) -> None:
        """APPEND many, a hundred in a command if the server can; the folder must exist. UIDs follow the order."""
        with self.wire(user) as wire:
            append(wire, folder, messages, multi=self.multiappend)
            wire.logout()

    def store_flags(self, user: str, folder: str | bytes, uids: Iterable[int], flags: Sequence[str],
                    mode: str = "+") -> None:  # fmt: skip
        """Add (`+`), remove (`-`) or set (empty `mode`) flags."""
        self._in_folder(user, folder, f"UID STORE {_uidset(uids)} {mode}FLAGS.SILENT ({' '.join(flags)})")

    def expunge(self, user: str, folder: str | bytes, uids: Iterable[int]) -> None:
        """Expunge these messages and no others."""
        uidset = _uidset(uids)
        self._in_folder(user, folder, f"UID STORE {uidset} +FLAGS.SILENT (\\Deleted)", f"UID EXPUNGE {uidset}")

    def create(self, user: str, *folders: str | bytes) -> None:
        """CREATE folders."""
        self._commands(user, *(b"CREATE " + quoted(folder) for folder in folders))

    def delete(self, user: str, *folders: str | bytes) -> None:
        """DELETE folders."""
        self._commands(user, *(b"DELETE " + quoted(folder) for folder in folders))

    def rename(self, user: str, folder: str | bytes, to: str | bytes) -> None:
        """RENAME a folder; Dovecot and Cyrus keep its UIDVALIDITY, Courier does not."""
        self._commands(user, b"RENAME " + quoted(folder) + b" " + quoted(to))

    def subscribe(self, user: str, *folders: str | bytes) -> None:
        """SUBSCRIBE to folders."""
        self._commands(user, *(b"SUBSCRIBE " + quoted(folder) for folder in folders))

    def dump(self, user: str) -> dict[bytes, ServedFolder]:
        """All that the server serves to the user, by the raw names of the folders; equal dumps = same state."""
        with self.wire(user) as wire:
            return dump(wire)

    def _in_folder(self, user: str, folder: str | bytes, *commands: str) -> None:
        self._commands(user, b"SELECT " + quoted(folder), *commands)

    def _commands(self, user: str, *commands: str | bytes) -> None:
        with self.wire(user) as wire:
            for command in commands:
                wire.command(command)
            wire.logout()

    def _printed(self) -> str:
        """What its processes wrote to standard output and error."""
        path = self.root / "printed"
        return path.read_text(errors="replace") if path.exists() else ""


def absent(server: str, *programs: str | Path) -> str | None:
    """Why a server that needs root and these programs cannot run here, or None."""
    if os.geteuid() != 0:
        return f"{server}: needs root, because its processes change user"
    names = [str(program) for program in ("openssl", "setpriv", *programs) if shutil.which(program) is None]
    return f"{server}: not installed: {', '.join(names)} (.ci/install-servers installs it)" if names else None


def program(package: str, path: str) -> Path:
    """A program of a package that cannot be installed together with Dovecot: unpacked, or installed after all."""
    unpacked = _UNPACKED / package / path.removeprefix("/")
    return unpacked if unpacked.exists() else Path(path)


def temporary_root(prefix: str, *, memory: bool = True) -> Path:
    """A new directory with a short path that every user may enter; in memory, where syncing is free, if it can be.

    Unix socket paths end at 107 octets, and login processes are not root.
    """
    root = Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if memory and _MEMORY.is_dir() else "/tmp"))
    root.chmod(0o755)
    return root


def wait(done: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Return as soon as `done`.

    Raises:
        TimeoutError: It was not in time.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.01)


def living(session: int) -> list[int]:
    """The processes of a session, without those that ended and were not waited for."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, theirs, *_ = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(theirs) == session and state not in "ZX":
            found.append(int(process.name))
    return found


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens right now."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _uidset(uids: Iterable[int]) -> str:
    return ",".join(map(str, uids))
