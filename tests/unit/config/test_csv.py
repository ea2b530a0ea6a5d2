"""A CSV file of accounts, as spreadsheets and people write it: what it means, and what is wrong with it."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from archiver.config.fleet.columns import COLUMNS, column_named, tree_of
from archiver.config.fleet.made import by_text
from archiver.config.fleet.rows import Problem, read_sheet
from archiver.config.fleet.toml import differing, text_of
from archiver.config.layers import Tree
from archiver.config.settings import TABLES
from archiver.config.tables.server import FilesSettings


def cells(text: str | bytes, encoding: str = "utf-8") -> list[dict[str, object]]:
    sheet = read_sheet(text if isinstance(text, bytes) else text.encode(), encoding)
    assert sheet.problems == ()
    return [dict(row.cells) for row in sheet.rows]


def wrong(text: str | bytes, encoding: str = "utf-8") -> list[tuple[int, str]]:
    sheet = read_sheet(text if isinstance(text, bytes) else text.encode(), encoding)
    return [(each.line, each.text) for each in sheet.problems]


ALICE = {"account": "alice", "user": "a@x", "password": "p,w"}


class TestForms:
    @pytest.mark.parametrize(
        "text",
        [
            'account,user,password\nalice,a@x,"p,w"\n',
            'account,user,password\r\nalice,a@x,"p,w"\r\n',
            'account,user,password\ralice,a@x,"p,w"',
            '\ufeffaccount;user;password\nalice;a@x;"p,w"\n',
            "account\tuser\tpassword\nalice\ta@x\tp,w\n",
            'sep=;\r\naccount;user;password\r\nalice;a@x;"p,w"\r\n',
            'password,"user",account,# who\n"p,w", a@x ,alice,Alice; in sales\n\n,,,\n',
        ],
    )
    def test_that_mean_the_same(self, text: str) -> None:
        assert cells(text) == [ALICE]

    @pytest.mark.parametrize(
        ("octets", "encoding"),
        [
            ("account,password\na,pä\n".encode(), "utf-8"),
            ("account,password\na,pä\n".encode("latin-1"), "latin-1"),
            ("account,password\na,pä\n".encode("cp1252"), "windows-1252"),
            (codecs.BOM_UTF16_LE + "account\tpassword\na\tpä\n".encode("utf-16-le"), "utf-8"),
        ],
    )
    def test_of_encodings(self, octets: bytes, encoding: str) -> None:
        assert cells(octets, encoding) == [{"account": "a", "password": "pä"}]

    def test_of_an_encoding_are_not_guessed(self) -> None:
        (problem,) = wrong("account,password\na,b\nc,pä\n".encode("latin-1"))
        other = "save it as UTF-8, or say --encoding latin-1 or --encoding windows-1252"
        assert problem == (3, f"is not UTF-8 (octet 25); {other}")

    def test_of_quotes_and_ends_of_lines_within_them_count_as_lines(self) -> None:
        sheet = read_sheet(b'account,#note\r\nalice,"one\r\ntwo ""quoted"" end"\r\nbob,x\r\n')
        assert [(row.line, row.cells["account"]) for row in sheet.rows] == [(2, "alice"), (4, "bob")]

    def test_of_a_password_keep_its_blanks(self) -> None:
        assert cells('account,password\na," p "\n') == [{"account": "a", "password": " p "}]


class TestColumns:
    @pytest.mark.parametrize(
        ("title", "column"),
        [
            ("Name", "account"),
            ("ACCOUNT ", "account"),
            ("Destination Host", "to_host"),
            ("destination.host", "to_host"),
            ("to-password", "to_password"),
            ("source user", "user"),
            ("archive.path", "path"),
            ("source.path", "files"),
            ("messages.older_than", "older_than"),
            ("# anything", None),
        ],
    )
    def test_are_recognised(self, title: str, column: str | None) -> None:
        assert column_named(title) == column

    def test_fill_keys_that_an_account_file_has(self) -> None:
        for name, each in COLUMNS.items():
            if each.table and each.kind not in ("password", "reference"):
                keys = {*TABLES[each.table].__struct_fields__, *FilesSettings.__struct_fields__}
                assert each.key in keys, name

    def test_are_documented(self) -> None:
        text = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
        table = text.split("## Account files from a table", 1)[1].split("\n## ", 1)[0]
        shared = {name for name in COLUMNS if not name.startswith("to_")} | {"to_prefix", "to_shared"}
        assert {name for name in shared if f"`{name}`" not in table} == set()

    def test_become_tables(self) -> None:
        row = {"account": "a", "port": 143, "to_shared": True, "to_password_command": ["pass", "x"], "files": "/m"}
        assert tree_of({**row, "password": "secret"}) == {
            "source": {"port": 143, "path": "/m", "protocol": "files"},
            "destination": {"shared": True, "password": {"command": ["pass", "x"]}},
        }

    def test_are_at_most_one_password_of_a_side(self) -> None:
        for row in ({"password": "p", "password_env": "P"}, {"password_env": "P", "password_file": "f"}):
            with pytest.raises(ValueError, match="more than one password of the source"):
                tree_of(row)


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "problems"),
        [
            ("", [(1, "is empty; the first line has the names of the columns, like account,user,password")]),
            ("account,user\n", [(1, "has no accounts below its header")]),
            ("user,host\na,b\n", [
                (1, 'has no column "account" (or "name"), which names the account and its file'),
            ]),
            ("account,name\na,b\n", [(1, '"name" is the column account once more; remove one of them')]),
            ("account,,user\na,b,c\n", [(1, "column 2 has no name")]),
            ("account,port\na,12x\nb,143\n", [(2, "column port must be a whole number")]),
            ("account,to_shared\na,maybe\n", [(2, "column to_shared must be true or false")]),
            ("account,user\na,b\0\n", [(2, "has a NUL")]),
            ("account,user\n,b\n", [(2, "names no account; fill the column account")]),
            ("account,user\na\nb,c,d\n", [
                (2, "has 1 cell, and the header 2; quote a cell that has the separator in it"),
                (3, "has 3 cells, and the header 2; quote a cell that has the separator in it"),
            ]),
            ('account,user\na,b\nb,"c\nd,e\n', [
                (3, 'has a quote that is not closed, or text behind one; write a quote within quotes as ""'),
            ]),
            ('account,password\na,"p\nq"\n', [
                (2, "column password has a control character, such as the end of a line"),
            ]),
            ("account,password_command\na,\"pass 'x\"\n", [
                (2, "column password_command is not a valid command line: No closing quotation"),
            ]),
        ],
    )  # fmt: skip
    def test_have_their_line(self, text: str, problems: list[tuple[int, str]]) -> None:
        assert wrong(text) == problems

    def test_of_a_column_suggest_another_one(self) -> None:
        ((line, text),) = wrong("account,pasword\na,hunter2\n")
        words = '"pasword" is no column; did you mean "password"? Otherwise begin it with "#" if it is for people'
        assert (line, text) == (1, words)

    def test_show_no_password(self) -> None:
        text = 'account,password,port\na,"hunter2\nhunter2",1\nb,hunter2,hunter2 \nc,hunter2\n'
        assert "hunter2" not in str(wrong(text))

    def test_of_many_lines_are_one_line(self) -> None:
        problems = [Problem(line, "x") for line in (2, 3, 4, 9)] + [Problem(3, "y")]
        assert by_text(problems) == ["lines 2 to 4, 9: x", "line 3: y"]


class TestTables:
    @pytest.mark.parametrize(
        "tree",
        [
            {"source": {"user": 'a "b" \\ ä\x7f😀', "password": {"command": ["pass", "x y"]}, "port": 1}},
            {"source": {"oauth2": {"provider": "google", "token": {"file": "t"}}}, "archive": {"must_exist": True}},
            {},
        ],
    )
    def test_are_read_as_they_were_written(self, tree: Tree) -> None:
        import tomllib

        assert tomllib.loads(text_of(tree)) == tree

    def test_differ_by_key(self) -> None:
        one: Tree = {"source": {"host": "a", "password": {"env": "X"}}, "archive": {"path": "x"}}
        other: Tree = {"source": {"host": "b", "password": {"file": "X"}}}
        assert list(differing(one, other)) == ["archive", "source.host", "source.password"]
