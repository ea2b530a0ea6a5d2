"""What an account file may say, and what is reported when it is wrong."""

from __future__ import annotations

import re
import tomllib
from configparser import RawConfigParser
from pathlib import Path

import pytest
from msgspec.structs import asdict

from archiver.config.fleet.files import Chosen, find_accounts, fleet_conflicts
from archiver.config.load import load_account
from archiver.config.references import SecretReference
from archiver.config.secrets import resolve
from archiver.config.settings import TABLES, Settings
from archiver.config.tables.s3 import S3Settings
from archiver.config.template import NewAccount, template
from archiver.errors import ConfigError

EXAMPLES = Path(__file__).parents[3] / "configs" / "examples"

SOURCE = """
[source]
host = "imap.example.org"
user = "alice@example.org"
password = { env = "ALICE_PASSWORD" }
"""
ARCHIVE = """
[archive]
path = "/srv/mail/{account}"
"""
MINIMAL = SOURCE + ARCHIVE


def write(folder: Path, text: str, name: str = "alice.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def load(folder: Path, text: str, name: str = "alice.toml") -> Settings:
    return load_account(write(folder, text, name))


def problems(folder: Path, text: str, name: str = "alice.toml") -> tuple[str, ...]:
    file = write(folder, text, name)
    with pytest.raises(ConfigError) as raised:
        load_account(file)
    assert raised.value.where == str(file)
    assert raised.value.exit_code == 2
    return raised.value.problems


class TestAnAccount:
    def test_needs_little_and_the_rest_has_defaults(self, tmp_path: Path) -> None:
        alice = load(tmp_path, MINIMAL)

        assert (alice.account, alice.file, alice.warnings) == ("alice", tmp_path / "alice.toml", ())
        assert asdict(alice.source) == {
            "provider": None,
            "protocol": "imap",
            "host": "imap.example.org",
            "port": 993,
            "tls": "implicit",
            "ca_file": None,
            "fingerprint": None,
            "client_cert": None,
            "client_key": None,
            "user": "alice@example.org",
            "password": SecretReference("env", "ALICE_PASSWORD"),
            "auth": "password",
            "oauth2": None,
            "login": "auto",
            "login_user": None,
            "login_separator": "*",
            "connections": 2,
            "connect_timeout": 30.0,
            "read_timeout": 120.0,
            "attempts": 5,
            "limits": None,
        }
        assert asdict(alice.archive) == {
            "path": Path("/srv/mail/alice"),
            "store": "maildir",
            "durability": "batch",
            "must_exist": False,
            "s3": None,
        }
        assert (alice.folders.include, alice.folders.exclude) == (("*",), ())
        assert alice.messages.search is None

    @pytest.mark.parametrize(
        ("lines", "server"),
        [
            ('provider = "gmail"', ("imap.gmail.com", 993, "implicit")),
            ('provider = "proton"', ("127.0.0.1", 1143, "starttls")),
            ('provider = "proton"\ntls = "implicit"', ("127.0.0.1", 993, "implicit")),
            ('provider = "gmail"\nhost = "proxy.example.org"', ("proxy.example.org", 993, "implicit")),
            ('provider = "dovecot"\nhost = "h"', ("h", 993, "implicit")),
        ],
    )
    def test_has_the_server_of_its_provider(self, tmp_path: Path, lines: str, server: tuple[str, int, str]) -> None:
        text = MINIMAL.replace('host = "imap.example.org"', lines)
        source = load(tmp_path, text).source
        assert (source.host, source.port, source.tls) == server

    def test_names_a_provider_that_is_known(self, tmp_path: Path) -> None:
        (problem,) = problems(tmp_path, MINIMAL.replace("[source]", '[source]\nprovider = "gmial"'))
        assert problem.startswith(
            "source.provider: is not a provider that is known; there are gmail, microsoft365,"
        )

    def test_needs_a_host_if_its_provider_has_none(self, tmp_path: Path) -> None:
        text = MINIMAL.replace('host = "imap.example.org"', 'provider = "dovecot"')
        assert problems(tmp_path, text) == ('source.host: is missing; write host = "imap.example.org"',)

    def test_is_frozen(self, tmp_path: Path) -> None:
        alice = load(tmp_path, MINIMAL)
        for value, name in ((alice, "account"), (alice.source, "host"), (alice.folders, "rename")):
            with pytest.raises(AttributeError):
                setattr(value, name, None)

    @pytest.mark.parametrize(("tls", "port"), [("implicit", 993), ("starttls", 143), ("off", 143)])
    def test_has_the_port_that_goes_with_tls(self, tmp_path: Path, tls: str, port: int) -> None:
        assert load(tmp_path, f'{SOURCE}tls = "{tls}"{ARCHIVE}').source.port == port

    def test_takes_relative_paths_from_the_folder_of_its_file(self, tmp_path: Path) -> None:
        alice = load(
            tmp_path,
            """
            [source]
            host = "h"
            user = "u"
            ca_file = "ca.pem"
            client_cert = "../client.pem"
            password = { file = "secrets/{account}" }
            [archive]
            path = "mail/{account}"
            """,
        )

        assert alice.source.ca_file == tmp_path / "ca.pem"
        assert alice.source.client_cert == tmp_path / "../client.pem"
        assert alice.source.password == SecretReference("file", str(tmp_path / "secrets/alice"))
        assert alice.archive.path == tmp_path / "mail/alice"

    def test_takes_a_tilde_for_the_home_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/alice")
        text = SOURCE + '[archive]\npath = "~/mail"\n'
        assert load(tmp_path, text).archive.path == Path("/home/alice/mail")

    def test_puts_its_name_for_account_in_any_string(self, tmp_path: Path) -> None:
        alice = load(
            tmp_path,
            """
            [source]
            host = "{account}.example.org"
            user = "{account}@example.org"
            password = { command = ["pass", "show", "mail/{account}"] }
            [archive]
            path = "/srv/{account}"
            [folders]
            include = ["{account}/*"]
            """,
        )

        assert (alice.source.host, alice.source.user) == ("alice.example.org", "alice@example.org")
        assert alice.source.password == SecretReference("command", ("pass", "show", "mail/alice"))
        assert alice.folders.include == ("alice/*",)

    @pytest.mark.parametrize(
        ("written", "reference"),
        [
            ('{ env = "A_1" }', SecretReference("env", "A_1")),
            ('{ file = "/run/x" }', SecretReference("file", "/run/x")),
            ('{ command = ["pass", "show", "x"] }', SecretReference("command", ("pass", "show", "x"))),
            ('{ command = ["/bin/x"] }', SecretReference("command", ("/bin/x",))),
            ('{ keyring = "mail" }', SecretReference("keyring", "mail")),
        ],
    )
    def test_refers_to_its_password(self, tmp_path: Path, written: str, reference: SecretReference) -> None:
        assert load(tmp_path, MINIMAL.replace('{ env = "ALICE_PASSWORD" }', written)).source.password == reference

    def test_takes_a_program_with_a_slash_from_its_folder(self, tmp_path: Path) -> None:
        alice = load(tmp_path, MINIMAL.replace('{ env = "ALICE_PASSWORD" }', '{ command = ["./secret.sh"] }'))
        assert alice.source.password == SecretReference("command", (str(tmp_path / "secret.sh"),))

    @pytest.mark.parametrize("written", ["AB" * 32, "ab:" * 31 + "AB"])
    def test_pins_a_certificate(self, tmp_path: Path, written: str) -> None:
        assert load(tmp_path, f'{SOURCE}fingerprint = "{written}"{ARCHIVE}').source.fingerprint == "ab" * 32

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "imap.example.org", "müller.example"])
    def test_names_a_host(self, tmp_path: Path, host: str) -> None:
        assert load(tmp_path, MINIMAL.replace("imap.example.org", host)).source.host == host

    @pytest.mark.parametrize("name", ["alice@example.org", "a.b", "a+b-c_d", "42", "@x"])
    def test_is_named_like_its_file(self, tmp_path: Path, name: str) -> None:
        assert load(tmp_path, MINIMAL, f"{name}.toml").account == name

    def test_may_be_a_link_and_then_has_the_name_of_the_link(self, tmp_path: Path) -> None:
        (tmp_path / "bob.toml").symlink_to(write(tmp_path, MINIMAL))
        assert load_account(tmp_path / "bob.toml").archive.path == Path("/srv/mail/bob")

    def test_may_begin_with_a_byte_order_mark_and_have_crlf(self, tmp_path: Path) -> None:
        file = tmp_path / "alice.toml"
        file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
        assert load_account(file).account == "alice"

    def test_may_search_as_imap_does(self, tmp_path: Path) -> None:
        criteria = r'OR (SINCE 1-Jan-2020 FROM "a \"b\" \\ c") NOT SEEN'
        assert load(tmp_path, f"{MINIMAL}[messages]\nsearch = '{criteria}'").messages.search == criteria


class TestDefaults:
    def test_lie_under_every_account_table_by_table_and_the_account_wins(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            """
            [source]
            host = "imap.example.org"
            tls = "starttls"
            connections = 4
            password = { file = "/secrets/{account}" }
            [archive]
            path = "/srv/{account}"
            [folders]
            exclude = ["Junk"]
            """,
            "defaults.toml",
        )

        bob = load(tmp_path, '[source]\nuser = "bob"\nconnections = 1\n[folders]\nexclude = []', "bob.toml")

        assert (bob.source.host, bob.source.port, bob.source.connections) == ("imap.example.org", 143, 1)
        assert bob.source.password == SecretReference("file", "/secrets/bob")
        assert bob.archive.path == Path("/srv/bob")
        assert bob.folders.exclude == ()

    def test_give_way_to_another_kind_of_reference(self, tmp_path: Path) -> None:
        write(tmp_path, '[source]\npassword = { file = "x" }', "defaults.toml")
        assert load(tmp_path, MINIMAL).source.password == SecretReference("env", "ALICE_PASSWORD")

    def test_are_named_where_the_mistake_is_theirs(self, tmp_path: Path) -> None:
        write(tmp_path, '[source]\nprot = 1\nconnections = 0\nuser = 5\n[folders]\nexclude = [""]', "defaults.toml")
        assert problems(tmp_path, MINIMAL) == (
            "source.connections (from defaults.toml): must be greater than or equal to 1",
            'source.prot (from defaults.toml): is not a key; did you mean "port"?',
            (
                "folders.exclude, item 1 (from defaults.toml): "
                'must not be empty or begin or end with "/"; "Public/*" is all below Public'
            ),
        )

    def test_are_no_account(self, tmp_path: Path) -> None:
        assert problems(tmp_path, MINIMAL, "defaults.toml") == (
            "has the defaults of its folder and is not an account; name an account file or the folder",
        )

    def test_that_cannot_be_read_are_not_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "defaults.toml").symlink_to("nowhere.toml")
        with pytest.raises(ConfigError, match=r"defaults\.toml: no such file"):
            load(tmp_path, MINIMAL)


class TestMistakes:
    def test_are_all_reported_together(self, tmp_path: Path) -> None:
        text = """
        hots = "x"
        user = "y"
        [source]
        host = "imaps://imap.example.org:993"
        port = "993"
        tls = "off"
        ca_file = "ca.pem"
        pasword = { env = "X" }
        connections = 17
        read_timeout = true
        login = "md5"
        [archive]
        durability = 1
        [folders]
        exclude = "Junk"
        include = []
        [messages]
        search = 7
        """

        assert problems(tmp_path, text, "al ice.toml") == (
            "the file's name is the account's: use ASCII letters, digits and . _ - @ + only, not . or - first",
            'source.ca_file: contradicts tls = "off", which uses no certificates; remove one of them',
            'source.host: must be the server\'s name alone, as in "imap.example.org"',
            "source.port: must be a whole number, without quotes",
            'source.user: is missing; write user = "alice@example.org"',
            'source.password: is missing; write password = { env = "ALICE_PASSWORD" }',
            'source.login: must be "auto", "login", "plain", "scram" or "cram-md5"',
            "source.connections: must be less than or equal to 16",
            "source.read_timeout: must be a number, without quotes",
            'source.pasword: is not a key; did you mean "password"?',
            'archive.path: is missing; write path = "/srv/mail-archive/{account}"',
            'archive.durability: must be "batch", "file" or "none"',
            "folders.include: must not be empty, or nothing would be archived",
            'folders.exclude: must be a list, as in ["Junk", "Public/*"]',
            "messages.search: must be a string, in quotes",
            f"hots: is not a key; there are {', '.join(name for name in TABLES if '.' not in name)}",
            "user: does not belong here; write it below [source]",
        )

    def test_read_as_where_what_and_what_next(self, tmp_path: Path) -> None:
        file = write(tmp_path, MINIMAL + "[folder]")
        with pytest.raises(ConfigError) as raised:
            load_account(file)
        assert str(raised.value) == f'{file}: folder: is not a key; did you mean "folders"?'

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('catalog = "x"', "archive.catalog: is not supported in this version yet; remove it"),
        ],
    )
    def test_what_is_not_built_yet_is_refused(self, tmp_path: Path, text: str, problem: str) -> None:
        assert problems(tmp_path, f"{MINIMAL}\n{text}") == (problem,)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (
                f'{SOURCE}protocol = "pop2"{ARCHIVE}',
                'source.protocol: must be "imap", "pop3" or "files"',
            ),
            (f'{MINIMAL}store = "s3"', 'archive: store = "s3" and the table [archive.s3] go together'),
            (f'{MINIMAL}store = "mbox"', 'archive.store: must be "maildir" or "s3"'),
            (f'{MINIMAL}catalog = "x"', "archive.catalog: is not supported in this version yet; remove it"),
            (f"source = 5\n{ARCHIVE}", "source: must be a table: a line [source] with its keys below"),
            (f'{SOURCE}[archive]\npath = ""', "archive.path: must name a file or a folder"),
            (f"{SOURCE}[archive]\npath = 1", "archive.path: must be the path of a file or folder, in quotes"),
            (
                f'{SOURCE}[archive]\npath = "/srv/{{acount}}"',
                "archive.path: has an unknown placeholder; the only one is {account}",
            ),
            (
                f'{SOURCE}ca_file = "a"\nfingerprint = "{"ab" * 32}"{ARCHIVE}',
                "source.fingerprint: contradicts ca_file: a pinned certificate needs no authority; remove one",
            ),
            (
                f'{SOURCE}fingerprint = "{"ab" * 20}"{ARCHIVE}',
                (
                    "source.fingerprint: must be the SHA-256 of the certificate, 64 hex digits with or without "
                    "colons; `openssl x509 -noout -fingerprint -sha256` prints it"
                ),
            ),
            (
                SOURCE.replace("alice@", "a\\r\\nb@") + ARCHIVE,
                "source.user: must not be empty or contain control characters",
            ),
            (f"{SOURCE}read_timeout = inf{ARCHIVE}", "source.read_timeout: must be a finite number"),
            (f"{SOURCE}port = 99.5{ARCHIVE}", "source.port: must be a whole number, without quotes"),
            (
                f'{MINIMAL}"a\\nb" = 1',
                'archive."a\\nb": is not a key; there are path, store, durability, must_exist, s3',
            ),
        ],
    )
    def test_say_what_to_write_instead(self, tmp_path: Path, text: str, problem: str) -> None:
        assert problems(tmp_path, text) == (problem,)

    @pytest.mark.parametrize(
        "host", ["", "a b", "alice@h", "h:993", "[::1]", "a..b", "x" * 64, "h/", "ü" * 64, "ü..de", "a\u2044b.de"]
    )
    def test_in_a_host(self, tmp_path: Path, host: str) -> None:
        (problem,) = problems(tmp_path, MINIMAL.replace("imap.example.org", host))
        assert problem.startswith("source.host: must be the server's name alone")

    @pytest.mark.parametrize(
        ("criteria", "says"),
        [
            ("", "must not be empty"),
            ("SEEN\\r\\nA1 DELETE INBOX", "one line of printable ASCII"),
            ("SEEN\\u0000", "one line of printable ASCII"),
            ("SUBJECT Müller", "one line of printable ASCII"),
            ("SUBJECT {5}", "must not contain an IMAP literal"),
            ("SUBJECT {5+}", "must not contain an IMAP literal"),
            ('SUBJECT \\"open', "quoted string that is not closed"),
            ("RETURN (SAVE) ALL", "without RETURN or CHARSET"),
            ("charset UTF-8 ALL", "without RETURN or CHARSET"),
        ],
    )
    def test_in_a_search(self, tmp_path: Path, criteria: str, says: str) -> None:
        (problem,) = problems(tmp_path, f'{MINIMAL}[messages]\nsearch = "{criteria}"')
        assert problem.startswith("messages.search: ")
        assert says in problem

    @pytest.mark.parametrize("name", [".toml.toml", "-x.toml", "ä.toml", "a\nb.toml", "Defaults.toml"])
    def test_in_the_name_of_the_file(self, tmp_path: Path, name: str) -> None:
        assert len(problems(tmp_path, MINIMAL, name)) == 1

    def test_in_the_suffix_of_the_file(self, tmp_path: Path) -> None:
        assert problems(tmp_path, MINIMAL, "alice.toml~") == ('an account file\'s name ends in ".toml"; rename it',)

    def test_in_a_file_that_a_shell_found_beside_account_files(self, tmp_path: Path) -> None:
        for text in ("770a247b728a4ccfb5c10839f1db8f18", "# \udce4"):
            file = tmp_path / "alice.archive"
            file.write_bytes(text.encode("utf-8", "surrogateescape"))
            with pytest.raises(ConfigError) as raised:
                load_account(file)
            assert raised.value.problems == ('is no account file: an account file\'s name ends in ".toml"',)
            assert "the folder for all" in str(raised.value)

    def test_in_toml_come_with_line_and_column(self, tmp_path: Path) -> None:
        assert problems(tmp_path, "[source]\nhost = imap") == (
            "is not TOML: Invalid value (at line 2, column 8)",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[a]\n[source.x]\n[source.x]", "[source.x] begins a second time at line 3; put its keys below"),
            ("[a]\nb = 1\nb = 2\n", "is not TOML: a key is given a second time (at line 3,"),
        ],
    )
    def test_that_is_there_twice(self, tmp_path: Path, text: str, said: str) -> None:
        file = tmp_path / "alice.toml"
        file.write_text(text)
        with pytest.raises(ConfigError, match=re.escape(said)):
            load_account(file)

    def test_not_utf8(self, tmp_path: Path) -> None:
        file = tmp_path / "alice.toml"
        file.write_bytes(b"# \xe4")
        with pytest.raises(ConfigError) as raised:
            load_account(file)
        assert raised.value.problems == ("is not UTF-8 (octet 3); save it as UTF-8",)

    def test_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"alice\.toml: no such file"):
            load_account(tmp_path / "alice.toml")

    def test_not_readable(self, tmp_path: Path) -> None:
        (tmp_path / "alice.toml").mkdir()
        with pytest.raises(ConfigError, match=r"alice\.toml: cannot be read: Is a directory"):
            load_account(tmp_path / "alice.toml")


class TestAPasswordInTheFile:
    @pytest.mark.parametrize(
        "written",
        [
            'password = "hunter2!"',
            "password = 'hunter2!'",
            'password = { plain = "hunter2!" }',
            'password = { env = "hunter2!" }',
            'password = { env = "A", file = "hunter2!" }',
            'password = ["hunter2!"]',
            'password = { command = "hunter2!" }',
            'password = { command = ["hunter2!", 1] }',
            'password = { "hunter2!" = 1 }',
            'password = "hunter2!"\ntls = "hunter2!"\nconnections = "hunter2!"',
        ],
    )
    def test_is_refused_and_shown_nowhere(self, tmp_path: Path, written: str) -> None:
        file = write(tmp_path, MINIMAL.replace('password = { env = "ALICE_PASSWORD" }', written))

        with pytest.raises(ConfigError) as raised:
            load_account(file)

        assert raised.value.problems[-1 if "tls" not in written else 1].startswith("source.password: ")
        assert raised.value.__context__ is None
        assert "hunter2" not in f"{raised.value} {raised.value!r} {vars(raised.value)}"

    def test_is_answered_with_how_to_refer(self, tmp_path: Path) -> None:
        text = MINIMAL.replace('{ env = "ALICE_PASSWORD" }', '"hunter2!"')
        assert problems(tmp_path, text) == (
            (
                "source.password: is not a reference; write a reference to the password instead: "
                '{ env = "NAME" }, { file = "PATH" }, { command = ["PROGRAM", "ARGUMENT"] } '
                'or { keyring = "SERVICE" }'
            ),
        )


class TestWarnings:
    def test_plain_text_to_another_host(self, tmp_path: Path) -> None:
        assert load(tmp_path, f'{SOURCE}tls = "off"{ARCHIVE}').warnings == (
            'source.tls: "off" sends the password and all mail to imap.example.org readable by anyone on the way',
        )

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
    def test_plain_text_to_this_host_is_fine(self, tmp_path: Path, host: str) -> None:
        text = f'{SOURCE}tls = "off"{ARCHIVE}'.replace("imap.example.org", host)
        assert load(tmp_path, text).warnings == ()

    @pytest.mark.parametrize(("tls", "port"), [("starttls", 993), ("implicit", 143)])
    def test_a_port_for_another_kind_of_tls(self, tmp_path: Path, tls: str, port: int) -> None:
        (warning,) = load(tmp_path, f'{SOURCE}tls = "{tls}"\nport = {port}{ARCHIVE}').warnings
        assert warning.startswith(f"source.port: {port} usually wants")


class TestAFleet:
    def test_is_the_files_of_a_folder_sorted_without_defaults(self, tmp_path: Path) -> None:
        for name in ("b.toml", "a.toml", "defaults.toml", ".#a.toml", "c.toml~", "README.md"):
            write(tmp_path, "", name)
        (tmp_path / "d.toml").mkdir()
        assert find_accounts(Chosen((tmp_path,))).files == (tmp_path / "a.toml", tmp_path / "b.toml")

    def test_names_a_file_once_however_it_was_reached(self, tmp_path: Path) -> None:
        file = write(tmp_path, "")
        paths = (file, tmp_path, tmp_path / ".." / tmp_path.name / "alice.toml")
        assert find_accounts(Chosen(paths)).files == (file,)

    def test_keeps_a_link_to_nowhere_so_that_it_is_not_overlooked(self, tmp_path: Path) -> None:
        (tmp_path / "a.toml").symlink_to("nowhere")
        assert find_accounts(Chosen((tmp_path,))).files == (tmp_path / "a.toml",)

    def test_is_never_empty(self, tmp_path: Path) -> None:
        write(tmp_path, "", "defaults.toml")
        (problem,) = find_accounts(Chosen((tmp_path,))).problems.values()
        assert "no account files (*.toml) in this folder; `archiver init" in str(problem)

    def test_is_not_guessed(self, tmp_path: Path) -> None:
        (problem,) = find_accounts(Chosen((tmp_path / "nowhere",))).problems.values()
        assert "nowhere: no such file or folder" in str(problem)

    def test_of_different_accounts_is_fine(self, tmp_path: Path) -> None:
        assert not fleet_conflicts([load(tmp_path, MINIMAL, "a.toml"), load(tmp_path, MINIMAL, "b.toml")])

    def test_may_not_share_names_or_archives(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        one.mkdir()
        two.mkdir()
        (tmp_path / "link").symlink_to(one)
        a = load(one, f'{SOURCE}[archive]\npath = "{one}/archive"', "a.toml")
        b = load(one, f'{SOURCE}[archive]\npath = "{tmp_path}/link/archive"', "b.toml")
        other_a = load(two, MINIMAL, "a.toml")

        taken, next_step = f"archive.path: {one}/archive is that of", "give each its own, with {account} in it"
        own = load(two, f'{SOURCE}[archive]\npath = "{two}/archive"', "c.toml")

        conflicts = fleet_conflicts([a, b, other_a, own])

        assert {file: error.problems for file, error in conflicts.items()} == {
            a.file: (
                f'has the account name "a", as {two}/a.toml has; rename all but one',
                f"{taken} {one}/b.toml, too; {next_step}",
            ),
            b.file: (f"{taken} {one}/a.toml, too; {next_step}",),
            other_a.file: (f'has the account name "a", as {one}/a.toml has; rename all but one',),
        }


class TestADestination:
    """Has the keys of a source and a prefix."""

    TEXT = f"""{MINIMAL}
[destination]
host = "new.example.net"
user = "alice"
password = {{ env = "NEW" }}
"""

    def test_is_none_by_default(self, tmp_path: Path) -> None:
        assert load(tmp_path, MINIMAL).destination is None

    def test_has_the_keys_of_a_source(self, tmp_path: Path) -> None:
        there = load(tmp_path, self.TEXT + 'tls = "starttls"\nprefix = "Old mail/alice"').destination
        assert there is not None
        assert (there.host, there.port, there.prefix) == ("new.example.net", 143, "Old mail/alice")

    def test_has_rules(self, tmp_path: Path) -> None:
        text = '[folders.rename]\n"Sent Items" = "Sent"\n[replay]\nvanished = "mark"\nrepair = ["nul"]\n'
        alice = load(tmp_path, self.TEXT + text)
        assert alice.folders.rename == {"Sent Items": "Sent"}
        assert (alice.replay.vanished, alice.replay.repair) == ("mark", ("nul",))

    def test_may_be_shared_by_accounts_that_delete_nothing(self, tmp_path: Path) -> None:
        there = load(tmp_path, self.TEXT + "shared = true").destination
        assert there is not None
        assert there.shared
        for policy in ("mark", "expunge"):
            (problem,) = problems(tmp_path, f'{self.TEXT}shared = true\n[replay]\nvanished = "{policy}"')
            assert problem.startswith(
                f'destination.shared: contradicts [replay] vanished = "{policy}": a copy in a'
            )
            assert load(tmp_path, f'{self.TEXT}shared = false\n[replay]\nvanished = "{policy}"').destination

    @pytest.mark.parametrize("port", ["", "port = 143"])
    def test_is_not_the_source(self, tmp_path: Path, port: str) -> None:
        host, user = 'host = "new.example.net"', 'user = "alice"'
        same = self.TEXT.replace(host, f'host = "IMAP.example.org."\n{port}').replace(
            user, 'user = "alice@example.org"'
        )
        assert problems(tmp_path, same)[0].startswith("destination.host: is the source")

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ('prefix = "/a"', 'destination.prefix: must be a folder\'s name with "/" between levels, as in'),
            ('prefx = "a"', 'destination.prefx: is not a key; did you mean "prefix"?'),
            ('protocol = "pop3"', 'destination.protocol: must be "imap"'),
        ],
    )
    def test_is_checked(self, tmp_path: Path, line: str, problem: str) -> None:
        assert problems(tmp_path, self.TEXT + line)[0].startswith(problem)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('[replay]\nvanished = "delete"', 'replay.vanished: must be "keep", "mark" or "expunge"'),
            (
                '[replay]\nrepair = ["all"]',
                'replay.repair, item 1: must be "crlf", "last-line", "nul" or "long-lines"',
            ),
            ('[folders]\nrename = { "A" = "" }', "folders.rename.A: must be a folder's name"),
        ],
    )
    def test_has_rules_that_are_checked(self, tmp_path: Path, text: str, problem: str) -> None:
        assert problems(tmp_path, self.TEXT + text)[0].startswith(problem)


class TestTheTemplate:
    def test_loads_as_it_stands(self, tmp_path: Path) -> None:
        alice = load(tmp_path, template(NewAccount()))
        assert alice == load(tmp_path, MINIMAL.replace("/srv/mail/", "/srv/mail-archive/"))

    @pytest.mark.parametrize(
        "password",
        [
            SecretReference("file", '/run/"odd" \\name'),
            SecretReference("command", ("pass", "show", "a b")),
            SecretReference("keyring", "mail"),
        ],
    )
    def test_is_filled_from_options(self, tmp_path: Path, password: SecretReference) -> None:
        options = NewAccount(
            host="localhost", user='"é\U0001f600\\', password=password, path="/a b", tls="off", port=10143
        )

        alice = load(tmp_path, template(options))

        assert (alice.source.host, alice.source.user, alice.source.tls) == ("localhost", '"é\U0001f600\\', "off")
        assert (alice.source.port, alice.source.password) == (10143, password)
        assert alice.archive.path == Path("/a b")

    def test_shows_every_key_where_it_belongs(self) -> None:
        sections = dict(
            re.findall(r"^#?\[([\w.]+)\]\n(.*?)(?=^#?\[|\Z)", template(NewAccount()), re.MULTILINE | re.DOTALL)
        )
        shown = {name: set(re.findall(r"^#? ?(\w+) = ", text, re.MULTILINE)) for name, text in sections.items()}
        expected = {name: set(model.__struct_encode_fields__) for name, model in TABLES.items()}
        expected["archive"] -= {"s3"}
        expected["source"] -= {"oauth2", "limits"}
        expected["notify"] -= {"mail"}
        del expected["destination.oauth2"], expected["destination.limits"]
        del expected["fleet"], expected["servers.HOST"]  # belongs to defaults.toml
        assert shown == expected | {"destination": {"host", "user", "password", "prefix", "shared"}}

    def test_is_valid_with_its_destination(self, tmp_path: Path) -> None:
        text = re.sub(r"^#\[(archive.s3|source.oauth2)\]\n(#.*\n)+", "", template(NewAccount()), flags=re.MULTILINE)
        alice = load(tmp_path, re.sub(r"^#(?=[\[\w])", "", text, flags=re.MULTILINE))
        assert alice.destination is not None
        assert (alice.destination.host, alice.destination.port) == ("imap.example.net", 993)

    @pytest.mark.parametrize("key", S3Settings.__struct_fields__)
    def test_is_valid_with_its_bucket(self, tmp_path: Path, key: str) -> None:
        needed = {"kms_key": 'sse = "aws:kms"', "customer_key": 'sse = "customer"'}.get(key, "")
        text = template(NewAccount()).replace('# store = "maildir"', 'store = "s3"')
        head, table = text.split("#[archive.s3]\n")
        table, rest = table.split("\n\n", 1)
        needs = ("#bucket =", f"#{key} =")
        lines = [line.removeprefix("#") if line.startswith(needs) else line for line in table.splitlines()]
        text = "\n".join([head, "[archive.s3]", needed, *lines, "", rest])
        assert load(tmp_path, text).archive.s3 is not None
        assert key in tomllib.loads(text)["archive"]["s3"]

    @pytest.mark.parametrize(
        "line", [line for line in template(NewAccount()).splitlines() if re.match(r"# (?!fing)\w+ = ", line)]
    )
    def test_is_valid_with_any_optional_key(self, tmp_path: Path, line: str) -> None:
        text = template(NewAccount()).replace(line, line.removeprefix("# "))
        if "client_key" in line:
            text = text.replace("# client_cert", "client_cert")
        assert load(tmp_path, text).account == "alice"


class TestTheExamples:
    def test_load_without_a_warning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ALICE_PASSWORD", "secret")
        fleet = [load_account(EXAMPLES / "alice.toml")]
        assert [(one.account, one.warnings) for one in fleet] == [("alice", ())]
        assert fleet[0].source.host == "imap.example.org"
        password = fleet[0].source.password
        assert resolve(password.kind, password.value, user=fleet[0].source.user).reveal() == "secret"

    def test_run_nightly(self) -> None:
        service, timer = (RawConfigParser(strict=False), RawConfigParser(strict=False))
        service.read(EXAMPLES / "archiver.service")
        timer.read(EXAMPLES / "archiver.timer")
        assert service["Service"]["ExecStart"] == "/opt/mail-archiver/bin/archiver run /etc/mail-archiver"
        assert service["Unit"]["RequiresMountsFor"] == "/srv/mail-archive"
        assert service["Service"]["ReadWritePaths"].split() == ["/srv/mail-archive", "/etc/mail-archiver"]
        assert service["Service"]["SuccessExitStatus"].split() == ["75", "143", "SIGTERM"]
        assert (EXAMPLES / service["Unit"]["OnFailure"]).exists()
        assert (timer["Timer"]["Persistent"], timer["Timer"]["RandomizedDelaySec"]) == ("true", "1h")


class TestPop3:
    """The keys that say what POP3 cannot do are mistakes, and ports are its own."""

    POP3 = f'{SOURCE}protocol = "pop3"\n'

    @pytest.mark.parametrize(("tls", "port"), [("implicit", 995), ("starttls", 110), ("off", 110)])
    def test_has_ports_of_its_own(self, tmp_path: Path, tls: str, port: int) -> None:
        (tmp_path / "a.toml").write_text(f'{self.POP3}tls = "{tls}"{ARCHIVE}')
        source = load_account(tmp_path / "a.toml").source
        assert (source.port, source.connections) == (port, 1)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (
                "connections = 2\n",
                "source.connections: must be 1: a POP3 server opens a maildrop for one",
            ),
            ('[messages]\nsearch = "SEEN"\n', "messages.search: is for IMAP: POP3 has no search; remove it"),
            ('[folders]\ninclude = ["Sent"]\n', "folders.include: leaves out INBOX, the only folder that POP3 has"),
            ('[folders]\nexclude = ["*"]\n', "folders.exclude: leaves out INBOX, the only folder that POP3 has"),
        ],
    )
    def test_cannot_do_everything(self, tmp_path: Path, text: str, problem: str) -> None:
        found = problems(tmp_path, f"{self.POP3}{text}{ARCHIVE}")
        assert [each.startswith(problem) for each in found] == [True]

    def test_what_names_inbox_is_fine(self, tmp_path: Path) -> None:
        rules = '[folders]\ninclude = ["INBOX", "Sent"]\nexclude = ["Sent"]\n'
        (tmp_path / "a.toml").write_text(f"{self.POP3}connections = 1\n{rules}{ARCHIVE}")
        assert load_account(tmp_path / "a.toml").warnings == ()

    def test_is_not_replayed_to_itself(self, tmp_path: Path) -> None:
        there = '[destination]\nhost = "imap.example.org"\nuser = "alice@example.org"\npassword = { env = "B" }\n'
        found = problems(tmp_path, f"{self.POP3}{there}{ARCHIVE}")
        assert [each.partition(":")[0] for each in found] == ["destination.host"]


class TestOneHostForBothSides:
    DESTINATION = """
[destination]
host = "{host}"
user = "alice.new"
password = {{ env = "ALICE_PASSWORD" }}
"""

    @pytest.mark.parametrize(
        ("host", "connections", "expected"),
        [
            ("IMAP.example.org", 1, True),
            ("imap.example.org", 2, False),
            ("imap.example.net", 1, False),
        ],
    )
    def test_needs_two_connections(self, tmp_path: Path, host: str, connections: int, expected: bool) -> None:
        shared = f'[servers."imap.example.org"]\nconnections = {connections}\n'
        (tmp_path / "defaults.toml").write_text(shared)
        text = MINIMAL + self.DESTINATION.format(host=host)
        if not expected:
            assert load(tmp_path, text).servers["imap.example.org"].connections == connections
            return
        (problem,) = problems(tmp_path, text)
        assert problem == (
            'servers."imap.example.org".connections (from defaults.toml): is too few: source and destination are '
            "both at this host, and need one each; write 2 or more"
        )
