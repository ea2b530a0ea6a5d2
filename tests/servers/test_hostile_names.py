"""Folder names and keywords as no sane person gives them: each is archived under its true name, in a directory of
its own, inside the archive and nowhere else."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, assert_whole, command, run, snapshot_files
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import MailServer
from tests.servers.pymap_server import PymapServer
from tests.servers.scripted import MINIMAL, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.served import ServedFolder
from tests.servers.wire import Append, Wire, WireError, append, quoted

SLASHED: Mapping[bytes, tuple[str, ...]] = {
    # out of the archive, if names were paths
    b"../../etc": ("..", "..", "etc"),
    b"..": ("..",),
    b".": (".",),
    b"...": ("...",),
    b"a/../b": ("a", "..", "b"),
    b"/etc/passwd": ("", "etc", "passwd"),
    b"~root/x": ("~root", "x"),
    b"~": ("~",),
    # levels that a Maildir++ name cannot hold as they are
    b"x.y": ("x.y",),
    b"x/y": ("x", "y"),
    b"x//y": ("x", "", "y"),
    b"x/": ("x", ""),
    b".hidden": (".hidden",),
    b".hidden.child": (".hidden.child",),
    b"back\\slash": ("back\\slash",),
    b"x\\2ey": ("x\\2ey",),
    b"x\\-/y": ("x\\-", "y"),
    b"c:\\windows\\": ("c:\\windows\\",),
    # names that mean something in a Maildir
    b"cur": ("cur",),
    b"new": ("new",),
    b"tmp": ("tmp",),
    b"cur/cur": ("cur", "cur"),
    b"dovecot-uidlist": ("dovecot-uidlist",),
    b"subscriptions": ("subscriptions",),
    b"maildirfolder": ("maildirfolder",),
    # IMAP's own syntax
    b"AT&T": ("AT&T",),
    b"AT&-T": ("AT&T",),
    b"br[ack": ("br[ack",),
    b"br]ack": ("br]ack",),
    b"NIL": ("NIL",),
    b"nil": ("nil",),
    b'"quoted"': ('"quoted"',),
    b'half"quoted': ('half"quoted',),
    b"*": ("*",),
    b"%": ("%",),
    b"a*b%c": ("a*b%c",),
    b"(paren": ("(paren",),
    b"{5}": ("{5}",),
    # scripts and encodings; two of these decode alike
    b"&ZeVnLIqe-": ("日本語",),
    "日本語".encode(): ("日本語",),
    "Ünïcode/日本".encode(): ("Ünïcode", "日本"),
    b"caf\xe9": ("café",),
    b"&ZeVnLIqe": ("&ZeVnLIqe",),
    b"&2D3eAA-": ("😀",),
    b"&2D0-": ("&2D0-",),
    # lengths
    b"l" * 255: ("l" * 255,),
    b"l" * 254 + b"m": ("l" * 254 + "m",),
    b"n" * 1000: ("n" * 1000,),
    "語".encode() * 85: ("語" * 85,),
    b"/".join([b"deep"] * 50): ("deep",) * 50,
    # differing only in case or in blanks
    b"Case": ("Case",),
    b"case": ("case",),
    b"CASE": ("CASE",),
    b"blank": ("blank",),
    b"blank ": ("blank ",),
    b"blank  ": ("blank  ",),
    b" blank": (" blank",),
    b"blank/ ": ("blank", " "),
    # what looks like INBOX
    b"INBOX/sub": ("INBOX", "sub"),
    b"inbox/other": ("INBOX", "other"),
    b"INBOX ": ("INBOX ",),
    b"&AEkATgBCAE8AWA-": ("INBOX",),
    b".INBOX": (".INBOX",),
    # what would rule a terminal or a line of a log
    b"tab\there": ("tab\there",),
    b"line\r\nbreak": ("line\r\nbreak",),
    b"bell\x07": ("bell\x07",),
    b"\x1b[31mred": ("\x1b[31mred",),
    b"\x01\x02\x7f": ("\x01\x02\x7f",),
    "safe\u202egpj.exe".encode(): ("safe\u202egpj.exe",),
    "c1\x9bcontrol".encode(): ("c1\x9bcontrol",),
    b"&AAA-": ("\0",),
    # what would rule a shell, a template or a query
    b"$(touch pwned)": ("$(touch pwned)",),
    b"-rf *": ("-rf *",),
    b"<script>alert(1)</script>": ("<script>alert(1)<", "script>"),
    b"{account} %s {0}": ("{account} %s {0}",),
    b"'; DROP TABLE folder; --": ("'; DROP TABLE folder; --",),
}
"""Names as a server with "/" between levels lists them, and what they are for people."""

DOTTED: Mapping[bytes, tuple[str, ...]] = {
    b"a/b": ("a/b",),
    b"a.b": ("a", "b"),
    b"../../etc": ("", "", "/", "", "/etc"),
    b"a..b": ("a", "", "b"),
    b"INBOX.Sent": ("INBOX", "Sent"),
    b"inbox.cur": ("INBOX", "cur"),
    b"&ZeVnLIqe-.br[ack": ("日本語", "br[ack"),
}

FLAT: Mapping[bytes, tuple[str, ...]] = {
    b"a/b": ("a/b",),
    b"a.b": ("a.b",),
    b"../../etc": ("../../etc",),
    b"/": ("/",),
    b"NIL": ("NIL",),
}
"""With NIL for a delimiter a name has no levels."""

KEYWORDS = (
    "$Label",
    "a[b",
    "a]b",
    "todo/today",
    "na:me",
    "x,y=z",
    "'single'",
    "NIL",
    "ünïcode",
    *map("k{:02}".format, range(60)),
)


def message(name: bytes) -> bytes:
    return b"Subject: only here\r\n\r\n" + name.hex().encode() + b"\r\n"


def digest(name: bytes) -> str:
    return hashlib.sha256(message(name)).hexdigest()


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[Path]:
    """A directory with two levels above it, none of which may be touched, nor the working directory or home."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    watched = [tmp_path, Path.cwd(), Path(os.environ["HOME"])]
    (inner.parent / "etc").write_text("not yours")
    before = [set(os.listdir(path)) for path in watched]
    yield inner
    assert [set(os.listdir(path)) for path in watched] == before
    assert os.listdir(tmp_path / "etc") == []
    assert sorted(os.listdir(inner.parent)) == ["etc", "inner"]


def held(archive: Path) -> dict[bytes, tuple[tuple[str, ...], str, list[str]]]:
    """What the Maildir holds by the true names in it: path, directory, digests of its messages."""
    found: dict[bytes, tuple[tuple[str, ...], str, list[str]]] = {}
    for directory in [archive / "Maildir", *sorted((archive / "Maildir").iterdir())]:
        if not (directory / "archiver-folder.json").exists():
            continue
        reported = json.loads((directory / "archiver-folder.json").read_text())
        octets = [path.read_bytes() for path in (directory / "cur").iterdir()]
        raw = reported["name"].encode("latin-1")
        assert raw not in found
        digests = sorted(hashlib.sha256(each).hexdigest() for each in octets)
        found[raw] = (tuple(reported["path"]), directory.name, digests)
    return found


def assert_archived(config: Path, names: Mapping[bytes, tuple[str, ...]]) -> None:
    """Each folder has its own message, its true name and a directory of its own; a second run finds nothing new."""
    archive = archive_of(config)
    assert_whole(archive)
    folders = held(archive)
    assert {raw: (path, digests) for raw, (path, _, digests) in folders.items()} == {
        raw: (path, [digest(raw)]) for raw, path in names.items()
    }
    directories = [directory for _, directory, _ in folders.values()]
    assert len(set(directories)) == len(names), sorted(directories)
    assert {path.name for path in (archive / "Maildir").iterdir() if path.is_dir()} == {
        *(set(directories) - {"Maildir"}), "cur", "new", "tmp",
    }  # fmt: skip
    assert not [path for path in archive.rglob("*") if path.is_symlink()]
    assert catalog_paths(archive) == dict(names)
    before = snapshot_files(archive)
    assert run(config).total("fetched", "flags_changed", "vanished") == (0, 0, 0)
    assert snapshot_files(archive) == before


def catalog_paths(archive: Path) -> dict[bytes, tuple[str, ...]]:
    with closing(sqlite3.connect(f"file:{archive / 'catalog.sqlite'}?mode=ro", uri=True)) as catalog:
        return {raw: tuple(json.loads(path)) for raw, path in catalog.execute("SELECT raw, path FROM folder")}


def assert_printable(text: str) -> None:
    """Nothing that a terminal obeys."""
    assert re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text) == []


def scripted_folders(names: Iterable[bytes]) -> dict[bytes, ScriptedFolder]:
    return {
        raw: ScriptedFolder(number, {1: ScriptedMessage(message(raw))}, subscribed=number % 2 == 0)
        for number, raw in enumerate([b"INBOX", *names], 1)
    }


@pytest.mark.parametrize(
    ("delimiter", "names"), [(b"/", SLASHED), (b".", DOTTED), (None, FLAT)], ids=["slash", "dot", "flat"]
)
@pytest.mark.parametrize("capabilities", [None, MINIMAL], ids=["everything", "minimal"])
def test_each_folder_is_under_its_true_name_in_a_directory_of_its_own(
    scripted: Callable[..., ScriptedServer],
    around: Path,
    delimiter: bytes | None,
    names: Mapping[bytes, tuple[str, ...]],
    capabilities: tuple[str, ...] | None,
) -> None:
    server = scripted(
        scripted_folders(names), delimiter=delimiter, **({"capabilities": capabilities} if capabilities else {})
    )
    config = account_file(around, server, "u1")

    result = run(config)

    assert result.balanced
    assert result.total("on_server", "stored") == (len(names) + 1, len(names) + 1)
    assert_archived(config, {**names, b"INBOX": ("INBOX",)})
    assert_printable(result.output)
    for value in strings(result.report):
        assert_printable(value)


def strings(value: object) -> Iterable[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield key
                yield from strings(inner)
        case list():
            for inner in value:
                yield from strings(inner)


@pytest.mark.parametrize("inbox", [b"inbox", b"Inbox", b"INBOX"])
def test_inbox_in_any_case_is_inbox(scripted: Callable[..., ScriptedServer], around: Path, inbox: bytes) -> None:
    server = scripted({inbox: ScriptedFolder(1, {1: ScriptedMessage(message(b"INBOX"))})})
    config = account_file(around, server, "u1")

    run(config)

    assert_archived(config, {b"INBOX": ("INBOX",)})
    assert held(archive_of(config))[b"INBOX"][1] == "Maildir"


def test_a_folder_listed_again_as_a_mere_parent_still_holds_its_mail(
    scripted: Callable[..., ScriptedServer], around: Path
) -> None:
    """pymap lists INBOX twice when there is an `inbox/other`."""
    names = [b"a", b"inbox/other"]
    server = scripted(scripted_folders(names))
    server.inject(b"LIST", b'* LIST (\\Noselect) "/" INBOX', b'* LIST (\\NonExistent) "/" a', after=5)
    config = account_file(around, server, "u1")

    result = run(config)

    assert result.report["skipped"] == []
    assert_archived(config, {b"INBOX": ("INBOX",), b"a": ("a",), b"inbox/other": ("INBOX", "other")})


def test_what_a_person_reads_of_failing_folders_rules_no_terminal(
    scripted: Callable[..., ScriptedServer], around: Path
) -> None:
    names = [raw for raw, path in SLASHED.items() if not "".join(path).isprintable()]
    folders = scripted_folders(names)
    for raw in names:
        folders[raw].refuse = b"NO [NOPERM] \x1b[31mnot for you\x07"
    folders[b"\x1b]0;title\x07"] = ScriptedFolder(9, {3: ScriptedMessage(b"x\r\n", fetch="no")})
    server = scripted(folders)
    config = account_file(around, server, "u1")

    for words in (["run"], ["status"], ["status", "--json"], ["verify"], ["run", "--dry-run"]):
        result = command(*words, config, expect=3 if words == ["run"] else None)
        assert_printable(result.output)

    again = run(config, expect=3)
    assert_printable(again.output)
    for value in strings(again.report):
        assert_printable(value)
    assert len(again.report["failures"]) == len(names) + 1


def test_no_two_folders_of_one_server_meet_in_a_directory(
    scripted: Callable[..., ScriptedServer], around: Path
) -> None:
    """Names made so that escaping, shortening or decoding carelessly would bring them together."""
    first = scripted(scripted_folders([b"l" * 255, b"&AEkATgBCAE8AWA-"]))
    config = account_file(around, first, "u1")
    run(config)
    after_our_shortening = [path[1:] for _, path, _ in held(archive_of(config)).values() if len(path) > 100]
    names = [
        b"l" * 255, *(name.encode() for name in after_our_shortening), b"a\\2eb", b"a.b", b"a\\5c2eb", b"a\\2fb",
        b"a/b", b"a&AC4-b", b"a&AC8-b", b"\\-", b"x//y", b"x/\\-/y", b"\\7ex", b"~x", b"&-", b"&", b"&&", b"&-&-",
        b"INBOX.INBOX", b".INBOX", b"&AEkATgBCAE8AWA-", b"inbox/x", b"INBOX/x",
    ]  # fmt: skip
    server = scripted(scripted_folders(names))
    config = account_file(around / "second", server, "u1")

    run(config)

    assert_whole(archive_of(config))
    folders = held(archive_of(config))
    assert {raw: digests for raw, (_, _, digests) in folders.items()} == {
        raw: [digest(raw)] for raw in [b"INBOX", *names]
    }


def test_odd_keywords_are_kept_and_those_beyond_the_letters_are_in_the_catalog(
    scripted: Callable[..., ScriptedServer], around: Path
) -> None:
    odd = (*KEYWORDS, "bell\x07", "\x1b[31m", "\\Weird", "$MDNSent")
    messages = {
        1: ScriptedMessage(message(b"1"), flags=("\\Seen", *odd)),
        2: ScriptedMessage(message(b"2"), flags=("\\seen", "\\RECENT", "a[b", "k59")),
        3: ScriptedMessage(message(b"3")),
    }
    server = scripted({b"INBOX": ScriptedFolder(1, messages)})
    config = account_file(around, server, "u1")

    run(config)

    state = assert_whole(archive_of(config))
    flags = {uid: row.flags for (_, uid), row in state.messages.items()}
    assert flags == {1: frozenset({"\\Seen", *odd}), 2: frozenset({"\\Seen", "a[b", "k59"}), 3: frozenset()}
    keywords = (archive_of(config) / "Maildir" / "dovecot-keywords").read_text().splitlines()
    assert len(keywords) == 26
    assert all(re.fullmatch(r"\d+ [!-~]+", line) for line in keywords)
    first = next(path for path in state.files if "U1." in path)
    assert len(first.partition(":2,")[2]) == 1 + 26
    before = snapshot_files(archive_of(config))
    assert run(config).total("fetched", "flags_changed") == (0, 0)
    assert snapshot_files(archive_of(config)) == before


# -- servers that somebody else wrote --------------------------------------------------------------------------


def fill(wire: Wire, names: Iterable[bytes], flags: Sequence[str] = ()) -> None:
    """Make the folders that the server takes, each with a message of its own, and INBOX's."""
    for raw in [b"INBOX", *names]:
        try:
            if raw != b"INBOX":
                wire.command(b"CREATE " + quoted(raw))
            append(wire, raw, [Append(message(raw), flags)], multi=False)
        except WireError:
            continue
    wire.logout()


def test_pymap_serves_them_and_they_are_archived(pymap: PymapServer, around: Path) -> None:
    # pymap never answers a CREATE of broken modified UTF-7, and lists some others under names it does not know
    broken = {b"AT&T", b"&ZeVnLIqe", b"&2D0-", b"&AEkATgBCAE8AWA-", b"/etc/passwd", b"tab\there", b"line\r\nbreak"}
    fill(pymap.wire("alice"), [raw for raw in SLASHED if raw.isascii() and raw not in broken])
    served = pymap.dump("alice")
    config = account_file(around, pymap, "alice")

    result = run(config)

    folders = held(archive_of(config))
    assert {raw: digests for raw, (_, _, digests) in folders.items()} == {
        raw: sorted(each.digest for each in folder.messages.values()) for raw, folder in served.items()
    }
    assert set(served) >= {b"INBOX", b"../../etc", b"AT&-T", b"br[ack", b"NIL", b'"quoted"', b"&ZeVnLIqe-", b"case"}
    assert_printable(result.output)
    assert_whole(archive_of(config))
    assert run(config).total("fetched") == (0,)


FLAGS = (
    (), ("\\Seen",), ("\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted"), ("$Forwarded", "Kw_with.dot-1"),
    ("\\Flagged", "NonJunk", "$MDNSent"),
)  # fmt: skip


@pytest.mark.parametrize("kind", ["dovecot", "cyrus", "cyrus with dots", "courier"])
def test_a_real_server_serves_what_it_takes_and_it_is_archived(
    request: pytest.FixtureRequest, around: Path, kind: str
) -> None:
    """Names, digests, all flags and many keywords, also of servers with "INBOX." before each name; and nothing
    changes there."""
    server, below = served_by(request, kind)
    user = server.fresh_user()
    with server.wire(user) as wire:
        for number, raw in enumerate([b"INBOX", *(below + each for each in SLASHED)]):
            with contextlib.suppress(WireError):
                if raw != b"INBOX":
                    wire.command(b"CREATE " + quoted(raw))
                mail = [
                    Append(message(raw) + b"%d\r\n" % n, flags) for n, flags in enumerate(FLAGS[: 1 + number % 5])
                ]
                append(wire, raw, mail, multi=False)
    served = messages_of(server.dump(user))
    config = account_file(around, server, user)

    result = run(config)

    state = assert_whole(archive_of(config))
    assert {(at.folder, uid): (row.digest, row.flags) for (at, uid), row in state.messages.items()} == served
    assert {raw for raw, _ in served} >= {
        below + raw for raw in (b"AT&-T", b"br[ack", b"NIL", b"&ZeVnLIqe-", b"case", b"Case", b"blank ", b" blank")
    } | {b"INBOX"}
    assert len({raw for raw, _ in served}) >= 30
    assert_printable(result.output)
    assert run(config).total("fetched", "flags_changed") == (0, 0)
    assert messages_of(server.dump(user)) == served


def served_by(request: pytest.FixtureRequest, kind: str) -> tuple[MailServer, bytes]:
    """A real server, and what is before the names of its folders."""
    if kind == "cyrus with dots":
        return request.getfixturevalue("cyrus_with")(altnamespace=False, unixhierarchysep=False), b"INBOX."
    return request.getfixturevalue(kind), b"INBOX." if kind == "courier" else b""


def messages_of(served: Mapping[bytes, ServedFolder]) -> dict[tuple[bytes, int], tuple[str, frozenset[str]]]:
    """The messages by folder and UID: digest, and flags without \\Recent."""
    return {
        (raw, uid): (each.digest, each.flags - {"\\Recent"})
        for raw, folder in served.items()
        for uid, each in folder.messages.items()
    }


def test_dovecot_serves_a_copy_of_the_archive_under_the_true_names(
    dovecot: Dovecot, dovecot_with: Callable[..., Dovecot], mail_user: str, around: Path
) -> None:
    names = [b"x.y", b"x/y", b"AT&-T", b"br[ack", b"&ZeVnLIqe-", b'"quoted"', b"back\\slash", b"c/~x", b"...",
             b"Case", b"case", b"blank ", b"NIL", b"x.y/z.."]  # fmt: skip
    fill(dovecot.wire(mail_user), names, ["\\Flagged", "$Label", "a[b"])
    dovecot.subscribe(mail_user, b"x.y", b"&ZeVnLIqe-")
    served = dovecot.dump(mail_user)
    config = account_file(around, dovecot, mail_user)
    run(config)
    copy = around / "home"
    shutil.copytree(archive_of(config) / "Maildir", copy / "Maildir")

    again = dovecot_with(extra="mail_location = maildir:~/Maildir\nmail_plugins = listescape\n")
    again.install("u1", copy)

    assert with_mail(again.dump("u1")) == with_mail(served)
    assert set(with_mail(served)) >= {b"x.y", b"x/y", b"AT&-T", b"br[ack", b"&ZeVnLIqe-", b"case", b"x.y/z.."}
    with again.wire("u1") as wire:
        subscribed = {response.line.rpartition(b" ")[2].strip(b'"') for response in wire.command('LSUB "" "*"')}
    assert subscribed == {b"x.y", b"&ZeVnLIqe-"}


def with_mail(served: Mapping[bytes, ServedFolder]) -> dict[bytes, tuple[int, dict[int, tuple[object, ...]]]]:
    """The folders that hold messages; not whether those are recent."""
    return {
        raw: (
            folder.uidvalidity,
            {
                uid: (each.digest, each.flags - {"\\Recent"}, each.internaldate)
                for uid, each in folder.messages.items()
            },
        )
        for raw, folder in served.items()
        if folder.messages
    }
