"""A private Dovecot 2.3 on free ports, for tests that need a real server.

Dovecot keeps mail as LF: a bare LF comes back as CRLF and NUL as 0x80. Messages for which that matters belong
on the scripted server.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.patience import PATIENCE
from tests.servers import rawlog
from tests.servers.certificates import Certificate
from tests.servers.mail_server import (
    MAIL_UID,
    PASSWORD,
    MailServer,
    absent,
    free_port,
    temporary_root,
    wait,
)
from tests.servers.wire import Wire, wire_name

ODD_USER, ODD_PASSWORD = "odd", 'p "w\\ ä%{}é'
ADMIN, ADMIN_PASSWORD = "migrator", "secret of an admin"

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

_POP3 = """\
protocols = imap pop3
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = {tls_port}
    ssl = yes
  }}
  service_count = 0
  process_min_avail = 1
}}
protocol pop3 {{
  mail_max_userip_connections = 500
  pop3_uidl_format = %g
  rawlog_dir = {root}/rawlog/%u
}}
"""


# Read by a process that is not root: in a test's temporary directory it could not open the file.
_ADMINS = """\
auth_master_user_separator = *
passdb {{
  driver = passwd-file
  args = username_format=%u {root}/admins
  master = yes
  result_success = continue
}}
"""


class Dovecot(MailServer):
    """A server with the users u1..u5000 and `ODD_USER`. `extra` is appended to its configuration. With `pop3` it
    speaks that, too: on `pop3_port` plain text and STLS, on `pop3s_port` TLS. With `admins`, `ADMIN` may log in as
    each of the users."""

    name = "Dovecot"
    users = 5000

    def __init__(self, *, extra: str = "", process_limit: int = 500, certificate: Certificate | None = None,
                 trusted_networks: str = "127.0.0.0/8", pop3: bool = False,
                 admins: bool = False) -> None:  # fmt: skip
        super().__init__(certificate)
        self.pop3_port, self.pop3s_port = (free_port(), free_port()) if pop3 else (0, 0)
        self._extra, self._process_limit, self._trusted = extra, process_limit, trusted_networks
        self._admins = admins
        self._snapshots = itertools.count()

    @staticmethod
    def missing() -> str | None:
        """Why Dovecot cannot run here, or None."""
        return absent("Dovecot", "dovecot", "doveadm", "/usr/lib/dovecot/imap", "/usr/lib/dovecot/pop3")

    # -- life ------------------------------------------------------------------------------------------------

    def _make_root(self) -> Path:
        return temporary_root("dc", memory=False)

    def _prepare(self) -> None:
        for name in ("run", "state", "mail", "rawlog", "snapshots", "trash"):
            (self.root / name).mkdir()
        for name in ("mail", "rawlog"):
            os.chown(self.root / name, MAIL_UID, MAIL_UID)
        users = [f"u{number}:{{PLAIN}}{PASSWORD}::::::" for number in range(1, self.users + 1)]
        users.append(f"{ODD_USER}:{{PLAIN}}{ODD_PASSWORD}::::::")
        (self.root / "users").write_text("\n".join(users) + "\n")
        (self.root / "admins").write_text(f"{ADMIN}:{{PLAIN}}{ADMIN_PASSWORD}\n")

    def _command(self) -> list[str]:
        config = _CONFIG.format(
            root=self.root, uid=MAIL_UID, port=self.port, tls_port=self.tls_port, certificate=self._certificate,
            process_limit=self._process_limit, trusted=self._trusted,
        )  # fmt: skip
        if self.pop3_port:
            config += _POP3.format(root=self.root, port=self.pop3_port, tls_port=self.pop3s_port)
        if self._admins:
            config += _ADMINS.format(root=self.root)
        (self.root / "dovecot.conf").write_text(config + self._extra + "\n")
        return ["dovecot", "-F", "-c", str(self.root / "dovecot.conf")]

    # -- users -----------------------------------------------------------------------------------------------

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
        wait(lambda: user not in self.doveadm("who", "-1", user).split(), f"the sessions of {user} to end")

    def doveadm(self, *arguments: str) -> str:
        """Run doveadm on this instance and return what it prints."""
        command = ["doveadm", "-c", str(self.root / "dovecot.conf"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE).stdout

    # -- mail ------------------------------------------------------------------------------------------------

    def wire(self, user: str) -> Wire:
        """A logged-in raw connection."""
        return Wire(self.port).login(user, ODD_PASSWORD) if user == ODD_USER else super().wire(user)

    def bump_uidvalidity(self, user: str, folder: str | bytes, *, renumber: bool = False, by: int = 1) -> int:
        """Give the folder a new UIDVALIDITY, as after a server's restore; returns it.

        Its messages keep their UIDs, or are numbered 1, 2, 3... again if `renumber`.
        """
        self.wait_idle(user)
        maildir = self.home(user) / "Maildir"
        directory = maildir if folder in ("INBOX", b"INBOX") else maildir / os.fsdecode(_raw(folder))
        head, *rows = (directory / "dovecot-uidlist").read_text().splitlines()
        known = re.search(r"\bV(\d+)", head)
        assert known, head
        uidvalidity = int(known[1]) + by
        head = re.sub(r"\bV\d+", f"V{uidvalidity}", head)
        if renumber:
            rows = [f"{number} {row.split(' ', 1)[1]}" for number, row in enumerate(rows, 1)]
            head = re.sub(r"\bN\d+", f"N{len(rows) + 1}", head)
        (directory / "dovecot-uidlist").write_text("\n".join([head, *rows]) + "\n")
        for stale in [*directory.glob("dovecot.index*"), *maildir.glob("dovecot.list.index*")]:
            stale.unlink()
        return uidvalidity

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

    def pop3_commands(self, user: str) -> list[bytes]:
        """The recorded commands of POP3 sessions, once they have ended."""
        return [line.strip() for session in self._recorded(user) for _, way, line in session if way == "in"]

    def flights(self, user: str) -> int:
        """Round trips recorded: how often the server heard more after it had spoken."""
        return rawlog.flights(self._recorded(user))

    def _recorded(self, user: str) -> list[rawlog.Recording]:
        self.wait_idle(user)
        return rawlog.read(self.root / "rawlog" / user)


def _raw(folder: str | bytes) -> bytes:
    return folder if isinstance(folder, bytes) else wire_name(folder)
