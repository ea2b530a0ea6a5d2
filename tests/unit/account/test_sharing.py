"""Which accounts meet in one mailbox, by what their files say, and what is reported about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from archiver.account.others import neighbours_of, sharing_of
from archiver.account.sharing import Sharing, mailbox, sharing_among
from archiver.config.load import load_account
from archiver.config.settings import Settings
from archiver.destination.folder_map.not_ours import NotOurs, not_ours
from archiver.errors import ConfigError
from archiver.facts.mailbox import DestinationFolders
from archiver.mail.folder_names import encode_name, folder_path
from archiver.mail.model import Folder, FolderStatus, Listed


def account(
    folder: Path,
    name: str,
    *,
    source: str = "",
    source_host: str = "imap.example.org",
    host: str = "imap.example.net",
    user: str = "team",
    prefix: str = "",
    more: str = "",
    vanished: str = "keep",
) -> Settings:
    """An account that is replayed to `user` at `host`."""
    file = folder / f"{name}.toml"
    file.write_text(f"""
[source]
host = "{source_host}"
user = "{source or name}"
password = {{ env = "PASSWORD" }}
[archive]
path = "archive/{name}"
[destination]
host = "{host}"
user = "{user}"
prefix = "{prefix}"
password = {{ env = "PASSWORD" }}
{more}
[replay]
vanished = "{vanished}"
""")
    return load_account(file)


def names(found: Mapping[Path, Sharing]) -> dict[str, tuple[list[str], list[str], list[str]]]:
    """Those of the command, those next to it and those with the same source, by account."""
    return {
        each.account.account: (
            [other.account for other in each.destination],
            [other.account for other in each.beside],
            [other.account for other in each.source],
        )
        for each in found.values()
    }


class TestAMailbox:
    @pytest.mark.parametrize(
        ("host", "user"),
        [
            ("IMAP.example.net", "team"),
            ("imap.example.net.", "Team"),
            ("imap.example.net", "TEAM"),
        ],
    )
    def test_is_one_however_it_is_spelled(self, host: str, user: str) -> None:
        assert mailbox(host, user) == mailbox("imap.example.net", "team")

    def test_is_one_whatever_its_host_is_called_in(self) -> None:
        assert mailbox("MÜNCHEN.example", "a") == mailbox("xn--mnchen-3ya.example", "a")
        assert mailbox("0:0:0:0:0:0:0:1", "a") == mailbox("::1", "a")
        assert mailbox("example.org", "Jose\u0301") == mailbox("example.org", "jos\u00e9")

    def test_is_another_for_another_user_or_host(self) -> None:
        found = {
            mailbox("a.example", "x"),
            mailbox("b.example", "x"),
            mailbox("a.example", "y"),
            mailbox("a..b", "x"),
        }
        assert len(found) == 4


class TestOneDestination:
    def test_is_shared_by_all_that_do_not_name_another(self, tmp_path: Path) -> None:
        accounts = [account(tmp_path, name) for name in ("alice", "bob", "carol")]
        accounts.append(account(tmp_path, "dora", user="dora"))
        assert names(sharing_among(accounts)) == {
            "alice": (["bob", "carol"], [], []),
            "bob": (["alice", "carol"], [], []),
            "carol": (["alice", "bob"], [], []),
            "dora": ([], [], []),
        }

    def test_is_one_mailbox_at_any_port(self, tmp_path: Path) -> None:
        alice = account(tmp_path, "alice", more="port = 143\ntls = 'starttls'")
        bob = account(tmp_path, "bob", host="IMAP.EXAMPLE.NET.", user="Team")
        assert names(sharing_among([alice, bob]))["alice"] == (["bob"], [], [])

    @pytest.mark.parametrize(
        ("one", "other", "apart"),
        [
            ("alice", "bob", True),
            ("Old/alice", "Old/bob", True),
            ("alice", "alicia", True),
            ("", "", False),
            ("", "bob", True),  # an old account that becomes a folder of the new one
            ("Old", "Old/bob", True),
            ("", "INBOX", False),  # one place at Courier
            ("Old/bob", "old/BOB", False),
            ("Jose\u0301", "Jos\u00e9", False),
            ("INBOX/bob", "bob", False),  # one folder at Courier
            ("a.b", "a=2Eb", False),  # one folder where a dot is the delimiter
        ],
    )
    def test_is_kept_apart_by_prefixes(self, tmp_path: Path, one: str, other: str, apart: bool) -> None:
        pair = account(tmp_path, "alice", prefix=one), account(tmp_path, "bob", prefix=other)
        assert names(sharing_among(pair))["alice"] == ([] if apart else ["bob"], [], [])

    def test_is_refused_with_the_files_named(self, tmp_path: Path) -> None:
        alice, bob = (account(tmp_path, name, prefix="Old") for name in ("alice", "bob"))
        refusal = sharing_among([alice, bob])[alice.file].refusal
        assert isinstance(refusal, ConfigError)
        assert str(refusal) == (
            f'{alice.file}: destination: team at imap.example.net, folder "Old" is filled by {bob.file}, too; give '
            "each its own user or prefix (with {account} in defaults.toml), or write shared = true below "
            "[destination] in each"
        )

    def test_of_many_names_the_first_ones(self, tmp_path: Path) -> None:
        accounts = [account(tmp_path, f"a{number}") for number in range(6)]
        refusal = sharing_among(accounts)[accounts[0].file].refusal
        assert f"{accounts[3].file} and 2 more, too;" in str(refusal)
        assert str(accounts[4].file) not in str(refusal)

    def test_is_allowed_by_all_or_by_none(self, tmp_path: Path) -> None:
        alice, bob = (account(tmp_path, name, more="shared = true") for name in ("alice", "bob"))
        allowed = sharing_among([alice, bob])
        assert [each.refusal for each in allowed.values()] == [None, None]
        note = f"destination: team at imap.example.net is filled by {bob.file}, too, as shared = true allows"
        assert allowed[alice.file].note == note
        carol = account(tmp_path, "carol")
        assert all(each.refusal is not None for each in sharing_among([alice, bob, carol]).values())

    def test_with_a_neighbour_is_a_persons_decision(self, tmp_path: Path) -> None:
        (tmp_path / "defaults.toml").write_text("")
        alice, bob = account(tmp_path, "alice"), account(tmp_path, "bob")
        (tmp_path / "broken.toml").write_text("[destination\n")
        found = sharing_of([alice])[alice.file]
        assert (found.destination, found.beside, found.refusal) == ((), (bob,), None)
        (problem,) = found.problems
        assert problem.startswith(f"destination: team at imap.example.net is filled by {bob.file}, too; give each")
        assert neighbours_of([alice.file]).wrong == (tmp_path / "broken.toml",)

    def test_with_a_neighbour_may_be_allowed(self, tmp_path: Path) -> None:
        alice, _ = (account(tmp_path, name, more="shared = true") for name in ("alice", "bob"))
        assert sharing_of([alice])[alice.file].problems == ()

    def test_is_shared_with_a_link_to_the_same_file(self, tmp_path: Path) -> None:
        alice = account(tmp_path, "alice")
        (tmp_path / "link.toml").symlink_to("alice.toml")
        assert names(sharing_of([alice, load_account(tmp_path / "link.toml")]))["alice"] == (["link"], [], ["link"])


class TestOneSource:
    def test_is_worth_a_warning(self, tmp_path: Path) -> None:
        alice = account(tmp_path, "alice", source="a@example.org", user="a")
        again = account(tmp_path, "again", source="A@Example.org", user="b")
        found = sharing_among([alice, again])[alice.file]
        assert found.refusal is None
        assert found.warning == f"source: a@example.org at imap.example.org is archived by {again.file}, too"


class TestACircle:
    def test_is_reported_to_all_that_are_in_it(self, tmp_path: Path) -> None:
        places = [("a.example", "x"), ("B.example", "x"), ("c.example", "y")]
        ways = [
            account(
                tmp_path, f"way{n}", source=places[n][1], source_host=places[n][0], host=host, user=user.upper()
            )
            for n, (host, user) in enumerate((*places[1:], places[0]))
        ]
        beside = account(tmp_path, "beside", source="x", source_host="b.example", host="d.example", user="x")
        found = sharing_among([*ways, beside])
        assert [found[each.file].back for each in (*ways, beside)] == [
            (ways[1], ways[2]),
            (ways[2], ways[0]),
            (ways[0], ways[1]),
            (),
        ]
        (problem,) = found[ways[0].file].problems
        assert problem.startswith(
            f"destination: {ways[1].file} and {ways[2].file} bring its mail back to the source"
        )
        assert all(each.back == () for each in sharing_among([*ways[:2], beside]).values())


class TestMailThatIsNotOurs:
    @staticmethod
    def listed(folders: Mapping[str, int | None], delimiter: str | None = "/", **uses: str) -> DestinationFolders:
        found = []
        for name, messages in folders.items():
            raw = (delimiter or "/").encode().join(map(encode_name, name.split("/")))
            attributes = frozenset({uses[name]} if name in uses else ())
            status = None if messages is None else FolderStatus(7, None, messages)
            found.append(Listed(Folder(raw, folder_path(raw, delimiter), delimiter, attributes), status))
        return DestinationFolders(found, delimiter=delimiter)

    def test_is_what_folders_hold_beyond_our_copies(self) -> None:
        there = self.listed({"INBOX": 100, "Old": 5, "Old/INBOX": 20, "Older": 1})
        held = {b"INBOX": (7, 40), b"Old/INBOX": (7, 30), b"Older": (6, 1)}  # fewer than we know of; another epoch
        assert not_ours(there, held, "") == NotOurs(60 + 5 + 0 + 1, 66)
        assert not_ours(there, held, "Old") == NotOurs(66, 5)

    def test_is_not_counted_twice_by_a_view(self) -> None:
        there = self.listed({"INBOX": 10, "All": 25, "Starred": 3}, All="\\all", Starred="\\flagged")
        assert not_ours(there, {b"INBOX": (7, 4)}, "") == NotOurs(6 + 15, 6)

    def test_of_folders_without_evidence_is_reported(self) -> None:
        assert not_ours(self.listed({"INBOX": 3, "Odd": None}), {}, "") == NotOurs(3, 3, untold=1)

    def test_below_a_prefix_where_names_are_flat(self) -> None:
        there = self.listed({"INBOX": 1, "Old=_INBOX": 2, "Older": 4}, delimiter=None)
        assert not_ours(there, {}, "Old") == NotOurs(7, 2)
