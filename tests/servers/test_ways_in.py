"""Ways to log in, on real servers: SCRAM, CRAM-MD5, client certificates, and admins who open other mailboxes."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.config.references import SecretReference
from archiver.config.tables.server import ServerSettings
from archiver.errors import AuthenticationFailed, ConfigError
from archiver.imap.login import connect
from archiver.login import attempts
from archiver.login.choose import authenticator_of
from tests.accounts import account_file, command, run
from tests.servers.certificates import Certificate, Certificates, client_certificate
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import ADMIN, ADMIN_PASSWORD, Dovecot
from tests.servers.mail_server import MailServer, wait
from tests.servers.scripted import ScriptedFolder, ScriptedServer, Session

_DOVECOT = """
auth_mechanisms = plain login scram-sha-256 scram-sha-1 cram-md5 external
passdb {
  driver = static
  args = nopassword
  mechanisms = external
}
ssl_ca = <{ca}
ssl_verify_client_cert = yes
ssl_require_crl = no
auth_ssl_username_from_cert = yes
"""

_SCRAM_PLUS = "PLAIN SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-256-PLUS CRAM-MD5"


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_failed", set())
    monkeypatch.setenv("PASSWORD", "pw")
    monkeypatch.setenv("OF_ADMIN", ADMIN_PASSWORD)


@pytest.fixture(scope="module")
def dovecot_of_admins(certificates: Certificates, dovecot: Dovecot) -> Iterator[Dovecot]:
    """A Dovecot with all mechanisms, the admin `migrator`, and a user `hashed` whose password has no SCRAM hash."""
    extra = _DOVECOT.replace("{ca}", str(certificates.good.ca))
    with Dovecot(certificate=certificates.good, extra=extra, admins=True) as server:
        pw = subprocess.run(["doveadm", "pw", "-s", "SHA512-CRYPT", "-p", "pw"], capture_output=True, text=True)
        with (server.root / "users").open("a") as users:
            users.write(f"hashed:{pw.stdout.strip()}::::::\n")
        yield server


@pytest.fixture(scope="module")
def cyrus_of_admins(certificates: Certificates, cyrus: Cyrus) -> Iterator[Cyrus]:
    """A Cyrus with the admin u2 and the proxy u3. Its TLS is one that Python can bind to."""
    options = {"sasl_mech_list": _SCRAM_PLUS, "admins": "u2", "proxyservers": "u3", "tls_versions": "tls1_2"}
    with Cyrus(certificate=certificates.good, **options) as server:
        yield server


def settings_at(server: MailServer, **keys: Any) -> ServerSettings:
    return ServerSettings(
        **{
            "host": "localhost",
            "port": server.port if keys.get("tls") == "starttls" else server.tls_port,
            "ca_file": Path(server.ca),
            "user": "u1",
            "password": SecretReference("env", "OF_ADMIN" if keys.get("login_user") == ADMIN else "PASSWORD"),
            **keys,
        }
    )


def way_in(server: MailServer, **keys: Any) -> str:
    """Log in; which way it was."""
    settings = settings_at(server, **keys)
    session, _ = connect(settings, authenticator_of(settings))
    assert b"INBOX" in b"".join(each.text for each in session.required(*session.flight(b'LIST "" INBOX')))
    session.log_out()
    return session.way


def refusal(server: MailServer, **keys: Any) -> str:
    settings = settings_at(server, **keys)
    with pytest.raises(AuthenticationFailed) as raised:
        connect(settings, authenticator_of(settings))
    return str(raised.value).removeprefix(f"localhost:{server.tls_port}: ")


class TestDovecot:
    @pytest.mark.parametrize(
        ("login", "way"),
        [
            ("auto", "SCRAM-SHA-256"),
            ("scram", "SCRAM-SHA-256"),
            ("plain", "PLAIN"),
            ("login", "LOGIN"),
            ("cram-md5", "CRAM-MD5"),
        ],
    )
    def test_is_logged_in_to_as_asked_for(self, dovecot_of_admins: Dovecot, login: str, way: str) -> None:
        assert way_in(dovecot_of_admins, login=login) == way

    def test_that_offers_scram_in_vain_gets_plain(self, dovecot_of_admins: Dovecot) -> None:
        assert way_in(dovecot_of_admins, user="hashed") == (
            'PLAIN; SCRAM-SHA-256 is offered, but of no use for this user: login = "plain" spares the attempt'
        )

    def test_gets_no_plain_if_scram_was_asked_for(self, dovecot_of_admins: Dovecot) -> None:
        said = refusal(dovecot_of_admins, user="hashed", login="scram")
        assert said.startswith(
            'the login of "hashed" (source) is refused: the server says: NO [AUTHENTICATIONFAILED]'
        )

    def test_hears_a_wrong_password_once(self, dovecot_of_admins: Dovecot) -> None:
        refusal(dovecot_of_admins, user="u7", password=SecretReference("env", "OF_ADMIN"))
        logged = r"auth failed, (\d+) attempts in [^:]*: user=<u7>"
        wait(lambda: re.search(logged, dovecot_of_admins.log()) is not None, "the refusal in the log")
        assert re.findall(logged, dovecot_of_admins.log()) == ["1"]

    @pytest.mark.parametrize(("login", "way"), [("auto", "PLAIN as migrator"), ("login", "LOGIN as migrator")])
    def test_lets_an_admin_in(self, dovecot_of_admins: Dovecot, login: str, way: str) -> None:
        assert way_in(dovecot_of_admins, login=login, login_user=ADMIN) == way

    def test_refuses_an_admin_with_a_wrong_password(self, dovecot_of_admins: Dovecot) -> None:
        said = refusal(dovecot_of_admins, login_user=ADMIN, password=SecretReference("env", "PASSWORD"))
        assert said == (
            'the login of "migrator" for "u1" (source) is refused: the server says: NO [AUTHENTICATIONFAILED] '
            "Authentication failed; check `login_user`, the password reference and the right of that user to open "
            "other mailboxes, in [source] of the account file"
        )

    def test_takes_a_client_certificate(
        self, dovecot_of_admins: Dovecot, shown: Certificate, caplog: pytest.LogCaptureFixture
    ) -> None:
        shown.key.chmod(0o644)
        keys = {"password": None, "client_cert": shown.certificate, "client_key": shown.key}
        assert way_in(dovecot_of_admins, **keys) == "EXTERNAL"
        assert refusal(dovecot_of_admins, user="u2", **keys).endswith(
            "check `user` and `client_cert` in [source] of the account file"
        )
        assert caplog.messages == [
            f"key of the client certificate: other users can read {shown.key}; `chmod 600` keeps it private"
        ]


class TestCyrus:
    @pytest.mark.parametrize(
        ("keys", "way"),
        [
            ({}, "SCRAM-SHA-256-PLUS"),
            ({"login": "scram"}, "SCRAM-SHA-256-PLUS"),
            ({"tls": "starttls"}, "SCRAM-SHA-256-PLUS"),
            ({"login": "cram-md5"}, "CRAM-MD5"),
            ({"login_user": "u2"}, "PLAIN as u2"),
            ({"login_user": "u3"}, "PLAIN as u3"),
            ({"login_user": "u3", "login": "scram"}, "SCRAM-SHA-256-PLUS as u3"),
        ],
    )
    def test_is_logged_in_to(self, cyrus_of_admins: Cyrus, keys: dict[str, str], way: str) -> None:
        assert way_in(cyrus_of_admins, **keys) == way

    def test_without_encryption_gets_no_password(self, cyrus_of_admins: Cyrus) -> None:
        keys = {"port": cyrus_of_admins.port, "tls": "off", "ca_file": None}
        assert way_in(cyrus_of_admins, **keys) == "SCRAM-SHA-256"

    def test_lets_nobody_else_in(self, cyrus_of_admins: Cyrus) -> None:
        assert refusal(cyrus_of_admins, login_user="u4").startswith(
            'the login of "u4" for "u1" (source) is refused'
        )


@pytest.fixture(scope="module")
def shown(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    directory = tmp_path_factory.mktemp("client")
    client = client_certificate(certificates.good.ca.parent, directory, "u1")
    encrypt = [
        "openssl",
        "pkey",
        "-in",
        client.key,
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        directory / "locked.key",
    ]
    subprocess.run(encrypt, check=True)
    return client


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "u1.pem: cannot be read as certificates: "),
        ("none.key", "none.key: cannot be read as certificates: No such file or directory; "),
        ("u1.csr", "u1.pem: cannot be read as certificates: "),
        ("locked.key", "locked.key: the key has a password; decrypt it with `openssl pkey`"),
    ],
)
def test_a_key_that_cannot_be_used_is_a_mistake(
    dovecot: Dovecot, shown: Certificate, key: str | None, said: str
) -> None:
    directory = shown.key.parent
    settings = settings_at(
        dovecot, password=None, client_cert=shown.certificate, client_key=directory / key if key else None
    )
    with pytest.raises(ConfigError) as raised:
        connect(settings, authenticator_of(settings))
    assert str(raised.value).startswith(f"{directory}/{said}")


def test_an_admin_moves_a_mailbox_and_its_archive_is_the_users(
    dovecot_of_admins: Dovecot, cyrus_of_admins: Cyrus, tmp_path: Path
) -> None:
    user, new = "u21", cyrus_of_admins.fresh_user()
    dovecot_of_admins.append(user, "INBOX", b"Subject: one\r\n\r\n1\r\n")
    keys = {
        "source__login_user": ADMIN,
        "source__password": {"env": "OF_ADMIN"},
        "destination__host": "localhost",
        "destination__port": cyrus_of_admins.tls_port,
        "destination__ca_file": str(cyrus_of_admins.ca),
        "destination__user": new,
        "destination__login_user": "u3",
        "destination__password": {"env": "PASSWORD"},
    }
    config = account_file(tmp_path, dovecot_of_admins, user, **keys)

    checked = command("check", config, "--json").report["accounts"][0]
    moved = run(config)
    own = {"source__login_user": None, "source__password": {"env": "PASSWORD"}}
    again = run(account_file(tmp_path, dovecot_of_admins, user, **{**keys, **own}))

    logins = [each["server"]["login"] for each in (checked, checked["destination"])]
    assert logins == ["PLAIN as migrator", "PLAIN as u3"]
    there = [each.report["totals"]["destination"] for each in (moved, again)]
    assert [(each["replayed"], each["already_there"]) for each in there] == [(1, 0), (0, 1)]


Scripted = Callable[..., ScriptedServer]


def test_an_admin_from_whom_folders_are_hidden_is_noted(
    dovecot_with: Callable[..., Dovecot], tmp_path: Path
) -> None:
    """Dovecot lists INBOX alone for a master user, if ACLs are on and `acl_user` is not set."""
    server = dovecot_with(admins=True, extra="mail_plugins = acl\nplugin {\n acl = vfile\n}\n")
    user = server.fresh_user()
    server.append(user, "INBOX", b"Subject: one\r\n\r\n1\r\n")
    with server.wire(user) as wire:
        wire.command("CREATE Sent")
    keys = {"source__login_user": ADMIN, "source__password": {"env": "OF_ADMIN"}}
    config = account_file(tmp_path, server, user, **keys)

    checked = command("check", config, "--json").report["accounts"][0]
    report = run(config, expect=3).report  # nor can they open INBOX
    assert [[each["kind"] for each in found["notices"]] for found in (checked, report)] == [["admin"]] * 2
    assert report["notices"][0]["text"].startswith("the server shows migrator no folder but INBOX: if the mailbox ")


def test_an_admin_of_zimbra_opens_the_mailbox_of_a_user(scripted: Scripted, tmp_path: Path) -> None:
    server = scripted(
        {b"INBOX": ScriptedFolder(1)},
        greeting=b"* OK mail.example.org Zimbra IMAP4rev1 server ready",
        capabilities=("IMAP4rev1", "AUTH=PLAIN", "AUTH=X-ZIMBRA", "SASL-IR"),
    )

    def authenticate(line: bytes, tag: bytes, session: Session) -> bytes:
        mailbox, admin, password = base64.b64decode(line.split()[-1]).split(b"\0")
        if (admin, password) != (b"admin@example.org", b"pw"):
            return tag + b" NO AUTHENTICATE failed\r\n"
        session.user = mailbox.decode()
        return tag + b" OK AUTHENTICATE completed\r\n"

    server.on(b"AUTHENTICATE", authenticate)
    config = account_file(
        tmp_path,
        server,
        "alice@example.org",
        source__login_user="admin@example.org",
        source__password={"env": "PASSWORD"},
    )
    run(config)
    assert {session.user for session in server.sessions} == {"alice@example.org"}


SCRAM = ("IMAP4rev1", "SASL-IR", "AUTH=SCRAM-SHA-256", "AUTH=PLAIN")


@pytest.mark.parametrize("proof", [None, b"v=AAAA"])
def test_a_server_that_does_not_prove_itself_gets_no_password(
    scripted: Scripted, tmp_path: Path, proof: bytes | None
) -> None:
    """It may be one in between that wants the password: no weaker way is tried."""
    server = scripted({b"INBOX": ScriptedFolder(1)}, capabilities=SCRAM)

    def authenticate(line: bytes, tag: bytes, session: Session) -> bytes:
        if proof is not None:
            nonce = base64.b64decode(line.split()[-1]).partition(b"r=")[2]
            for said in (b"r=%bserver,s=QSXCR+Q6sek8bf92,i=4096" % nonce, proof):
                session.stream.send(b"+ " + base64.b64encode(said) + b"\r\n")
                session.stream.flush()
                session.stream.line()
        return tag + b" OK welcome\r\n"

    server.on(b"AUTHENTICATE", authenticate)
    ended = run(account_file(tmp_path, server, "u1"), expect=5)
    assert 'the login of "u1" (source) failed: the server ' in ended.output
    assert [each.split()[1] for each in server.commands if each.startswith(b"AUTHENTICATE")] == [b"SCRAM-SHA-256"]


def test_what_is_asked_for_and_not_offered_is_said(scripted: Scripted, tmp_path: Path) -> None:
    server = scripted({b"INBOX": ScriptedFolder(1)}, capabilities=("IMAP4rev1", "AUTH=PLAIN"))
    ended = run(account_file(tmp_path, server, "u1", source__login="scram"), expect=5)
    assert (
        'the server takes no login = "scram" here: it offers PLAIN; set login = "auto", or another way'
        in ended.output
    )
