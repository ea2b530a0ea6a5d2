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
