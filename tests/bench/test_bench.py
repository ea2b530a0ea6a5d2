"""The benchmark works; how fast anything is, no test asks."""

from __future__ import annotations

import re

import pytest

from tests.bench.__main__ import main
from tests.servers.dovecot import Dovecot


@pytest.mark.skipif(Dovecot.missing() is not None, reason=str(Dovecot.missing()))
def test_the_smallest_mailbox_is_archived_three_times_and_shown_in_a_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["archive", "--quick"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| XS")]
    ours = [row for row in rows if row[1] == "archiver"]
    assert [row[0] for row in ours] == [f"| XS, 0 ms, {phase}" for phase in ("first", "nothing new", "increment")]
    for row in ours:
        assert all(re.fullmatch(r"\d+\.\d\d|\d+\.\d\d–\d+\.\d\d|\d+", each) for each in row[2:6])


@pytest.mark.skipif(Dovecot.missing() is not None, reason=str(Dovecot.missing()))
def test_searches_among_a_few_messages_are_shown_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--quick"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    found = {name.removeprefix("| "): count for name, count, *_ in rows}
    assert (found["English words: `the`"], found["nowhere: `xylophonically`"]) == ("101", "0")
