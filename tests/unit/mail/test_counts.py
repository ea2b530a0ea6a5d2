"""Numbers with their nouns."""

from __future__ import annotations

import pytest

from archiver.mail.counts import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "no copies are"), (1, "1 copy is"), (2, "2 copies are"), (12_345, "12,345 copies are")]
)
def test_the_noun_and_the_verb_go_with_the_number(number: int, text: str) -> None:
    assert counted(number, "copy is", "copies are") == text


def test_most_nouns_get_an_s() -> None:
    assert [counted(number, "message") for number in (0, 1, 2)] == ["no messages", "1 message", "2 messages"]
