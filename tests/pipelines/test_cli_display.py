"""What a run shows while it works and afterwards: little, true, and harmless whatever a server says."""

from __future__ import annotations

import io
import json
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from archiver.events import Linked, Noted, Planned, Received, Stored, Verified, Working
from archiver.report.units import size
from pipelines.events import AnyEvent, Began, Channel, Ended, Expected, Failed, Waiting, emit
from pipelines.failures import with_file
from pipelines.show.accounts import accounts_line, accounts_table
from pipelines.show.lines import equation, failure_lines
from pipelines.show.live.display import Display
from pipelines.show.live.table import live_lines
from pipelines.show.live.work import Work, duration, progress_line, seconds_left, share_done
from pipelines.show.tables import folders_table, plan_table, status_text
from tests.patience import PATIENCE


def row(name: str, **counts: int) -> dict[str, Any]:
    terms = (
        "on_server",
        "stored",
        "excluded",
        "quarantined",
        "forgotten",
        "fetched",
        "fetched_bytes",
        "flags_changed",
        "vanished",
    )
    return {"name": name} | dict.fromkeys(terms, 0) | counts


def shown(renderable: Any, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False, force_terminal=False)
    console.print(renderable, crop=False)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


# -- pace --------------------------------------------------------------------------------------------------------


def test_the_time_left_follows_from_the_octets_of_late() -> None:
    work = Work("alice")
    work.take(Began("archive"), 0.0)
    work.take(Expected(1000, 10_000_000), 0.0)
    work.take(Planned(1000, 10_000_000), 0.0)
    work.take(Received(100, 1_000_000), 2.0)
    work.take(Received(100, 1_000_000), 4.0)
    assert work.pace(4.0) == (50, 500_000)
    assert work.seconds_left(4.0) == 16
    assert progress_line(work, 4.0) == "200 of 1,000 messages fetched, 2.0 MB, 500 kB/s, 0:16 left"


@pytest.mark.parametrize(
    ("done", "at", "left"),
    [
        (500, 2.0, None),  # too early
        (10, 10.0, None),  # 2:45:00 for what will take seconds
        (20, 10.0, 490),
        (10, 20.0, 1980),  # slow, and not only in the beginning
    ],
)
def test_an_estimate_is_not_shown_before_it_means_something(done: int, at: float, left: float | None) -> None:
    for planned, received in ((Planned(1000, 0), Received(done, 0)), (Planned(10, 1000), Received(0, done))):
        work = Work("alice")
        work.take(planned, 0.0)
        work.take(received, at)
        assert work.seconds_left(at) == left


def test_what_needs_no_download_is_not_waited_for() -> None:
    work = Work("alice")
    work.take(Expected(1000, 10_000_000), 0.0)
    work.take(Planned(1000, 10_000_000), 0.0)
    work.take(Linked(800, 8_000_000), 1.0)
    work.take(Received(100, 1_000_000), 2.0)
    assert progress_line(work, 2.0).startswith("100 of 200 messages done, 1.0 MB")


def test_an_account_that_waits_for_its_turn_is_not_at_work() -> None:
    work = Work("alice")
    work.take(Began("enumerate"), 0.0)
    work.take(Waiting(), 1.0)
    assert work.doing == Work("bob").doing


def test_a_slow_beginning_is_forgotten() -> None:
    work = Work("alice")
    work.take(Planned(1000, 0), 0.0)
    work.take(Received(1, 10), 100.0)
    for second in range(101, 131):
        work.take(Received(10, 10), float(second))
    assert round(work.pace(130.0)[0]) == 10


def test_what_is_done_is_never_more_than_all() -> None:
    work = Work("alice")
    work.take(Expected(5, 100), 0.0)
    work.take(Received(9, 300), 1.0)
    assert (work.done, work.total) == ((9, 300), (9, 300))


def test_nothing_is_claimed_before_anything_is_known() -> None:
    assert (Work("alice").pace(5.0), Work("alice").seconds_left(5.0)) == ((0.0, 0.0), None)


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (999_700, "1.0 MB"), (5e12, "5.0 TB")],
)
def test_sizes_are_short(octets: float, text: str) -> None:
    assert size(octets) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (67, "1:07"), (3723, "1:02:03")])
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# -- log lines ---------------------------------------------------------------------------------------------------


def reported(*events: AnyEvent, stopping: int | None = None, **options: bool) -> list[str]:
    """The log lines without their time."""
    lines: list[str] = []
    flags = {"quiet": False, "verbose": False, **options}
    with Display(
        lambda text, _: lines.append(text), ["alice"], live=None, stopping=lambda: stopping, **flags
    ) as display:
        for event in events:
            display("alice", event)
    return [line.split("Z ", 1)[1] for line in lines]


def test_tiny_events_are_not_a_line_each() -> None:
    lines = reported(
        Expected(500, 0), *(event for _ in range(100) for event in (Working("INBOX"), Received(5, 10)))
    )
    assert len(lines) <= 2
    assert lines[0] == "alice: about 500 messages to fetch"


def test_a_step_that_ends_at_once_has_no_line_of_progress() -> None:
    assert reported(Began("verify"), Planned(1, 241), Verified(1, 241), Ended(0, "/r")) == [
        "alice: complete, report: /r"
    ]


def test_verbose_reports_folders_and_quiet_only_failures() -> None:
    events = (Working("INBOX"), Stored(1, 1), Noted("a new epoch"), Failed("no such host", 5), Ended(5, "/r"))
    assert 'alice: folder "INBOX"' in reported(*events, verbose=True)
    assert reported(*events, quiet=True) == ["alice: no such host"]


def test_a_bug_is_reported_with_its_traceback() -> None:
    assert reported(Failed("unexpected error: X()", 1, "Traceback\n  line 7\nX\n")) == [
        "alice: unexpected error: X()", "alice: Traceback", "alice:   line 7", "alice: X",
    ]  # fmt: skip


def test_what_a_server_says_is_neither_markup_nor_control() -> None:
    (line,) = reported(Noted("folder \x1b[31m[bold]x[/bold]\u202e"))
    assert line == "alice: folder \\x1b[31m[bold]x[/bold]\\u202e"


@pytest.mark.parametrize(
    ("number", "again"), [(signal.SIGINT, "press Ctrl-C again"), (signal.SIGTERM, "send the signal again")]
)
def test_a_stop_is_reported_once(number: int, again: str) -> None:
    lines = reported(Noted("x"), stopping=number)
    assert [line for line in lines if "stopping after the current batch" in line] == [
        f"stopping after the current batch; {again} to stop immediately"
    ]


def test_moving_lines_fit_their_terminal() -> None:
    console = Console(file=io.StringIO(), width=80, height=10, force_terminal=True)
    works = [Work(f"account-with-a-long-name-{number}") for number in range(50)]
    for work in works:
        work.take(Working("a very long folder name " * 9), 0.0)
        work.take(Planned(100_000, 1_500_000_000), 0.0)
    text = shown(live_lines(works, console, now=1.0, elapsed=1.0))
    assert len(text.splitlines()) == 8
    assert "0 of 50 accounts done" in text
    assert max(map(len, text.splitlines())) <= 80


# -- tables ------------------------------------------------------------------------------------------------------


def test_columns_of_zeros_are_left_out_and_the_rest_fits() -> None:
    folders = [row("INBOX", on_server=123_456, stored=123_450, fetched=120_000, fetched_bytes=10**9, quarantined=6)]
    text = shown(folders_table(folders, folders[0], every=True))
    head, body = text.splitlines()
    assert head.split() == ["folder", "on", "server", "stored", "quarantined", "fetched", "bytes"]
    assert body.split() == ["INBOX", "123,456", "123,450", "6", "120,000", "1.0", "GB", "✓"]


def test_books_that_do_not_balance_are_seen() -> None:
    folders = [row("INBOX", on_server=5, stored=3)]
    assert "✗" in shown(folders_table(folders, folders[0], every=True))
    assert equation(folders[0]) == "5 on server = 3 stored + 2 not archived yet"
    seen = row("x", on_server=6, stored=10, excluded=1)
    assert (
        equation(seen)
        == "6 counted on server so far, 10 stored, 1 excluded; some folders were not opened to the end"
    )


def test_of_many_folders_only_the_eventful_ones_are_shown() -> None:
    folders = [row(f"f{number}", on_server=1, stored=1) for number in range(200)]
    folders[77] |= {"vanished": 3}
    text = shown(folders_table(folders, row("", on_server=200, stored=200, vanished=3), every=False))
    assert [line.split()[0] for line in text.splitlines()] == ["folder", "f77", "199", "total"]
    assert "199 more folders, unchanged" in text


def test_folder_names_are_no_markup() -> None:
    folders = [row("[red]x[/red]", on_server=1, stored=1)]
    assert "[red]x[/red]" in shown(folders_table(folders, folders[0], every=True))
    plan = {"name": "[/]", "messages": None, "size": None, "to_fetch": 0, "reason": None, "directory": ".[b]"}
    assert "[/]" in shown(plan_table([plan], directories=True))


def failure(folder: str, uid: int | None, reason: str, reply: str | None = None) -> dict[str, Any]:
    return {"folder": folder, "uid": uid, "reason": reason, "server_reply": reply, "next": "run again"}


def test_failures_with_one_reason_are_one_line() -> None:
    failures = [failure("INBOX", uid, "refused", "NO") for uid in range(1, 12)]
    failures += [failure("Sent", None, "not reached"), failure("Trash", None, "not reached")]
    assert list(failure_lines(failures)) == [
        '  folder "INBOX", uids 1, 2, 3, 4, 5, 6, 7, 8 and 3 more: refused (NO)',
        '  folder "Sent", folder "Trash": not reached',
        "  → run again",
    ]


def test_failures_that_differ_only_in_the_folders_name_are_one_line() -> None:
    reason = 'imap.example.org, folder "{0}": the server says: NO Can\'t open {0}'
    failures = [
        failure(name, None, reason.format(name), f"NO Can't open {name}")
        for name in map("x{}.o".format, range(1500))
    ]
    failures.append(failure("Sent", None, "another reason"))
    places = ", ".join(f'folder "x{number}.o"' for number in range(8))
    assert list(failure_lines(failures)) == [
        f"  {places} and 1,492 more: {failures[0]['reason']} ({failures[0]['server_reply']})",
        '  folder "Sent": another reason',
        "  → run again",
    ]


def test_notes_of_one_kind_are_shown_a_few_times() -> None:
    work = Work("alice")
    refusal = 'folder "{0}": the server says: NO Can\'t open {0}'
    shown = [work.note(refusal.format(f"x{number}.o")) for number in range(1500)]
    assert [text is not None for text in shown] == [number < 20 for number in range(1500)]
    assert (
        shown[19]
        == refusal.format("x19.o") + " (further lines like this are left out; the report lists everything)"
    )
    assert work.note('folder "Sent": 3 messages vanished') is not None


def test_commands_in_advice_have_the_account_file() -> None:
    advice = "`archiver retry` tries again; `archiver retry --accept` accepts it; see `archiver search` and `pass`"
    assert with_file(advice, Path("my configs/alice.toml")) == (
        "`archiver retry 'my configs/alice.toml'` tries again; `archiver retry --accept 'my configs/alice.toml'` "
        "accepts it; see `archiver search 'my configs/alice.toml'` and `pass`"
    )


def ended(name: str, code: int, fetched: int = 0, octets: int = 0) -> dict[str, Any]:
    counts = {
        "fetched": fetched,
        "fetched_bytes": octets,
        "stored": fetched,
        "stored_bytes": octets,
        "quarantined": 0,
    }
    totals = None if code == 5 else {**counts, "destination": None}
    status = "failed" if code else "complete"
    return {
        "account": name,
        "exit_code": code,
        "status": status,
        "message": "no such host" if code else None,
        "totals": totals,
    }


def test_a_run_of_several_accounts_ends_with_all_of_them_together() -> None:
    accounts = [ended("bob", 5), ended("alice", 0, 1200, 3_000_000), ended("carol", 0, 34, 600_000)]
    lines = shown(accounts_table(accounts, 83.0)).splitlines()
    assert [line.split()[0] for line in lines] == ["account", "alice", "carol", "bob", "together"]
    assert lines[-1].split() == ["together", "1,234", "1,234", "1", "min", "23", "s"]
    assert accounts_line(accounts, 83.0) == (
        "2 of 3 accounts complete, 1,234 messages (3.6 MB) fetched in 1 min 23 s; not complete: bob"
    )


def test_a_sentence_is_beside_its_account_where_there_is_room_and_else_below_the_table() -> None:
    reason = "imap.example.org:993: the login is refused: the server says: NO [AUTHENTICATIONFAILED] no such user"
    accounts = [ended("bob", 5) | {"message": reason}, ended("alice", 0, 1200, 3_000_000)]
    wide = shown(accounts_table(accounts, 83.0), 160).splitlines()
    assert [line.split()[0] for line in wide] == ["account", "alice", "bob", "together"]
    assert wide[2].endswith(reason)
    narrow = shown(accounts_table(accounts, 83.0), 80).splitlines()
    assert [line.split()[0] for line in narrow[:4]] == ["account", "alice", "bob", "together"]
    assert narrow[2].split() == ["bob", "failed", "5"]
    assert " ".join(" ".join(narrow[4:]).split()) == f"bob: {reason}"
    assert max(map(len, narrow)) <= 80


def test_a_table_of_accounts_is_never_narrower_than_its_numbers() -> None:
    accounts = [ended("a-rather-long-name-of-an-account@example.org", 0, 1_234_567, 3_000_000)]
    lines = shown(accounts_table(accounts, 1.0), 30).splitlines()
    assert any("complete" in line and line.split().count("1,234,567") == 2 for line in lines), lines
    assert "…" not in "".join(lines)


def test_the_time_left_of_several_accounts_follows_from_what_is_done_of_them() -> None:
    works = [Work("a", ended=True), Work("b", planned=(100, 0), done=(50, 0)), Work("c"), Work("d")]
    assert share_done(works) == 0.375
    assert seconds_left(share_done(works), 30.0) == 50.0
    assert seconds_left(0.01, 30.0) is None


def test_a_run_that_a_signal_ended_was_stopped() -> None:
    assert (str(status_text("failed", 130)), str(status_text("failed", 5))) == ("stopped", "failed")


# -- the pipe ----------------------------------------------------------------------------------------------------


def test_no_event_is_too_long_for_the_pipe() -> None:
    events: list[AnyEvent] = []
    with Channel(lambda _, event: events.append(event)):
        emit("alice", Working("日本語" * 100_000))
        emit("alice", Failed("ü" * 9000, 1, "\udcff" * 9000))
        emit("alice", Noted("fine"))
    folder, failed, note = events
    assert isinstance(folder, Working)
    assert isinstance(failed, Failed)
    assert (folder.folder[:3], failed.message[:1], note) == ("日本語", "ü", Noted("fine"))
    assert len(json.dumps(folder.folder, ensure_ascii=False).encode()) < select.PIPE_BUF


def test_a_listener_that_fails_stops_nothing_and_is_reported() -> None:
    def listener(_: str, __: AnyEvent) -> None:
        raise ZeroDivisionError

    def talk() -> None:
        with Channel(listener):
            for _ in range(5000):
                emit("alice", Noted("x" * 100))

    with pytest.raises(ZeroDivisionError):
        talk()


class TestAFailureThatMayPass:
    """With --quiet it is reported if it was the last word on its account."""

    FAILED = Failed("throttled; try again after 12:00", 75, again=60.0)

    @pytest.mark.parametrize(
        ("events", "reported"),
        [
            ((FAILED, Ended(75, "r"), Began("enumerate"), Ended(0, "r")), []),
            ((FAILED, Ended(75, "r"), Began("enumerate"), FAILED), ["a: throttled; try again after 12:00"]),
            ((FAILED, Ended(75, "r")), ["a: throttled; try again after 12:00"]),
            ((FAILED, Failed("stopped by signal 15", 143)), ["a: stopped by signal 15"]),
        ],
        ids=["it passed", "it did not", "it was not tried again", "it was ended"],
    )
    def test_is_reported_at_the_end(self, events: tuple[AnyEvent, ...], reported: list[str]) -> None:
        lines: list[str] = []
        with Display(
            lambda text, _: lines.append(text),
            ["a"],
            live=None,
            quiet=True,
            verbose=False,
            stopping=lambda: None,
        ) as display:
            for event in events:
                display("a", event)
        assert [line.split("Z ", 1)[1] for line in lines] == reported


# -- workers -----------------------------------------------------------------------------------------------------

_FORKED_WHILE_WRITING = """
import io, os, threading
from archiver.events import Noted
from pipelines.show.live.display import Display

forking = threading.Event()

class Terminal(io.StringIO):
    writing = False

    def write(self, text):
        self.writing = True
        begun.set()
        forking.wait(10)  # it is being written when the fork begins, and for as long as that takes to get there
        for _ in range(200):
            os.sched_yield()
        self.writing = False
        return len(text)

terminal, begun = Terminal(), threading.Event()
display = Display(
    lambda text, _: terminal.write(text), ["a"], live=None, quiet=False, verbose=False, stopping=lambda: None
)
os.register_at_fork(before=forking.set)  # the last one registered is the first one called
writer = threading.Thread(target=display, args=("a", Noted("a line")))
writer.start()
begun.wait(10)
if (worker := os.fork()) == 0:
    os._exit(terminal.writing)
print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
"""


def test_a_worker_is_not_forked_while_a_line_is_being_written() -> None:
    """Its copy of the stream would be locked for ever, so it would never end, and keep the account's lock."""
    ended = subprocess.run([sys.executable, "-c", _FORKED_WHILE_WRITING], capture_output=True, timeout=PATIENCE)
    assert (ended.stdout, ended.stderr) == (b"0\n", b"")
