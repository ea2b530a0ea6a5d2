"""The page and the table of a fleet, as people see them: in a real browser, and on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.report.fleet_page import FleetRow, render_fleet
from pipelines.fleet.watch import _fitting
from tests.accounts import PROJECT, command
from tests.pipelines.browser import Browser, different_rows
from tests.pipelines.test_fleet_status import fleet
from tests.reports import HOSTILE

__all__ = ["fleet"]

PHONE, DESK = 390, 1280
CONDITIONS, STATES = ["failed", "throttled", "done"], ["new", "delta", "cutover"]
TOO_WIDE = """
[...document.querySelectorAll("body *")].filter(each => {
  const box = each.getBoundingClientRect();
  return (box.right > innerWidth + 1 || box.left < -1) && !each.closest(".wide") && !each.closest("thead");
}).map(each => each.outerHTML.slice(0, 80))
"""
SHOWN = (
    "[...document.querySelectorAll('tbody tr')].filter(each => !each.hidden).map(each => each.cells[0].innerText)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if missing := Browser.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def rows() -> list[FleetRow]:
    failed = FleetRow(
        account=f"carol{HOSTILE}", condition="failed", exit_code=5, state="new", state_number=0,
        cause=f'refused: "{HOSTILE}"', next=HOSTILE, messages=0, octets=0, to_go=0,
    )  # fmt: skip
    late = FleetRow(
        account="dave", condition="throttled", exit_code=75, state="delta", state_number=1, percent=99.9,
        messages=20_000, octets=3_000_000_000, to_go=20, success="2026-11-28T01:00:00Z", age=93_600.0, ago="26 h",
        cause="OVERQUOTA", again="2026-11-30T01:00:00Z", report="./a%3Cb/report.html",
    )  # fmt: skip
    done = [
        FleetRow(
            account=f"user{number:04}", condition="done", exit_code=0, state="cutover", state_number=2,
            percent=100.0, messages=number, octets=number * 1000, to_go=0, success="2026-11-29T01:00:00Z",
            age=float(number), ago="5 h", report="./archives/x/runs/r/report.json",
        )
        for number in range(1998)
    ]  # fmt: skip
    return [failed, late, *done]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("page") / "fleet.html"
    page.write_text(render_fleet(rows(), "2026-11-29T12:00:00Z", CONDITIONS, STATES), encoding="utf-8")
    return page


def test_two_thousand_accounts_are_searched_and_sorted_without_a_server(browser: Browser, page: Path) -> None:
    browser.show(page, width=DESK)
    assert browser.requests == [page.as_uri()]
    assert browser.ask("document.querySelector('h1').innerText") == "1,998 of 2,000 accounts are done"
    assert browser.ask("document.querySelector('#shown').innerText") == "2,000 of 2,000 shown"
    typed = "document.querySelector('#search').value = 'cutover USER0042'"
    browser.ask(f"{typed}; document.querySelector('#search').dispatchEvent(new Event('input'))")
    assert browser.ask(SHOWN) == ["user0042"]
    browser.ask("document.querySelector('#search').value = ''")
    browser.ask(
        "document.querySelector('#kind').value = '-'; "
        "document.querySelector('#kind').dispatchEvent(new Event('input'))"
    )
    assert len(browser.ask(SHOWN)) == 2
    browser.ask("document.querySelector('#kind').value = ''")
    browser.ask("document.querySelector('#kind').dispatchEvent(new Event('input'))")
    messages = "document.querySelectorAll('thead button')[4]"
    browser.ask(f"{messages}.click(); {messages}.click()")
    assert browser.ask(SHOWN)[:2] == ["dave", "user1997"]
    assert browser.ask("document.querySelectorAll('thead th')[4].getAttribute('aria-sort')") == "descending"


def test_words_of_others_are_text_and_the_policy_allows_one_script(browser: Browser, page: Path) -> None:
    browser.show(page, width=DESK)
    assert browser.ask("document.querySelectorAll('script').length") == 1
    assert browser.ask("document.querySelectorAll('tbody img, tbody script, tbody b').length") == 0
    assert browser.ask("document.querySelector('tbody a').getAttribute('href')") == "./a%3Cb/report.html"
    text = page.read_text(encoding="utf-8")
    assert re.search(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/]+='", text)
    browser.ask("document.body.append(Object.assign(document.createElement('script'), {text: 'window.hit = 1'}))")
    assert browser.ask("window.hit === undefined") is True


@pytest.mark.parametrize(("width", "dark"), [(320, False), (PHONE, True), (737, False), (DESK, True)])
def test_it_fits_a_phone_and_a_desk(browser: Browser, page: Path, width: int, dark: bool, tmp_path: Path) -> None:
    browser.show(page, width=width, dark=dark)
    browser.ask("document.querySelectorAll('tbody tr:nth-child(n+30)').forEach(each => each.remove())")
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask(TOO_WIDE) == []
    assert different_rows(browser.screenshot(tmp_path / "page.png")) > 100


def test_it_is_written_as_a_whole_for_its_owner_and_links_to_reports(fleet: Path) -> None:
    page = fleet / "pages" / "fleet.html"
    assert (
        "pages/fleet.html: cannot be written: No such file or directory"
        in command("status", fleet, "--html", page, expect=8).output
    )
    page.parent.mkdir()
    assert command("status", fleet, "--html", page, expect=5).output == f"{page}\n"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert os.listdir(page.parent) == ["fleet.html"]
    text = page.read_text()
    assert "1 of 2 accounts are done" in text
    links = re.findall(r'href="\./([^"]+)"', text)
    assert len(links) == 2
    assert all((page.parent / link).exists() for link in links)
    assert command("status", fleet, "--html", page, "--quiet", expect=5).output == ""


def test_watch_draws_in_place_until_it_is_interrupted(fleet: Path) -> None:
    refused = command("status", fleet, "--watch", expect=2).output
    assert (
        "--watch: needs a terminal, and goes with no other output; without it the table is printed once" in refused
    )
    inside, outside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "status", str(fleet), "--watch"],
        stdin=outside, stdout=outside, stderr=outside, cwd=PROJECT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
    )  # fmt: skip
    os.close(outside)
    shown = _read_until(inside, b"Ctrl-C ends")
    process.send_signal(signal.SIGINT)
    shown += _read_until(inside, b"\033[?1049l")
    assert process.wait(20) == 5
    os.close(inside)
    assert shown.startswith(b"\033[?1049h\033[H")
    assert b"throttled" not in shown
    assert b"failed (5)" in shown
    assert b"1 of 2 accounts done" in shown


def _read_until(terminal: int, end: bytes) -> bytes:
    shown, until = b"", time.monotonic() + 60
    while end not in shown and time.monotonic() < until:
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 65536)
    assert end in shown, shown
    return shown


def test_what_does_not_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "8")
    monkeypatch.setenv("COLUMNS", "10")
    lines = [f"\033[31maccount-{number:05}\033[0m" for number in range(100)]
    shown = _fitting(lines, ["below"])
    assert len(shown) == 8
    assert shown[0] == "\033[31maccount-00\033[0m\033[K"
    assert shown[-3:] == ["… 95 more\033[K", "\033[K", "below\033[K"]
    assert _fitting(lines, ["1 failed; 2 done"])[-3:] == ["\033[K", "1 failed;\033[K", "2 done\033[K"]
