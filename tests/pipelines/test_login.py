"""`archiver login`: who has to log in, who did, and what is kept, as a user sees it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import account_file, command
from tests.patience import PATIENCE
from tests.servers.mail_server import wait
from tests.servers.oauth_server import SECRET, OAuthServer
from tests.warm import WarmProcess

ALICE, BOB = "alice@example.org", "bob@example.org"


class Nowhere:
    """A mail server that is not asked."""

    host, port = "127.0.0.1", 1


@pytest.fixture
def oauth() -> Iterator[OAuthServer]:
    with OAuthServer() as server:
        yield server


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    return tmp_path / "configs"


def account(configs: Path, oauth: OAuthServer, user: str, **keys: object) -> Path:
    """An account that takes a token of this user."""
    table = oauth.table({"file": "tokens/{account}"}, **keys)
    return account_file(
        configs, Nowhere(), user, name=user.partition("@")[0], source__password=None, source__auth="oauth2",
        source__oauth2={key: value for key, value in table.items() if value is not None},
        archive__path="archives/{account}",
    )  # fmt: skip


def log_in(
    oauth: OAuthServer, *arguments: str | Path, who: Callable[[str], str | None] = str
) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of `archiver login`, while people do what they are asked: `who` logs in if
    this user is to."""
    with WarmProcess(["-m", "pipelines", "login", *map(str, arguments)]) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said, user = [], ""
        for octets in process.stderr:
            text = octets.decode()
            said.append(text)
            if asked := re.search(r'log in as "(.*)"', text):
                user = asked[1]
            if code := re.search(r"enter the code (\S+)", text):
                oauth.approve(code[1], who(user))
            if address := re.search(r"open (\S+/authorize\S+)", text):
                oauth.person = who(user) or ""
                oauth.browse(address[1])
        shown = process.stdout.read().decode()
        process.wait(PATIENCE)
    everything = shown + "".join(said)
    assert not [secret for secret in oauth.secrets if secret in everything]
    return process.returncode, shown, "".join(said)


def document(shown: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown)
    return found


def test_says_who_has_to_log_in_and_then_who_did(configs: Path, oauth: OAuthServer) -> None:
    account(configs, oauth, ALICE)
    account(configs, oauth, BOB, flow="browser")
    code, shown, said = log_in(oauth, configs)
    assert (code, said.splitlines()[:3]) == (
        0,
        [
            "2 logins; 2 people have to log in",
            f'alice (source): "{ALICE}" has to log in',
            f'bob (source): "{BOB}" has to log in',
        ],
    )
    assert shown.splitlines() == [
        f"{user.partition('@')[0]} (source): logged in: {user}; kept in {configs}/tokens/{user.partition('@')[0]}"
        for user in (ALICE, BOB)
    ]
    code, shown, said = log_in(oauth, configs)  # again: the tokens still work
    assert (code, said) == (0, "2 logins; nobody has to log in\n")
    _, _, said = log_in(oauth, configs, "--again")
    assert said.startswith("2 logins; 2 people have to log in\n")


def test_one_who_does_not_log_in_stops_nobody_else(configs: Path, oauth: OAuthServer) -> None:
    account(configs, oauth, ALICE)
    bob = account(configs, oauth, BOB)
    code, shown, _ = log_in(oauth, configs, "--json", who=lambda user: None if user == ALICE else user)
    alice, other = document(shown)["accounts"]
    assert (code, alice["exit_code"], other["exit_code"]) == (5, 5, 0)
    assert "access_denied: the person, or a policy, did not allow it" in alice["message"]
    assert f"`archiver login {configs}/alice.toml`" in alice["logins"][0]["error"]
    assert {key: value for key, value in other["logins"][0].items() if key not in ("expires", "kept")} == {
        "side": "source", "user": BOB, "flow": "device", "users": [BOB],
        "scopes": ["mail", "openid", "offline_access"], "error": None,
    }  # fmt: skip
    assert sorted(each.name for each in (bob.parent / "tokens").iterdir() if not each.name.startswith(".")) == [
        "bob"
    ]


def test_somebody_else_is_refused(configs: Path, oauth: OAuthServer) -> None:
    file = account(configs, oauth, ALICE)
    code, shown, said = log_in(oauth, file, who=lambda user: BOB)
    assert (code, shown) == (5, "")
    assert f'is that of {BOB}, not of "{ALICE}"; log in as {ALICE}: `archiver login {file}`' in said


def test_a_code_that_expires_before_anybody_enters_it(configs: Path, oauth: OAuthServer) -> None:
    file = account(configs, oauth, ALICE)

    def too_late(user: str) -> str:
        for device in oauth.devices.values():
            device["expired"] = True
        return user

    code, _, said = log_in(oauth, file, "--quiet", who=too_late)
    (line,) = [each for each in said.splitlines() if "expired" in each]
    assert (code, "expired_token: the code has expired before" in line, f"`archiver login {file}`" in line) == (
        5, True, True,
    )  # fmt: skip
    assert not [each for each in (configs / "tokens").glob("*") if not each.name.startswith(".")]


def test_an_app_needs_nobody(configs: Path, oauth: OAuthServer) -> None:
    configs.mkdir()
    (configs / "secret").write_text(SECRET)
    (configs / "secret").chmod(0o600)
    oauth.secret = SECRET
    oauth.secrets.add(SECRET)
    account(configs, oauth, ALICE, flow="client_credentials", client_secret={"file": "secret"}, token=None)
    code, shown, said = log_in(oauth, configs)
    assert (code, shown, said) == (
        0,
        f"alice (source): logged in: the app the-app, for the mailbox of {ALICE}\n",
        "1 login; nobody has to log in\n",
    )


def test_a_wrong_client_secret_is_one_line(configs: Path, oauth: OAuthServer) -> None:
    configs.mkdir()
    (configs / "secret").write_text("wrong-secret-of-the-app")
    (configs / "secret").chmod(0o600)
    oauth.secret, oauth.secrets = SECRET, {"wrong-secret-of-the-app"}
    account(configs, oauth, ALICE, flow="client_credentials", client_secret={"file": "secret"}, token=None)
    code, _, said = log_in(oauth, configs, "--quiet")
    assert code == 5
    (line,) = said.splitlines()
    assert "invalid_client: the client ID or the client secret is wrong" in line


def test_what_is_missing_is_said_before_anybody_is_asked(configs: Path, oauth: OAuthServer) -> None:
    account(configs, oauth, ALICE)
    account(configs, oauth, BOB, flow="client_credentials", client_secret={"file": "no-such"}, token=None)
    code, _, said = log_in(oauth, configs)
    first = said.partition("log in as")[0]
    assert code == 2
    assert f"bob (source): client_secret of the-app: {configs}/no-such cannot be read: No such file" in first


def test_there_is_nothing_to_log_in_to(configs: Path) -> None:
    file = account_file(configs, Nowhere(), "u1")
    result = command("login", file, expect=2)
    assert 'no account there has auth = "oauth2"' in result.output


def test_a_run_without_a_token_says_how_to_get_one(configs: Path, oauth: OAuthServer) -> None:
    file = account(configs, oauth, ALICE)
    result = command("run", file, expect=5)
    assert f"is missing in {configs}/tokens/alice; log in first: `archiver login {file}`" in result.output
    assert oauth.asked == []


@pytest.mark.parametrize("verb", ["login", "run"])
def test_a_signal_ends_the_wait_for_an_endpoint(configs: Path, oauth: OAuthServer, verb: str) -> None:
    file = account(configs, oauth, ALICE)
    (configs / "tokens").mkdir()
    (configs / "tokens" / "alice").write_text(oauth.log_in(ALICE))
    (configs / "tokens" / "alice").chmod(0o600)
    oauth.silent = True
    with WarmProcess(["-m", "pipelines", verb, str(file)]) as process:
        wait(lambda: oauth.asked == ["in vain"], "the request")
        began = time.monotonic()
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert (process.returncode, time.monotonic() - began < 10) == (128 + signal.SIGTERM, True)


def test_a_signal_ends_the_wait_for_a_person(configs: Path, oauth: OAuthServer) -> None:
    with WarmProcess(["-m", "pipelines", "login", str(account(configs, oauth, ALICE))]) as process:
        wait(lambda: bool(oauth.asked), "a question whether somebody has logged in")
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_process_leaves_no_core(configs: Path) -> None:
    script = "import resource; from pipelines.cli.main import main\ntry: main(['--version'])\n"
    script += "except SystemExit: print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
