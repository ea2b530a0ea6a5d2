"""Memory is bounded, whatever the size of a folder or of a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.accounts import account_file, report
from tests.faults.memory import Watched, watched
from tests.servers.vast_server import Mail, VastServer

LIMIT = 150
"""What a run may hold at its worst, all its processes together, in MB."""

FOLDER = 100_000
MESSAGE = 200_000_000


def run(directory: Path, mail: Mail) -> Watched:
    """One run against a server that holds `mail`."""
    with VastServer(mail) as server:
        return watched("run", account_file(directory, server, "u1"))


def totals(directory: Path, *names: str) -> tuple[int, ...]:
    return tuple(report(directory / "archive")["totals"][name] for name in names)


@pytest.mark.timeout(600)
def test_a_folder_of_a_hundred_thousand_messages(tmp_path: Path) -> None:
    nights = {
        "all new": Mail(FOLDER),
        "an increment told by QRESYNC": Mail(FOLDER, generation=1),
        "an increment asked by CHANGEDSINCE": Mail(FOLDER, generation=2, offers="condstore"),
        "no change": Mail(FOLDER, generation=2),
        "an increment that all flags are read for": Mail(FOLDER, generation=3, offers="plain"),
        "all marked as read": Mail(FOLDER, generation=3, read=True, offers="plain"),
        "a new UIDVALIDITY": Mail(FOLDER, generation=3, read=True, uidvalidity=2),
        "all gone": Mail(1, read=True, uidvalidity=2),
    }
    peaks = {}
    for night, mail in nights.items():
        done = run(tmp_path, mail)
        assert done.exit_code == 0, f"{night}: {done.output}"
        peaks[night] = done.peak
        print(
            night,
            done.peak,
            done.seconds,
            totals(tmp_path, "on_server", "stored", "fetched", "flags_changed", "vanished"),
        )

    assert {night: peak for night, peak in peaks.items() if peak > LIMIT} == {}


def test_a_message_of_two_hundred_megabytes(tmp_path: Path) -> None:
    done = run(tmp_path, Mail(large=MESSAGE))

    assert done.exit_code == 0, done.output
    assert totals(tmp_path, "stored", "fetched_bytes") == (1, MESSAGE)
    print(done.peak, done.seconds)
    assert done.peak < LIMIT
