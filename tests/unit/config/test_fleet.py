"""Which accounts a command line means, and what lies under the accounts of subfolders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from archiver.account.others import neighbours_of
from archiver.config.fleet.files import Chosen, find_accounts
from archiver.config.layers import PATHS, KnownDefaults
from archiver.config.load import load_account
from archiver.config.references import SecretReference
from archiver.config.settings import TABLES
from archiver.config.tables.server import FilesSettings
from archiver.errors import ConfigError

ACCOUNT = '[source]\nhost = "h"\nuser = "u"\npassword = { env = "P" }\n[archive]\npath = "archives/{account}"\n'


def write(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """alice, and in two waves bob, carol and dave, with files that are no accounts between them."""
    names = ("alice", "wave1/bob", "wave1/carol", "wave2/late/dave", "wave2/defaults", ".git/x", "wave1/.#bob")
    for name in names:
        write(tmp_path / "configs" / f"{name}.toml")
    write(tmp_path / "configs" / "passwords" / "bob", "secret")
    return tmp_path / "configs"


def found(*paths: Path, only: Sequence[str] = (), but: Sequence[str] = ()) -> list[str]:
    return [file.stem for file in find_accounts(Chosen(paths, tuple(only), tuple(but))).files]


def problems(*paths: Path, only: Sequence[str] = (), but: Sequence[str] = ()) -> dict[str, str]:
    chosen = find_accounts(Chosen(paths, tuple(only), tuple(but)))
    return {name: str(error) for name, error in chosen.problems.items()}


class TestSubfolders:
    def test_are_read_and_what_is_hidden_is_not(self, configs: Path) -> None:
        assert found(configs) == ["alice", "bob", "carol", "dave"]

    def test_behind_links_are_read_once(self, configs: Path) -> None:
        (configs / "again").symlink_to("wave1")
        (configs / "again2").symlink_to("wave2/late")
        (configs / "wave2" / "circle").symlink_to(configs)
        (configs / "nothing").symlink_to("nothing")
        assert found(configs, only=["wave*/*"]) == ["bob", "carol", "dave"]
        assert sorted(found(configs)) == ["alice", "bob", "carol", "dave"]

    def test_of_mail_are_not_searched(self, configs: Path) -> None:
        write(configs / "archives" / "alice" / "Maildir" / "cur" / "hostile.toml")
        write(configs / "archives" / "bob" / "catalog.sqlite")
        write(configs / "archives" / "bob" / "runs" / "hostile.toml")
        for name in ("cur", "new", "tmp"):
            write(configs / "exported" / name / "hostile.toml")
        assert found(configs) == ["alice", "bob", "carol", "dave"]

    def test_that_say_that_they_have_no_accounts_are_not_searched_unless_they_are_named(
        self, configs: Path
    ) -> None:
        write(configs / "examples" / ".no-accounts")
        write(configs / "examples" / "erin.toml")
        write(configs / "examples" / "more" / "frank.toml")
        assert found(configs) == ["alice", "bob", "carol", "dave"]
        assert found(configs / "examples") == ["erin", "frank"]

    def test_elsewhere_are_read_through_a_link(self, configs: Path) -> None:
        write(configs.parent / "elsewhere" / "erin.toml")
        (configs / "link").symlink_to(configs.parent / "elsewhere")
        assert "erin" in found(configs)

    def test_that_cannot_be_listed_stop_only_themselves(
        self, configs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scandir = os.scandir

        def refuse(path: Path) -> object:
            if Path(path).name == "wave1":
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        assert found(configs) == ["alice", "dave"]
        assert problems(configs) == {
            str(configs / "wave1"): f"{configs / 'wave1'}: cannot be listed: Permission denied"
        }

    def test_that_cannot_be_listed_are_one_line_if_they_are_many(
        self, configs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scandir = os.scandir

        def refuse(path: Path) -> object:
            if Path(path).name.startswith("closed"):
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        for number in range(1, 6):
            (configs / f"closed{number}").mkdir()
        monkeypatch.setattr(os, "scandir", refuse)
        assert found(configs) == ["alice", "bob", "carol", "dave"]
        first = str(configs / "closed1")
        said = f"{first}: cannot be listed: Permission denied; nor can 4 more folders below {configs}"
        assert problems(configs) == {first: f"{said}; name the folder of the account files"}


class TestAChoice:
    @pytest.mark.parametrize(
        ("only", "but", "chosen"),
        [
            (["b*"], [], ["bob"]),
            (["alice", "?arol"], [], ["alice", "carol"]),
            (["bob.toml"], [], ["bob"]),
            (["wave1/*"], [], ["bob", "carol"]),
            (["wave2/*"], [], ["dave"]),
            ([], ["wave1/*"], ["alice", "dave"]),
            (["wave*/*"], ["carol", "wave2/late/*"], ["bob"]),
            (["*"], ["alice"], ["bob", "carol", "dave"]),
        ],
    )
    def test_is_by_name_or_by_path(self, configs: Path, only: list[str], but: list[str], chosen: list[str]) -> None:
        assert (found(configs, only=only, but=but), problems(configs, only=only, but=but)) == (chosen, {})

    def test_of_nothing_is_named_and_the_others_go_on(self, configs: Path) -> None:
        assert found(configs, only=["alice", "bbo"]) == ["alice"]
        (text,) = problems(configs, only=["alice", "bbo"]).values()
        assert text.startswith(f"--only bbo: matches no account in {configs}; a glob is compared with")

    def test_that_leaves_nothing_is_named(self, configs: Path) -> None:
        assert found(configs, but=["*"]) == []
        assert problems(configs, but=["*"]) == {"--except": f"--except *: leaves no account in {configs}"}

    def test_may_leave_out_what_is_not_there(self, configs: Path) -> None:
        chosen = find_accounts(Chosen((configs,), (), ("test-*",)))
        assert (len(chosen.files), chosen.problems, chosen.unused) == (4, {}, ("test-*",))

    def test_of_paths_goes_on_without_those_that_are_empty_or_absent(self, configs: Path) -> None:
        paths = (configs / "alice.toml", configs / "passwords", configs / "wave3")
        assert found(*paths) == ["alice"]
        assert list(problems(*paths)) == [str(configs / "passwords"), str(configs / "wave3")]


class TestDefaultsAbove:
    def test_lie_under_those_of_the_folder_and_their_paths_start_where_they_are(self, tmp_path: Path) -> None:
        top = '[source]\nhost = "top"\nca_file = "ca.pem"\npassword = { file = "p/{account}" }\nconnections = 3\n'
        write(tmp_path / "c" / "defaults.toml", top + '[archive]\npath = "archives/{account}"\n')
        write(
            tmp_path / "c" / "wave1" / "defaults.toml", '[source]\nhost = "wave"\n[folders]\nexclude = ["Junk"]\n'
        )
        bob = load_account(write(tmp_path / "c" / "wave1" / "bob.toml", '[source]\nuser = "bob"\n'))
        assert not isinstance(bob.source, FilesSettings)
        assert (bob.source.host, bob.source.connections, bob.folders.exclude) == ("wave", 3, ("Junk",))
        assert bob.source.password == SecretReference("file", str(tmp_path / "c" / "p" / "bob"))
        assert (bob.source.ca_file, bob.archive.path) == (tmp_path / "c/ca.pem", tmp_path / "c/archives/bob")

    def test_count_for_a_folder_that_has_none_and_end_at_the_first_folder_above_without(
        self, tmp_path: Path
    ) -> None:
        write(tmp_path / "defaults.toml", "[messages]\nsearch = 'SEEN'\n")
        write(tmp_path / "gap" / "c" / "defaults.toml", ACCOUNT)
        bob = load_account(write(tmp_path / "gap" / "c" / "wave1" / "bob.toml"))
        assert (bob.source.host, bob.messages.search) == ("h", None)

    def test_are_named_by_their_path_if_a_mistake_is_theirs(self, tmp_path: Path) -> None:
        write(tmp_path / "defaults.toml", ACCOUNT + "durable = 1\n")
        with pytest.raises(ConfigError) as caught:
            load_account(write(tmp_path / "w" / "bob.toml"))
        assert f"archive.durable (from {tmp_path / 'defaults.toml'}): is not a key" in str(caught.value)

    def test_of_somebody_else_are_refused(self, tmp_path: Path) -> None:
        os.chown(write(tmp_path / "defaults.toml", ACCOUNT), 4242, -1)
        bob = write(tmp_path / "w" / "bob.toml", ACCOUNT)
        with pytest.raises(ConfigError, match=r"belongs to another user \(uid 4242\), so it is not used"):
            load_account(bob)

    def test_are_read_once_for_many_accounts(self, tmp_path: Path) -> None:
        defaults = KnownDefaults()
        write(tmp_path / "defaults.toml", ACCOUNT)
        accounts = [write(tmp_path / f"{name}.toml") for name in ("alice", "bob")]
        assert load_account(accounts[0], defaults).archive.path == tmp_path / "archives/alice"
        (tmp_path / "defaults.toml").unlink()
        assert load_account(accounts[1], defaults).archive.path == tmp_path / "archives/bob"

    def test_know_every_key_that_is_a_path(self) -> None:
        of_files = {"files": FilesSettings}
        keys = {
            name
            for table in (*TABLES.values(), *of_files.values())
            for name, hint in get_type_hints(table).items()
            if Path in (hint, *get_args(hint))
        }
        assert keys | {"ledger"} == set(PATHS)  # which may also be the address of a database


def test_the_neighbours_of_an_account_are_those_of_its_fleet(tmp_path: Path) -> None:
    write(tmp_path / "defaults.toml", ACCOUNT)
    alice, bob = (write(tmp_path / wave / f"{name}.toml") for wave, name in (("wave1", "alice"), ("wave2", "bob")))
    assert [each.file for each in neighbours_of([alice]).settings] == [bob]
