"""Lists of folders as real servers send them, odd as they are, line by line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.errors import BackendError, FolderNotFound, ServerUnavailable
from archiver.source.imap import ImapSource
from pipelines.cli.main import invoke
from tests.accounts import account_file, run
from tests.servers.scripted import DROP, FULL, MINIMAL, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.scripted_mail import tokens

Start = Callable[..., ScriptedServer]
Connect = Callable[..., ImapSource]
Lines = list[bytes]

LISTS: dict[str, tuple[Lines, list[tuple[bytes, tuple[str, ...]]]]] = {
    "Domino: a backslash between levels, INBOX as Inbox": (
        [
            rb'* LIST (\Noinferiors \HasNoChildren) "\\" Inbox',
            rb'* LIST (\HasChildren) "\\" Archive',
            rb'* LIST (\HasNoChildren) "\\" "Archive\\2020"',
        ],
        [(b"INBOX", ("INBOX",)), (b"Archive", ("Archive",)), (b"Archive\\2020", ("Archive", "2020"))],
    ),
    "Yahoo: Inbox": ([rb'* LIST (\HasNoChildren) "/" "Inbox"'], [(b"INBOX", ("INBOX",))]),
    "Outlook: an attribute Inbox": ([rb'* LIST (\Inbox \HasNoChildren) "/" "Inbox"'], [(b"INBOX", ("INBOX",))]),
    "INBOX's children in another case, and a folder that only begins like it": (
        [b'* LIST () "/" INBOX', b'* LIST () "/" "Inbox/x"', b'* LIST () "/" InboxSubfolder'],
        [(b"INBOX", ("INBOX",)), (b"Inbox/x", ("INBOX", "x")), (b"InboxSubfolder", ("InboxSubfolder",))],
    ),
    "lower case": ([b'* list (\\hasnochildren) "/" "inbox"'], [(b"INBOX", ("INBOX",))]),
    "mixed case": ([b'* List (\\HasNoChildren) "/" "INBOX"'], [(b"INBOX", ("INBOX",))]),
    "flat, NIL and empty": (
        [rb'* LIST (\HasNoChildren) NIL "Folder1"', rb'* LIST (\HasNoChildren) "" "Folder2/x"'],
        [(b"Folder1", ("Folder1",)), (b"Folder2/x", ("Folder2/x",))],
    ),
    "flat, nil": ([b'* LIST () nil "a/b"'], [(b"a/b", ("a/b",))]),
    "a name as a literal": (
        [rb'* LIST (\HasNoChildren) "/" {19}', b"Literal Folder Name"],
        [(b"Literal Folder Name", ("Literal Folder Name",))],
    ),
    "a delimiter and a name as literals": (
        [b"* LIST () {1}", b"/ {3}", b"a/b"],
        [(b"a/b", ("a", "b"))],
    ),
    "a literal of no octets, and one that does not wait": (
        [b'* LIST (\\Noselect) "/" {0}', b"", b'* LIST () "/" {3+}', b"a/b"],
        [(b"a/b", ("a", "b"))],
    ),
    "a literal with a line end in it": ([b'* LIST () "/" {5}', b"a\r\nbc"], [(b"a\r\nbc", ("a\r\nbc",))]),
    "Exchange: unquoted with tabs": (
        [b'* LIST (\\HasNoChildren) "/" INBOX/Da\tOggetto\tRicevuto\tDimensione\tCategorie\t'],
        [
            (
                b"INBOX/Da\tOggetto\tRicevuto\tDimensione\tCategorie\t",
                ("INBOX", "Da\tOggetto\tRicevuto\tDimensione\tCategorie\t"),
            )
        ],
    ),
    "unquoted with blanks": ([b'* LIST () "/" Sent Items'], [(b"Sent Items", ("Sent Items",))]),
    "Dovecot: quotes in a name": (
        [rb'* LIST (\HasNoChildren) "/" "Folder/Subfolder \"i am subfolder\""'],
        [(b'Folder/Subfolder "i am subfolder"', ("Folder", 'Subfolder "i am subfolder"'))],
    ),
    "a backslash in a name": ([rb'* LIST () "/" "a\\b"'], [(b"a\\b", ("a\\b",))]),
    "a bracket and a quote in a name": ([rb'* LIST () "/" "a) \"("'], [(b'a) "(', ('a) "(',))]),
    "Zimbra: the root": ([rb'* LIST (\NoSelect) "/" ""', b'* LIST () "/" a'], [(b"a", ("a",))]),
    "home.pl: XLIST, a lone backslash": (
        [rb'* XLIST (\HasNoChildren \) "." "INBOX.ARCH"'],
        [(b"INBOX.ARCH", ("INBOX", "ARCH"))],
    ),
    "Yandex: an attribute twice, a bar between levels": (
        [rb'* XLIST (\HasChildren \Unmarked \Drafts \Drafts) "|" Drafts', b'* LIST () "|" "Drafts|template"'],
        [(b"Drafts", ("Drafts",)), (b"Drafts|template", ("Drafts", "template"))],
    ),
    "Yandex: an ampersand within base64": (
        [b'* LIST () "|" "&BBAEMQQyACYEMwQ0BDU-"'],
        [(b"&BBAEMQQyACYEMwQ0BDU-", ("Абв&где",))],
    ),
    "no modified UTF-7": (
        [b'* LIST () "/" "Foo & Bar"', b'* LIST () "/" "&AOQ"', b'* LIST () "/" "&ZeVnLIqe"'],
        [(b"Foo & Bar", ("Foo & Bar",)), (b"&AOQ", ("&AOQ",)), (b"&ZeVnLIqe", ("&ZeVnLIqe",))],
    ),
    "8-bit: UTF-8 and Latin-1": (
        ['* LIST () "/" "Entwürfe"'.encode(), b'* LIST () "/" "caf\xe9"', '* LIST () "/" Büro'.encode()],
        [("Entwürfe".encode(), ("Entwürfe",)), (b"caf\xe9", ("café",)), ("Büro".encode(), ("Büro",))],
    ),
    "a folder called NIL": (
        [b'* LIST () "/" NIL', b'* LIST () "/" nil/x'],
        [(b"NIL", ("NIL",)), (b"nil/x", ("nil", "x"))],
    ),
    "plus and brackets, unquoted": (
        [b'* LIST () "/" +oben', b'* LIST () "/" [Gmail]', b'* LIST () "/" 00=[ALL]', b'* LIST () "/" br[ack'],
        [
            (b"+oben", ("+oben",)),
            (b"[Gmail]", ("[Gmail]",)),
            (b"00=[ALL]", ("00=[ALL]",)),
            (b"br[ack", ("br[ack",)),
        ],
    ),
    "digits and a brace, unquoted": (
        [b'* LIST () "/" 2020', b'* LIST () "/" "{5}"', b'* LIST () "/" {x}'],
        [(b"2020", ("2020",)), (b"{5}", ("{5}",)), (b"{x}", ("{x}",))],
    ),
    "two blanks between the parts": ([b'*  LIST  (\\HasNoChildren)  "/"  "a/b"'], [(b"a/b", ("a", "b"))]),
    "blanks within the attributes": ([b'* LIST ( \\HasNoChildren  \\Sent ) "/" "a/b"'], [(b"a/b", ("a", "b"))]),
    "no attributes at all": ([b'* LIST NIL "/" "a/b"'], [(b"a/b", ("a", "b"))]),
    "blanks behind a quoted name": ([b'* LIST () "/" "a/b" '], [(b"a/b", ("a", "b"))]),
    "FirstClass: no children, and there are some": (
        [rb'* LIST (\HasNoChildren) "/" a', rb'* LIST (\HasNoChildren) "/" a/b'],
        [(b"a", ("a",)), (b"a/b", ("a", "b"))],
    ),
    "Cyrus: extended data behind a name": (
        [b'* LIST () "/" "a" ("CHILDINFO" ("SUBSCRIBED"))', b'* LIST () "/" b (OLDNAME ("c"))'],
        [(b"a", ("a",)), (b"b", ("b",))],
    ),
    "a row twice": ([b'* LIST () "/" a', b'* LIST (\\Marked) "/" a'], [(b"a", ("a",))]),
    "rows without a name, and rows of something else": (
        [b'* LIST () "/"', b"* LIST ()", b"* LIST", b"* LISTING x", b"* 3 EXISTS", b'* LIST () "/" a'],
        [(b"a", ("a",))],
    ),
}


@pytest.mark.parametrize("what", LISTS)
@pytest.mark.parametrize("capabilities", [FULL, MINIMAL], ids=["extended", "plain"])
def test_lists(scripted: Start, connect: Connect, capabilities: tuple[str, ...], what: str) -> None:
    """The names as they are, their levels for people, and the same octets back when a folder is opened."""
    lines, expected = LISTS[what]
    server = scripted({b"INBOX": ScriptedFolder()}, capabilities=capabilities)
    server.play(b"LIST", *lines, b"A1 OK")
    server.play(b"LSUB", b"A1 OK")
    server.play(b"EXAMINE", b"* 0 EXISTS", b"* OK [UIDVALIDITY 5]", b"A1 OK")
    source = connect(server)

    folders = [each.folder for each in source.list_folders()]
    assert sorted((each.raw, each.path) for each in folders) == sorted(expected)
    for folder in folders:
        source.open(folder)
    opened = [str(tokens(each)[1]) for each in server.commands if each.startswith(b"EXAMINE")]
    assert sorted(opened) == sorted(str(raw) for raw, _ in expected)


STATUSES = {
    "a literal": [b"* STATUS {19}", b"Literal Folder Name (MESSAGES 60 UIDNEXT 61 UIDVALIDITY 7)"],
    "unquoted with blanks": [b"* STATUS Literal Folder Name (MESSAGES 60 UIDNEXT 61 UIDVALIDITY 7)"],
    "lower case": [b'* status "Literal Folder Name" (messages 60 uidnext 61 uidvalidity 7)'],
    "blanks": [b'*  STATUS  "Literal Folder Name"  ( MESSAGES 60  UIDNEXT 61 UIDVALIDITY 7 ) '],
    "no blank": [b'* STATUS "Literal Folder Name"(MESSAGES 60 UIDNEXT 61 UIDVALIDITY 7)'],
    "items nobody asked for": [
        b'* STATUS "Literal Folder Name" (UNSEEN 1 X-GUID (a b) MESSAGES 60 UIDNEXT 61 UIDVALIDITY 7 RECENT 0)'
    ],
}


@pytest.mark.parametrize("what", STATUSES)
def test_statuses(scripted: Start, connect: Connect, what: str) -> None:
    server = scripted(capabilities=MINIMAL)
    server.play(b"LIST", b'* LIST () "/" "Literal Folder Name"', b"A1 OK")
    server.play(b"STATUS", *STATUSES[what], b"A1 OK")
    (listed,) = connect(server).list_folders()
    status = listed.status
    assert status is not None
    assert (status.messages, status.uidnext, status.uidvalidity) == (60, 61, 7)


@pytest.mark.parametrize(
    ("namespace", "rows", "path"),
    [
        pytest.param(
            b'* NAMESPACE (("INBOX." ".")) (("user." ".")) (("" "."))',
            [b'* LIST () "." INBOX.Trash'],
            ("Trash",),
            id="Courier and Cyrus: INBOX. once off",
        ),
        pytest.param(
            b'* NAMESPACE (("INBOX." ".")) NIL NIL',
            [b'* LIST () "." INBOX.INBOX.Trash'],
            ("INBOX", "Trash"),
            id="INBOX. is taken off once",
        ),
        pytest.param(
            rb'* NAMESPACE (("" "\\")) (("Other\\" "\\")) (("Shared\\" "\\"))',
            [rb'* LIST () "\\" "Archive\\2020"'],
            ("Archive", "2020"),
            id="Domino",
        ),
        pytest.param(b"* NAMESPACE NIL NIL NIL", [b'* LIST () "/" a/b'], ("a", "b"), id="none"),
        pytest.param(
            b'* NAMESPACE (("" NIL)) NIL NIL', [b'* LIST () "/" a/b'], ("a", "b"), id="without a delimiter"
        ),
        pytest.param(b'* namespace (("a/" "/")) nil nil', [b'* LIST () "/" a/b'], ("b",), id="lower case"),
        pytest.param(b'*  NAMESPACE  ((  "a/"  "/" ))  NIL  NIL', [b'* LIST () "/" a/b'], ("b",), id="blanks"),
        pytest.param(
            b'* NAMESPACE (("a/" "/" "X" ("Y"))) NIL NIL', [b'* LIST () "/" a/b'], ("b",), id="extensions"
        ),
        pytest.param(b'* NAMESPACE (({2}\r\na/ "/")) NIL NIL', [b'* LIST () "/" a/b'], ("b",), id="a literal"),
        pytest.param(b"* NAMESPACE", [b'* LIST () "/" a/b'], ("a", "b"), id="nothing"),
    ],
)
def test_namespaces(
    scripted: Start, connect: Connect, namespace: bytes, rows: Lines, path: tuple[str, ...]
) -> None:
    server = scripted(capabilities=(*MINIMAL, "NAMESPACE"))
    server.play(b"NAMESPACE", namespace, b"A1 OK NAMESPACE completed")
    server.play(b"LIST", *rows, b"A1 OK")
    assert [each.folder.path for each in connect(server).list_folders()] == [path]


@pytest.mark.parametrize(
    "lines", [[b"A1 BAD Unknown command"], [b"A1 NO"], [b"A1 OK"]], ids=["BAD", "NO", "no row"]
)
def test_a_namespace_that_is_advertised_and_missing(scripted: Start, connect: Connect, lines: Lines) -> None:
    server = scripted({b"a": ScriptedFolder()}, capabilities=(*MINIMAL, "NAMESPACE"))
    server.play(b"NAMESPACE", *lines)
    assert [each.folder.name for each in connect(server).list_folders()] == ["a"]


def test_exchange_2003_hangs_up_on_a_namespace(scripted: Start, tmp_path: Path) -> None:
    greeting = b"* OK Microsoft Exchange Server 2003 IMAP4rev1 server version (6.5.7638.1) ready"
    folders = {
        b"INBOX": ScriptedFolder(1, {1: ScriptedMessage(b"Subject: x\r\n\r\nx\r\n")}),
        b"a": ScriptedFolder(2),
    }
    server = scripted(folders, capabilities=(*MINIMAL, "NAMESPACE"), greeting=greeting)
    server.on(b"NAMESPACE", DROP)
    config = account_file(tmp_path, server, "u1")
    assert run(config).total("stored") == (1,)
    assert invoke(["check", str(config), "--quiet"]) == 0


@pytest.mark.parametrize("delimiter", [b".", b"\\", b"|"])
def test_gmx_and_hmailserver_say_no_namespace(scripted: Start, connect: Connect, delimiter: bytes) -> None:
    """Levels are those of the delimiter in the list."""
    name = b"INBOX" + delimiter + b"a/b"
    server = scripted(
        {b"INBOX": ScriptedFolder(), name: ScriptedFolder()}, capabilities=MINIMAL, delimiter=delimiter
    )
    assert [each.folder.path for each in connect(server).list_folders()] == [("INBOX",), ("INBOX", "a/b")]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"A1 OK LIST completed"], id="strato.de: OK without a folder"),
        pytest.param([b"A1 BAD Error in IMAP command"], id="Proton: BAD"),
        pytest.param([b"A1 NO LIST failed"], id="Zimbra: NO"),
        pytest.param([rb'* LIST (\Noselect) "/" ""', b"A1 OK"], id="the root alone"),
    ],
)
def test_an_extended_list_that_is_advertised_and_missing(scripted: Start, connect: Connect, lines: Lines) -> None:
    server = scripted({b"INBOX": ScriptedFolder(), b"a": ScriptedFolder()})
    server.play(b"LIST", *lines, times=1)
    assert [each.folder.name for each in connect(server).list_folders()] == ["INBOX", "a"]


@pytest.mark.parametrize(
    ("lines", "meant"),
    [
        pytest.param([b"A1 OK LIST completed"], ServerUnavailable, id="strato.de: OK without a folder"),
        pytest.param([b"A1 OK"], ServerUnavailable, id="OK without a word"),
        pytest.param([b"A1 NO LIST failed"], ServerUnavailable, id="Zimbra: a broken mount point"),
        pytest.param([rb'* LIST (\NoSelect) "/" ""', b"A1 OK"], ServerUnavailable, id="Zimbra: the root alone"),
        pytest.param([b'* LIST () "/" INBOX', b"A1 NO LIST failed"], ServerUnavailable, id="Zimbra: after some"),
        pytest.param(
            [b"* BYE mail.example.org Zimbra IMAP4rev1 server closing connection"], BackendError, id="Zimbra: BYE"
        ),
    ],
)
def test_a_list_of_nothing_is_never_an_empty_account(
    scripted: Start, connect: Connect, tmp_path: Path, lines: Lines, meant: type[BackendError]
) -> None:
    server = scripted({b"INBOX": ScriptedFolder(1, {1: ScriptedMessage(b"Subject: x\r\n\r\nx\r\n")})})
    config = account_file(tmp_path, server, "u1")
    run(config)
    server.play(b"LIST", *lines)
    with pytest.raises(meant):
        connect(server).list_folders()
    ended = run(config, expect=None)
    assert ended.exit_code in (3, 5)
    server.forget()
    assert run(config).total("stored", "fetched", "vanished") == (1, 0, 0)


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(
            b"NO [NONEXISTENT] Unknown Mailbox: [Gmail] (now in authenticated state) (Failure)", id="Gmail"
        ),
        pytest.param(b"NO [CANNOT] Folder contains excess whitespace (Failure)", id="Gmail: blanks"),
        pytest.param(b"NO [TRYCREATE] Mailbox doesn't exist: INBOX.INBOX.Trash", id="Courier"),
        pytest.param(b"BAD Invalid mailbox name", id="BAD"),
        pytest.param(b"NO", id="NO without a word"),
        pytest.param(b"* BYE Connection closed.", id="Exchange 2007: a blank at the end, and it hangs up"),
    ],
)
def test_a_folder_that_is_refused_stops_no_other(scripted: Start, tmp_path: Path, refusal: bytes) -> None:
    """Gmail's [Gmail] is no folder, and its children are."""
    folders = {
        name: ScriptedFolder(number, {1: ScriptedMessage(b"Subject: %d\r\n\r\nx\r\n" % number)})
        for number, name in enumerate((b"INBOX", b"Bad ", b"Other", b"[Gmail]/Bin"), 1)
    }
    server = scripted(folders | {b"[Gmail]": ScriptedFolder(9, attributes=("\\NoSelect", "\\HasChildren"))})
    server.folders[b"[Gmail]"].refuse = b"NO [NONEXISTENT] Unknown Mailbox: [Gmail]"
    server.folders[b"Bad "].refuse = refusal
    ended = run(account_file(tmp_path, server, "u1"), expect=3)
    assert ended.total("stored") == (3,)
    assert {each["folder"] for each in ended.report["failures"]} == {"Bad "}
    assert 'folder "Bad "' in ended.output
    assert {each.partition(b" ")[2][:9] for each in server.commands if each.startswith(b"EXAMINE")} >= {
        b'"[Gmail]/'
    }
    assert b'EXAMINE "[Gmail]"' not in server.commands


def test_folders_that_are_refused_for_ever_are_no_such_folders(scripted: Start, connect: Connect) -> None:
    server = scripted()
    server.on(b"EXAMINE", b"NO [NONEXISTENT] Unknown Mailbox: [Gmail] (now in authenticated state) (Failure)")
    source = connect(server)
    (listed,) = source.list_folders()
    with pytest.raises(FolderNotFound):
        source.open(listed.folder)


@pytest.mark.parametrize("flagged", [b"(\\Seen $Forwarded NIL)", b"(\\seen  $Forwarded nil )"])
def test_nil_is_a_flag_and_a_folder(scripted: Start, tmp_path: Path, flagged: bytes) -> None:
    message = ScriptedMessage(b"Subject: x\r\n\r\nx\r\n", flags=("\\Seen", "$Forwarded", "NIL"))
    server = scripted({b"NIL": ScriptedFolder(1, {1: message}, listed_as=b"NIL")}, capabilities=MINIMAL)
    ended = run(account_file(tmp_path, server, "u1"))
    assert ended.folder("NIL")["stored"] == 1
