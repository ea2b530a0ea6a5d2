"""A private Cyrus IMAP 3.6 on free ports: a server with all modern extensions that refuses what is not clean.

NUL, a bare LF, a header line without a colon and a message of no octets are refused, and with one message its whole
MULTIAPPEND; a bare CR and 8-bit headers are kept. An INTERNALDATE before 1970 is a BAD, the first second of 1970
becomes now, and the others come back in the server's time zone. A folder has room for 100 keywords.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.servers.certificates import Certificate
from tests.servers.mail_server import PASSWORD, MailServer, absent, program, temporary_root

_BIN = "/usr/lib/cyrus/bin"

_OPTIONS = {
    "configdirectory": "{root}/conf",
    "partition-default": "{root}/spool",
    "defaultpartition": "default",
    "servername": "localhost",
    "altnamespace": "yes",
    "unixhierarchysep": "yes",
    "munge8bit": "no",  # by default an octet beyond ASCII in a header becomes an X
    "autocreate_quota": "0",
    "delete_mode": "immediate",
    "expunge_mode": "immediate",
    "allowplaintext": "yes",
    "failedloginpause": "0",
    "sasl_pwcheck_method": "auxprop",
    "sasl_auxprop_plugin": "sasldb",
    "sasl_sasldb_path": "{root}/sasldb2",
    "sasl_mech_list": "PLAIN LOGIN",
    "tls_server_cert": "{root}/cert.pem",
    "tls_server_key": "{root}/key.pem",
}

_SERVICES = """\
START {{ }}
SERVICES {{
  imap cmd="{imapd} -C {root}/imapd.conf" listen="127.0.0.1:{port}" prefork=1
  imaps cmd="{imapd} -s -C {root}/imapd.conf" listen="127.0.0.1:{tls_port}" prefork=0
}}
EVENTS {{ }}
"""

# NOTE: left to itself, the master waits for its processes, and for ever if a client connects in between.
_AT_ONCE = 'trap "kill -KILL 0" TERM; "$@" & wait'


class Cyrus(MailServer):
    """A server with the users u1..u5000. The options are those of imapd.conf.

    `altnamespace=False` makes all folders children of INBOX, `unixhierarchysep=False` makes a dot the delimiter:
    with both a folder is called `INBOX.a.b`, with neither `a/b`.
    """

    name = "Cyrus"
    users = 5000

    def __init__(self, *, certificate: Certificate | None = None, **options: bool | str) -> None:
        super().__init__(certificate)
        given = {
            name: ("no", "yes")[value] if isinstance(value, bool) else value for name, value in options.items()
        }
        self._options = _OPTIONS | given

    @staticmethod
    def missing() -> str | None:
        """Why Cyrus cannot run here, or None."""
        return absent("Cyrus", "db_load", f"{_BIN}/master", _imapd())

    def _make_root(self) -> Path:
        return temporary_root("cy")

    def _prepare(self) -> None:
        for name in ("conf/socket", "spool"):
            (self.root / name).mkdir(parents=True)
        shutil.copy(self._certificate.certificate, self.root / "cert.pem")
        shutil.copy(self._certificate.key, self.root / "key.pem")
        # NOTE: the passwords in one go, as saslpasswd2 would be a process for each user.
        rows = ["VERSION=3", "format=bytevalue", "type=hash", "HEADER=END"]
        for number in range(1, self.users + 1):
            rows += [f" {octets.hex()}" for octets in (b"u%d\0localhost\0userPassword" % number, PASSWORD.encode())]
        load = ["db_load", "-t", "hash", str(self.root / "sasldb2")]
        subprocess.run(load, input="\n".join([*rows, "DATA=END", ""]), text=True, check=True)
        subprocess.run(["chown", "-R", "cyrus:mail", self.root], check=True)

    def _command(self) -> list[str]:
        options = "".join(f"{name}: {value}\n" for name, value in self._options.items())
        (self.root / "imapd.conf").write_text(options.format(root=self.root))
        services = _SERVICES.format(root=self.root, imapd=_imapd(), port=self.port, tls_port=self.tls_port)
        (self.root / "cyrus.conf").write_text(services)
        # NOTE: the user is changed here, as a process that changes it by itself would not be ended with this one.
        user = ["--reuid", "cyrus", "--regid", "mail", "--init-groups"]
        files = ["-C", f"{self.root}/imapd.conf", "-M", f"{self.root}/cyrus.conf", "-p", f"{self.root}/master.pid"]
        return [*user, "sh", "-c", _AT_ONCE, "sh", f"{_BIN}/master", "-D", *files]

    def log(self) -> str:
        """What its processes printed and what is wrong with its options; all else goes to the system's log."""
        lint = [f"{_BIN}/cyr_info", "-C", f"{self.root}/imapd.conf", "conf-lint"]
        return self._printed() + subprocess.run(lint, capture_output=True, text=True).stderr


def _imapd() -> Path:
    return program("cyrus-imapd", f"{_BIN}/imapd")
