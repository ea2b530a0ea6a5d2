"""An mbox of each dialect: where messages begin and end, and which octets they have."""

from __future__ import annotations

import hashlib
import os
import re
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.source.files import mbox as mbox_module
from archiver.source.files import octets as octets_module
from archiver.source.files.found import FoundMessage
from archiver.source.files.mbox import NotAnMbox, messages_of, octets_at
from tests.mail_files import MBOXES, ended, mboxcl2, mboxrd, on_the_wire
from tests.servers.corpora import CorpusMessage

PIECES = [b"From ", b"From", b"rom ", b"F", b">", b">>", b"\n", b"\r", b"\r\n", b"\0", b" ", b"x: y", b"\n\n"]


def read(path: Path, octets: bytes) -> list[tuple[FoundMessage, bytes]]:
    path.write_bytes(octets)
    fd = os.open(path, os.O_RDONLY)
    try:
        found = list(messages_of(fd, str(path), end=len(octets), modified=0))
        return [(each, b"".join(octets_at(fd, each.place))) for each in found]
    finally:
        os.close(fd)


def octets_in(path: Path, octets: bytes) -> list[bytes]:
    return [each for _, each in read(path, octets)]


def expected(messages: Iterable[bytes]) -> list[bytes]:
    return [on_the_wire(ended(each)) for each in messages]


ADDED = re.compile(rb"(?m)^Content-Length: \d+\r?\n")
AMBIGUOUS = ("mboxo", "mboxcl")
"""What was ">From " before is not known in these."""


@pytest.mark.parametrize("dialect", MBOXES)
def test_the_corpora_come_back(corpora: list[CorpusMessage], tmp_path: Path, dialect: str) -> None:
    messages = [each.octets for each in corpora]
    found = read(tmp_path / "mbox", MBOXES[dialect](messages))
    assert len(found) == len(messages)
    lost = [
        (found, octets)
        for (found, octets), before in zip(found, expected(messages), strict=True)
        if ADDED.sub(b"", octets) != ADDED.sub(b"", before)
    ]
    assert len(lost) == (1 if dialect in AMBIGUOUS and messages else 0)
    assert all(found.doubt == "quoting" for found, _ in lost)


class TestWhereAMessageEnds:
    def test_at_a_line_from_after_an_empty_line(self, tmp_path: Path) -> None:
        assert octets_in(tmp_path / "mbox", mboxrd([b"A: 1\n\nx\n", b"B: 2\n\ny\n"])) == [
            b"A: 1\r\n\r\nx\r\n", b"B: 2\r\n\r\ny\r\n",
        ]  # fmt: skip

    def test_octets_of_the_wire_stay(self, tmp_path: Path) -> None:
        octets = b"A: 1\r\n\r\nline\r\n"
        assert octets_in(tmp_path / "mbox", mboxrd([octets])) == [octets]

    def test_a_message_with_both_line_ends_is_listed(self, tmp_path: Path) -> None:
        ((found, octets),) = read(tmp_path / "mbox", mboxrd([b"A: 1\r\n\r\nbare\nline\r\n"]))
        assert (found.doubt, octets) == ("line ends", b"A: 1\r\n\r\nbare\r\nline\r\n")

    def test_an_empty_message_is_one(self, tmp_path: Path) -> None:
        assert octets_in(tmp_path / "mbox", mboxrd([b"", b"A: 1\n"])) == [b"", b"A: 1\r\n"]

    @pytest.mark.parametrize(
        "line",
        [
            b"From a@b.c Wed Jan 10 08:05:00 2024",
            b"From a@b.c  Wed Jan  1 08:05 MET 2000",
            b"From a@b.c Thu Sep 13 12:30:05 2001 -0400",
            b"From 1781234567890@xxx Wed Jan 10 08:05:00 +0000 2024",
            b"From - Wed Jan 10 08:05:00 2024",
            b"From ",
            b"From MAILER-DAEMON Wed Jan 10 08:05:00 2024",
            b'From "a b"@c.d Wed, 10 Jan 2024 08:05:00 +0100',
        ],
    )
    def test_at_each_form_of_that_line(self, tmp_path: Path, line: bytes) -> None:
        octets = line + b"\nA: 1\n\nx\n\n" + line + b"\nB: 2\n\ny\n"
        found = read(tmp_path / "mbox", octets)
        assert [(each, found.doubt) for found, each in found] == [
            (b"A: 1\r\n\r\nx\r\n", ""), (b"B: 2\r\n\r\ny\r\n", ""),
        ]  # fmt: skip

    @pytest.mark.parametrize("line", [b"From the beginning it was clear", b"From here: see 10:30 in 2024, he said"])
    def test_not_at_a_sentence(self, tmp_path: Path, line: bytes) -> None:
        octets = b"From a@b Wed Jan 10 08:05:00 2024\nA: 1\n\nx\n\n" + line + b"\ny\n"
        assert len(read(tmp_path / "mbox", octets)) == 1

    def test_with_an_odd_line_it_is_listed(self, tmp_path: Path) -> None:
        octets = mboxrd([b"A: 1\n\nx\n"]) + b"From a@b.c some time\nB: 2\n\ny\n"
        assert [found.doubt for found, _ in read(tmp_path / "mbox", octets)] == ["", "separator"]

    def test_without_an_empty_line_before_it_is_listed(self, tmp_path: Path) -> None:
        octets = mboxrd([b"A: 1\n\nx\n"])[:-1] + b"From a@b.c Wed Jan 10 08:05:00 2024\nB: 2\n\ny\n"
        found = read(tmp_path / "mbox", octets)
        assert [(each, found.doubt) for found, each in found] == [
            (b"A: 1\r\n\r\nx\r\n", ""), (b"B: 2\r\n\r\ny\r\n", "separator"),
        ]  # fmt: skip

    def test_a_wrong_content_length_does_not_count(self, tmp_path: Path) -> None:
        messages = [b"A: 1\nContent-Length: 7\n\nxxx\n", b"B: 2\nContent-Length: 999999\n\ny\n"]
        assert octets_in(tmp_path / "mbox", mboxrd(messages)) == expected(messages)

    def test_a_content_length_counts_over_a_line_from_and_is_listed(self, tmp_path: Path) -> None:
        inner = b"From a@b.c Wed Jan 10 08:05:00 2024\nB: 2\n\ny\n"
        octets = mboxcl2([b"A: 1\n\nx\n\n" + inner, b"C: 3\n\nz\n"])
        found = read(tmp_path / "mbox", octets)
        assert [found.doubt for found, _ in found] == ["length", ""]
        assert found[0][1].endswith(on_the_wire(inner))


class TestWhatIsNoMbox:
    @pytest.mark.parametrize("octets", [b"Subject: x\n\n", b"\0\1\2", b"From here on it is text\n", b"PK\3\4"])
    def test_is_refused(self, tmp_path: Path, octets: bytes) -> None:
        with pytest.raises(NotAnMbox):
            read(tmp_path / "mbox", octets)

    def test_but_an_empty_file_has_no_messages(self, tmp_path: Path) -> None:
        assert read(tmp_path / "mbox", b"") == read(tmp_path / "mbox", b"\n\n") == []


class TestIdentity:
    def test_does_not_depend_on_what_programs_change_in_place(self, tmp_path: Path) -> None:
        before, after = (
            read(tmp_path / "mbox", mboxrd([b"A: 1\n" + marks + b"B: 2\n\nx\n"]))[0]
            for marks in (b"", b"Status: RO\nX-Status: AF\nX-Keywords: $Work  other\nX-UID: 7\n")
        )
        assert before[0].identity == after[0].identity == hashlib.sha256(before[1]).hexdigest()
        assert before[1] != after[1]
        assert after[0].flags == {"\\Seen", "\\Answered", "\\Flagged", "$Work", "other"}

    def test_thunderbird_says_its_flags(self, tmp_path: Path) -> None:
        octets = (
            b"X-Mozilla-Status: 1005\nX-Mozilla-Status2: 00800000\nX-Mozilla-Keys: $label1 NonJunk   \nA: 1\n\n"
        )
        ((found, _),) = read(tmp_path / "mbox", mboxrd([octets]))
        assert found.flags == {"\\Seen", "\\Flagged", "$Forwarded", "$label1", "NonJunk"}


@given(
    messages=st.lists(st.lists(st.sampled_from(PIECES), max_size=16).map(b"".join), max_size=4),
    window=st.sampled_from([40, 64, 1 << 20]),
)
def test_any_octets_come_back(tmp_path_factory: pytest.TempPathFactory, messages: list[bytes], window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(octets_module, "_PIECE", window)
        patch.setattr(mbox_module, "_PIECE", window)
        found = octets_in(tmp_path_factory.mktemp("m") / "mbox", mboxrd(messages))
    assert found == expected(messages)


def test_memory_does_not_grow_with_the_mbox(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    line = b"From a@b.c Wed Jan 10 08:05:00 2024\n"
    with path.open("wb") as file:
        file.write((line + b"A: 1\n\n" + b"line of text\n" * 300 + b"\n") * 400)
        file.write(line + b"A: 2\n\n" + b"x" * (20 << 20) + b"\n")
    fd = os.open(path, os.O_RDONLY)
    tracemalloc.start()
    try:
        found = sum(1 for _ in messages_of(fd, str(path), end=path.stat().st_size, modified=0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        os.close(fd)
    assert found == 401
    assert peak < 12 << 20
