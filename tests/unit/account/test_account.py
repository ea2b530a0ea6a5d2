"""An account opens what belongs to it, only where that may be opened, and loads nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from archiver.account.account import Account
from archiver.config.load import load_account
from archiver.errors import ConfigError
from tests.accounts import PROJECT

OPENINGS: dict[str, Callable[[Account], AbstractContextManager[Any]]] = {
    "opened": lambda account: account.opened(),
    "writing": lambda account: account.writing("run", "first"),
    "reading": lambda account: account.reading(),
    "looking": lambda account: account.looking("look", print),
}


@pytest.fixture
def account(tmp_path: Path) -> Account:
    file = tmp_path / "alice.toml"
    file.write_text("""
[source]
host = "imap.example.org"
user = "alice"
password = { env = "PASSWORD" }
[archive]
path = "archive"
""")
    return Account(load_account(file))


@pytest.mark.parametrize("opening", OPENINGS)
def test_no_opening_makes_an_archive(account: Account, opening: str) -> None:
    with pytest.raises(ConfigError, match="there is no archive here yet"), OPENINGS[opening](account):
        pass
    assert not account.has_archive()
    assert not account.settings.archive.path.exists()


@pytest.mark.parametrize("opening", OPENINGS)
def test_every_opening_opens_what_was_made(account: Account, opening: str) -> None:
    account.make_archive("first")
    assert account.has_archive()
    with OPENINGS[opening](account) as opened:
        archive = opened[0] if isinstance(opened, tuple) else opened
        assert archive.catalog.account.identity() is None
        assert archive.medium.name == str(account.settings.archive.path)


def test_only_a_run_that_may_begin_an_archive_writes_to_an_empty_one(account: Account) -> None:
    account.make_archive("first")
    with pytest.raises(ConfigError, match="there is no archive here yet"), account.writing("run", "never"):
        pass
    with account.locked("run"), account.writing("run", "first") as (archive, recorder):
        archive.confirm_identity(recorder, new_source=False)
    with account.writing("run", "never") as (archive, _):
        assert archive.stranger is None


def test_an_archive_on_a_disk_needs_nothing_that_is_for_buckets_or_servers(account: Account) -> None:
    others = ("archiver.storage.bucket", "archiver.storage.s3", "archiver.account.servers", "imapclient", "boto")
    script = f"""
import sys
from pathlib import Path
from archiver.account.account import Account
from archiver.config.load import load_account
account = Account(load_account(Path({str(account.settings.file)!r})))
account.make_archive("first")
with account.writing("run", "first"):
    pass
print([name for name in sys.modules if name.startswith({others!r})])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
