"""The page of a report in a real browser: on a desk, on a phone, in the dark and on paper."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from archiver.report.page import render_html
from tests.pipelines.browser import Browser, different_rows
from tests.reports import HOSTILE, document, failed, many_folders, one_folder, with_everything, with_text

REPORTS: dict[str, Callable[[], dict[str, Any]]] = {
    "one folder": one_folder,
    "60 folders": many_folders,
    "60 folders, no destination": lambda: many_folders(delivered=False),
    "everything": with_everything,
    "failed": failed,
    "failed at once": lambda: document([], status="failed", exit_code=5),
    "hostile": lambda: with_text(with_everything(), HOSTILE),
}
PHONE, DESK, PAPER = 390, 1280, 718
WIDTHS = (PHONE, 600, 735, 737, 900, DESK)

NARROW_AND_WIDE = [
    *((report, 320) for report in REPORTS),
    *(("everything", width) for width in WIDTHS),
    *(("hostile", width) for width in WIDTHS),
    *(
        (report, width)
        for report, width in zip(REPORTS, itertools.cycle((737, DESK, 735, PHONE)))
        if report != "everything" and report != "hostile"
    ),
]
"""Each report on the narrowest screen and on one more; those with the most in them on all."""

LOOKS = ([(DESK, False), (PHONE, True)], [(DESK, True), (PHONE, False)])
SEEN = list(zip(REPORTS, itertools.cycle(LOOKS)))

#: Elements of which something can be seen only by scrolling the page sideways.
TOO_WIDE = """
[...document.querySelectorAll("body *")].filter(each => {
  const box = each.getBoundingClientRect();
  return (box.right > innerWidth + 1 || box.left < -1) && !each.closest(".wide") && !each.closest("thead");
}).map(each => each.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    missing = Browser.missing()
    if missing and os.environ.get("CI"):
        pytest.fail(missing, pytrace=False)
    if missing:
        pytest.skip(missing)
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


def written(directory: Path, report: str) -> Path:
    file = directory / "report.html"
    file.write_text(render_html(REPORTS[report]()), encoding="utf-8")
    return file


@pytest.fixture(params=REPORTS)
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return written(tmp_path, request.param)


@pytest.mark.parametrize(("report", "width"), NARROW_AND_WIDE)
def test_the_page_never_scrolls_sideways(browser: Browser, tmp_path: Path, report: str, width: int) -> None:
    browser.show(written(tmp_path, report), width=width)
    assert browser.ask("innerWidth") == width  # a phone zooms out of a page that is too wide
    assert browser.ask("document.documentElement.scrollWidth") == width
    assert browser.ask(TOO_WIDE) == []


@pytest.mark.parametrize(("report", "looks"), SEEN)
def test_it_can_be_seen_everywhere(
    browser: Browser, tmp_path: Path, report: str, looks: Sequence[tuple[int, bool]]
) -> None:
    page = written(tmp_path, report)
    for width, dark in looks:
        browser.show(page, width=width, dark=dark)
        assert different_rows(browser.screenshot(tmp_path / f"{width}-{dark}.png")) > 100
        assert (_lightness(browser.ask("getComputedStyle(document.body).backgroundColor")) < 100) == dark
        assert (_lightness(browser.ask("getComputedStyle(document.body).color")) > 100) == dark


def test_it_can_be_printed(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.show(page, width=PAPER, dark=True, media="print")
    assert browser.ask("document.documentElement.scrollWidth") == PAPER
    grounds = (
        "[document.body, ...document.querySelectorAll('section, .verdict')].map(each => getComputedStyle(each))"
    )
    painted = browser.ask(f"{grounds}.map(each => each.backgroundColor)")
    assert {_lightness(each) for each in painted} == {255}
    octets = browser.printed(tmp_path / "report.pdf").read_bytes()
    assert octets.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type /Page\b", octets)) <= 60


def test_it_asks_for_nothing_and_does_nothing(browser: Browser, page: Path) -> None:
    browser.show(page, width=DESK)
    assert browser.requests == [page.as_uri()]
    assert browser.ask("document.scripts.length + document.images.length + document.links.length") == 0
    assert browser.ask("document.compatMode") == "CSS1Compat"
    tried = 'document.head.append(Object.assign(document.createElement("script"), {textContent: "window.ran = 1"}))'
    browser.ask(f"{tried}; 0")
    assert browser.ask("window.ran === undefined")  # its own policy forbids it


def test_on_a_phone_a_row_is_a_card_that_reads_as_an_equation(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_html(with_everything()), encoding="utf-8")
    row = "document.querySelector('.books tbody tr').innerText.replace(/\\s+/g, ' ')"
    browser.show(page, width=PHONE)
    assert "907 on the server = 900 archived + 5 left out + 2 not archived" in browser.ask(row)
    browser.show(page, width=DESK)
    assert "907 = 900 + 5 + 2" in browser.ask(row)


def test_words_can_be_read_on_their_grounds(browser: Browser, page: Path) -> None:
    for dark in (False, True):
        browser.show(page, width=DESK, dark=dark)
        pairs = browser.ask("""
const words = document.querySelectorAll("h1, h2, h3, p, dt, dd, th, td, caption, code, bdi, main span");
[...words].filter(each => each.innerText.trim()).map(each => {
  let ground = each;
  while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  return getComputedStyle(each).color + "|" + getComputedStyle(ground).backgroundColor;
})""")
        assert len(pairs) > 20
        for pair in set(pairs):
            ink, ground = pair.split("|")
            assert _contrast(ink, ground) >= 4.5, pair


def _rgb(colour: str) -> tuple[int, ...]:
    found = re.findall(r"\d+", colour)
    assert len(found) == 3, colour
    return tuple(map(int, found))


def _lightness(colour: str) -> int:
    return sum(_rgb(colour)) // 3


def _contrast(ink: str, ground: str) -> float:
    """The contrast ratio of WCAG 2."""
    light, dark = sorted(map(_luminance, (ink, ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _rgb(colour))]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
