"""Names that show what a folder is for: each has one meaning, whatever its case and composition."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.destination.folder_map.special_use import folded, names_of_uses, special_name
from archiver.mail.model import SPECIAL_USES


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("Sent", "\\sent"),
        ("SENT ITEMS", "\\sent"),
        ("Sent Messages", "\\sent"),
        ("Gesendete Elemente", "\\sent"),
        ("Objets envoyés", "\\sent"),
        ("Отправленные", "\\sent"),
        ("送信済みトレイ", "\\sent"),
        ("Entwürfe", "\\drafts"),
        ("Entwu\u0308rfe", "\\drafts"),
        ("Πρόχειρα", "\\drafts"),
        ("草稿", "\\drafts"),
        ("Deleted Messages", "\\trash"),
        ("Papierkorb", "\\trash"),
        ("Corbeille", "\\trash"),
        ("휴지통", "\\trash"),
        ("Junk E-mail", "\\junk"),
        ("Bulk Mail", "\\junk"),
        ("spam", "\\junk"),
        ("İstenmeyen", "\\junk"),
        ("垃圾邮件", "\\junk"),
        ("Archiv", "\\archive"),
        ("ארכיון", "\\archive"),
    ],
)
def test_names_of_many_languages_and_clients(name: str, use: str) -> None:
    reported = special_name((name,))
    assert reported is not None
    assert reported[0] == use


@pytest.mark.parametrize(
    ("path", "use"),
    [
        (("[Gmail]", "Sent Mail"), "\\sent"),
        (("[Google Mail]", "Bin"), "\\trash"),
        (("[gmail]", "Papierkorb"), "\\trash"),
        (("[Gmail]", "All Mail"), None),
        (("[Gmail]", "Sent Mail", "2019"), None),
        (("Projects", "Archive"), None),
        (("INBOX", "Sent"), None),
        (("INBOX",), None),
        (("[Gmail]",), None),
        ((), None),
    ],
)
def test_only_names_at_the_top_or_of_gmail_count(path: tuple[str, ...], use: str | None) -> None:
    reported = special_name(path)
    assert (reported[0] if reported else None) == use


def test_no_name_is_in_the_table_for_two_uses() -> None:
    uses: dict[str, set[str]] = {}
    for use, names in names_of_uses().items():
        for name in names:
            uses.setdefault(folded(name), set()).add(use)
    assert {name: found for name, found in uses.items() if len(found) > 1} == {}


def test_the_table_is_well_formed() -> None:
    names = [name for each in names_of_uses().values() for name in each]
    assert set(names_of_uses()) <= set(SPECIAL_USES)
    assert [name for name in names if name != unicodedata.normalize("NFC", name.strip()) or not name] == []


def test_what_stands_earlier_in_the_table_is_preferred() -> None:
    for use, names in names_of_uses().items():
        ranks = [special_name((name,)) for name in names]
        assert ranks[0] == (use, 0)
        assert [reported[1] for reported in ranks if reported] == sorted(
            reported[1] for reported in ranks if reported
        )


@given(st.sampled_from([name for names in names_of_uses().values() for name in names]))
def test_case_and_composition_do_not_count(name: str) -> None:
    assert special_name((unicodedata.normalize("NFD", name),)) == special_name((name,))
    assert special_name((name.swapcase().swapcase(),)) == special_name((name,)) or "İ" in name or "ı" in name


@given(st.lists(st.text(st.characters(), max_size=10), max_size=3))
def test_any_name_is_looked_up(path: list[str]) -> None:
    reported = special_name(tuple(path))
    assert reported is None or reported[0] in names_of_uses()
