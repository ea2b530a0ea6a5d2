"""A journal that somebody edited: what cannot be true is damage of its segment, whatever it breaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.errors import IntegrityError
from archiver.facts.archive import Segment
from archiver.facts.codec import fact_from_json
from archiver.journal.as_of import replay_past
from archiver.journal.rebuild import replay_journal
from archiver.mail.model import Digest

_HEADERS = '{"sender":"","recipients":"","subject":"","sent":null}'
FORGED = {
    "a number for a time": '{"fact":"flags","epoch":3,"uid":1,"flags":[],"at":1000000000000000000000000}',
    "a list for an epoch": '{"fact":"flags","epoch":[],"uid":1,"flags":[],"at":""}',
    "a number for a flag": '{"fact":"flags","epoch":3,"uid":1,"flags":[7,"a"],"at":""}',
    "an object for a UID": '{"fact":"vanished","epoch":3,"uids":[17,{}],"at":""}',
    "an object for a size": '{"fact":"packed","pack":"ab","size":{},"frames":[["01",0,100]]}',
    "half a character": '{"fact":"headers","digest":"\\ud800","headers":' + _HEADERS + "}",
    "no text for a subject": '{"fact":"headers","digest":"ab","headers":' + _HEADERS.replace('""', "1.5") + "}",
}


@dataclass
class OneSegment:
    """A journal of one segment."""

    segment: Segment

    def read(self, after: object) -> Iterator[Segment]:
        yield self.segment


@pytest.mark.parametrize("line", FORGED.values(), ids=FORGED.keys())
def test_a_forged_fact_is_damage_and_no_traceback(tmp_path: Path, line: str) -> None:
    segment = Segment(1, "run", Digest(""), Digest("ab"), (fact_from_json(line),))
    catalog = SqlCatalog(tmp_path / "catalog.sqlite")
    try:
        with pytest.raises(IntegrityError, match="segment 1"):
            replay_journal(cast(Any, OneSegment(segment)), catalog, lambda: None)
    finally:
        catalog.close()


@pytest.mark.parametrize("name", ["a number for a time", "a list for an epoch"])
def test_so_it_is_where_a_past_day_is_read(tmp_path: Path, name: str) -> None:
    segment = Segment(1, "run", Digest(""), Digest("ab"), (fact_from_json(FORGED[name]),))
    catalog = SqlCatalog(tmp_path / "catalog.sqlite")
    try:
        with pytest.raises(IntegrityError, match="segment 1"):
            replay_past(cast(Any, OneSegment(segment)), 1, catalog, "2026-01-01T00:00:00Z", lambda: None)
    finally:
        catalog.close()
