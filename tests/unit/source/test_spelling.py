"""Folders whose names a server spells otherwise than before."""

from __future__ import annotations

import pytest

from archiver.facts.known import KnownFolder
from archiver.mail.folder_names import decode_name
from archiver.mail.model import IMPORTED, Folder, Listed
from archiver.source.spelling import recognised

MUTF7, UTF8, LATIN1 = b"&AOQ-", "ä".encode(), b"\xe4"


def folder(raw: bytes, *attributes: str) -> Folder:
    return Folder(raw, (decode_name(raw),), "/", frozenset(attributes))


def known(*raws: bytes, listed: bool = True, attributes: tuple[str, ...] = ()) -> dict[bytes, KnownFolder]:
    return {raw: KnownFolder(n, folder(raw, *attributes), str(n), listed) for n, raw in enumerate(raws, 1)}


def names(listed: list[bytes], before: dict[bytes, KnownFolder]) -> list[tuple[bytes, bytes]]:
    found = recognised([Listed(folder(raw)) for raw in listed], before)
    return [(each.folder.raw, each.folder.wire) for each in found]


@pytest.mark.parametrize("before", [MUTF7, UTF8, LATIN1])
@pytest.mark.parametrize("now", [MUTF7, UTF8, LATIN1])
def test_one_folder_in_any_spelling(before: bytes, now: bytes) -> None:
    assert names([b"INBOX", now], known(b"INBOX", before)) == [(b"INBOX", b"INBOX"), (before, now)]


@pytest.mark.parametrize(
    ("listed", "before"),
    [
        ([MUTF7], {}),
        ([MUTF7, UTF8], known(MUTF7)),  # both are there
        ([UTF8, LATIN1], known(MUTF7)),  # which one it is nobody knows
        ([LATIN1], known(MUTF7, UTF8)),
        ([b"other"], known(MUTF7)),
        ([UTF8], known(MUTF7, listed=False)),  # it had gone before
        ([UTF8], known(MUTF7, attributes=(IMPORTED,))),
    ],
)
def test_in_doubt_a_folder_is_what_it_is_called(listed: list[bytes], before: dict[bytes, KnownFolder]) -> None:
    assert names(listed, before) == [(raw, raw) for raw in listed]
