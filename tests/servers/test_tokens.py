"""Tokens from an OAuth server: renewed in time, kept before they are used, and never shown."""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from archiver.config.load import load_account
from archiver.config.secrecy import redacted
from archiver.errors import (
    ArchiveNotWritable,
    ArchiverError,
    AuthenticationFailed,
    ConfigError,
    ConnectionRefused,
    ServerUnavailable,
    Throttled,
    Where,
)
from archiver.login import web
from archiver.login.exchange import Exchange
from archiver.login.oauth import endpoint, keeping, tokens
from archiver.login.oauth.access import AccessTokens
from archiver.login.oauth.authenticator import TokenAuthenticator
from archiver.login.oauth.device import Prompt
from archiver.login.oauth.grants import client_of
from archiver.login.oauth.logging_in import log_in, needs_person
from archiver.login.port import Offer
from tests.patience import PATIENCE
from tests.servers.certificates import Certificates
from tests.servers.oauth_server import SECRET, OAuthServer, Refused

ALICE = "alice@example.org"


@pytest.fixture
def oauth() -> Iterator[OAuthServer]:
    with OAuthServer() as server:
        yield server


class Place:
    """An account file, the file of its token, and what it says about OAuth2."""

    def __init__(self, folder: Path, oauth: OAuthServer) -> None:
        self.folder, self.oauth = folder, oauth
        self.token = folder / "tokens" / "alice"

    def access(self, user: str = ALICE, **keys: object) -> AccessTokens:
        table = self.oauth.table({"file": str(self.token)}, **keys)
        if self.oauth.secret is not None and "client_secret" not in keys:
            table["client_secret"] = {"file": str(self._private("secret", self.oauth.secret))}
        lines = [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]
        file = self.folder / "alice.toml"
        file.write_text(
            f'[source]\nhost = "localhost"\nuser = "{user}"\nauth = "oauth2"\n[source.oauth2]\n'
            + "\n".join(lines)
            + '\n[archive]\npath = "archive"\n'
        )
        return AccessTokens(client_of(load_account(file).source), pause=lambda seconds: time.sleep(seconds / 50))

    def logged_in(self, user: str = ALICE) -> None:
        """A token file that holds nothing but a refresh token."""
        self.token.parent.mkdir(exist_ok=True)
        self.token.write_text(self.oauth.log_in(user) + "\n")
        self.token.chmod(0o600)

    def _private(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o600)
        return file

    def kept(self) -> tokens.Token:
        return tokens.read(self.token.read_bytes())


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


@pytest.fixture
def place(tmp_path: Path, oauth: OAuthServer) -> Place:
    return Place(tmp_path, oauth)


def failed(kind: type[ArchiverError], access: AccessTokens, oauth: OAuthServer, refused: str | None = None) -> str:
    """The line of a failure, in which there is no secret."""
    with pytest.raises(kind) as raised:
        access.current(refused)
    shown = f"{raised.value} {raised.value!r} {raised.value.__context__!r} {raised.value.__cause__!r}"
    assert not [secret for secret in oauth.secrets if secret in shown]
    return str(raised.value)


class TestATokenForAConnection:
    def test_is_got_by_the_refresh_token_and_kept(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        token = place.access().current()
        assert oauth.active(token.access) == ALICE
        assert (place.kept(), token.users) == (token, (ALICE,))
        assert os.stat(place.token).st_mode & 0o777 == 0o600

    def test_is_asked_for_once_as_long_as_it_lives(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        access = place.access()
        assert len({access.current().access for _ in range(3)} | {place.access().current().access}) == 1
        assert oauth.asked == ["refresh_token"]

    def test_is_renewed_before_it_expires(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        oauth.life = 1000
        access = place.access()
        first = access.current()
        now = time.time()
        assert (first.is_fresh(now + 750), first.is_fresh(now + 850), first.is_valid(now + 850)) == (
            True, False, True,
        )  # fmt: skip

    def test_is_another_one_if_a_server_refused_it(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        access = place.access()
        first = access.current()
        oauth.expire()
        second = access.current(first.access)
        assert (first.access != second.access, oauth.active(second.access)) == (True, ALICE)

    def test_is_the_one_that_another_process_renewed_meanwhile(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        one, other = place.access(), place.access()
        first = one.current()
        assert other.current(first.access) == one.current(first.access)
        assert len(oauth.asked) == 2

    def test_is_the_old_one_while_the_endpoint_is_down_and_it_lives(
        self, place: Place, oauth: OAuthServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.logged_in()
        first = place.access().current()
        later = time.time() + 3500
        monkeypatch.setattr(time, "time", lambda: later)
        oauth.refuse = [500, 503]
        assert place.access().current() == first
        later += 200
        assert "HTTP status 503" in failed(ServerUnavailable, place.access(), oauth)
        assert place.access().current() != first

    def test_is_asked_anew_after_the_clock_jumped(
        self, place: Place, oauth: OAuthServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.logged_in()
        place.access().current()
        back = time.time() - 7200
        monkeypatch.setattr(time, "time", lambda: back)
        place.access().current()
        assert len(oauth.asked) == 2

    def test_a_clock_that_is_wrong_does_no_harm(
        self, place: Place, oauth: OAuthServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong = time.time() + 7200
        place.logged_in()
        monkeypatch.setattr(time, "time", lambda: wrong)
        assert place.access().current() == place.access().current()
        assert len(oauth.asked) == 1


class TestARefreshTokenThatIsReplaced:
    def test_is_kept_before_it_is_used(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        for _ in range(3):
            access = place.access()
            token = access.current()
            oauth.expire()
            token = access.current(token.access)
            assert place.kept().refresh == token.refresh == oauth.logins[0].refresh
        assert not oauth.logins[0].revoked

    def test_is_not_asked_for_if_it_could_not_be_kept(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        before = place.token.read_bytes()
        (place.token.parent / ".alice.new").mkdir()
        assert "cannot be kept here" in failed(ArchiveNotWritable, place.access(), oauth)
        assert (oauth.asked, place.token.read_bytes()) == ([], before)

    def test_is_not_lost_by_processes_that_share_a_file(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        oauth.life = 0.001  # each needs a new one
        access = place.access()
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_use, args=(access,)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(PATIENCE)
        assert [worker.exitcode for worker in workers] == [0] * 4
        assert (len(oauth.asked), oauth.logins[0].revoked, place.kept().refresh) == (
            20, False, oauth.logins[0].refresh,
        )  # fmt: skip

    def test_is_not_lost_by_threads_either(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        oauth.life = 0.001
        accesses = [place.access() for _ in range(2)]
        threads = [threading.Thread(target=_use, args=(access,)) for access in accesses * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert (len(oauth.asked), oauth.logins[0].revoked) == (20, False)

    @pytest.mark.parametrize("step", ["lseek", "ftruncate", "fsync", "replace"])
    def test_is_not_lost_if_the_process_is_killed_while_it_is_kept(
        self, place: Place, oauth: OAuthServer, step: str
    ) -> None:
        place.logged_in()
        access = place.access()
        first = access.current()
        killed = multiprocessing.get_context("fork").Process(target=_killed_at, args=(step, access, first.access))
        killed.start()
        killed.join(PATIENCE)
        assert (killed.exitcode, len(oauth.asked)) == (-signal.SIGKILL, 2)
        if step == "lseek":  # nothing was written yet: somebody has to log in
            assert "was revoked" in failed(AuthenticationFailed, place.access(), oauth, first.access)
            return
        second = place.access().current(first.access)
        assert (oauth.active(second.access), len(oauth.asked)) == (ALICE, 2)  # the next process finds it
        assert place.kept() == second

    def test_stays_where_a_link_points_to(self, place: Place, oauth: OAuthServer, tmp_path: Path) -> None:
        place.logged_in()
        place.token.rename(tmp_path / "elsewhere")
        place.token.symlink_to(tmp_path / "elsewhere")
        place.access().current()
        assert place.token.is_symlink()
        assert place.kept().refresh == oauth.logins[0].refresh


def _killed_at(step: str, access: AccessTokens, refused: str) -> None:
    """Renew a token, and be killed before this step of keeping it."""
    setattr(keeping.os, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    access.current(refused)


def _use(access: AccessTokens) -> None:
    for _ in range(5):
        access.current()


class TestWhatIsWrongWithATokenFile:
    def test_it_is_missing(self, place: Place, oauth: OAuthServer) -> None:
        assert failed(AuthenticationFailed, place.access(), oauth) == (
            f'the token of "{ALICE}" (source) is missing in {place.token}; log in first: `archiver login`'
        )

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
    def test_others_can_read_or_change_it(self, place: Place, oauth: OAuthServer, mode: int) -> None:
        place.logged_in()
        place.token.chmod(mode)
        line = failed(ConfigError, place.access(), oauth)
        assert line.startswith(f"token of {ALICE}: other users can read or change {place.token}; `chmod 600 ")
        assert oauth.asked == []

    @pytest.mark.parametrize("text", ["", "two words", "{", '{"format": "archiver-token/9"}', "\xff", "x" * 70_000])
    def test_it_is_no_token(self, place: Place, oauth: OAuthServer, text: str) -> None:
        place.logged_in()
        place.token.write_bytes(text.encode("latin-1"))
        assert "is neither a token that" in failed(ConfigError, place.access(), oauth)

    def test_it_is_a_pipe(self, place: Place, oauth: OAuthServer) -> None:
        place.token.parent.mkdir()
        os.mkfifo(place.token, 0o600)
        assert "is not a regular file" in failed(ConfigError, place.access(), oauth)

    def test_it_is_somebody_elses(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in("bob@example.org")
        line = failed(AuthenticationFailed, place.access(), oauth)
        assert f'is that of bob@example.org, not of "{ALICE}"; log in as {ALICE}: `archiver login`' in line
        assert failed(AuthenticationFailed, place.access(), oauth) == line
        assert len(oauth.asked) == 1  # its refresh token was replaced, and is kept all the same
        assert place.kept().refresh == oauth.logins[0].refresh


class TestWhoseTokenItIs:
    @pytest.mark.parametrize(
        ("user", "name"),
        [
            ("alice@example.org", "ALICE@Example.org"),
            ("alice@example.org", "alice"),
            ("alice", "alice@example.org"),
        ],
    )
    def test_the_users(self, place: Place, oauth: OAuthServer, user: str, name: str) -> None:
        place.logged_in(name)
        assert place.access(user).current().users == (name,)

    @pytest.mark.parametrize(
        ("user", "name"), [("alice@example.org", "alice@example.net"), ("alice", "bob"), ("alice@a.org", "bob")]
    )
    def test_somebody_elses(self, place: Place, oauth: OAuthServer, user: str, name: str) -> None:
        place.logged_in(name)
        assert f"is that of {name}, not of" in failed(AuthenticationFailed, place.access(user), oauth)

    def test_an_admins_who_opens_the_mailbox_of_a_user(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in("admin@example.org")
        place.access("shared@example.org")
        file = place.folder / "alice.toml"
        file.write_text(file.read_text().replace("auth =", 'login_user = "admin@example.org"\nauth ='))
        login = TokenAuthenticator(load_account(file).source)
        secret = login.secret()
        (way,) = login.ways(secret, Offer(frozenset({"XOAUTH2", "PLAIN"})), Where())
        assert isinstance(way, Exchange)
        assert (way.mechanism, way.first()) == (
            "XOAUTH2", f"user=shared@example.org\1auth=Bearer {secret.reveal()}\1\1".encode(),
        )  # fmt: skip


class TestWhatTheEndpointSays:
    def test_the_refresh_token_was_revoked(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        oauth.revoke()
        line = failed(AuthenticationFailed, place.access(provider="google", flow="browser"), oauth)
        assert line.startswith(f"{urlsplit(oauth.url).netloc}: the token endpoint refuses the token of")
        assert "invalid_grant: the refresh token was revoked or has expired" in line
        assert "log in again: `archiver login`" in line

    def test_the_client_secret_is_wrong(self, place: Place, oauth: OAuthServer, tmp_path: Path) -> None:
        place.logged_in()
        (tmp_path / "wrong").write_text("wrong-secret")
        oauth.secret, oauth.secrets = SECRET, {SECRET, "wrong-secret"}
        access = place.access(client_secret={"file": str(tmp_path / "wrong")})
        line = failed(AuthenticationFailed, access, oauth)
        assert "invalid_client: the client ID or the client secret is wrong" in line

    @pytest.mark.parametrize("provider", [None, "microsoft"])
    def test_the_secret_is_sent_as_the_provider_wants_it(
        self, place: Place, oauth: OAuthServer, provider: str | None
    ) -> None:
        place.logged_in()
        oauth.secret = SECRET
        assert oauth.active(place.access(provider=provider).current().access) == ALICE
        assert ("client_secret" in oauth.forms[0]) == (provider is not None)

    def test_slow_down(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        oauth.refuse = [429]
        with pytest.raises(Throttled):
            place.access().current()

    def test_nothing_that_is_known(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        oauth.refuse = [Refused("strange", f"{place.token.read_text().strip()} is \x1b[31mred\nand more")]
        line = failed(AuthenticationFailed, place.access(), oauth)
        assert r"strange: *** is \x1b[31mred and more; check the table oauth2" in line

    def test_the_clocks_differ(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        oauth.ahead, oauth.refuse = 7200, [Refused("invalid_grant")]
        assert "and this machine's clock is 2 h behind; set this machine's clock" in failed(
            AuthenticationFailed, place.access(), oauth
        )

    def test_it_is_no_endpoint(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        access = place.access(token_url=f"{oauth.url}/elsewhere")
        assert "this is no OAuth endpoint: it answers HTTP status 404" in failed(ConnectionRefused, access, oauth)

    def test_nobody_listens(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        access = place.access(token_url=f"http://127.0.0.1:{port}/token")
        assert "the token endpoint cannot be asked: Connection refused" in failed(ServerUnavailable, access, oauth)

    @pytest.mark.parametrize("answer", [b"", b"nonsense\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"])
    def test_it_breaks_off(self, place: Place, oauth: OAuthServer, answer: bytes) -> None:
        place.logged_in()
        with _answering(answer) as port:
            access = place.access(token_url=f"http://127.0.0.1:{port}/token")
            assert "cannot be asked" in failed(ServerUnavailable, access, oauth)

    def test_it_never_ends(self, place: Place, oauth: OAuthServer, monkeypatch: pytest.MonkeyPatch) -> None:
        place.logged_in()
        monkeypatch.setattr(endpoint, "_SECONDS_IN_ALL", 0.2)
        with _answering(b"HTTP/1.1 200 OK\r\n", stays=True) as port:
            access = place.access(token_url=f"http://127.0.0.1:{port}/token")
            assert "cannot be asked" in failed(ServerUnavailable, access, oauth)

    def test_go_elsewhere(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        moved = b"HTTP/1.1 307 Moved\r\nLocation: https://evil.example/token\r\nContent-Length: 2\r\n\r\n{}"
        with _answering(moved) as port:
            access = place.access(token_url=f"http://127.0.0.1:{port}/token")
            line = failed(ConnectionRefused, access, oauth)
        assert "it answers HTTP status 307 and points to evil.example" in line


class _answering:  # noqa: N801  # it is used as a function
    """A server that reads a request, says this, and hangs up unless it `stays`."""

    def __init__(self, answer: bytes, *, stays: bool = False) -> None:
        self.answer, self.stays, self.held = answer, stays, list[socket.socket]()

    def __enter__(self) -> int:
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return int(self.listener.getsockname()[1])

    def _serve(self) -> None:
        client, _ = self.listener.accept()
        client.recv(65536)
        self.held.append(client)
        client.sendall(self.answer)
        if not self.stays:
            client.shutdown(socket.SHUT_WR)

    def __exit__(self, *_: object) -> None:
        self.listener.close()
        for each in self.held:
            each.close()


class TestHttps:
    @pytest.fixture
    def secured(self, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[OAuthServer]:
        """An endpoint with a certificate that is trusted."""
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.good.ca))
        web._tls.cache_clear()
        with OAuthServer(certificate=certificates.good) as server:
            yield server
        web._tls.cache_clear()

    def test_is_spoken(self, secured: OAuthServer, tmp_path: Path) -> None:
        place = Place(tmp_path, secured)
        place.logged_in()
        assert secured.active(place.access().current().access) == ALICE

    def test_with_a_certificate_that_nobody_knows_sends_nothing(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        web._tls.cache_clear()
        with OAuthServer(certificate=certificates.untrusted) as server:
            place = Place(tmp_path, server)
            place.logged_in()
            line = failed(ConnectionRefused, place.access(), server)
        assert "the certificate is not trusted: " in line
        assert "SSL_CERT_FILE names the authority" in line
        assert server.asked == []

    def test_goes_through_the_proxy_of_the_environment(
        self, secured: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = Place(tmp_path, secured)
        place.logged_in()
        monkeypatch.setattr(web, "is_loopback", lambda host: False)
        with _Tunnel(b"HTTP/1.1 200 Connection established\r\n\r\n") as tunnel:
            monkeypatch.setenv("https_proxy", f"http://squid:pr0xy-secret@127.0.0.1:{tunnel.port}")
            assert secured.active(place.access().current().access) == ALICE
        first, *headers = tunnel.heard.split("\r\n")
        assert first == f"CONNECT localhost:{secured.port} HTTP/1.1"
        assert "Proxy-Authorization: Basic c3F1aWQ6cHIweHktc2VjcmV0" in headers

    def test_a_proxy_that_refuses_is_named(
        self, secured: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = Place(tmp_path, secured)
        place.logged_in()
        monkeypatch.setattr(web, "is_loopback", lambda host: False)
        with _Tunnel(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n") as tunnel:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{tunnel.port}")
            line = failed(ServerUnavailable, place.access(), secured)
        assert "the proxy 127.0.0.1 answers HTTP status 407" in line


class _Tunnel:
    """A proxy that gives this answer to CONNECT, and connects."""

    def __init__(self, answer: bytes) -> None:
        self._answer, self.heard = answer, ""

    def __enter__(self) -> _Tunnel:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE)
        self._listener.close()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client:
            self.heard = client.recv(65536).decode()
            client.sendall(self._answer)
            if b" 200 " not in self._answer:
                return
            port = int(self.heard.split()[1].partition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as server:
                ends = {client: server, server: client}
                while True:
                    for ready in select.select(list(ends), [], [])[0]:
                        octets = ready.recv(65536)
                        if not octets:
                            return
                        ends[ready].sendall(octets)


class TestTheKeyring:
    @pytest.fixture
    def ring(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[tuple[str, str], str]:
        """What a desktop's keyring holds, by service and user."""
        held: dict[tuple[str, str], str] = {}
        module, errors = ModuleType("keyring"), ModuleType("keyring.errors")
        errors.KeyringError = type("KeyringError", (Exception,), {})  # type: ignore[attr-defined]
        module.get_password = lambda *whose: held.get(whose)  # type: ignore[attr-defined]
        module.set_password = lambda service, user, text: held.update({(service, user): text})  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "keyring", module)
        monkeypatch.setitem(sys.modules, "keyring.errors", errors)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return held

    def test_keeps_a_token_as_a_file_does(
        self, place: Place, oauth: OAuthServer, ring: dict[tuple[str, str], str]
    ) -> None:
        ring["mail", ALICE] = oauth.log_in(ALICE)
        token = place.access(token={"keyring": "mail"}).current()
        assert tokens.read(ring["mail", ALICE].encode()) == token
        assert place.access(token={"keyring": "mail"}).current() == token
        assert not place.token.exists()

    def test_is_missing(self, place: Place, oauth: OAuthServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "keyring", None)
        line = failed(ConfigError, place.access(token={"keyring": "mail"}), oauth)
        assert "the keyring library is not installed; pip install" in line


class TestAnApp:
    def test_needs_nobody_and_keeps_nothing(self, place: Place, oauth: OAuthServer) -> None:
        oauth.secret = SECRET
        keys: dict[str, Any] = {"flow": "client_credentials", "token": None, "scopes": [f"mail-{oauth.port}"]}
        first = place.access(**keys).current()
        assert place.access("bob@example.org", **keys).current() == first  # one token for a whole tenant
        assert (oauth.asked, place.token.exists()) == (["client_credentials"], False)

    def test_keeps_its_token_if_asked_to(self, place: Place, oauth: OAuthServer) -> None:
        oauth.secret = SECRET
        first = place.access(flow="client_credentials").current()
        assert (place.kept(), place.access(flow="client_credentials").current()) == (first, first)

    @pytest.mark.parametrize("roles", [[], ["POP.AccessAsApp"]])
    def test_without_the_permission_is_told_which_and_who_can_give_it(
        self, place: Place, oauth: OAuthServer, roles: list[str]
    ) -> None:
        oauth.secret, oauth.roles = SECRET, roles
        access = place.access(flow="client_credentials", provider="microsoft", tenant="contoso.example")
        with pytest.raises(AuthenticationFailed, match=r"has no permission IMAP\.AccessAsApp; add the application"):
            log_in(access, _nobody, time.sleep)

    def test_with_the_permission_is_fine(self, place: Place, oauth: OAuthServer) -> None:
        oauth.secret, oauth.roles = SECRET, ["IMAP.AccessAsApp"]
        access = place.access(flow="client_credentials", provider="microsoft", tenant="contoso.example")
        assert log_in(access, _nobody, time.sleep).roles == ("IMAP.AccessAsApp",)


def _nobody(prompt: Prompt) -> None:
    raise AssertionError("nobody is to be asked")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("google.auth", reason="google-auth: not installed (extra oauth)")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path_factory.mktemp("key") / "service.json"
    document = {"client_email": "sa@example.org", "private_key": private.decode(), "private_key_id": "1"}
    file.write_text(json.dumps(document))
    file.chmod(0o600)
    return file


class TestAnotherApp:
    def test_of_the_same_tenant_does_not_use_the_token_in_a_shared_file(
        self, place: Place, oauth: OAuthServer
    ) -> None:
        oauth.secret = SECRET
        first = place.access(flow="client_credentials").current()
        second = place.access(flow="client_credentials", scopes=["other"]).current()
        assert first.access != second.access

    def test_does_not_use_a_persons_token(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        place.access().current()
        assert "was given to another app, not to this client_id; log in again" in failed(
            AuthenticationFailed, place.access(client_id="another"), oauth
        )
        assert needs_person(place.access(client_id="another"))


class TestAServiceAccount:
    def access(self, place: Place, key: Path) -> AccessTokens:
        service = {"file": str(key)}
        return place.access(
            provider="google", flow="service_account", service_account=service, token=None, client_id=None,
            scopes=[f"mail-{place.oauth.port}"],
        )  # fmt: skip

    def test_acts_for_the_user(self, place: Place, oauth: OAuthServer, key: Path) -> None:
        assert oauth.active(self.access(place, key).current().access) == ALICE

    def test_a_clock_that_is_two_hours_off_is_named(self, place: Place, oauth: OAuthServer, key: Path) -> None:
        oauth.ahead = -7200
        line = failed(AuthenticationFailed, self.access(place, key), oauth)
        assert "the service account's request has a wrong time, and this machine's clock is 2 h ahead" in line

    @pytest.mark.parametrize("text", ["", "[]", '{"client_email": "x", "private_key": "y", "private_key_id": "z"}'])
    def test_a_file_that_is_no_key(self, place: Place, oauth: OAuthServer, tmp_path: Path, text: str) -> None:
        (tmp_path / "no.json").write_text(text)
        assert "is not the key of a service account" in failed(
            ConfigError, self.access(place, tmp_path / "no.json"), oauth
        )


class TestLoggingIn:
    def by(self, oauth: OAuthServer, user: str | None) -> Callable[[Prompt], None]:
        """Somebody who does what the prompt says."""

        def do(prompt: Prompt) -> None:
            if prompt.code is not None:
                oauth.approve(prompt.code, user)
            else:
                oauth.person = user or ""
                threading.Thread(target=oauth.browse, args=(prompt.address,), daemon=True).start()

        return do

    @pytest.mark.parametrize("flow", ["device", "browser"])
    def test_a_person_logs_in_once(self, place: Place, oauth: OAuthServer, flow: str) -> None:
        access = place.access(flow=flow)
        assert needs_person(access)
        token = log_in(access, self.by(oauth, ALICE), access._pause)
        assert (token.users, place.kept()) == ((ALICE,), token)
        assert not needs_person(access)
        assert place.access(flow=flow).current() == token
        again = log_in(access, _nobody, access._pause)  # it still works, so nobody is asked
        assert again.access != token.access

    @pytest.mark.parametrize("flow", ["device", "browser"])
    def test_the_wrong_person_is_refused_and_nothing_is_kept(
        self, place: Place, oauth: OAuthServer, flow: str
    ) -> None:
        access = place.access(flow=flow)
        with pytest.raises(AuthenticationFailed, match=r"is that of bob@example\.org, not of"):
            log_in(access, self.by(oauth, "bob@example.org"), access._pause)
        assert not place.token.exists()

    @pytest.mark.parametrize("flow", ["device", "browser"])
    def test_a_person_who_says_no(self, place: Place, oauth: OAuthServer, flow: str) -> None:
        access = place.access(flow=flow)
        with pytest.raises(AuthenticationFailed, match="access_denied: "):
            log_in(access, self.by(oauth, None), access._pause)

    def test_a_code_that_expired(self, place: Place, oauth: OAuthServer) -> None:
        def too_late(prompt: Prompt) -> None:
            for device in oauth.devices.values():
                device["expired"] = True

        with pytest.raises(
            AuthenticationFailed, match=r"expired_token: the code has expired before .*`archiver login`"
        ):
            log_in(access := place.access(), too_late, access._pause)

    def test_waits_for_the_person_while_the_endpoint_fails_now_and_then(
        self, place: Place, oauth: OAuthServer
    ) -> None:
        access = place.access()
        oauth.refuse = [Refused("authorization_pending"), 503, Refused("slow_down")]
        pauses: list[float] = []
        token = log_in(access, self.by(oauth, ALICE), pauses.append)
        assert (token.users, pauses) == ((ALICE,), [0.1, 0.1, 5.0, 10.0])

    def test_again_after_the_token_was_revoked(self, place: Place, oauth: OAuthServer) -> None:
        place.logged_in()
        oauth.revoke()
        access = place.access()
        log_in(access, self.by(oauth, ALICE), access._pause)
        assert oauth.active(place.access().current().access) == ALICE

    def test_mail_that_was_not_allowed_is_named(self, place: Place, oauth: OAuthServer) -> None:
        oauth.granted = "openid"
        access = place.access(flow="browser", provider="google", scopes=["https://mail.google.com/"])
        with pytest.raises(AuthenticationFailed, match=r"https://mail\.google\.com/ was not allowed"):
            log_in(access, self.by(oauth, ALICE), access._pause)

    def test_an_answer_of_somebody_else_is_not_read(self, place: Place, oauth: OAuthServer) -> None:
        access = place.access(flow="browser")

        def first_an_intruder(prompt: Prompt) -> None:
            query = parse_qs(urlsplit(prompt.address).query)
            with socket.create_connection(("127.0.0.1", urlsplit(query["redirect_uri"][0]).port)) as intruder:
                intruder.sendall(b"GET /?code=evil&state=guessed HTTP/1.0\r\n\r\n")
                self.by(oauth, ALICE)(prompt)

        assert log_in(access, first_an_intruder, access._pause).users == (ALICE,)

    def test_a_folder_that_takes_no_token_is_noticed_before_anybody_is_asked(
        self, place: Place, oauth: OAuthServer
    ) -> None:
        (place.token.parent / ".alice.new").mkdir(parents=True)
        with pytest.raises(ArchiveNotWritable, match="cannot be kept here"):
            log_in(place.access(), _nobody, time.sleep)


def test_no_secret_is_shown_once_it_is_known(place: Place, oauth: OAuthServer) -> None:
    oauth.secret = SECRET
    oauth.secrets.add(SECRET)
    place.logged_in()
    access = place.access()
    token = access.current()
    secrets = {token.access, token.refresh or "", SECRET}
    shown = redacted(" ".join(secrets)) + repr(token) + repr(access.client)
    assert not [secret for secret in secrets if secret in shown]
