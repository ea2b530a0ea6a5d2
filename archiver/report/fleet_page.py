"""How the accounts of a fleet stand, for people: one self-contained page with a chart, a search and a sorted table.

Names and causes are untrusted. The template escapes every value; before that, control characters and bidirectional
overrides are made visible. The page's own script is the only one that its policy allows, by its digest.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence

from markupsafe import Markup
from msgspec import Struct

from archiver.mail.counts import counted
from archiver.report.page import environment
from archiver.report.units import size


class FleetRow(Struct, frozen=True, kw_only=True):
    """An account on the page. `state_number` is the place of its state among all; `ago` its last success in words,
    `age` in seconds; `report` the address of its newest report, relative to the page and escaped."""

    account: str
    condition: str
    exit_code: int
    state: str | None = None
    state_number: int = -1
    percent: float | None = None
    messages: int | None = None
    octets: int | None = None
    to_go: int | None = None
    success: str | None = None
    age: float | None = None
    ago: str = ""
    cause: str | None = None
    next: str | None = None
    again: str | None = None
    report: str | None = None


class Part(Struct, frozen=True):
    """A part of a stacked bar, in percent of its length."""

    key: str
    name: str
    number: int
    start: float
    width: float


def render_fleet(rows: Sequence[FleetRow], made_at: str, conditions: Sequence[str], states: Sequence[str]) -> str:
    """The page. `conditions` and `states` are all that there may be, in their order."""
    found = environment()
    source, _, _ = found.loader.get_source(found, "fleet.js.j2")  # type: ignore[union-attr]
    ended, reached = Counter(each.condition for each in rows), Counter(each.state for each in rows)
    done = sum(not each.exit_code for each in rows)
    failed = sum(each.condition in ("failed", "crashed") for each in rows)
    return found.get_template("fleet.html.j2").render(
        rows=rows,
        made_at=made_at,
        headline=f"{done:,} of {counted(len(rows), 'account')} {'is' if len(rows) == 1 else 'are'} done",
        kind="good" if done == len(rows) else "bad" if failed else "part",
        sentences=_sentences(rows),
        conditions=_parts([(each, each, ended[each]) for each in reversed(conditions)]),
        states=_parts([(str(number), each, reached[each]) for number, each in enumerate(states)]),
        progress=_progress(rows),
        script=Markup(source),
        script_hash="sha256-" + b64encode(hashlib.sha256(source.encode()).digest()).decode(),
    )


def _sentences(rows: Sequence[FleetRow]) -> list[str]:
    messages, octets = sum(each.messages or 0 for each in rows), sum(each.octets or 0 for each in rows)
    words = [f"{counted(messages, 'message')}, {size(octets)} in the archives."]
    if left := sum(each.to_go or 0 for each in rows):
        words.append(f"{counted(left, 'message is', 'messages are')} still to go.")
    if wrong := sum(bool(each.exit_code) for each in rows):
        words.append(
            f"{counted(wrong, 'account needs', 'accounts need')} a look: the table says why, the worst first."
        )
    return words


def _progress(rows: Sequence[FleetRow]) -> list[Part]:
    known: Mapping[str, int] = {
        "to go": sum(each.to_go or 0 for each in rows),
        "where they should be": sum(
            max(0, (each.messages or 0) - (each.to_go or 0)) for each in rows if each.percent is not None
        ),
    }
    keys = {"to go": "never", "where they should be": "done"}
    return _parts([(keys[name], name, known[name]) for name in ("where they should be", "to go")])


def _parts(counts: Sequence[tuple[str, str, int]]) -> list[Part]:
    whole, start, parts = sum(number for _, _, number in counts), 0.0, []
    for key, name, number in counts:
        if number:
            width = 100 * number / whole
            parts.append(Part(key, name, number, round(start, 4), round(width, 4)))
            start += width
    return parts
