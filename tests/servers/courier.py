"""A private Courier IMAP 5.0 on free ports: an old server with few extensions that changes what it is given.

A bare LF becomes CRLF, a bare CR is dropped, and every message ends with CRLF, even one of no octets; NUL, 8-bit
headers and headers that are none are kept. All folders are children of INBOX with a dot between (`INBOX.a.b`); a
parent that was not created is \\Noselect. It refuses, without saying why: a literal without a pause (no LITERAL+),
which it goes on to read as commands; an INTERNALDATE before 1970; a folder whose name is beyond the basic plane
of Unicode; an APPEND to a folder that this session has EXAMINEd. DELETE takes two seconds, EXAMINE tells no
UIDNEXT.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pwd
import signal
import subprocess
from pathlib import Path

from tests.servers.certificates import Certificate
from tests.servers.mail_server import PASSWORD, MailServer, absent, program, temporary_root

# Where Courier looks for its configuration and its socket is compiled in, so it gets a view of the file system of
# its own. It also gets process numbers of its own: when the script ends, because one server did, all others end.
_APART = ["unshare", "--mount", "--pid", "--kill-child", "--propagation", "private"]

_AUTHENTICATION = """\
authmodulelist="authuserdb"
daemons=3
authdaemonvar=/run/courier/authdaemon
"""

_CAPABILITY = (
    "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE AUTH=PLAIN"
)

_SCRIPT = """\
set -e
mount --bind {root}/etc /etc/courier
mount -t tmpfs tmpfs /run
mkdir -p /run/courier/authdaemon
makeuserdb

export IMAP_CAPABILITY="{capability}" IMAP_CAPABILITY_TLS="{capability}"
export IMAP_KEYWORDS=1 IMAP_ACL=1 IMAP_USELOCKS=1 GAM_CLIENT_ID={root.name}
export IMAP_STARTTLS=YES COURIERTLS=/usr/bin/couriertls TLS_CERTFILE=/etc/courier/imapd.pem TLS_VERIFYPEER=NONE

/usr/lib/courier/courier-authlib/authdaemond &
until [ -S /run/courier/authdaemon/socket ]; do kill -0 $!; sleep 0.01; done
tcpd="couriertcpd -address=127.0.0.1 -maxprocs=200 -maxperip=200 -nodnslookup -noidentlookup"
$tcpd {port} {login} {imapd} Maildir &
IMAP_TLS=1 $tcpd {tls_port} /usr/bin/couriertls -server -tcpd {login} {imapd} Maildir &
wait -n
"""


class Courier(MailServer):
    """A server with the users u1..u1000."""

    name = "Courier"
    users = 1000
    death_signal = "KILL"  # unshare lets SIGTERM pass
    literal_plus = multiappend = False

    @staticmethod
    def missing() -> str | None:
        """Why Courier cannot run here, or None."""
        programs = ("unshare", "couriertcpd", "makeuserdb", "/usr/bin/couriertls", _login(), _imapd())
        if reason := absent("Courier", *programs):
            return reason
        denied = subprocess.run([*_APART, "true"], capture_output=True, text=True).stderr
        return f"Courier: may not have namespaces of its own: {denied.strip()}" if denied else None

    def __init__(self, certificate: Certificate | None = None, *, offers: str = "") -> None:
        """`offers` is announced besides what it offers."""
        super().__init__(certificate)
        self._offers = offers

    def _make_root(self) -> Path:
        return temporary_root("co")

    def _prepare(self) -> None:
        owner = pwd.getpwnam("courier")
        password = "{SHA}" + base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
        users = []
        for number in range(1, self.users + 1):
            home = self.root / "home" / f"u{number}"
            for name in ("Maildir/cur", "Maildir/new", "Maildir/tmp"):
                (home / name).mkdir(parents=True)
            users.append(f"u{number}\tuid={owner.pw_uid}|gid={owner.pw_gid}|home={home}|imappw={password}\n")
        subprocess.run(["chown", "-R", f"{owner.pw_uid}:{owner.pw_gid}", self.root / "home"], check=True)
        (self.root / "etc").mkdir()
        pem = self._certificate.key.read_text() + self._certificate.certificate.read_text()
        for name, text in (("authdaemonrc", _AUTHENTICATION), ("userdb", "".join(users)), ("imapd.pem", pem)):
            (self.root / "etc" / name).touch(0o600)
            (self.root / "etc" / name).write_text(text)
        os.chown(self.root / "etc/imapd.pem", owner.pw_uid, owner.pw_gid)  # STARTTLS is done by this user

    def _command(self) -> list[str]:
        script = _SCRIPT.format(
            root=self.root, port=self.port, tls_port=self.tls_port, login=_login(), imapd=_imapd(),
            capability=f"{_CAPABILITY} {self._offers}".strip(),
        )  # fmt: skip
        (self.root / "start").write_text(script)
        return [*_APART, "bash", str(self.root / "start")]

    def _ask_to_end(self, process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, signal.SIGTERM)

    def log(self) -> str:
        """What its processes printed."""
        return self._printed()


def _login() -> Path:
    return program("courier-imap", "/usr/lib/courier/courier/imaplogin")


def _imapd() -> Path:
    return program("courier-imap", "/usr/bin/imapd")
