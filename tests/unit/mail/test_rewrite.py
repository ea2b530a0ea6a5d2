"""Repaired copies: what is altered, how little, and that pieces do not matter."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.refusal import Features, Refusal, features_of
from archiver.mail.rewrite import REPAIRS, repair, repairs_for
from tests.servers.corpora import CorpusMessage

KINDS = st.sets(st.sampled_from(REPAIRS))
OCTETS = st.lists(
    st.sampled_from(
        [
            *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b"a", b"A: b", b"\xff", "ü".encode()),
            *(b"x" * 497, b"y" * 996, "€".encode() * 333, b" " * 600, b"ab " * 333),
        ]
    )
).map(b"".join)


def repaired(octets: bytes, *kinds: str) -> bytes:
    return b"".join(repair([octets], kinds or REPAIRS))


def lines(octets: bytes) -> list[bytes]:
    return re.split(rb"\r?\n|\r\Z", octets)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"A: b\n\nc\rd\r\n", b"A: b\r\n\r\nc\rd\r\n"),
        (b"\n\r\n\r\r\n\n\r", b"\r\n\r\n\r\r\n\r\n\r"),
        (b"\r\0\n", b"\r\0\r\n"),
        (b"", b""),
    ],
)
def test_bare_lfs_become_crlfs_and_bare_crs_stay(octets: bytes, expected: bytes) -> None:
    assert repaired(octets, "crlf") == expected


def test_nuls_are_removed_before_line_ends_are_examined() -> None:
    assert repaired(b"A: \0b\r\0\n", "nul") == b"A: b\r\n"
    assert repaired(b"A: \0b\r\0\n", "nul", "crlf") == b"A: b\r\n"


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        (b"x" * 998, [b"x" * 998]),
        (b"x" * 999, [b"x" * 998, b"x"]),
        (b"x" * 2500, [b"x" * 998, b"x" * 998, b"x" * 504]),
        (b"x" * 997 + b" yz", [b"x" * 997, b" yz"]),
        (b"x" * 998 + b" yz", [b"x" * 998, b" yz"]),
        (b"x" * 501 + b"\t" + b"y" * 600, [b"x" * 501, b"\t" + b"y" * 600]),
        (b"x" * 500 + b" " + b"y" * 600, [b"x" * 500 + b" " + b"y" * 497, b"y" * 103]),
        (b"x" * 900 + b"  " + b"y" * 200, [b"x" * 900 + b" ", b" " + b"y" * 200]),
        (b"x" * 998 + b" ", [b"x" * 997, b"x "]),
        (b"x" * 998 + b"\ry", [b"x" * 997, b"x\ry"]),
        (b" " * 999, [b" " * 998, b" "]),
        (b"x" * 997 + "üy".encode(), [b"x" * 997, "üy".encode()]),
        (b"x" * 995 + "😀y".encode(), [b"x" * 995, "😀y".encode()]),
        (b"\x80" * 1000, [b"\x80" * 998, b"\x80\x80"]),
    ],
)
def test_long_lines_of_a_body_are_broken(line: bytes, broken: Sequence[bytes]) -> None:
    for end in (b"\r\n", b"\n", b""):
        message = b"A: b\r\n\r\n" + line + end
        assert repaired(message, "long-lines") == b"A: b\r\n\r\n" + b"\r\n".join(broken) + end
        chunks = [message[:5], message[5:900], message[900:]]
        assert b"".join(repair(chunks, ["long-lines"])) == repaired(message, "long-lines")


def test_long_lines_of_a_header_are_folded() -> None:
    blanks = b"A: " + b"word " * 400
    folded = repaired(blanks + b"\r\n\r\n", "long-lines")
    assert folded.replace(b"\r\n ", b" ") == blanks + b"\r\n\r\n"
    hard = repaired(b"A:" + b"x" * 3000 + b"\r\nB: c\n\n", "long-lines")
    assert hard == b"A:" + b"\r\n ".join([b"x" * 996, b"x" * 997, b"x" * 997, b"x" * 10]) + b"\r\nB: c\n\n"


def test_a_line_of_nothing_but_blanks_is_not_made_at_the_end_of_a_field() -> None:
    for end in (b"y\r\n", b"\r\n", b"\r\r\n"):
        folded = repaired(b"A: " + b"x" * 990 + b" " * 300 + end, "long-lines")
        assert [bool(line.strip()) for line in folded.split(b"\n")] == [True, True, False]


@given(st.lists(OCTETS), KINDS)
def test_a_repair_needs_no_second_one_and_does_not_depend_on_chunks(chunks: list[bytes], kinds: set[str]) -> None:
    octets = b"".join(chunks)
    result = b"".join(repair(chunks, kinds))
    assert result == b"".join(repair([octets], kinds))
    assert result == b"".join(repair((octets[i : i + 1] for i in range(len(octets))), kinds))
    assert result == b"".join(repair([result], kinds))
    if "nul" in kinds:
        assert b"\0" not in result
    if "crlf" in kinds:
        assert not re.search(rb"(?<!\r)\n", result)
    if "long-lines" in kinds:
        assert max(map(len, lines(result))) <= 998


@given(OCTETS)
def test_a_repair_alters_no_more_than_it_says(octets: bytes) -> None:
    assert repaired(octets, "nul") == octets.replace(b"\0", b"")
    assert repaired(octets, "crlf") == re.sub(rb"(?<!\r)\n", b"\r\n", octets)
    ended = repaired(octets, "last-line")
    assert ended.startswith(octets)
    assert len(ended) <= len(octets) + 2
    assert not octets or ended.endswith(b"\n")
    broken = repaired(octets, "long-lines")
    assert re.sub(rb"[ \r\n]", b"", broken) == re.sub(rb"[ \r\n]", b"", octets)
    assert broken.count(b"\n") - octets.count(b"\n") <= len(octets) // 501
    assert all(line in broken for line in lines(octets) if len(line) <= 998)


@given(OCTETS)
def test_what_needs_no_repair_stays_as_it_is(octets: bytes) -> None:
    needed = repairs_for("unknown", features_of([octets]), REPAIRS)
    others = [kind for kind in REPAIRS if kind not in needed]
    assert b"".join(repair([octets], others)) == octets
    assert all(repaired(octets, kind) != octets for kind in needed)


def test_a_line_of_any_length_passes_in_pieces() -> None:
    longest = size = 0
    for chunk in repair((b"x" * 65536 for _ in range(320)), REPAIRS):
        longest, size = max(longest, len(chunk)), size + len(chunk)
    assert longest < 70_000
    assert size > 320 * 65536


ODD = Features(5000, has_nul=True, has_bare_lf=True, longest_line=2000, header_ok=True, ends_line=False)
GOOD = Features(5000, has_nul=False, has_bare_lf=False, longest_line=998, header_ok=True)


@pytest.mark.parametrize(
    ("refusal", "allowed", "expected"),
    [
        ("nul", REPAIRS, ("nul",)),
        ("bare-lf", REPAIRS, ("crlf",)),
        ("long-line", REPAIRS, ("long-lines",)),
        ("unknown", REPAIRS, REPAIRS),
        ("invalid-header", REPAIRS, REPAIRS),
        ("unknown", ("long-lines", "crlf"), ("crlf", "long-lines")),
        ("nul", ("crlf", "long-lines"), ()),
        ("unknown", (), ()),
        ("over-quota", REPAIRS, ()),
        ("virus", REPAIRS, ()),
        ("too-big", REPAIRS, ()),
    ],
)
def test_repairs_that_could_help(refusal: Refusal, allowed: Sequence[str], expected: Sequence[str]) -> None:
    assert repairs_for(refusal, ODD, allowed) == expected
    assert repairs_for(refusal, GOOD, allowed) == ()


def test_odd_messages_of_the_world_can_be_repaired(corpora: list[CorpusMessage]) -> None:
    for message in corpora:
        octets = message.octets
        features = features_of([octets])
        kinds = repairs_for("unknown", features, REPAIRS)
        result = repaired(octets)
        assert result == b"".join(repair((octets[i : i + 777] for i in range(0, len(octets), 777)), kinds))
        assert (result == octets) == (not kinds)
        assert repaired(result) == result
        assert repairs_for("unknown", features_of([result]), REPAIRS) == ()
