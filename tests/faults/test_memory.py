"""Memory is bounded, whatever the size of a folder or of a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.accounts import account_file, report
from tests.faults.memory import watched
from tests.faults.replays import migration
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.vast_destination import VastDestination
from tests.servers.vast_server import NEW, Mail, VastServer

LIMIT = 150
"""What a run may hold at its worst, all its processes together, in MB."""

FOLDER = 100_000
MESSAGE = 200_000_000

NIGHTS = {
    "all is new": (Mail(FOLDER), (FOLDER, 0)),
    "an increment, reported by QRESYNC": (Mail(FOLDER, 1), (NEW, FOLDER // 100)),
    "an increment, asked by CHANGEDSINCE": (Mail(FOLDER, 2, offers="condstore"), (NEW, FOLDER // 100)),
    "no change": (Mail(FOLDER, 2), (0, 0)),
    "an increment, found by reading all flags": (Mail(FOLDER, 3, offers="plain"), (NEW, FOLDER // 100)),
}
"""What the server holds night after night, and how much of it is fetched and how many flags change."""

ALL_READ = Mail(FOLDER, 3, read=True, offers="plain")


def peak_of_run(directory: Path, mail: Mail, fetched: int, flags_changed: int) -> float:
    """One run against a server that holds `mail`; how much it held at its worst."""
    with VastServer(mail) as server:
        done = watched("run", account_file(directory, server, "u1"))
    assert done.exit_code == 0, done.output
    totals = report(directory / "archive")["totals"]
    held = tuple(totals[name] for name in ("on_server", "stored", "fetched", "flags_changed"))
    assert held == (mail.count, mail.count, fetched, flags_changed)
    return done.peak


def peak_of_replay(
    directory: Path, there: VastDestination | VastServer, user: str, *options: str, **counts: int
) -> float:
    """One replay of the whole archive; the most memory it used."""
    done = watched("replay", *options, migration(directory, there, "u1", there, user))
    assert done.exit_code == 0, done.output
    totals = report(directory / "archive")["totals"]["destination"]
    assert {name: totals[name] for name in counts} == counts
    return done.peak


@pytest.mark.timeout(3600)
@pytest.mark.lasts(200)
def test_a_folder_of_a_hundred_thousand_messages(tmp_path: Path) -> None:
    """Archived, replayed, its flags followed, and known again at a destination that has it all."""
    peaks = {night: peak_of_run(tmp_path, mail, *work) for night, (mail, work) in NIGHTS.items()}
    count = ALL_READ.count
    with VastDestination() as there:
        peaks["all is sent"] = peak_of_replay(tmp_path, there, "u2", replayed=count, verified=count)
        peaks["all marked as read"] = peak_of_run(tmp_path, ALL_READ, 0, count // 5)
        peaks["many flags are followed"] = peak_of_replay(tmp_path, there, "u2", replayed=0, verified=count)
        assert [each.size for each in there.messages] == [ALL_READ.size(uid) for uid in range(1, count + 1)]
        assert all(b"\\Seen" in each.flags for each in there.messages)
    with VastServer(ALL_READ) as there:
        peaks["all is there already"] = peak_of_replay(
            tmp_path, there, "u3", "--new-destination", replayed=0, already_there=count
        )

    assert {night: peak for night, peak in peaks.items() if peak > LIMIT} == {}


def test_a_message_of_two_hundred_megabytes(tmp_path: Path) -> None:
    assert peak_of_run(tmp_path, Mail(large=MESSAGE), fetched=1, flags_changed=0) < LIMIT
    with VastDestination() as there:
        assert peak_of_replay(tmp_path, there, "u2", replayed=1, verified=1) < LIMIT
        assert [each.size for each in there.messages] == [MESSAGE]


def test_two_short_lines_that_name_ten_million_messages(tmp_path: Path) -> None:
    """Nothing counts through UIDs that are only named."""
    folders = {b"INBOX": ScriptedFolder(1, {uid: ScriptedMessage() for uid in range(1, 4)})}
    with ScriptedServer(folders) as server:
        config = account_file(tmp_path, server, "u1", source__attempts=1)
        server.inject(b"EXAMINE", b"* 10000000 EXISTS", after=99)
        server.on(b"UID SEARCH", lambda _, tag, __: b"* ESEARCH (TAG x) UID ALL 1:10000000\r\n%b OK\r\n" % tag)
        server.on(b"UID FETCH", lambda _, tag, __: b"* VANISHED 1:4294967295\r\n* BYE enough\r\n")
        done = watched("run", config)

    assert (done.exit_code, done.peak < 100) == (5, True), (done.peak, done.output)
