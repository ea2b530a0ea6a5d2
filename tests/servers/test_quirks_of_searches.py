"""Answers to searches as real servers send them, odd as they are, line by line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.mail.model import Folder
from archiver.source.imap import ImapSource
from tests.accounts import account_file, run
from tests.servers.scripted import FULL, MINIMAL, ScriptedFolder, ScriptedMessage, ScriptedServer, Session

Start = Callable[..., ScriptedServer]
Connect = Callable[..., ImapSource]
INBOX = Folder(b"INBOX", ("INBOX",), "/")
UIDS = (3, 7, 7456)


def mailbox(uids: tuple[int, ...] = UIDS) -> dict[bytes, ScriptedFolder]:
    return {b"INBOX": ScriptedFolder(1, {uid: ScriptedMessage(b"Subject: %d\r\n\r\nx\r\n" % uid) for uid in uids})}


SEARCHES = {
    "Yahoo: a blank behind the last number": [b"* SEARCH 3 7 7456 ", b"A1 OK"],
    "two blanks between numbers": [b"*  SEARCH  3  7  7456", b"A1 OK"],
    "a tab between numbers": [b"* SEARCH 3\t7 7456", b"A1 OK"],
    "lower case": [b"* search 3 7 7456", b"A1 ok"],
    "several lines": [b"* SEARCH 3", b"* SEARCH 7 7456", b"A1 OK"],
    "several lines, one of them empty": [b"* SEARCH", b"* SEARCH 3 7", b"* SEARCH 7456", b"A1 OK"],
    "one number twice, out of order": [b"* SEARCH 7456 3 7 3", b"A1 OK"],
    "a mod-sequence behind the numbers": [b"* SEARCH 3 7 7456 (MODSEQ 917162500)", b"A1 OK"],
    "ESEARCH in the answer to a plain search": [b'* ESEARCH (TAG "A1") UID ALL 3,7,7456', b"A1 OK"],
    "ESEARCH in lower case": [b'* esearch (tag "A1") uid all 3,7,7456', b"A1 OK"],
    "ESEARCH without a tag": [b"* ESEARCH UID ALL 3,7,7456", b"A1 OK"],
    "ESEARCH with other items": [b'* ESEARCH (TAG "A1") UID COUNT 3 MIN 3 ALL 3,7,7456 MAX 7456', b"A1 OK"],
    "ESEARCH with ranges the wrong way round": [b'* ESEARCH (TAG "A1") UID ALL 7456,7:7,3:3', b"A1 OK"],
    "ESEARCH and SEARCH": [b'* ESEARCH (TAG "A1") UID ALL 3', b"* SEARCH 7 7456", b"A1 OK"],
    "other lines in between": [b"* SEARCH 3", b"* 3 EXISTS", b"* OK still here", b"* SEARCH 7 7456", b"A1 OK"],
    # what makes FETCH say it
    "no line at all": [b"A1 OK SEARCH completed"],
    "nothing found in a folder that holds some": [b"* SEARCH", b"A1 OK"],
    "nothing found, with a blank": [b"* SEARCH ", b"A1 OK"],
    "cut short": [b"* SEARCH 3 7", b"A1 OK"],
    "Yahoo: it does not search now": [b"A1 NO [SERVERBUG] UID SEARCH Server error - Please try again later"],
    "Yahoo: it does not know the words": [b"A1 BAD [CLIENTBUG] UID SEARCH Command arguments invalid"],
    "NO without a word": [b"A1 NO"],
    "BAD without a word": [b"A1 BAD"],
}


@pytest.mark.parametrize("what", SEARCHES)
@pytest.mark.parametrize("capabilities", [FULL, MINIMAL], ids=["ESEARCH", "SEARCH"])
def test_searches(scripted: Start, connect: Connect, capabilities: tuple[str, ...], what: str) -> None:
    """All UIDs are found, whatever the server answers."""
    server = scripted(mailbox(), capabilities=capabilities)
    server.play(b"UID SEARCH", *SEARCHES[what])
    source = connect(server)
    source.open(INBOX)
    assert list(source.uids()) == list(UIDS)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"A1 OK"], id="no line"),
        pytest.param([b"* SEARCH", b"A1 OK"], id="SEARCH"),
        pytest.param([b"* SEARCH ", b"A1 OK"], id="SEARCH and a blank"),
        pytest.param([b'* ESEARCH (TAG "A1") UID', b"A1 OK"], id="ESEARCH"),
        pytest.param([b'* ESEARCH (TAG "A1") UID ALL ', b"A1 OK"], id="ESEARCH without its value"),
        pytest.param([b'* ESEARCH (TAG "A1") UID COUNT 0', b"A1 OK"], id="ESEARCH with a count"),
    ],
)
@pytest.mark.parametrize("capabilities", [FULL, MINIMAL], ids=["ESEARCH", "SEARCH"])
def test_searches_that_find_nothing(
    scripted: Start, connect: Connect, capabilities: tuple[str, ...], lines: list[bytes]
) -> None:
    server = scripted(mailbox(), capabilities=capabilities)
    server.play(b"UID SEARCH", *lines)
    source = connect(server)
    source.open(INBOX)
    assert list(source.uids("SEEN")) == []


def test_a_search_of_more_than_a_megabyte_is_read_whole(scripted: Start, connect: Connect) -> None:
    """imaplib: "got more than 1000000 bytes"."""
    uids = range(4_000_000_000, 4_000_150_000)
    server = scripted({b"INBOX": ScriptedFolder(1)}, capabilities=MINIMAL)
    server.play(b"EXAMINE", b"* %d EXISTS" % len(uids), b"* OK [UIDVALIDITY 1]", b"A1 OK")
    server.play(b"UID SEARCH", b"* SEARCH " + b" ".join(b"%d" % uid for uid in uids), b"A1 OK")
    source = connect(server)
    source.open(INBOX)
    found = source.uids()
    assert (len(found), found.first, found.last) == (150_000, uids[0], uids[-1])


def test_uids_are_sent_in_ascending_order_and_in_short_lines(scripted: Start, tmp_path: Path) -> None:
    """QQ and hMailServer do not take 10:1, UW and Yahoo no line of much more than 1,000 octets."""
    server = scripted(mailbox(tuple(range(1, 1_500, 3))), capabilities=MINIMAL)

    def strict(line: bytes, tag: bytes, _: Session) -> bytes | None:
        numbers = [int(each) for each in re.findall(rb"\d+", line.split()[3])]
        if numbers != sorted(numbers):
            return tag + b" BAD Sequence set is inavlid!\r\n"
        if len(line) > 1_000:
            return tag + b" BAD Error in IMAP command FETCH: Too long argument.\r\n"
        return None

    server.on(b"UID FETCH", strict)
    config = account_file(tmp_path, server, "u1")
    assert run(config).total("stored") == (500,)
    for message in server.folders[b"INBOX"].messages.values():
        message.flags = ("\\Seen",)
    assert run(config).total("stored", "flags_changed") == (500, 500)


def test_servers_that_find_nothing_by_dates(scripted: Start, tmp_path: Path) -> None:
    """Domino, IceWarp, QQ, Yandex, SmarterMail: the dates of arrival say what has the age."""
    old, new, odd = "08-Mar-2013 23:59:59 -1100", "09-Mar-2023 00:00:00 +1300", "00-Jan-0000 00:00:00 +0000"
    messages = {
        uid: ScriptedMessage(b"Subject: %d\r\n\r\nx\r\n" % uid, internaldate=date)
        for uid, date in enumerate((old, new, odd, new), 1)
    }
    messages[4].flags = ("\\Deleted",)
    server = scripted({b"INBOX": ScriptedFolder(1, messages)}, capabilities=MINIMAL)
    server.on(
        b"UID SEARCH",
        lambda line, tag, _: b"* SEARCH\r\n" + tag + b" OK\r\n" if re.search(rb"SINCE|BEFORE", line) else None,
    )
    rules = {"messages__newer_than": "12y", "messages__older_than": "1y", "messages__search": "UNDELETED"}
    ended = run(account_file(tmp_path, server, "u1", **rules))
    assert ended.total("stored", "excluded") == (2, 2)
    assert [each.split(b" ")[2] for each in server.commands if b"BODY.PEEK[]" in each] == [b"2:3"]


def test_a_server_that_finds_by_dates_is_believed(scripted: Start, tmp_path: Path) -> None:
    server = scripted(mailbox(), capabilities=MINIMAL)
    assert run(account_file(tmp_path, server, "u1", messages__newer_than="1d")).total("excluded") == (3,)
    assert not any(each.startswith(b"UID FETCH") for each in server.commands)
