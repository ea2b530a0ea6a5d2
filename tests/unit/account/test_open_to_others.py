"""An archive's directory that other users can change is warned of, by the rule for password files."""

from __future__ import annotations

import getpass
import logging
import os
from pathlib import Path

import pytest

from archiver.account.account import Account
from archiver.config.load import load_account


@pytest.fixture
def account(tmp_path: Path) -> Account:
    file = tmp_path / "alice.toml"
    file.write_text(
        '[source]\nhost = "imap.example.org"\nuser = "alice"\npassword = { env = "P" }\n'
        f'[archive]\npath = "{tmp_path}/archive"\n'
    )
    return Account(load_account(file))


@pytest.mark.parametrize(("mode", "warned"), [(0o700, False), (0o755, False), (0o775, True), (0o777, True)])
def test_a_directory_is_warned_of_once_if_others_can_write_there(
    account: Account, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    path = account.settings.archive.path
    path.mkdir()
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        account.make_archive("first")
        account.make_archive("first")
    expected = [f"alice: other users can change {path}; `chmod go-w` keeps it private"] if warned else []
    assert caplog.messages == expected


def test_a_directory_of_another_user_is_warned_of(
    account: Account, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = account.settings.archive.path
    path.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    account.make_archive("first")
    assert caplog.messages == [f"alice: {path} belongs to another user, who can change it; `chown` makes it yours"]


def test_root_is_warned_of_a_directory_whose_owner_cannot_read_what_root_writes(
    account: Account, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = account.settings.archive.path
    path.mkdir(mode=0o700)
    owner = getpass.getuser()
    if os.geteuid() == 0:
        os.chown(path, 4_000_000_001, -1)
        owner = "#4000000001"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    account.make_archive("first")
    expected = f"alice: {path} belongs to {owner}, who cannot read what root writes there; run as {owner} instead"
    assert caplog.messages == [expected]
