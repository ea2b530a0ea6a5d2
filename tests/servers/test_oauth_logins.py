"""Accounts whose logins are tokens, on a real Dovecot that asks the OAuth server about each of them."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from archiver.login.oauth import keeping
from pipelines.stop import Stop
from tests.accounts import RunResult, account_file, archive_of, assert_whole, command, mails, run
from tests.faults.memory import tree_of
from tests.servers.certificates import Certificates
from tests.servers.dovecot import Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.oauth_server import OAuthServer
from tests.servers.scripted import ScriptedFolder, ScriptedServer
from tests.servers.scripted_session import Session
from tests.warm import PROJECT

_PASSDB = """
auth_mechanisms = plain login oauthbearer xoauth2
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {args}
}}
"""
_ARGS = """\
introspection_url = {url}/introspect
introspection_mode = post
username_attribute = email
active_attribute = active
active_value = true
"""


@pytest.fixture(scope="module")
def oauth() -> Iterator[OAuthServer]:
    with OAuthServer() as server:
        yield server


@pytest.fixture(scope="module")
def tokened(
    oauth: OAuthServer, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dovecot]:
    """A Dovecot that takes the tokens of `oauth`."""
    if missing := Dovecot.missing():
        pytest.skip(missing)
    args = tmp_path_factory.mktemp("oauth2") / "oauth2.conf"
    args.write_text(_ARGS.format(url=oauth.url))
    with Dovecot(certificate=certificates.good, extra=_PASSDB.format(args=args), pop3=True) as server:
        yield server


@pytest.fixture(autouse=True)
def _anew(oauth: OAuthServer) -> None:
    oauth.life, oauth.refuse, oauth.asked, oauth.key = 3600, [], [], None
    oauth.every = lambda number: None


def account(folder: Path, oauth: OAuthServer, server: Any, user: str, to: str | None = None, **keys: Any) -> Path:
    """An account of Dovecot's `user`, replayed to the user `to`, with the refresh tokens of both."""
    there: dict[str, Any] = {}
    if to is not None:
        there = {
            "destination__host": server.host, "destination__port": server.port, "destination__tls": "off",
            "destination__user": to, "destination__auth": "oauth2", "destination__oauth2": token(folder, oauth, to),
        }  # fmt: skip
    here = {"source__password": None, "source__auth": "oauth2", "source__oauth2": token(folder, oauth, user)}
    return account_file(folder, server, user, **{**here, **there, **keys})


def token(folder: Path, oauth: OAuthServer, user: str) -> Mapping[str, object]:
    """The table oauth2 of a user, whose refresh token is there."""
    (folder / "tokens").mkdir(parents=True, exist_ok=True)
    file = folder / "tokens" / user
    file.write_text(oauth.log_in(user))
    file.chmod(0o600)
    return oauth.table({"file": str(file)})


def assert_no_secret(oauth: OAuthServer, folder: Path, *results: RunResult) -> None:
    """No token is in what was said, nor in any file but those that keep tokens: as it is, or as SASL sends it."""
    forms = {form for secret in oauth.secrets for form in forms_of(secret)}
    places = {f"output {number}": result.output.encode() for number, result in enumerate(results)}
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name != "tokens":
            octets = path.read_bytes()
            places[str(path)] = gzip.decompress(octets) if path.suffix == ".gz" else octets
    assert [(place, form) for place, octets in places.items() for form in forms if form in octets] == []


def forms_of(secret: str) -> Iterator[bytes]:
    """A secret, and what is the same in the base64 of any text that it is part of."""
    yield secret.encode()
    for before in range(3):
        yield base64.b64encode(b"x" * before + secret.encode())[4:40]


def test_an_account_moves_with_tokens_on_both_sides(tokened: Dovecot, oauth: OAuthServer, tmp_path: Path) -> None:
    user, to = tokened.fresh_user(), tokened.fresh_user()
    tokened.append_many(user, "INBOX", mails(range(30)))
    config = account(tmp_path, oauth, tokened, user, to)
    result = run(config)
    assert (result.total("stored", "fetched"), len(tokened.dump(to)[b"INBOX"].messages)) == ((30, 30), 30)
    assert oauth.asked == ["refresh_token"] * 2
    assert_no_secret(oauth, tmp_path, result)
    assert run(config).total("fetched") == (0,)
    assert oauth.asked == ["refresh_token"] * 2  # the tokens are kept, and still good


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_check_says_whose_token_it_is_and_never_shows_it(
    tokened: Dovecot, oauth: OAuthServer, tmp_path: Path, mechanism: str
) -> None:
    user = tokened.fresh_user()
    config = account(tmp_path, oauth, tokened, user, tokened.fresh_user())
    if mechanism == "XOAUTH2":  # Google offers nothing else
        config.write_text(
            config.read_text().replace("client_id", 'provider = "google", flow = "browser", client_id')
        )
    result = command("check", config)
    assert re.search(rf"login +{mechanism}\n", result.output)
    assert re.search(rf"token +of {user}; for mail; until 20\S+Z, and renewed before\n", result.output)
    document = json.loads(command("check", config, "--json").output)["accounts"][0]
    assert [document["token"][name] for name in ("users", "scopes", "app")] == [[user], ["mail"], False]
    assert document["destination"]["token"]["kept"].startswith(str(tmp_path))
    assert_no_secret(oauth, tmp_path, result)


def test_a_mailbox_is_archived_over_pop3_with_a_token(tokened: Dovecot, oauth: OAuthServer, tmp_path: Path) -> None:
    user = tokened.fresh_user()
    tokened.append_many(user, "INBOX", mails(range(5)))
    config = account(
        tmp_path, oauth, tokened, user, source__protocol="pop3", source__port=tokened.pop3_port
    )  # fmt: skip
    result = run(config)
    assert result.total("stored") == (5,)
    oauth.expire()
    tokened.append_many(user, "INBOX", mails(range(5, 7)))
    assert run(config).total("stored", "fetched") == (7, 2)
    assert oauth.asked == ["refresh_token"] * 2
    assert_no_secret(oauth, tmp_path, result)


def test_no_process_has_a_token_among_its_arguments(
    tokened: Dovecot, oauth: OAuthServer, tmp_path: Path, proxy: Callable[..., FaultProxy]
) -> None:
    """What `ps` shows to everybody, and what is inherited by other programs."""
    user = tokened.fresh_user()
    tokened.append_many(user, "INBOX", mails(range(40)))
    config = account(tmp_path, oauth, proxy(tokened.port, latency=0.05), user, tokened.fresh_user())
    shown = set[bytes]()
    program = [sys.executable, "-m", "pipelines", "run", "--quiet", str(config)]
    with subprocess.Popen(program, cwd=PROJECT) as process:
        while process.poll() is None:
            for pid in tree_of(process.pid):
                with contextlib.suppress(OSError):
                    shown |= {Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")}
            time.sleep(0.01)
    assert process.returncode == 0
    assert any(str(config).encode() in each for each in shown)
    assert not [
        form for secret in oauth.secrets for form in forms_of(secret) if any(form in each for each in shown)
    ]


@pytest.fixture(scope="module")
def signed(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    """A Dovecot that checks the tokens by itself."""
    if missing := Dovecot.missing():
        pytest.skip(missing)
    place = tmp_path_factory.mktemp("jwt")
    (place / "default" / "HS256").mkdir(parents=True)
    (place / "default" / "HS256" / "default").write_bytes(base64.b64encode(KEY))
    for each in (place, *place.rglob("*"), *list(place.parents)[:3]):
        each.chmod(0o755)
    args = place / "oauth2.conf"
    args.write_text(
        f"introspection_mode = local\nusername_attribute = email\n"
        f"local_validation_key_dict = fs:posix:prefix={place}/\n"
    )
    with Dovecot(certificate=certificates.good, extra=_PASSDB.format(args=args)) as server:
        yield server


KEY = b"a key that both know, long enough for HS256"


def test_a_server_that_checks_tokens_by_itself(
    signed: Dovecot, oauth: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JWTs (RFC 7519) on both sides; one that another key signed is refused."""
    oauth.key = KEY
    user, to = signed.fresh_user(), signed.fresh_user()
    signed.append_many(user, "INBOX", mails(range(30)))
    config = account(tmp_path, oauth, signed, user, to)
    before = oauth.introspected
    result = run(config)
    assert (result.total("stored", "fetched"), len(signed.dump(to)[b"INBOX"].messages)) == ((30, 30), 30)
    assert (oauth.introspected, oauth.asked) == (before, ["refresh_token"] * 2)
    oauth.key = b"another key, which the server does not know"
    for name in (user, to):
        (tmp_path / "tokens" / name).write_text(oauth.log_in(name))
    refused = run(config, expect=5)
    assert f'the login of "{user}" (source) is refused' in refused.output
    assert_no_secret(oauth, tmp_path, result, refused)


def test_a_token_that_the_server_refuses_is_renewed_once(
    tokened: Dovecot, oauth: OAuthServer, tmp_path: Path
) -> None:
    user = tokened.fresh_user()
    config = account(tmp_path, oauth, tokened, user)
    run(config)
    oauth.expire()  # a clock that jumped, a password that was changed: we think that it is valid
    tokened.append_many(user, "INBOX", mails(range(3)))
    assert run(config).total("fetched") == (3,)
    assert oauth.asked == ["refresh_token"] * 2


def test_a_token_that_the_server_refuses_again_is_not_sent_a_third_time(
    tokened: Dovecot, oauth: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "with_id_token", False)  # so only the mail server knows whose it is
    user, other = tokened.fresh_user(), tokened.fresh_user()
    config = account(tmp_path, oauth, tokened, user)
    (tmp_path / "tokens" / user).write_text(oauth.log_in(other))
    result = run(config, expect=5)
    assert f'the login of "{user}" (source) is refused: ' in result.output
    assert "check that `user` is the one who logged in" in result.output
    assert oauth.asked == ["refresh_token"] * 2
    assert_no_secret(oauth, tmp_path, result)


def test_a_run_outlives_many_tokens_while_both_lines_and_the_endpoint_fail_now_and_then(
    tokened: Dovecot,
    oauth: OAuthServer,
    tmp_path: Path,
    proxy: Callable[..., FaultProxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Stop, "pause", lambda self, seconds: time.sleep(seconds / 500))
    user, to = tokened.fresh_user(), tokened.fresh_user()
    tokened.append_many(user, "INBOX", mails(range(120)))
    oauth.life, oauth.slack = 0.1, 60.0  # so that each connection needs a new one, on a slow machine, too
    oauth.every = lambda number: 500 if number % 3 == 0 else None
    source = proxy(tokened.port, close_after=6_000)
    destination = proxy(tokened.port, close_after=2_500, once=True, then=(2_500, 4_000))
    keys = {"source__attempts": 20, "destination__attempts": 20, "destination__port": destination.port}
    config = account(tmp_path, oauth, source, user, to, **keys)
    result = run(config)
    copies = [each.digest for each in tokened.dump(to)[b"INBOX"].messages.values()]
    assert (len(copies), len(set(copies)), result.total("stored", "fetched")) == (120, 120, (120, 120))
    assert (destination.faults, len(oauth.asked) > 4) == (3, True)
    assert [login.revoked for login in oauth.logins[-2:]] == [False, False]
    assert_whole(archive_of(config))
    assert_no_secret(oauth, tmp_path, result)


def test_a_revoked_token_stops_only_its_account(tokened: Dovecot, oauth: OAuthServer, tmp_path: Path) -> None:
    first, second = tokened.fresh_user(), tokened.fresh_user()
    for user in (first, second):
        tokened.append_many(user, "INBOX", mails(range(2)))
        account(tmp_path, oauth, tokened, user, archive__path=str(tmp_path / "archives" / user))
    oauth.revoke(first)
    result = command("run", tmp_path, expect=5)
    assert "the token endpoint refuses the token of" in result.output
    assert f"log in again: `archiver login {tmp_path}/{first}.toml`" in result.output
    status = json.loads(command("status", tmp_path / f"{second}.toml", "--json").output)
    assert status["accounts"][0]["totals"]["stored"] == 2
    assert_no_secret(oauth, tmp_path, result)


def test_a_server_that_takes_no_token_is_named(
    oauth: OAuthServer, tmp_path: Path, scripted: Callable[..., ScriptedServer]
) -> None:
    result = run(account(tmp_path, oauth, scripted({b"INBOX": ScriptedFolder()}), "u1"), expect=5)
    assert "the server takes no token: it offers neither OAUTHBEARER nor XOAUTH2" in result.output


EXCHANGE = ("IMAP4rev1", "SASL-IR", "AUTH=PLAIN", "AUTH=XOAUTH2")


def tenant(folder: Path, oauth: OAuthServer, server: ScriptedServer) -> Path:
    """An account of a whole tenant's app."""
    (folder / "secret").write_text("the-secret-of-the-app")
    (folder / "secret").chmod(0o600)
    table = oauth.table({}, provider="microsoft", tenant="contoso.example", flow="client_credentials")
    table |= {"client_secret": {"file": str(folder / "secret")}}
    names = ("client_id", "client_secret", "token_url", "provider", "tenant", "flow")
    return account_file(
        folder, server, "alice@contoso.example", source__auth="oauth2", source__password=None,
        source__oauth2={name: table[name] for name in names},
    )  # fmt: skip


@pytest.fixture
def app(oauth: OAuthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth, "secret", "the-secret-of-the-app")
    monkeypatch.setattr(keeping, "_remembered", {})
    oauth.secrets.add("the-secret-of-the-app")


def test_exchange_that_refuses_an_app_names_the_permissions(
    oauth: OAuthServer, tmp_path: Path, scripted: Callable[..., ScriptedServer], app: None
) -> None:
    server = scripted({b"INBOX": ScriptedFolder()}, capabilities=EXCHANGE)
    heard: list[bytes] = []

    def authenticate(line: bytes, tag: bytes, session: Session) -> bytes:
        heard.append(base64.b64decode(line.split()[-1]))
        session.stream.send(b"+ " + base64.b64encode(b'{"status":"400","schemes":"Bearer"}') + b"\r\n")
        session.stream.flush()
        session.stream.line()
        return tag + b" NO AUTHENTICATE failed.\r\n"

    server.on(b"AUTHENTICATE", authenticate)
    result = run(tenant(tmp_path, oauth, server), expect=5)
    assert 'the login of "alice@contoso.example" (source) is refused' in result.output
    assert "needs IMAP.AccessAsApp with an administrator's consent, a service principal" in result.output
    assert [each.split(b"\1")[0] for each in heard] == [b"user=alice@contoso.example"] * 2
    assert (len({*heard}), oauth.asked) == (2, ["client_credentials"] * 2)  # a new one, and once
    assert_no_secret(oauth, tmp_path / "archive", result)


def test_exchange_without_a_mailbox_names_the_permissions(
    oauth: OAuthServer, tmp_path: Path, scripted: Callable[..., ScriptedServer], app: None
) -> None:
    server = scripted({b"INBOX": ScriptedFolder()}, capabilities=EXCHANGE)
    server.on(b"AUTHENTICATE", lambda line, tag, session: tag + b" OK AUTHENTICATE completed.\r\n")
    for name in (b"LIST", b"NAMESPACE", b"ENABLE", b"ID"):
        server.on(name, b"BAD User is authenticated but not connected.")
    result = run(tenant(tmp_path, oauth, server), expect=5)
    assert "an app needs IMAP.AccessAsApp and the right to this mailbox (Add-MailboxPermission)" in result.output


def test_a_password_that_a_provider_takes_no_more_is_answered_by_what_it_wants(
    tmp_path: Path, scripted: Callable[..., ScriptedServer]
) -> None:
    server = scripted({b"INBOX": ScriptedFolder()}, login_reply=b"NO LOGIN failed.")
    result = run(account_file(tmp_path, server, "u1", source__provider="microsoft365"), expect=5)
    assert (
        "check `user` and the password reference in [source] of the account file; Microsoft 365 wants OAuth2; "
        "passwords no longer work: docs/providers.md#tokens-oauth2"
    ) in result.output
