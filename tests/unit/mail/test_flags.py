"""Flags: one spelling for each, and Maildir letters that give them back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.flags import (
    LETTERS,
    flags_from_letters,
    is_keyword,
    maildir_letters,
    parse_flags,
    respelled,
    sendable,
)

KEYWORDS = st.lists(st.text("abcXYZ$-_.", min_size=1, max_size=5), unique=True, max_size=26)


def test_system_flags_have_one_case_and_recent_is_dropped() -> None:
    parsed = parse_flags(["\\SEEN", "\\answered", "\\Recent", "\\recent", "$Forwarded", "NIL", ""])
    assert parsed == {"\\Seen", "\\Answered", "$Forwarded", "NIL"}


def test_keywords_and_unknown_system_flags_stay_as_they_are() -> None:
    assert parse_flags(["$forwarded", "$Forwarded", "\\X"]) == {"$forwarded", "$Forwarded", "\\X"}


def test_equal_sets_are_one_object() -> None:
    assert parse_flags(["\\seen", "a"]) is parse_flags(iter(["a", "\\Seen", "\\Seen"]))


@pytest.mark.parametrize(
    ("flags", "letters"),
    [
        ((), ""),
        (("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "\\Draft"), "DFRST"),
        (("\\Seen", "k2", "k0"), "Sac"),
        (("unlisted",), ""),
        (("k25", "k26"), "z"),
    ],
)
def test_letters(flags: tuple[str, ...], letters: str) -> None:
    assert maildir_letters(frozenset(flags), [f"k{i}" for i in range(30)]) == letters


def test_letters_without_a_meaning_are_passed_over() -> None:
    assert flags_from_letters("PSabc,", ["one", ""]) == {"\\Seen", "one"}


def test_flags_beyond_all_measure_are_read_and_not_remembered() -> None:
    many = [f"k{number}" for number in range(10_000)]
    assert parse_flags([*many, "\\Recent"]) == frozenset(many)
    assert parse_flags(many) is not parse_flags(many)


@given(KEYWORDS, st.data())
def test_flags_and_letters_round_trip(keywords: list[str], data: st.DataObject) -> None:
    flags = frozenset(data.draw(st.sets(st.sampled_from([*LETTERS, *keywords]))))
    assert flags_from_letters(maildir_letters(flags, keywords), keywords) == flags


@pytest.mark.parametrize("flag", ["$Forwarded", "a[b]", "NIL", "x.y/z", "\u007e"])
def test_atoms_can_be_keywords(flag: str) -> None:
    assert is_keyword(flag)


@pytest.mark.parametrize("flag", ["", "\\Seen", "a b", "a\nb", "a(", "a%", "a*", 'a"', "é", "a\\b", "{1}"])
def test_what_is_no_atom_cannot(flag: str) -> None:
    assert not is_keyword(flag)


# At a destination


@pytest.mark.parametrize(
    "flag",
    [
        "\\Seen",
        "\\X-Odd",
        "$Forwarded",
        "NIL",
        "a.b/c",
        "[Gmail",
        "\u007e",
        "+flags",
        "k1",
        "<a>",
        "a:b",
        "a=b",
        "a,b",
    ],
)
def test_atoms_with_or_without_a_backslash_can_be_sent(flag: str) -> None:
    assert sendable(frozenset({flag})) == {flag}


@pytest.mark.parametrize(
    "flag",
    [
        "",
        "\\",
        "\\*",
        "\\\\Seen",
        "a b",
        "a\nb",
        "a\r",
        "a(",
        "a)",
        "a%",
        "a*",
        'a"',
        "é",
        "a\\b",
        "{1}",
        "a]",
        "\x00",
        "\udcff",
        "\x7f",
    ],
)
def test_what_would_break_a_commands_line_cannot(flag: str) -> None:
    assert sendable(frozenset({flag, "\\Seen"})) == {"\\Seen"}


@pytest.mark.parametrize(
    ("shown", "like", "expected"),
    [
        (set(), set(), set()),
        ({"\\Seen", "foo"}, {"\\Seen", "foo"}, {"\\Seen", "foo"}),
        ({"foo", "\\Seen"}, {"Foo"}, {"Foo", "\\Seen"}),
        ({"FOO"}, {"foo", "Foo"}, {"foo", "Foo"}),  # two words at the source, one at the destination
        ({"foo", "FOO"}, {"Foo"}, {"Foo"}),
        ({"foo"}, {"Foo", "bar"}, {"Foo"}),
        ({"foo"}, set(), {"foo"}),
        ({"foo", "Foo"}, {"Foo"}, {"Foo"}),
        ({"Ünï"}, {"ünï"}, {"ünï"}),
    ],
)
def test_keywords_are_spelled_like_those_that_were_sent(
    shown: set[str], like: set[str], expected: set[str]
) -> None:
    assert respelled(frozenset(shown), frozenset(like)) == expected


@given(
    st.frozensets(st.text("abAB", min_size=1, max_size=2)), st.frozensets(st.text("abAB", min_size=1, max_size=2))
)
def test_respelling_neither_adds_nor_takes_away(shown: frozenset[str], like: frozenset[str]) -> None:
    spelled = respelled(shown, like)

    assert {flag.lower() for flag in spelled} == {flag.lower() for flag in shown}
    assert respelled(spelled, like) == spelled
    assert spelled & like == {flag for flag in like if flag.lower() in {each.lower() for each in shown}}
