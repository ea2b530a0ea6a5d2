"""Servers whose number of messages and whose UIDs do not agree: what they name is archived, the rest is reported,
and no message is counted as vanished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.accounts import RunResult, account_file, archive_of, assert_whole, run
from tests.servers.scripted import FULL, MINIMAL, ScriptedFolder, ScriptedMessage, ScriptedServer

Start = Callable[..., ScriptedServer]


def message(number: int) -> ScriptedMessage:
    return ScriptedMessage(b"Message-ID: <%d@x>\r\nSubject: %d\r\n\r\nbody\r\n" % (number, number))


def mailbox(count: int = 20) -> ScriptedFolder:
    return ScriptedFolder(7, {uid: message(uid) for uid in range(1, count + 1)})


def row(result: RunResult, name: str = "INBOX") -> tuple[int, int, int, int]:
    folder = result.folder(name)
    return folder["on_server"], folder["stored"], folder["quarantined"], folder["vanished"]


def reasons(result: RunResult) -> list[str]:
    return [each["reason"] for each in result.report["failures"]]


def too_many(folder: ScriptedFolder) -> None:
    """One message is counted and never named."""
    folder.exists = len(folder.messages) + 1


def a_uid_above_32_bits(folder: ScriptedFolder) -> None:
    folder.messages[2**32 + 5] = message(999)


def a_uid_of_zero(folder: ScriptedFolder) -> None:
    folder.messages[0] = message(998)


@pytest.mark.parametrize("odd", [too_many, a_uid_above_32_bits, a_uid_of_zero])
@pytest.mark.parametrize("capabilities", [FULL, MINIMAL], ids=["full", "minimal"])
def test_what_is_named_is_archived_and_the_rest_is_counted_as_missing(
    scripted: Start, tmp_path: Path, odd: Callable[[ScriptedFolder], None], capabilities: tuple[str, ...]
) -> None:
    server = scripted({b"INBOX": mailbox(), b"Other": mailbox(3)}, capabilities=capabilities)
    folder = server.folders[b"INBOX"]
    odd(folder)
    config = account_file(tmp_path, server, "u1")
    first = run(config, expect=3)
    assert (row(first), row(first, "Other")) == ((21, 20, 0, 0), (3, 3, 0, 0))
    (reason,) = reasons(first)
    assert "the server reports 21 messages but lists 20 UIDs; no message is counted as vanished" in reason
    assert first.folder()["error"] == reason
    assert (archive_of(config) / "Maildir/dovecot-uidlist").exists()

    folder.messages[30] = message(30)
    folder.exists = None if folder.exists is None else folder.exists + 1
    second = run(config, expect=3)
    assert (row(second), second.total("fetched")) == ((22, 21, 0, 0), (1,))

    for uid in (0, 2**32 + 5):
        folder.messages.pop(uid, None)
    folder.exists = None
    third = run(config)
    assert (row(third), third.total("fetched")) == ((21, 21, 0, 0), (0,))
    assert len(assert_whole(archive_of(config)).uids()) == 21


@pytest.mark.parametrize("capabilities", [FULL, MINIMAL], ids=["full", "minimal"])
def test_nothing_vanishes_from_a_complete_folder_whose_search_and_fetch_are_cut_short(
    scripted: Start, tmp_path: Path, capabilities: tuple[str, ...]
) -> None:
    """And a message that is in quarantine stays there."""
    server = scripted({b"INBOX": mailbox()}, capabilities=capabilities)
    server.folders[b"INBOX"].messages[3].fetch = "nil"
    config = account_file(tmp_path, server, "u1")
    assert row(run(config, expect=3)) == (20, 19, 1, 0)

    whole = dict(server.folders[b"INBOX"].messages)
    folder = server.folders[b"INBOX"]
    folder.messages = {uid: each for uid, each in whole.items() if uid > 5}
    folder.messages[21] = message(21)
    folder.exists, folder.uidnext, folder.highestmodseq = 21, 22, 5
    cut = run(config, expect=3)
    assert row(cut) == (21, 20, 1, 0)
    assert "the server reports 21 messages but lists 16 UIDs" in reasons(cut)[0]

    folder.messages = {**whole, 21: folder.messages[21]}
    folder.exists = None
    folder.messages[3].fetch = ""
    assert row(run(config)) == (21, 21, 0, 0)


def test_more_uids_than_messages(scripted: Start, tmp_path: Path) -> None:
    """An index that still names what is gone: nothing is concluded from that either."""
    server = scripted({b"INBOX": mailbox()})
    server.folders[b"INBOX"].exists = 19
    config = account_file(tmp_path, server, "u1")
    reported = run(config, expect=3)
    assert row(reported) == (19, 20, 0, 0)
    assert "the server reports 19 messages but lists 20 UIDs" in reasons(reported)[0]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(
            b"* SEARCH 20 3 3 1 2 19 4 18 5 17 6 16 7 15 8 14 9 13 10 12 11", id="out of order, one twice"
        ),
        pytest.param(b"* SEARCH 1 2 3 4 5", id="cut short"),
        pytest.param(b"* SEARCH 0 1 2 4294967297", id="what cannot be a UID"),
    ],
)
def test_a_search_that_is_odd_alone_does_no_harm(scripted: Start, tmp_path: Path, found: bytes) -> None:
    """FETCH names them all."""
    server = scripted({b"INBOX": mailbox()})
    server.on(b"UID SEARCH", lambda _, tag, __: found + b"\r\n" + tag + b" OK done\r\n")
    assert row(run(account_file(tmp_path, server, "u1"))) == (20, 20, 0, 0)


def test_mail_that_arrives_while_the_folder_is_scanned_is_no_disagreement(scripted: Start, tmp_path: Path) -> None:
    server = scripted({b"INBOX": mailbox()})
    server.inject(b"EXAMINE", b"* 21 EXISTS", after=99, times=1)
    config = account_file(tmp_path, server, "u1")
    reported = run(config)
    assert row(reported) == (20, 20, 0, 0)
    assert server.connections == 1


def test_a_new_epoch_of_an_odd_folder_keeps_the_mail_of_the_one_before(scripted: Start, tmp_path: Path) -> None:
    server = scripted({b"INBOX": mailbox()})
    config = account_file(tmp_path, server, "u1")
    run(config)
    server.folders[b"INBOX"].uidvalidity, server.folders[b"INBOX"].exists = 8, 21
    reported = run(config, expect=3)
    assert (row(reported)[:3], reported.total("fetched")) == ((21, 20, 0), (0,))
