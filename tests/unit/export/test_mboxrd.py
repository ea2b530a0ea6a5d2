"""Messages in an mbox: whatever their octets are, they come back, and nothing in them looks like a beginning."""

from __future__ import annotations

import mailbox
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.export.mbox import MboxWriter
from archiver.export.mboxrd import quoted, separator
from archiver.export.writer import ExportedFolder
from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.facts.outgoing import Outgoing
from archiver.mail.content import body_of
from archiver.mail.model import Folder, Placement, StoredMessage
from tests.exported import read_mbox
from tests.servers.corpora import CorpusMessage

PIECES = [b"From ", b"From", b"rom ", b"F", b">", b">>", b"\n", b"\r", b"\r\n", b"\0", b" ", b"x", b"\xff"]
octets_of_a_message = st.one_of(
    st.binary(max_size=60), st.lists(st.sampled_from(PIECES), max_size=16).map(b"".join)
)

FOLDER = ExportedFolder(
    KnownFolder(1, Folder(b"INBOX", ("INBOX",)), ""), KnownEpoch(1, 1, 7), 100, lambda: iter(())
)


def outgoing(uid: int, octets: bytes) -> Outgoing:
    body = body_of(octets)
    message = StoredMessage.bare(uid, body.digest, body.size, body.crlf_size, 1704871500, frozenset({"\\Seen"}))
    return Outgoing(1, Placement("", 7, 1, message))


def written(root: Path, messages: list[bytes], pieces: Callable[[bytes], list[bytes]]) -> Path:
    writer = MboxWriter(str(root))
    writer.begin(FOLDER)
    for uid, octets in enumerate(messages, 1):
        writer.write(outgoing(uid, octets), pieces(octets))
    writer.end()
    return root / "INBOX.mbox"


def whole(octets: bytes) -> list[bytes]:
    return [octets] if octets else []


class TestAnyOctets:
    @given(messages=st.lists(octets_of_a_message, max_size=4), size=st.integers(1, 7))
    def test_come_back(self, tmp_path_factory: pytest.TempPathFactory, messages: list[bytes], size: int) -> None:
        root = tmp_path_factory.mktemp("mbox")
        mbox = written(root, messages, lambda octets: [octets[i : i + size] for i in range(0, len(octets), size)])
        assert [octets for _, octets in read_mbox(mbox)] == messages

    @given(octets=octets_of_a_message, size=st.integers(1, 7))
    def test_are_quoted_alike_however_they_come(self, octets: bytes, size: int) -> None:
        pieces = [octets[i : i + size] for i in range(0, len(octets), size)]
        assert b"".join(quoted(pieces)) == b"".join(quoted([octets]))

    @given(octets=octets_of_a_message)
    def test_hold_no_line_that_begins_a_message(self, octets: bytes) -> None:
        assert re.search(rb"(?m)^From ", b"".join(quoted([octets]))) is None

    def test_of_the_corpora_come_back(self, corpora: list[CorpusMessage], tmp_path: Path) -> None:
        messages = [each.octets for each in corpora]
        assert [octets for _, octets in read_mbox(written(tmp_path, messages, whole))] == messages


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", b"\n"),
        (b"x", b"x\n\n"),
        (b"x\n", b"x\n\n"),
        (b"x\r\n", b"x\r\n\n"),
        (b"x\r", b"x\r\n\n"),
        (b"From me\n", b">From me\n\n"),
        (b"a\n>From me\r\nFrom", b"a\n>>From me\r\nFrom\n\n"),
        (b"a\rFrom me\n", b"a\rFrom me\n\n"),
        (b" From me\nFromage\n", b" From me\nFromage\n\n"),
    ],
)
def test_the_quoted_form(octets: bytes, expected: bytes) -> None:
    assert b"".join(quoted([octets])) == expected


@pytest.mark.parametrize(
    ("header", "arrived", "line"),
    [
        (b"Return-Path: <a@example.org>\r\nFrom: b@example.org\r\n\r\n", 1704871500,
         b"From a@example.org Wed Jan 10 07:25:00 2024\n"),
        (b"From: \"A, B\" <b@example.org>\n\n", 0, b"From b@example.org Thu Jan  1 00:00:00 1970\n"),
        (b"Return-Path: <>\r\nFrom: c@example.org\r\n\r\n", -1, b"From c@example.org Wed Dec 31 23:59:59 1969\n"),
        (b"From: a@b c@d\r\n\r\n", 1 << 60, b"From MAILER-DAEMON Fri Dec 31 23:59:59 9999\n"),
        (b"From: <a\r\n b@example.org>\n\n", 0, b"From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n"),
        (b"From: \xff\xfe <\xff@example.org>\n\n", 0, b"From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n"),
        (b"", 0, b"From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n"),
    ],
)  # fmt: skip
def test_the_line_before_a_message(header: bytes, arrived: int, line: bytes) -> None:
    assert separator(header, arrived) == line


def test_other_programs_see_the_same_messages(tmp_path: Path) -> None:
    messages = [b"Subject: 1\n\nFrom me\n", b"Subject: 2\n\nno end", b"Subject: 3\r\n\r\n>From\r\n"]
    with closing(mailbox.mbox(written(tmp_path, messages, whole))) as box:
        assert [message["Subject"] for message in box] == ["1", "2", "3"]


def test_a_message_that_fails_leaves_nothing(tmp_path: Path) -> None:
    writer = MboxWriter(str(tmp_path))
    writer.begin(FOLDER)
    writer.write(outgoing(1, b"one"), [b"one"])

    def broken() -> list[bytes]:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        writer.write(outgoing(2, b"two"), (piece for part in ([b"tw"], None) for piece in part or broken()))
    writer.write(outgoing(3, b"three"), [b"three"])
    writer.end()
    mbox = tmp_path / "INBOX.mbox"
    assert [(line["uid"], octets) for line, octets in read_mbox(mbox)] == [(1, b"one"), (3, b"three")]
    assert mbox.read_bytes().count(b"From MAILER-DAEMON") == 2
