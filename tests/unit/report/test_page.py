"""The page of a report: what a stranger wrote stays text, what an older report lacks is not missed, and what it
says follows from the numbers."""

from __future__ import annotations

import copy
import itertools
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from archiver.mail.counts import counted
from archiver.report import page
from archiver.report.page import LISTED, render_html
from archiver.report.units import completed, span
from archiver.report.verdict import verdict
from tests.reports import (
    HOSTILE,
    document,
    failed,
    failure,
    folder,
    many_folders,
    one_folder,
    with_everything,
    with_text,
)

VOID = {"meta", "br"}
DRAWN = {"path", "circle", "rect"}
FORBIDDEN = {"script", "img", "iframe", "object", "embed", "link", "base", "form", "a", "video", "audio"}
ATTRIBUTES = {
    "aria-hidden", "aria-label", "aria-labelledby", "charset", "class", "content", "cx", "cy", "d", "data-label",
    "datetime", "fill", "height", "http-equiv", "id", "lang", "name", "r", "role", "rx", "scope", "stroke",
    "stroke-linecap", "stroke-linejoin", "stroke-width", "viewbox", "width",
}  # fmt: skip


class Page(HTMLParser):
    """A page as a browser reads it: its elements must be closed in order, and nothing may be in it that acts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.tags: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag not in FORBIDDEN
        assert {name for name, _ in attributes} <= ATTRIBUTES
        self.tags.append(tag)
        if tag not in VOID | DRAWN:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in DRAWN
        assert {name for name, _ in attributes} <= ATTRIBUTES
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that a reader sees, in one line."""
        return re.sub(r"\s+", " ", "".join(self.texts))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a document has texts."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value[:2]):
            yield from places(each, (*path, index))


def put(found: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at that place."""
    found = copy.deepcopy(found)
    at = found
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return found


PLACES = list(places(with_everything()))
SILENT = {("format",)}
TAGS = set(Page(render_html(with_everything())).tags)


def assert_harmless(page: Page) -> None:
    assert set(page.tags) <= TAGS | {"code"}
    assert "<script" not in page.source
    assert "49" not in re.findall(r"&lt;(\d\d)", page.source)  # what a template would have made of 7 * 7
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page.source)
    assert max(map(len, re.findall(r"\S+", page.text))) < 700
    page.source.encode("utf-8")


# -- what strangers wrote ----------------------------------------------------------------------------------------


def test_there_are_texts_of_strangers_to_be_tried() -> None:
    assert {path[0] for path in PLACES} >= {"account", "source", "folders", "skipped", "failures", "losses"}
    assert ("failures", 0, "subject") in PLACES
    assert ("folders", 0, "destination", "name") in PLACES


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)))
def test_hostile_text_stays_text_wherever_it_stands(path: tuple[Any, ...]) -> None:
    page = Page(render_html(put(with_everything(), path, HOSTILE)))
    assert_harmless(page)
    if path not in SILENT:
        assert "alert(1)" in page.text
        assert "\\u202egnp.exe\\u2066\\x1b[31m\\x00\\x07\\r\\n\\ud800" in page.text


def test_hostile_text_everywhere_at_once() -> None:
    for report in (with_everything(), failed(), many_folders(20)):
        hostile = with_text(report, HOSTILE)
        hostile["timings"] = {HOSTILE: 1.0}
        assert_harmless(Page(render_html(hostile)))
        assert_harmless(Page(render_html(with_text(report, HOSTILE, spared=()))))


def test_text_is_shown_in_full_unless_it_is_unreadable() -> None:
    name = "Проекты/日本語/" + "x" * 200
    assert name in Page(render_html(document([folder(name, 1)]))).text
    assert "… (9,700 more characters)" in Page(render_html(document([folder("x" * 10_000, 1)]))).text


def test_the_page_needs_no_other_files() -> None:
    page = render_html(with_everything())
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert not re.search(r"https?:|url\(|@import|<script|\bsrc=|\bhref=|\son\w+=", page)


# -- what it says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("report", "kind", "headline"),
    [
        (one_folder(), "good", "Everything is there: 12,345 messages in 1 folder"),
        (document([]), "good", "Everything is there: no messages in no folders"),
        (document([folder("INBOX", 9, there={"already_there": 4, "removed": 2}), folder("Sent", 1, there={})]),
         "good", "Everything is there: 8 messages in 2 folders"),
        (document([folder("INBOX", 9, quarantined=1)]),
         "good", "Everything that could be fetched is there: 9 messages in 1 folder"),
        (document([folder("INBOX", 9, quarantined=3)], status="incomplete", exit_code=3),
         "part", "3 messages could not be archived"),
        (document([folder("INBOX", 9, quarantined=1, there={"refused": 2})], status="incomplete", exit_code=3),
         "part", "1 message could not be archived; 2 messages could not be delivered"),
        (document([folder("INBOX", 9, there={"pending": 1})]), "part", "1 message still waits to be delivered"),
        (document([folder("INBOX", 9, there={"differences": 1})]), "part", "1 difference found at the destination"),
        (document([folder("INBOX", 9, on_server=10)]), "part", "Not every message is accounted for"),
        (document([folder("INBOX", 9, there={"replayed": 8})]), "part", "Not every message is accounted for"),
        (document([folder("INBOX", 9)], status="incomplete", exit_code=3), "part", "Something is missing"),
        (failed(), "bad", "The run did not finish"),
        (document([folder("INBOX", 9)], status="<b>"), "bad", "The run did not finish"),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_the_numbers(report: dict[str, Any], kind: str, headline: str) -> None:
    found = verdict(completed(report))
    assert (found.kind, found.headline) == (kind, headline)
    page = render_html(report)
    assert headline in Page(page).text
    assert f'class="verdict {kind}"' in page


@pytest.mark.parametrize(
    ("exit_code", "why"),
    [(5, "could not be reached"), (8, "could not be written"), (143, "signal 15"), (99, "exit code 99")],
)
def test_a_failed_run_says_why_even_if_it_came_to_no_folder(exit_code: int, why: str) -> None:
    assert why in Page(render_html(document([], status="failed", exit_code=exit_code))).text


def test_what_stopped_a_run_stands_at_the_top() -> None:
    report = failed()
    report["failures"].insert(0, failure("INBOX", None, reason="3 messages are not accounted for"))
    top = Page(render_html(report)).text.split("From alice")[0]
    assert "It ended early: imap.example.org: the connection was closed." in top


def test_every_equation_is_shown_with_its_mark() -> None:
    page = Page(render_html(with_everything()))
    assert "1,248 on the server = 1,240 archived + 5 left out + 2 not archived ✗ 1 missing" not in page.text
    assert "1,250 on the server = 1,240 archived + 5 left out + 2 not archived ✗ 3 missing" in page.text
    assert (
        "1,240 archived = 1,164 delivered + 20 already there + 12 refused + 4 removed + 40 waiting ✓" in page.text
    )
    # Above each of the two tables one, in it one for each folder and one for all.
    assert (page.source.count("✓"), page.source.count("✗")) == (2 + 5, 3)
    assert "Sent Items" in page.text


def test_a_folder_that_does_not_balance_at_the_destination_is_marked() -> None:
    broken = folder("Sent", 5, there={"replayed": 7})
    page = Page(render_html(document([folder("INBOX", 5, there={}), broken])))
    assert page.text.count("✗ 2 too many") == 3


def test_messages_of_a_folder_without_a_place_at_the_destination_wait() -> None:
    report = document([folder("INBOX", 5, there={}), folder("New", 3)], status="incomplete", exit_code=3)
    page = Page(render_html(report))
    assert "3 messages still wait to be delivered" in page.text
    assert "8 archived = 5 delivered + 0 already there + 0 refused + 0 removed + 3 waiting ✓" in page.text
    assert "✗" not in page.text


def test_what_is_missing_is_shown_with_reason_words_date_subject_and_what_next() -> None:
    text = Page(render_html(with_everything())).text
    for words in (
        "2 messages: the server sent no body", "NO [SERVERBUG] cannot read it", "02-Mar-2019 09:12:44 +0100",
        "Re: Invoice", "12 messages: the destination refuses it as too large", "Message size 62 MB exceeds",
        "2021-03-14 10:00:00 UTC", "raise the limit, archiver run", "1 folder: 3 messages are not accounted for",
        "The server answered", "$Forwarded", "1:300,401:412", "Flags or keywords were not kept", "\\Noselect",
        "12 s",
        "alice@example.org at imap.example.org", "alice@example.net at mail.example.net", "15:33:21 UTC, 23 s",
    ):  # fmt: skip
        assert words in text


def test_a_long_list_is_cut_and_says_so() -> None:
    failures = [failure("INBOX", uid, subject=f"subject {uid}.") for uid in range(2 * LISTED + 500)]
    losses = [{"folder": "INBOX", "kind": "flags", "detail": "x", "count": 1, "uids": "1"}] * (LISTED + 7)
    page = Page(render_html(document([folder("INBOX", 1)], failures=failures, losses=losses)))
    assert len(re.findall(r"subject \d+\.", page.text)) == LISTED
    assert "1,500 more of this reason; report.json lists them all" in page.text
    assert "7 more entries; report.json lists them all" in page.text


def test_as_many_reasons_as_messages_do_not_make_a_page_without_end() -> None:
    failures = [failure("INBOX", uid, reason=f"reason {uid}.") for uid in range(3_000)]
    page = Page(render_html(document([folder("INBOX", 1)], failures=failures)))
    assert len(re.findall(r"reason \d+\.", page.text)) < 100
    assert "2,950 more for 2,950 other reasons; report.json lists them all" in page.text
    failures = [failure("INBOX", uid, reason=f"reason {uid % 40}.") for uid in range(40 * LISTED)]
    assert len(render_html(document([folder("INBOX", 1)], failures=failures))) < 4_000_000


def test_of_very_many_folders_those_with_trouble_are_shown() -> None:
    folders = [folder(f"Folder {number}.", 1) for number in range(LISTED + 100)]
    folders.append(folder("the bad one", 1, on_server=2))
    text = Page(render_html(document(folders))).text
    assert "the bad one" in text
    assert "101 more folders; report.json lists them all" in text
    assert "All 1,101 folders" in text


def test_the_chart_has_the_largest_folders_and_the_others() -> None:
    page = Page(render_html(many_folders(60)))
    assert "48 other folders" in page.text
    widths = [float(width) for width in re.findall(r'class="messages" width="([\d.]+)%"', page.source)]
    assert len(widths) == 13
    assert max(widths) == 100
    assert "Where the mail is" not in Page(render_html(one_folder())).text  # nothing to compare it with


def test_a_screen_reader_finds_its_way() -> None:
    page = Page(render_html(with_everything()))
    assert page.source.startswith('<!doctype html>\n<html lang="en">')
    assert (page.tags.count("h1"), page.tags.count("main"), page.tags.count("title")) == (1, 1, 1)
    assert page.tags.count("table") == page.tags.count("caption") == page.tags.count("thead") == 8
    assert page.tags.count("th") == len(re.findall(r'<th role="\w+" scope="(?:row|col)"', page.source))
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


# -- older reports -----------------------------------------------------------------------------------------------


def test_a_report_of_an_earlier_version_is_read() -> None:
    old = one_folder()
    for key in ("source", "destination", "timings", "losses", "differences"):
        del old[key]
    for row in (old["totals"], *old["folders"]):
        del row["stored_bytes"], row["destination"]
    old["failures"] = [{k: v for k, v in failure("INBOX", 3).items() if k not in ("date", "subject")}]
    text = Page(render_html(old)).text
    assert "12,345 on the server = 12,345 archived" in text
    assert "the server sent no body" in text


@pytest.mark.parametrize(
    "path",
    [
        *((key,) for key in ("source", "destination", "timings", "losses", "differences", "skipped", "failures")),
        *(("totals", key) for key in ("stored_bytes", "destination")),
        *(("folders", 0, key) for key in ("uidvalidity", "stored_bytes", "destination")),
        ("folders", 0, "destination", "removed"),
        ("failures", 0, "date"),
        ("failures", 0, "subject"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_a_key_that_is_not_there_is_not_missed(path: tuple[Any, ...]) -> None:
    report = copy.deepcopy(with_everything())
    at = report
    for step in path[:-1]:
        at = at[step]
    del at[path[-1]]
    before = copy.deepcopy(report)
    assert "could not be archived" in Page(render_html(report)).text
    assert report == before


def test_numbers_and_times_in_words() -> None:
    assert [counted(number, "message") for number in (0, 1, 2, 12_345)] == [
        "no messages", "1 message", "2 messages", "12,345 messages",
    ]  # fmt: skip
    assert [span(seconds) for seconds in (0, 0.41, 9.94, 9.96, 59.4, 185, 3_725)] == [
        "0.0 s", "0.4 s", "9.9 s", "10 s", "59 s", "3 min 5 s", "1 h 2 min",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC", "2026-11-23 23:33:10 UTC"),
        ("CET-1", "2026-11-23 23:33:10 UTC (2026-11-24 00:33:10 CET)"),
        ("EST5", "2026-11-23 23:33:10 UTC (18:33:10 EST)"),
    ],
)
def test_times_are_utc_with_the_local_one_next_to_it(
    monkeypatch: pytest.MonkeyPatch, zone: str, shown: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert page._time("2026-11-23T23:33:10Z") == shown
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_is_accepted_or_can_be_accepted_at_the_destination_is_said() -> None:
    report = with_everything()
    report["differences"][0]["next"] = "`archiver retry --accept alice.toml` accepts them"
    report["totals"]["destination"]["accepted"] = report["folders"][0]["destination"]["accepted"] = 3

    text = Page(render_html(report)).text

    assert "archiver retry --accept alice.toml" in text
    assert "3 messages accepted as the destination shows them, altered or cut off." in text
    assert "Accepted as it is" in text
