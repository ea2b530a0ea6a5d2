"""The table [fleet]: where the ledger of the accounts below a `defaults.toml` is."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.config.load import load_account
from archiver.config.tables.fleet import FleetPlace
from archiver.errors import ConfigError

ACCOUNT = """
[source]
host = "imap.example.org"
user = "alice"
password = { env = "P" }
[archive]
path = "/srv/{account}"
"""


def place(file: Path, text: str = ACCOUNT) -> FleetPlace:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    found = load_account(file).fleet
    assert found is not None
    return found


def test_an_account_without_defaults_is_in_no_fleet(tmp_path: Path) -> None:
    (tmp_path / "alice.toml").write_text(ACCOUNT)

    assert load_account(tmp_path / "alice.toml").fleet is None


def test_the_ledger_is_a_file_beside_the_topmost_defaults(tmp_path: Path) -> None:
    (tmp_path / "defaults.toml").touch()

    found = place(tmp_path / "sales" / "alice.toml")

    assert found == FleetPlace(tmp_path, str(tmp_path / "fleet.sqlite"), "fleet", "sales/alice", found.written)
    assert place(tmp_path / "bob.toml").account == "bob"


@pytest.mark.parametrize("below", ["", "sales"])
def test_a_file_is_relative_to_the_defaults_that_name_it(tmp_path: Path, below: str) -> None:
    (tmp_path / "defaults.toml").write_text('[fleet]\nledger = "state/all.sqlite"\nname = "north"')

    found = place(tmp_path / below / "alice.toml")

    assert (found.ledger, found.name) == (str(tmp_path / "state/all.sqlite"), "north")


def test_a_database_stays_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "defaults.toml").write_text('[fleet]\nledger = "postgresql://archiver@db.example.org/fleet"')

    assert place(tmp_path / "sales" / "alice.toml").ledger == "postgresql://archiver@db.example.org/fleet"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("postgresql://archiver:secret@db/fleet", "must not contain a password"),
        ("postgresql://db/fleet?password=secret", "must not contain a password"),
        ("mysql://db/fleet", "must be a file or a database"),
        ("postgresql://[db/fleet", "must be like"),
        ("", "must not be empty"),
    ],
)
def test_what_is_no_place_for_a_ledger_is_refused_without_showing_a_password(
    tmp_path: Path, value: str, problem: str
) -> None:
    (tmp_path / "defaults.toml").write_text(f'[fleet]\nledger = "{value}"')

    with pytest.raises(ConfigError, match=problem) as raised:
        place(tmp_path / "alice.toml")

    assert "secret" not in str(raised.value)


def test_an_account_file_does_not_say_where_the_ledger_is(tmp_path: Path) -> None:
    (tmp_path / "defaults.toml").touch()

    with pytest.raises(
        ConfigError, match=r"fleet: is about all accounts of the fleet; write it into defaults\.toml"
    ):
        place(tmp_path / "alice.toml", ACCOUNT + '[fleet]\nname = "mine"')


def test_another_digest_shows_that_something_was_changed(tmp_path: Path) -> None:
    (tmp_path / "defaults.toml").touch()
    first = place(tmp_path / "alice.toml").written

    assert place(tmp_path / "alice.toml", ACCOUNT + "# a remark").written == first
    assert place(tmp_path / "alice.toml", ACCOUNT + '[folders]\nexclude = ["Junk"]').written != first
    (tmp_path / "defaults.toml").write_text("[source]\nconnections = 3")
    assert place(tmp_path / "alice.toml").written != first
