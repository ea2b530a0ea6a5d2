"""A journal that somebody edited: what cannot be true is damage of its segment, whatever it breaks.

Values of another type are refused when a line is read (`tests/unit/facts/test_archive.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.errors import IntegrityError
from archiver.facts.archive import Segment
from archiver.facts.codec import fact_from_json, fact_to_json
from archiver.journal.as_of import replay_past
from archiver.journal.rebuild import replay_journal
from archiver.mail.model import Digest
from tests.contracts.catalog import stored

_FOLDER = (
    '{"fact":"folder","number":1,"raw":"a","path":["a"],"delimiter":"/","directory":"a","attributes":[],'
    '"subscribed":true,"listed":true,"at":""}'
)
_EPOCH = '{"fact":"epoch","number":1,"folder":1,"uidvalidity":1,"generation":1,"reason":"first","at":""}'
_STATE = (
    '{"fact":"state","epoch":1,"uidnext":1,"highestmodseq":null,"messages":0,"filter":"\\ud800","at":"",'
    '"size":null}'
)
FORGED = {
    "half a character": [_FOLDER, _EPOCH, _STATE],
    "an epoch of no folder": [_EPOCH],
    "two folders with one name": [_FOLDER, _FOLDER.replace('"number":1', '"number":2')],
}


@dataclass
class OneSegment:
    """A journal of one segment."""

    segment: Segment

    def read(self, after: object) -> Iterator[Segment]:
        yield self.segment


@pytest.mark.parametrize("lines", FORGED.values(), ids=FORGED.keys())
def test_a_forged_fact_is_damage_and_no_traceback(tmp_path: Path, lines: Sequence[str]) -> None:
    segment = Segment(1, "run", Digest(""), Digest("ab"), tuple(map(fact_from_json, lines)))
    catalog = SqlCatalog(tmp_path / "catalog.sqlite")
    try:
        with pytest.raises(IntegrityError, match="segment 1"):
            replay_journal(cast(Any, OneSegment(segment)), catalog, lambda: None)
    finally:
        catalog.close()


def test_so_it_is_where_a_past_day_is_read(tmp_path: Path) -> None:
    facts = tuple(map(fact_from_json, FORGED["half a character"]))
    catalog = SqlCatalog(tmp_path / "catalog.sqlite")
    try:
        with pytest.raises(IntegrityError, match="segment 1"):
            replay_past(
                cast(Any, OneSegment(Segment(1, "run", Digest(""), Digest("ab"), facts))),
                1,
                catalog,
                "2026-01-01T00:00:00Z",
                lambda: None,
            )
    finally:
        catalog.close()


def test_sizes_that_add_up_to_more_than_can_be_are_damage(tmp_path: Path) -> None:
    lines = [
        fact_to_json(replace(stored(uid), message=replace(stored(uid).message, size=2**63 - 1))) for uid in (1, 2)
    ]
    facts = tuple(map(fact_from_json, [_FOLDER, _EPOCH, *lines]))
    catalog = SqlCatalog(tmp_path / "catalog.sqlite")
    try:
        catalog.apply(Segment(1, "run", Digest(""), Digest("ab"), facts))
        with pytest.raises(IntegrityError, match="too large to be true"):
            catalog.account.tallies("run")
    finally:
        catalog.close()
