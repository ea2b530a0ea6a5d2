"""Whether two logins lead to one mailbox: messages decide, and nothing else."""

from __future__ import annotations

import pytest

from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.mail.model import Attributes, Folder, FolderStatus, Listed
from archiver.source.same_mailbox import (
    MessageTraits,
    Resemblance,
    filled_of,
    renewed,
    resemblance,
    shown_by,
    suspects,
    traits_of,
)

DATE, SECONDS = "02-Jan-2020 00:00:00 +0000", 1577923200
LATER = "02-Jan-2020 00:00:01 +0000"


def listed(**uidvalidities: int | None) -> list[Listed]:
    return [
        Listed(Folder(name.encode(), (name,)), None if value is None else FolderStatus(value, 9, 1))
        for name, value in uidvalidities.items()
    ]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([], Resemblance()),
        ([Attributes(1, internaldate=DATE, size=100)], Resemblance(1, 0, (b"INBOX",))),
        ([Attributes(1, internaldate="02-Jan-2020 02:00:00 +0200", size=100)], Resemblance(1, 0, (b"INBOX",))),
        ([Attributes(1, size=100), Attributes(1, internaldate=DATE)], Resemblance(1, 0, (b"INBOX",))),
        ([Attributes(1, internaldate=LATER, size=101)], Resemblance(0, 1)),
        ([Attributes(1, internaldate=LATER, size=100)], Resemblance()),
        ([Attributes(1, internaldate=DATE, size=101)], Resemblance()),
        ([Attributes(1, size=100)], Resemblance()),
        ([Attributes(2, internaldate=DATE, size=100)], Resemblance()),
    ],
    ids=["gone", "same", "another zone", "told in two rows", "other", "date", "size", "no date", "not asked for"],
)
def test_a_message_is_the_same_by_size_and_date(seen: list[Attributes], expected: Resemblance) -> None:
    assert resemblance(b"INBOX", {1: MessageTraits(100, SECONDS)}, seen) == expected


def test_what_is_not_recorded_proves_nothing() -> None:
    seen = [Attributes(uid, internaldate=DATE, size=100) for uid in (1, 2)]
    assert (
        resemblance(b"INBOX", {1: MessageTraits(None, SECONDS), 2: MessageTraits(100, None)}, seen) == Resemblance()
    )
    assert traits_of(seen[0]) == MessageTraits(100, SECONDS)


def test_one_other_message_is_more_than_many_that_are_the_same() -> None:
    assert (Resemblance(1, 0, (b"a",)) + Resemblance(2, 0, (b"b",))) == Resemblance(3, 0, (b"a", b"b"))
    assert Resemblance(1).proven
    assert not Resemblance().proven
    assert not (Resemblance(90) + Resemblance(0, 1)).proven


def test_folders_without_evidence_or_messages_are_left_out() -> None:
    above = Listed(Folder(b"above", ("above",), attributes=frozenset({"\\noselect"})), FolderStatus(7, 1, 0))
    assert shown_by([*listed(INBOX=7, Work=None), above]) == {b"INBOX": 7}


def test_an_empty_folder_proves_nothing() -> None:
    empty = Listed(Folder(b"Work", ("Work",)), FolderStatus(7, 9, 0))
    assert filled_of([*listed(INBOX=7), empty]) == {b"INBOX": 7}


def test_folders_of_one_uidvalidity_are_suspected() -> None:
    assert suspects({b"A": 1, b"INBOX": 2, b"B": 3}, {b"A": 1, b"INBOX": 2, b"B": 4}) == [
        (b"INBOX", b"INBOX"), (b"A", b"A"),
    ]  # fmt: skip
    assert suspects({b"INBOX.Old.Work": 5}, {b"Old/Work": 5, b"INBOX": 6}) == [(b"INBOX.Old.Work", b"Old/Work")]


def test_a_uidvalidity_that_many_folders_share_counts_only_with_the_name() -> None:
    assert suspects({b"A": 1, b"B": 1}, {b"A": 1, b"C": 1}) == [(b"A", b"A")]


def test_all_folders_are_renewed_or_it_is_no_news() -> None:
    known = {name: KnownFolder(n, Folder(name, (name.decode(),)), "") for n, name in enumerate((b"A", b"B", b"C"))}
    epochs = {n: KnownEpoch(10 + n, n, 7) for n in (0, 1)}
    assert renewed(listed(A=8, B=9, new=7), known, epochs) == 2
    assert renewed(listed(A=8, new=7), known, epochs) == 1
    assert renewed(listed(A=7, B=9), known, epochs) == 0
    assert renewed(listed(new=7), known, epochs) == 0
    other_source = {n: KnownEpoch(10 + n, n, 7, other_source=True) for n in (0, 1)}
    assert renewed(listed(A=8, B=9), known, other_source) == 0
