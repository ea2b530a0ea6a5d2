"""Memory is bounded, whatever the size of a folder or of a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.accounts import account_file, report
from tests.faults.memory import watched
from tests.servers.vast_server import NEW, Mail, VastServer

LIMIT = 150
"""What a run may hold at its worst, all its processes together, in MB."""

FOLDER = 100_000
MESSAGE = 200_000_000

NIGHTS = {
    "all is new": (Mail(FOLDER), (FOLDER, 0)),
    "an increment, told by QRESYNC": (Mail(FOLDER, 1), (NEW, FOLDER // 100)),
    "an increment, asked by CHANGEDSINCE": (Mail(FOLDER, 2, offers="condstore"), (NEW, FOLDER // 100)),
    "no change": (Mail(FOLDER, 2), (0, 0)),
    "an increment, found by reading all flags": (Mail(FOLDER, 3, offers="plain"), (NEW, FOLDER // 100)),
    "all marked as read": (Mail(FOLDER, 3, read=True, offers="plain"), (0, (FOLDER + 3 * NEW) // 5)),
}
"""What the server holds night after night, and how much of it is fetched and how many flags change."""


def peak_of_run(directory: Path, mail: Mail, fetched: int, flags_changed: int) -> float:
    """One run against a server that holds `mail`; how much it held at its worst."""
    with VastServer(mail) as server:
        done = watched("run", account_file(directory, server, "u1"))
    assert done.exit_code == 0, done.output
    totals = report(directory / "archive")["totals"]
    held = tuple(totals[name] for name in ("on_server", "stored", "fetched", "flags_changed"))
    assert held == (mail.count, mail.count, fetched, flags_changed)
    return done.peak


@pytest.mark.timeout(900)
def test_a_folder_of_a_hundred_thousand_messages(tmp_path: Path) -> None:
    peaks = {night: peak_of_run(tmp_path, mail, *work) for night, (mail, work) in NIGHTS.items()}

    assert {night: peak for night, peak in peaks.items() if peak > LIMIT} == {}


def test_a_message_of_two_hundred_megabytes(tmp_path: Path) -> None:
    assert peak_of_run(tmp_path, Mail(large=MESSAGE), fetched=1, flags_changed=0) < LIMIT
