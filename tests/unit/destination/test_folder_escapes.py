"""What a server cannot name is written so that it can, and is read back."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.config.providers.table import name_rules
from archiver.destination.folder_map.escapes import (
    CAUTIONS,
    NO_RULES,
    escape_level,
    longest_name,
    refused_in,
    unescape_level,
)
from archiver.mail.folder_names import NameRules

LEVELS = st.one_of(st.text(st.characters()), st.text("=0aAF2-_/. ~^\x00é😀", max_size=8))
DELIMITERS = st.sampled_from([None, "/", ".", "\\", "^", "|"])
KINDS = ["", "cyrus", "courier", "dovecot", "gmail", "exchange", "Gimap ready", "unheard of"]
RULES = st.sampled_from([name_rules(said) for said in KINDS])
SAMPLE_CAUTIONS = st.sampled_from(CAUTIONS)


@pytest.mark.parametrize(
    ("said", "delimiter", "level", "escaped"),
    [
        ("", "/", "Work", "Work"),
        ("", "/", "Entwürfe", "Entwürfe"),
        ("", "/", "a/b", "a=2Fb"),
        ("", ".", "a/b", "a/b"),
        ("", ".", "v1.2", "v1=2E2"),
        ("", None, "a/b.c", "a/b.c"),
        ("", "/", "", "=-"),
        ("", "/", "=-", "=3D-"),
        ("", "/", "a=2Fb", "a=3D2Fb"),
        ("", "/", "a=2fb", "a=3D2fb"),
        ("", "/", "a=_b", "a=3D_b"),
        ("", "/", "1 = 2", "1 = 2"),
        ("", "/", "x\x00\r\n\x7f\x85", "x=00=0D=0A=7F=C2=85"),
        ("", "/", "\udc80", "=ED=B2=80"),
        ("cyrus", "/", 'a!"%;<>\\^`{|}b', "a=21=22=25=3B=3C=3E=5C=5E=60=7B=7C=7Db"),
        ("cyrus", "/", "R&D (*) #1?", "R&D (*) #1?"),
        ("cyrus", ".", "a/b", "a=2Fb"),
        ("courier", ".", "a/b", "a=2Fb"),
        ("courier", "/", ".a.b", "=2Ea.b"),
        ("courier", ".", "😀 日", "=F0=9F=98=80 日"),
        ("gmail", "/", " a  b ", "=20a =20b=20"),
        ("gmail", "/", "a^b c", "a=5Eb c"),
        ("dovecot", ".", "~a/b~", "=7Ea=2Fb~"),
        ("dovecot", "/", "..", "=2E=2E"),
        ("dovecot", "/", ".", "=2E"),
        ("dovecot", "/", "a.b", "a.b"),
        ("[CAPABILITY] Dovecot ready.", "/", "~", "=7E"),
        ("exchange", "/", " a  ", " a=20=20"),
    ],
)
def test_what_servers_refuse_is_escaped(said: str, delimiter: str, level: str, escaped: str) -> None:
    assert escape_level(level, delimiter, name_rules(said)) == escaped
    assert unescape_level(escaped) == level


@pytest.mark.parametrize(
    ("caution", "escaped"),
    [(1, "Größe =3C5=3E v1.0=21=F0=9F=98=80"), (2, "Gr=C3=B6=C3=9Fe =3C5=3E v1=2E0=21=F0=9F=98=80")],
)
def test_after_a_refusal_only_plain_characters_are_left(caution: int, escaped: str) -> None:
    assert escape_level("Größe <5> v1.0!😀", "/", NO_RULES, caution) == escaped
    assert unescape_level(escaped) == "Größe <5> v1.0!😀"


@given(LEVELS, DELIMITERS, RULES, SAMPLE_CAUTIONS)
@example("=-", "/", NO_RULES, 2)
@example("==2F/", "/", NO_RULES, 0)
def test_every_level_comes_back(level: str, delimiter: str | None, rules: NameRules, caution: int) -> None:
    escaped = escape_level(level, delimiter, rules, caution)
    assert unescape_level(escaped) == level
    assert escaped.encode("utf-8")
    assert delimiter is None or delimiter not in escaped
    assert not re.search("[\x00-\x1f\x7f-\x9f]", escaped)


@given(LEVELS, LEVELS, DELIMITERS, RULES, SAMPLE_CAUTIONS, SAMPLE_CAUTIONS)
def test_no_two_levels_are_written_alike(
    one: str, other: str, delimiter: str | None, rules: NameRules, caution: int, another: int
) -> None:
    alike = escape_level(one, delimiter, rules, caution) == escape_level(other, delimiter, rules, another)
    assert not alike or one == other


@given(LEVELS)
def test_any_text_can_be_read(text: str) -> None:
    unescape_level(text)


def test_what_is_no_escape_is_left_alone() -> None:
    assert unescape_level("=FF =c3 a= =") == "=FF =c3 a= ="


def test_what_was_escaped_can_be_recognised() -> None:
    assert refused_in("~a/b/c", ".", name_rules("dovecot")) == ["/", "~"]
    assert refused_in("a b", "/", name_rules("gmail")) == []


def test_names_are_as_long_as_a_maildir_can_hold() -> None:
    kinds = ("dovecot", "courier", "cyrus", "")
    assert [longest_name(name_rules(said)) for said in kinds] == [250, 250, 1000, 1000]
    assert longest_name(name_rules("dovecot"), max(CAUTIONS)) == 100
