"""A private Dovecot 2.3 on free ports, for tests that need a real server.

It runs as a child in the foreground and is sent SIGTERM by the kernel when this process dies, however it dies.
Dovecot keeps mail as LF: a bare LF comes back as CRLF and NUL as 0x80. Messages for which that matters belong
on the scripted server.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

from tests.servers import rawlog
from tests.servers.certificates import Certificate, make_certificates
from tests.servers.served import ServedFolder, dump
from tests.servers.wire import DATE, Append, Wire, append, quoted, wire_name

PASSWORD = "pw"
ODD_USER, ODD_PASSWORD = "odd", 'p "w\\ ä%{}é'

MAIL_UID = 5000
_USERS = 5000
_RESERVED = 40  # u1..u40 are for tests that name their user
_STARTS = 5
_PORTS = range(20000, 32000)  # below the ephemeral ports, so that no client's socket takes one meanwhile

_CONFIG = """\
base_dir = {root}/run
state_dir = {root}/state
instance_name = {root.name}
log_path = {root}/dovecot.log
protocols = imap
listen = 127.0.0.1
disable_plaintext_auth = no
login_trusted_networks = {trusted}
auth_mechanisms = plain login
auth_failure_delay = 0
default_vsz_limit = 0
default_process_limit = 500
default_client_limit = 2000
mail_uid = {uid}
mail_gid = {uid}
first_valid_uid = 1
mail_home = {root}/mail/%u
mail_location = maildir:~/Maildir:LAYOUT=fs
mailbox_list_index = yes
mail_fsync = never
ssl = yes
ssl_cert = <{certificate.certificate}
ssl_key = <{certificate.key}
passdb {{
  driver = passwd-file
  args = username_format=%u {root}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={uid} home={root}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
  service_count = 0
  process_min_avail = 1
}}
service imap {{
  process_limit = {process_limit}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
service anvil {{
  client_limit = 3000
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  client_limit = 4000
}}
protocol imap {{
  mail_max_userip_connections = 500
  imap_max_line_length = 8M
  rawlog_dir = {root}/rawlog/%u
}}
"""


class Dovecot:
    """A server with the users u1..u5000 (password "pw") and `ODD_USER`. A context manager: enter starts it.

    `extra` is appended to its configuration. `port` takes plain text and STARTTLS, `tls_port` TLS; `ca` is the
    file a client has to trust. Folder names are text, or the octets of the wire.
    """

    def __init__(self, *, extra: str = "", process_limit: int = 500, certificate: Certificate | None = None,
                 trusted_networks: str = "127.0.0.0/8") -> None:  # fmt: skip
        self.host = "127.0.0.1"
        self.port = self.tls_port = 0
        self._extra, self._process_limit, self._trusted = extra, process_limit, trusted_networks
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None
        self._fresh = itertools.count(_RESERVED + 1)
        self._snapshots = itertools.count()

    @staticmethod
    def missing() -> str | None:
        """Why Dovecot cannot run here, or None."""
        if os.geteuid() != 0:
            return "Dovecot: needs root, because its processes change user"
        absent = [name for name in ("dovecot", "doveadm", "openssl", "setpriv") if shutil.which(name) is None]
        if not absent and not Path("/usr/lib/dovecot/imap").exists():
            absent = ["dovecot-imapd"]
        return f"Dovecot: not installed: {', '.join(absent)} (.ci/install-servers installs it)" if absent else None

    # -- life ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        # NOTE: a short path, as unix socket paths end at 107 octets; 0755, as the login processes are not root.
        self.root = Path(tempfile.mkdtemp(prefix="dc", dir="/tmp"))
        self.root.chmod(0o755)
        for name in ("run", "state", "mail", "rawlog", "snapshots", "trash"):
            (self.root / name).mkdir()
        for name in ("mail", "rawlog"):
            os.chown(self.root / name, MAIL_UID, MAIL_UID)
        if self._certificate is None:
            self._certificate = make_certificates(self.root / "tls").good
        self.ca = self._certificate.ca
        users = [f"u{number}:{{PLAIN}}{PASSWORD}::::::" for number in range(1, _USERS + 1)]
        users.append(f"{ODD_USER}:{{PLAIN}}{ODD_PASSWORD}::::::")
        (self.root / "users").write_text("\n".join(users) + "\n")
        try:
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
            raise RuntimeError("Dovecot did not start again:\n" + self.log())

    def _start(self) -> None:
        for _ in range(_STARTS):
            self.port, self.tls_port = _free_port(), _free_port()
            self._launch()
            if self._answers():
                return
            self._end()
        raise RuntimeError("Dovecot did not start:\n" + self.log())

    def _launch(self) -> None:
        config = _CONFIG.format(
            root=self.root, uid=MAIL_UID, port=self.port, tls_port=self.tls_port, certificate=self._certificate,
            process_limit=self._process_limit, trusted=self._trusted,
        )  # fmt: skip
        (self.root / "dovecot.conf").write_text(config + self._extra + "\n")
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "dovecot", "-F", "-c", str(self.root / "dovecot.conf")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
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

        _wait(greeted, "the greeting")
        return process.poll() is None

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    # -- users -----------------------------------------------------------------------------------------------

    def fresh_user(self) -> str:
        """A user nobody has used, with an empty INBOX."""
        return f"u{next(self._fresh)}"

    def home(self, user: str) -> Path:
        """The user's home; the mail is in `Maildir`, sub-folders as plain directories."""
        return self.root / "mail" / user

    def install(self, user: str, home: Path) -> None:
        """Make a copy of `home` (with `Maildir` inside) the user's home."""
        self._replace(user, home)

    def snapshot(self, user: str) -> Path:
        """Copy the user's home, once no session of the user is left."""
        self.wait_idle(user)
        copy = self.root / "snapshots" / f"{user}-{next(self._snapshots)}"
        subprocess.run(["cp", "-a", self.home(user), copy], check=True)
        return copy

    def restore(self, user: str, snapshot: Path) -> None:
        """Bring the user's home back, indexes with their modseqs too: the server is where it was then."""
        self.wait_idle(user)
        self._replace(user, snapshot)

    def _replace(self, user: str, source: Path) -> None:
        home = self.home(user)
        if home.exists():
            # NOTE: moved, not removed: ext4 is slow to create files where many were just deleted.
            home.rename(Path(tempfile.mkdtemp(dir=self.root / "trash")) / user)
        subprocess.run(["cp", "-a", source, home], check=True)
        subprocess.run(["chown", "-R", f"{MAIL_UID}:{MAIL_UID}", home], check=True)

    def wait_idle(self, user: str) -> None:
        """Wait until no IMAP process serves the user, so that nothing is written any more."""
        _wait(lambda: user not in self.doveadm("who", "-1", user).split(), f"the sessions of {user} to end")

    def doveadm(self, *arguments: str) -> str:
        """Run doveadm on this instance and return what it prints."""
        command = ["doveadm", "-c", str(self.root / "dovecot.conf"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    # -- mail ------------------------------------------------------------------------------------------------

    def wire(self, user: str) -> Wire:
        """A logged-in raw connection."""
        return Wire(self.port).login(user, ODD_PASSWORD if user == ODD_USER else PASSWORD)

    def append(self, user: str, folder: str | bytes, octets: bytes, flags: Sequence[str] = (),
               internaldate: str = DATE) -> None:  # fmt: skip
        """APPEND one message."""
        self.append_many(user, folder, [Append(octets, flags, internaldate)])

    def append_many(self, user: str, folder: str | bytes, messages: Iterable[Append]) -> None:
        """APPEND many, a hundred in a command; the folder must exist. UIDs follow the order."""
        with self.wire(user) as wire:
            append(wire, folder, messages)
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

    def delete(self, user: str, folder: str | bytes) -> None:
        """DELETE a folder."""
        self._commands(user, b"DELETE " + quoted(folder))

    def rename(self, user: str, folder: str | bytes, to: str | bytes) -> None:
        """RENAME a folder; Dovecot keeps its UIDVALIDITY."""
        self._commands(user, b"RENAME " + quoted(folder) + b" " + quoted(to))

    def subscribe(self, user: str, *folders: str | bytes) -> None:
        """SUBSCRIBE to folders."""
        self._commands(user, *(b"SUBSCRIBE " + quoted(folder) for folder in folders))

    def bump_uidvalidity(self, user: str, folder: str | bytes, *, renumber: bool = False) -> int:
        """Give the folder a new UIDVALIDITY, as after a server's restore; returns it.

        Its messages keep their UIDs, or are numbered 1, 2, 3... anew if `renumber`.
        """
        self.wait_idle(user)
        maildir = self.home(user) / "Maildir"
        directory = maildir if folder in ("INBOX", b"INBOX") else maildir / os.fsdecode(_raw(folder))
        head, *rows = (directory / "dovecot-uidlist").read_text().splitlines()
        known = re.search(r"\bV(\d+)", head)
        assert known, head
        uidvalidity = int(known[1]) + 1
        head = re.sub(r"\bV\d+", f"V{uidvalidity}", head)
        if renumber:
            rows = [f"{number} {row.split(' ', 1)[1]}" for number, row in enumerate(rows, 1)]
            head = re.sub(r"\bN\d+", f"N{len(rows) + 1}", head)
        (directory / "dovecot-uidlist").write_text("\n".join([head, *rows]) + "\n")
        for stale in [*directory.glob("dovecot.index*"), *maildir.glob("dovecot.list.index*")]:
            stale.unlink()
        return uidvalidity

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

    # -- what happened -----------------------------------------------------------------------------------------

    def log(self) -> str:
        """The server's log."""
        path = self.root / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def logins(self, user: str) -> int:
        """How many times the user has logged in."""
        return len(re.findall(rf"imap-login: Info: Login: user=<{re.escape(user)}>", self.log()))

    def record(self, user: str) -> None:
        """From now on keep what the user's sessions say after login, for `commands` and `flights`."""
        directory = self.root / "rawlog" / user
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        os.chown(directory, MAIL_UID, MAIL_UID)

    def commands(self, user: str) -> list[bytes]:
        """The recorded commands without tags and literals, session after session, once they have ended."""
        return rawlog.commands(self._recorded(user))

    def flights(self, user: str) -> int:
        """Round trips recorded: how often the server heard more after it had spoken."""
        return rawlog.flights(self._recorded(user))

    def _recorded(self, user: str) -> list[rawlog.Recording]:
        self.wait_idle(user)
        return rawlog.read(self.root / "rawlog" / user)


def _uidset(uids: Iterable[int]) -> str:
    return ",".join(map(str, uids))


def _raw(folder: str | bytes) -> bytes:
    return folder if isinstance(folder, bytes) else wire_name(folder)


def _free_port() -> int:
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _wait(done: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.01)
