"""What can be wrong with an account file, a server and an archive: one line that says where, what and what next,
the right exit code, nothing lost, no traceback, and no secret anywhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import (
    ARCHIVER,
    PROJECT,
    account_file,
    archive_of,
    archive_state,
    assert_whole,
    command,
    journal_files,
    run,
)
from tests.faults.attempts import Ended, to_the_end, wait_for
from tests.faults.replays import destination
from tests.servers import small_disk
from tests.servers.certificates import Certificate, Certificates
from tests.servers.dovecot import ODD_PASSWORD, ODD_USER, Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.scripted import FULL, MINIMAL, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.wire import Append

Scripted = Callable[..., ScriptedServer]
Proxy = Callable[..., FaultProxy]

CANARY = "Canary in a coal mine %s{}"
MAIL = {
    b"INBOX": ScriptedFolder(messages={n: ScriptedMessage(b"Subject: %d\r\n\r\nx\r\n" % n) for n in range(1, 6)})
}


def account(directory: Path, server: Any, user: str = "u1", password: str = CANARY, **keys: Any) -> Path:
    """An account file whose password is worth looking for."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "secret").write_text(password + "\n")
    (directory / "secret").chmod(0o600)
    return account_file(
        directory, server, user, **{"source__password": {"file": str(directory / "secret")}, **keys}
    )


def fails(config: Path, exit_code: int, *words: str, password: str = CANARY) -> Ended:
    """Run it; it must fail with that code and one line that has these words, and reveal no secret."""
    ended = to_the_end(config)
    assert ended.exit_code == exit_code, ended.output
    assert "Traceback" not in ended.output
    lines = [line for line in ended.stderr.splitlines() if all(word in line for word in words)]
    final = [line for line in lines if "; attempt " not in line]
    assert len(final) == 1, ended.stderr
    assert_no_secret(ended.output, config.parent, password)
    return ended


def assert_no_secret(output: str, directory: Path, password: str) -> None:
    """Neither the password nor what goes onto the wire for it is in the output or in a file not the user's."""
    plain = password.encode()
    forms = {plain, json.dumps(password)[1:-1].encode(), repr(password)[1:-1].encode()}
    forms |= {base64.b64encode(part + plain)[4 * len(part) :][:16] for part in (b"", b"\0u1\0", b"\0odd\0")}
    places = {"output": output.encode()}
    for path in directory.rglob("*"):
        if path.is_file() and path.name != "secret" and path.suffix not in (".password", ".toml"):
            octets = path.read_bytes()
            places[str(path)] = gzip.decompress(octets) if path.suffix == ".gz" else octets
    assert [(place, form) for place, octets in places.items() for form in forms if form in octets] == []


class Port:
    """A place where something may listen."""

    host = "127.0.0.1"

    def __init__(self, port: int) -> None:
        self.port = port


class TestAccountFiles:
    def test_missing(self, tmp_path: Path) -> None:
        ended = fails(tmp_path / "alice.toml", 2, "alice.toml: no such file")
        assert ended.stdout == ""

    def test_all_mistakes_at_once(self, tmp_path: Path) -> None:
        config = tmp_path / "alice.toml"
        config.write_text(f'''
            [source]
            hots = "imap.example.org"
            port = "993"
            tls = "sometimes"
            user = ""
            password = "{CANARY}"
            [archive]
            path = 7
            [folder]
            include = ["*"]
        ''')
        ended = to_the_end(config)
        assert ended.exit_code == 2
        wrong = "source.hots source.port source.tls source.user source.password archive.path folder"
        for key in wrong.split():
            assert sum(f"{config}: {key}:" in line for line in ended.stderr.splitlines()) == 1, ended.stderr
        assert "Traceback" not in ended.output
        assert CANARY not in ended.output

    def test_not_toml(self, tmp_path: Path) -> None:
        config = tmp_path / "alice.toml"
        config.write_text(f'[source\npassword = "{CANARY}"\n')
        fails(config, 2, "alice.toml: is not TOML")

    def test_a_password_that_is_not_there(self, tmp_path: Path, scripted: Scripted) -> None:
        config = account(tmp_path, scripted(), source__password={"file": str(tmp_path / "nowhere")})
        fails(config, 2, "nowhere cannot be read: No such file or directory")


class TestServers:
    def test_a_wrong_password_is_tried_once(
        self, dovecot: Dovecot, mail_user: str, proxy: Proxy, tmp_path: Path
    ) -> None:
        through = proxy(dovecot.port)
        config = account(tmp_path, through, mail_user, source__attempts=5)
        refused = f'127.0.0.1:{through.port}: the login of "{mail_user}" (source) is refused: the server says: '
        fails(config, 5, refused, "; check `user` and the password reference in [source]")
        assert through.connections == 1

    @pytest.mark.parametrize("accounts", [1, 2], ids=["one-process", "a-process-each"])
    def test_a_wrong_password_of_the_destination_is_tried_once(
        self, scripted: Scripted, tmp_path: Path, accounts: int
    ) -> None:
        """The first step asks whether it is the source's mailbox; the archive is brought up to date after it."""
        source, there = scripted(MAIL, users={"u1": "pw", "u2": "pw"}), scripted({}, users={}, writable=True)
        for number in range(1, accounts + 1):
            keys = {**destination(tmp_path, there, f"new{number}"), "archive__path": str(tmp_path / str(number))}
            account_file(tmp_path, source, f"u{number}", **keys)
        ended = command("run", tmp_path, expect=5)
        assert len([line for line in there.commands if line.startswith((b"LOGIN", b"AUTHENTICATE"))]) == accounts
        for number in range(1, accounts + 1):
            assert f'the login of "new{number}" (destination) is refused' in ended.output
            assert len(assert_whole(tmp_path / str(number)).messages) == 5

    def test_a_password_of_the_destination_that_changes_in_the_run_is_tried(
        self, scripted: Scripted, tmp_path: Path
    ) -> None:
        source = scripted(MAIL, users={"u1": "pw"})
        there = scripted({b"INBOX": ScriptedFolder()}, users={"new": "right"}, writable=True)
        config = account_file(tmp_path, source, "u1", **destination(tmp_path, there, "new"))

        def change(*_: object) -> None:  # and then answer as usual
            (tmp_path / "new.password").write_text("right\n")

        source.on(b"UID FETCH", change)
        run(config)
        assert len(there.folders[b"INBOX"].messages) == 5

    def test_a_resumed_run_asks_the_destination_again_once_its_login_works(
        self, scripted: Scripted, tmp_path: Path
    ) -> None:
        source = scripted(MAIL, users={"u1": "pw"})
        there = scripted({b"INBOX": ScriptedFolder()}, users={"new": "right"}, writable=True)
        config = account_file(tmp_path, source, "u1", **destination(tmp_path, there, "new"))
        run(config, run_id="first", expect=5)
        there.users["new"] = "pw"
        command("check", config)
        run(config, run_id="first")
        assert len(there.folders[b"INBOX"].messages) == 5

    def test_a_refused_port(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        fails(account(tmp_path, Port(port)), 5, f"127.0.0.1:{port}: connection refused; check `host` and `port`")

    def test_no_such_host(self, tmp_path: Path) -> None:
        config = account(tmp_path, Port(993), source__host="imap.invalid")
        fails(config, 5, "imap.invalid:993: no such host", "; check `host`")

    def test_a_silent_port(self, scripted: Scripted, tmp_path: Path) -> None:
        config = account(tmp_path, scripted(silent=True), source__connect_timeout=1.0)
        fails(config, 5, "no greeting within 1 seconds; check `host`, `port` and `tls`")

    def test_tls_on_a_plain_port(self, dovecot: Dovecot, proxy: Proxy, tmp_path: Path) -> None:
        through = proxy(dovecot.port)
        config = account(tmp_path, through, source__tls="implicit", source__ca_file=str(dovecot.ca))
        fails(config, 5, "TLS failed: ", '; if this port speaks plain IMAP first, set tls = "starttls"')
        assert through.connections == 1

    def test_plain_on_a_tls_port(self, dovecot: Dovecot, tmp_path: Path) -> None:
        config = account(tmp_path, Port(dovecot.tls_port), source__connect_timeout=1.0)
        fails(config, 5, "no greeting within 1 seconds", "a TLS port is silent to a client that does not speak TLS")

    @pytest.mark.parametrize("tls", ["implicit", "starttls"])
    @pytest.mark.parametrize(
        ("host", "which", "reason", "advice"),
        [
            (
                "localhost",
                "untrusted",
                "unable to get local issuer certificate; its SHA-256 fingerprint is ",
                "{}; ",
            ),
            ("localhost", "expired", "certificate has expired; its SHA-256 fingerprint is ", "{}; set `ca_file`"),
            ("127.1", "good", "it is valid for localhost, 127.0.0.1, not for 127.1", "; set `host` to a name"),
        ],
    )
    def test_certificates(
        self,
        scripted: Scripted,
        certificates: Certificates,
        tmp_path: Path,
        tls: str,
        host: str,
        which: str,
        reason: str,
        advice: str,
    ) -> None:
        """A person sees what to decide by, and no stranger hears who logs in."""
        certificate: Certificate = getattr(certificates, which)
        server = scripted(
            MAIL, certificate=certificate, implicit_tls=tls == "implicit", capabilities=[*FULL, "STARTTLS"]
        )
        keys = {"source__host": host, "source__tls": tls, "source__ca_file": str(certificates.good.ca)}
        fails(
            account(tmp_path, server, **keys),
            5,
            f"{host}:{server.port}: the certificate is not trusted: {reason}",
            advice.format(_fingerprint(certificate)),
        )
        assert server.connections == 2
        assert [command for command in server.commands if command.startswith((b"LOGIN", b"AUTH"))] == []

    def test_starttls_is_not_offered(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(MAIL)
        fails(account(tmp_path, server, source__tls="starttls"), 5, 'STARTTLS is not offered; try tls = "implicit"')
        assert server.commands == [b"CAPABILITY"]

    def test_logged_in_before_tls(self, scripted: Scripted, certificates: Certificates, tmp_path: Path) -> None:
        server = scripted(
            MAIL, greeting=b"* PREAUTH welcome", capabilities=[*FULL, "STARTTLS"], certificate=certificates.good
        )
        fails(account(tmp_path, server, source__tls="starttls"), 5, "(PREAUTH)", '; try tls = "implicit"')

    def test_no_passwords_in_the_clear(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(MAIL, capabilities=[*MINIMAL, "LOGINDISABLED"])
        fails(account(tmp_path, server), 5, "(LOGINDISABLED)", '; set tls = "implicit" or "starttls"')
        assert not any(CANARY.encode() in command for command in server.commands)

    def test_a_pop3_server(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(greeting=b"+OK POP3 ready <1.2@host>")
        fails(account(tmp_path, server), 5, "this is not an IMAP server: ", "; this is a POP3 server: check `port`")

    def test_something_that_is_no_mail_server(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(greeting=b"HTTP/1.1 400 Bad Request")
        fails(account(tmp_path, server), 5, "this is not an IMAP server: ", "; check `port` and `tls`")

    def test_it_hangs_up_on_us(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(greeting=b"* BYE come back tomorrow")
        fails(account(tmp_path, server), 5, "come back tomorrow", "; ")

    def test_it_is_unavailable(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(MAIL, login_reply=b"NO [UNAVAILABLE] down for an hour")
        fails(account(tmp_path, server), 5, "the server says: NO [UNAVAILABLE] down for an hour; ")
        assert server.connections == 2

    def test_exchange_without_a_mailbox(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(MAIL, users={"u1": CANARY})
        for name in (b"LIST", b"NAMESPACE", b"ENABLE", b"ID"):
            server.on(name, b"BAD User is authenticated but not connected.")
        fails(
            account(tmp_path, server), 5, "User is authenticated but not connected; check the password, that IMAP"
        )

    def test_throttled_for_too_long(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(MAIL, users={"u1": CANARY})
        server.on(b"LIST", b"NO Request is throttled. Suggested Backoff Time: 3600000 milliseconds")
        fails(account(tmp_path, server), 75, "Suggested Backoff Time: 3600000 milliseconds; ")
        assert server.connections == 1

    def test_throttled_for_a_moment(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(MAIL, users={"u1": CANARY})
        server.on(b"UID FETCH", b"NO Request is throttled. Suggested Backoff Time: 20 milliseconds", times=1)
        config = account(tmp_path, server)
        assert run(config).total("stored") == (5,)
        assert_whole(archive_of(config))

    def test_certificates_that_cannot_be_read(self, scripted: Scripted, tmp_path: Path) -> None:
        keys = {"source__tls": "implicit", "source__ca_file": str(tmp_path / "nowhere.pem")}
        config = account(tmp_path, scripted(), **keys)
        fails(config, 2, "nowhere.pem: cannot be read as certificates: No such file", "; name a file of PEM")


class TestGoodLogins:
    """What looks odd and is right."""

    @pytest.mark.parametrize("login", ["plain", "login", "auto"])
    def test_any_characters_in_a_password(self, dovecot: Dovecot, tmp_path: Path, login: str) -> None:
        config = account(tmp_path, dovecot, ODD_USER, ODD_PASSWORD, source__login=login)
        ended = to_the_end(config)
        assert ended.exit_code == 0, ended.output
        assert_no_secret(ended.output, tmp_path, ODD_PASSWORD)

    def test_the_secret_is_in_no_argument(self, dovecot: Dovecot, proxy: Proxy, tmp_path: Path) -> None:
        through = proxy(dovecot.port, stall_after=500)
        config = account(tmp_path, through, ODD_USER, ODD_PASSWORD, source__read_timeout=1.0)
        command = [sys.executable, *ARCHIVER, "run", str(config)]
        started = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_for(lambda: through.faults > 0, "the stall")
            arguments = Path(f"/proc/{started.pid}/cmdline").read_bytes()
        finally:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
        assert b"pipelines" in arguments
        assert ODD_PASSWORD.encode() not in arguments
        assert_no_secret("", tmp_path, ODD_PASSWORD)

    def test_starttls(self, dovecot: Dovecot, mail_user: str, tmp_path: Path) -> None:
        keys = {"source__host": "localhost", "source__tls": "starttls", "source__ca_file": str(dovecot.ca)}
        run(account(tmp_path, dovecot, mail_user, "pw", **keys))

    @pytest.mark.parametrize("tls", ["implicit", "starttls"])
    def test_a_pinned_certificate(
        self, scripted: Scripted, certificates: Certificates, tmp_path: Path, tls: str
    ) -> None:
        """It stands for itself: its CA, its name and its age do not matter. Another one is refused before login."""
        server = scripted(
            MAIL, users={"u1": CANARY}, certificate=certificates.untrusted, implicit_tls=tls == "implicit",
            capabilities=[*FULL, "STARTTLS"],
        )  # fmt: skip
        keys = {"source__host": "127.1", "source__tls": tls}
        wrong = account(tmp_path / "wrong", server, source__fingerprint="0" * 64, **keys)
        fails(wrong, 5, "the certificate's fingerprint is", "; if the server has a new certificate")
        assert not any(CANARY.encode() in command or b"AUTH" in command for command in server.commands)
        right = account(
            tmp_path / "right", server, source__fingerprint=_fingerprint(certificates.untrusted), **keys
        )
        run(right)


def _fingerprint(certificate: Certificate) -> str:
    octets = ssl.PEM_cert_to_DER_cert(certificate.certificate.read_text())
    return hashlib.sha256(octets).hexdigest()


class TestArchives:
    @pytest.fixture
    def server(self, scripted: Scripted) -> ScriptedServer:
        return scripted(MAIL, users={"u1": CANARY})

    def test_its_path_is_a_file(self, server: ScriptedServer, tmp_path: Path) -> None:
        (tmp_path / "archive").write_text("mine")
        fails(account(tmp_path, server), 8, f"{tmp_path}/archive: ", "; ")
        assert (tmp_path / "archive").read_text() == "mine"

    def test_its_path_leads_through_a_file(self, server: ScriptedServer, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        fails(account(tmp_path, server, archive__path=str(tmp_path / "file/archive")), 8, f"{tmp_path}/file", "; ")

    @pytest.mark.parametrize("filled", [False, True], ids=["new", "filled"])
    def test_read_only(self, server: ScriptedServer, tmp_path: Path, filled: bool) -> None:
        with small_disk.mounted(tmp_path / "disk") as disk:
            config = account(tmp_path, server, archive__path=str(disk / "archive"))
            if filled:
                run(config)
                server.folders[b"INBOX"] = ScriptedFolder(messages={6: ScriptedMessage(b"Subject: 6\r\n\r\n")})
            before = server.connections
            small_disk.make_read_only(disk)
            fails(config, 8, f"{disk}/archive", "Read-only file system; ")
            assert server.connections == before
            small_disk.make_writable(disk)
            run(config)
            assert_whole(disk / "archive")

    @pytest.mark.parametrize("size", ["300k", "600k", "1000k", "2500k"])
    def test_the_disk_is_full_in_the_middle(
        self, dovecot: Dovecot, mail_user: str, tmp_path: Path, size: str
    ) -> None:
        """Wherever that is, nothing is lost or half there, and with more room it comes to the same end."""
        dovecot.create(mail_user, "Sent")
        for folder in ("INBOX", "Sent"):
            dovecot.append_many(
                mail_user, folder, [Append(b"Subject: %d\r\n\r\n" % n + b"%4d\r\n" % n * 2000) for n in range(200)]
            )
        undisturbed = account_file(tmp_path / "undisturbed", dovecot, mail_user)
        run(undisturbed)
        with small_disk.mounted(tmp_path / "disk", size) as disk:
            config = account(tmp_path, dovecot, mail_user, "pw", archive__path=str(disk / "archive"))
            ended = to_the_end(config)
            assert ended.exit_code == 8, ended.output
            assert "Traceback" not in ended.output
            assert len([line for line in ended.stderr.splitlines() if "; free" in line]) == 1, ended.stderr
            small_disk.make_larger(disk, "20m")
            assert to_the_end(config).exit_code == 0
            assert assert_whole(disk / "archive") == archive_state(archive_of(undisturbed))

    def test_the_inodes_are_used_up_anywhere(self, server: ScriptedServer, tmp_path: Path) -> None:
        """A run that finds nothing new needs a few: for its journal, its catalog's log, its report."""
        with small_disk.mounted(tmp_path / "disk", "20m", 2000) as disk:
            config = account(tmp_path, server, archive__path=str(disk / "archive"))
            run(config)
            codes = []
            for spare in range(12):
                ballast = small_disk.fill_inodes(disk, spare=spare)
                ended = to_the_end(config)
                assert "Traceback" not in ended.output
                assert ended.exit_code == 0 or "; free" in ended.stderr, ended.output
                codes.append(ended.exit_code)
                for each in ballast:
                    each.unlink()
            run(config)
            assert_whole(disk / "archive")
        assert set(codes) == {0, 8}
        assert codes == sorted(codes, reverse=True)

    def test_a_corrupted_catalog(self, server: ScriptedServer, tmp_path: Path) -> None:
        config = account(tmp_path, server)
        run(config)
        before = archive_state(archive_of(config))
        catalog = archive_of(config) / "catalog.sqlite"
        catalog.write_bytes(b"\0" * 100 + CANARY.encode() + catalog.read_bytes()[130:])
        corrupted = catalog.read_bytes()
        (archive_of(config) / "catalog.sqlite-wal").unlink(missing_ok=True)
        fails(
            config,
            6,
            f"{catalog}: ",
            f"; `archiver rebuild {config}` recreates the catalog",
            password="no secret is here",
        )
        assert catalog.read_bytes() == corrupted
        catalog.unlink()
        run(config)
        assert archive_state(archive_of(config)) == before

    def test_an_edited_journal(self, server: ScriptedServer, tmp_path: Path) -> None:
        config = account(tmp_path, server)
        run(config)
        newest = archive_of(config) / "journal" / journal_files(archive_of(config))[-1]
        lines = gzip.decompress(newest.read_bytes())
        newest.write_bytes(gzip.compress(lines.replace(b"INBOX", b"XOBNI")))
        fails(config, 6, f"{newest}: ", "; ")

    def test_a_lost_segment_of_the_journal(self, server: ScriptedServer, tmp_path: Path) -> None:
        config = account(tmp_path, server)
        run(config)
        (archive_of(config) / "journal" / journal_files(archive_of(config))[-1]).unlink()
        fails(config, 6, "/journal: segment", "is missing; restore the journal from a backup")

    def test_a_catalog_of_a_newer_archiver(self, server: ScriptedServer, tmp_path: Path) -> None:
        config = account(tmp_path, server)
        run(config)
        with closing(sqlite3.connect(archive_of(config) / "catalog.sqlite")) as catalog:
            catalog.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
            catalog.commit()
        fails(
            config, 2, "catalog.sqlite: the catalog has schema version 99", "; install a mail-archiver that knows"
        )

    def test_a_journal_of_a_newer_archiver(self, server: ScriptedServer, tmp_path: Path) -> None:
        config = account(tmp_path, server)
        run(config)
        oldest = archive_of(config) / "journal" / journal_files(archive_of(config))[0]
        lines = gzip.decompress(oldest.read_bytes())
        oldest.write_bytes(gzip.compress(lines.replace(b"archiver-journal/1", b"archiver-journal/3")))
        for catalog in archive_of(config).glob("catalog.sqlite*"):
            catalog.unlink()
        fails(config, 2, f"{oldest}: ", "archiver-journal/3", "; install a mail-archiver that knows")

    def test_bytes_that_are_gone(self, server: ScriptedServer, tmp_path: Path) -> None:
        """A run that does not need them does not look for them; `verify` does. But a folder without any is seen."""
        config = account(tmp_path, server)
        run(config)
        (path,) = (archive_of(config) / "Maildir" / "cur").glob("*U3.*")
        path.unlink()
        assert run(config).total("fetched") == (0,)
        shutil.rmtree(archive_of(config) / "Maildir" / "cur")
        assert run(config, expect=3).total("fetched") == (0,)

    def test_a_message_that_is_gone_stops_nothing_else(self, server: ScriptedServer, tmp_path: Path) -> None:
        """Its flags changed, so its file is missed: that is said, and all the rest is done."""
        config = account(tmp_path, server)
        run(config)
        (path,) = (archive_of(config) / "Maildir" / "cur").glob("*U3.*")
        path.unlink()
        changed = replace(MAIL[b"INBOX"].messages[3], flags=("\\Seen",), modseq=9)
        new = ScriptedMessage(b"Subject: new\r\n\r\n", modseq=9)
        server.folders[b"INBOX"] = ScriptedFolder(messages=MAIL[b"INBOX"].messages | {3: changed, 90: new})
        result = run(config, expect=6)
        assert (
            f"is missing; `archiver verify {config}` lists what is missing, `archiver repair {config}`"
            in result.output
        )
        assert (result.total("fetched"), result.balanced) == ((1,), True)
        assert run(config).total("fetched", "flags_changed") == (0, 0)
