"""Tokens, endpoints and files that cannot be used: one line that says where, what and what next, an exit code, and
nothing half done."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import account_file, archive_of, archive_state, assert_whole, mail, run
from tests.mail_files import maildir, on_the_wire
from tests.patience import PATIENCE
from tests.servers.dovecot import Dovecot
from tests.servers.oauth_server import SECRET, OAuthServer, Refused
from tests.servers.test_files import digests, files_account, held
from tests.servers.test_oauth_logins import forms_of
from tests.warm import PROJECT

ALICE = "alice@example.org"
Prepare = Callable[[OAuthServer, Path], dict[str, Any]]


class Nowhere:
    """A mail server that must not be asked."""

    host, port = "127.0.0.1", 1


@pytest.fixture
def oauth() -> Iterator[OAuthServer]:
    with OAuthServer() as server:
        yield server


def token(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "token"
    file.write_text(text)
    file.chmod(mode)
    return file


def wrong_secret(oauth: OAuthServer, folder: Path) -> dict[str, Any]:
    oauth.secret = SECRET
    file = folder / "secret"
    file.write_text("wrong-secret-of-the-app")
    file.chmod(0o600)
    oauth.secrets.add("wrong-secret-of-the-app")
    return {"token": None, "flow": "client_credentials", "client_secret": {"file": str(file)}}


def readable_by_others(oauth: OAuthServer, folder: Path) -> dict[str, Any]:
    return {"token": {"file": str(token(folder, oauth.log_in(ALICE), 0o644))}}


def of_somebody_else(oauth: OAuthServer, folder: Path) -> dict[str, Any]:
    return {"token": {"file": str(token(folder, oauth.log_in("bob@example.org")))}}


def revoked(oauth: OAuthServer, folder: Path) -> dict[str, Any]:
    file = token(folder, oauth.log_in(ALICE))
    oauth.revoke(ALICE)
    return {"token": {"file": str(file)}}


def plain_http(oauth: OAuthServer, folder: Path) -> dict[str, Any]:
    return {"token_url": "http://login.example.org/token", "token": {"file": str(token(folder, "x" * 40))}}


def two_hours_off(oauth: OAuthServer, folder: Path) -> dict[str, Any]:
    oauth.ahead, oauth.refuse = 7200, [Refused("invalid_grant")]
    return {"token": {"file": str(token(folder, oauth.log_in(ALICE)))}}


@pytest.mark.parametrize(
    ("prepare", "code", "words"),
    [
        (wrong_secret, 5, "invalid_client: the client ID or the client secret is wrong"),
        (readable_by_others, 2, "other users can read or change"),
        (of_somebody_else, 5, f'is that of bob@example.org, not of "{ALICE}"; log in as {ALICE}: `archiver login'),
        (revoked, 5, "; log in again: `archiver login"),
        (plain_http, 2, 'token_url: must begin with "https://", since secrets are sent there'),
        (two_hours_off, 5, "this machine's clock is 2 h behind; set this machine's clock"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_token_that_cannot_be_used(
    oauth: OAuthServer, tmp_path: Path, verb: str, prepare: Prepare, code: int, words: str
) -> None:
    table = {**oauth.table({}), **prepare(oauth, tmp_path)}
    config = account_file(
        tmp_path, Nowhere(), ALICE, name="alice", source__password=None, source__auth="oauth2",
        source__oauth2={key: value for key, value in table.items() if value is not None},
    )  # fmt: skip
    ended(config, verb, code, words, oauth)
    assert not [*tmp_path.glob("archive/journal/*"), *tmp_path.glob("archive/Maildir")]


def ended(config: Path, verb: str, code: int, words: str, oauth: OAuthServer | None = None) -> None:
    """A command ends with this code and one line, which has these words."""
    program = [sys.executable, "-m", "pipelines", verb, "--quiet", str(config)]
    done = subprocess.run(program, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    lines = [line for line in done.stderr.splitlines() if "began a new archive" not in line]
    assert (done.returncode, len(lines), done.stdout) == (code, 1, ""), done
    assert words in lines[0]
    for secret in oauth.secrets if oauth is not None else ():
        assert not [form for form in forms_of(secret) if form in done.stderr.encode()]


@pytest.mark.parametrize(
    ("octets", "wanted", "words"),
    [
        (b"Subject: x\n\nno mbox\n", "mbox", "is no mbox"),
        (b"\0" * 5000, "mbox", "is no mbox"),
        (b"From here on it is text\n", "mbox", "is no mbox"),
        (b"Subject: x\n\nno mbox\n", "maildir", "no mail in the format maildir here"),
    ],
)
def test_a_file_that_is_no_mbox(tmp_path: Path, octets: bytes, wanted: str, words: str) -> None:
    (tmp_path / "spool").write_bytes(octets)
    config = files_account(tmp_path, tmp_path / "spool", source__format=wanted)
    ended(config, "run", 2, words)
    assert not list(archive_of(config).rglob("cur/*"))
    assert (tmp_path / "spool").read_bytes() == octets


def test_a_maildir_that_changes_while_it_is_read(tmp_path: Path) -> None:
    """Names and flags of all files change all the time, mail comes and goes; in the end all is there once."""
    root = maildir(tmp_path / "mail", [mail(n) for n in range(200)])
    config = files_account(tmp_path, root)
    over = threading.Event()

    def change() -> None:
        number = 200
        while not over.is_set():
            for path in sorted((root / "cur").iterdir()):
                base, _, letters = path.name.partition(":2,")
                path.rename(path.with_name(f"{base}:2,{'' if letters else 'S'}"))
            if number < 260:
                fresh = root / "tmp" / f"{number}.new"
                fresh.write_bytes(mail(number))
                fresh.rename(root / "new" / f"18{number:08}.M{number}.mx")
                number += 1
            over.wait(0.002)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(3):
            assert run(config, expect=None).exit_code in (0, 3)
            assert_whole(archive_of(config))
    finally:
        over.set()
        thread.join()
    assert run(config).exit_code == 0
    there = [path.read_bytes() for part in ("cur", "new") for path in (root / part).iterdir()]
    assert held(config) == digests([on_the_wire(each) for each in there])
    every = [row.digest for row in archive_state(archive_of(config)).messages.values()]
    assert len(every) == len(set(every)) == len(there)


def test_one_account_that_cannot_log_in_stops_no_other(
    dovecot: Dovecot, mail_user: str, oauth: OAuthServer, tmp_path: Path
) -> None:
    dovecot.append(mail_user, "INBOX", mail(1))
    good = account_file(tmp_path, dovecot, mail_user, archive__path="archives/{account}")
    account_file(
        tmp_path, Nowhere(), ALICE, name="alice", source__password=None, source__auth="oauth2",
        source__oauth2={**oauth.table({}), **revoked(oauth, tmp_path)}, archive__path="archives/{account}",
    )  # fmt: skip
    ended(tmp_path, "run", 5, "; log in again: `archiver login")
    assert len(archive_state(tmp_path / "archives" / good.stem).messages) == 1
