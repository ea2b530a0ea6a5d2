"""The numbers for monitoring, in the text format of Prometheus (version 0.0.4): a pure function of how a command
ended and of the numbers that were there before.

The file is the memory, too: the time of the last success and the counters go on from what it has.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct, field

from archiver.report.document import ACCEPTED
from pipelines.notify.results import Result

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]


class Family(Struct, frozen=True):
    """A metric: what it is, for people, and its labels besides `account`."""

    help: str
    kind: Literal["gauge", "counter"] = "gauge"
    labels: tuple[str, ...] = ("server",)


#: All metrics, in their order.
FAMILIES: Mapping[str, Family] = {
    "archiver_account_info": Family(
        "Always 1; the account file, and the hosts of its servers.", labels=("config", "server", "destination")
    ),
    "archiver_last_success_timestamp_seconds": Family(
        "When the last complete run ended, 0 if there was none.", labels=()
    ),
    "archiver_last_success_age_seconds": Family(
        "How long ago that was when this file was written; absent if there was none.", labels=()
    ),
    "archiver_last_run_timestamp_seconds": Family("When the last run ended, whatever became of it.", labels=()),
    "archiver_last_run_exit_code": Family("The exit code of the last run.", labels=()),
    "archiver_last_run_duration_seconds": Family("How long the last run took."),
    "archiver_messages": Family("Messages of the source's folders that the archive holds."),
    "archiver_bytes": Family("Bytes of these messages."),
    "archiver_failures": Family("What the last run's report lists as missing or wrong."),
    "archiver_quarantined_messages": Family("Messages that could not be fetched."),
    "archiver_pending_messages": Family("Messages that are not at the destination yet; server is its host."),
    "archiver_refused_messages": Family("Messages that the destination refused; server is its host."),
    "archiver_fetched_messages_total": Family("Messages that were fetched.", "counter"),
    "archiver_fetched_bytes_total": Family("Bytes of messages that were fetched.", "counter"),
    "archiver_sent_messages_total": Family("Messages that were sent to the destination.", "counter"),
    "archiver_sent_bytes_total": Family("Bytes of messages that were sent to the destination.", "counter"),
    "archiver_throttles_total": Family("How often a server asked to slow down or to come back later.", "counter"),
}
_OF_DESTINATION = ("archiver_pending_messages", "archiver_refused_messages")
_SENT = ("archiver_sent_messages_total", "archiver_sent_bytes_total")
_AGE, _SUCCESS = "archiver_last_success_age_seconds", "archiver_last_success_timestamp_seconds"

_SAMPLE = re.compile(r'(archiver_\w+)\{((?:\w+="(?:[^"\\\n]|\\.)*",?)*)\} (\S+)')
_LABEL = re.compile(r'(\w+)="((?:[^"\\\n]|\\.)*)"')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class Counts(Struct):
    """What happened to each account while a command worked, by the events that it reported."""

    by_account: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, account: str, name: str, number: int) -> None:
        self.by_account.setdefault(account, Counter())[name] += number


def samples_of(
    result: Result, counts: Mapping[str, int], before: Mapping[tuple[str, Labels], float], now: float
) -> Samples:
    """The numbers of one account. `before` are its own ones that were there; what this run does not know stays."""
    settings, document = result.watched.settings, result.document
    known = {name: (dict(labels), value) for (name, labels), value in before.items()}
    info = known.get("archiver_account_info", ({}, 0.0))[0]
    destination = settings.destination.host if settings and settings.destination else ""
    server = result.server
    if settings is None:  # the account file is broken: the servers are those of the last run
        server, destination = info.get("server", ""), info.get("destination", "")
    hosts = {"config": str(result.watched.file), "server": server, "destination": destination}
    values = {name: value for name, (_, value) in known.items()}
    values |= {"archiver_account_info": 1, **_of_end(result, values, now)}
    if document:
        values |= _of_report(document)
    for name, family in FAMILIES.items():
        if family.kind == "counter":
            values[name] = values.get(name, 0) + counts.get(name, 0)
    if not destination:
        values = {name: value for name, value in values.items() if name not in (*_OF_DESTINATION, *_SENT)}
    found: Samples = {}
    for name, value in values.items():
        its = hosts | ({"server": destination} if name in (*_OF_DESTINATION, *_SENT) else {})
        labels = (("account", result.account), *((each, its[each]) for each in FAMILIES[name].labels))
        found[name, labels] = value
    return found


def _of_end(result: Result, before: Mapping[str, float], now: float) -> dict[str, float]:
    """How the run ended. A run that was only asked for once more has the times of its report."""
    ended = _seconds(result.document.get("finished")) or now
    success = ended if result.exit_code == 0 else before.get(_SUCCESS, 0.0)
    return {
        _SUCCESS: max(success, before.get(_SUCCESS, 0.0)),
        "archiver_last_run_timestamp_seconds": ended,
        "archiver_last_run_exit_code": result.exit_code,
        "archiver_failures": _failures(result),
    }


def _failures(result: Result) -> int:
    left = [each for each in result.document.get("failures", ()) if not each["next"].startswith(ACCEPTED)]
    return max(len(left) + len(result.document.get("differences", ())), 1 if result.exit_code else 0)


def _of_report(document: Mapping[str, Any]) -> dict[str, float]:
    totals = document.get("totals") or {}
    there = totals.get("destination") or {}
    found: dict[str, float] = {}
    for name, key in (
        ("archiver_messages", "stored"),
        ("archiver_bytes", "stored_bytes"),
        ("archiver_quarantined_messages", "quarantined"),
    ):
        if key in totals and document.get("folders"):  # a run that saw no folder knows nothing about them
            found[name] = totals[key]
    for name, key in (("archiver_pending_messages", "pending"), ("archiver_refused_messages", "refused")):
        if key in there:
            found[name] = there[key]
    began, ended = _seconds(document.get("started")), _seconds(document.get("finished"))
    if began is not None and ended is not None:
        found["archiver_last_run_duration_seconds"] = max(0.0, ended - began)
    return found


def _seconds(text: object) -> float | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def with_ages(samples: Samples, now: float) -> Samples:
    """The samples with the age of each account's last success."""
    found = {key: value for key, value in samples.items() if key[0] != _AGE}
    found |= {
        (_AGE, labels): max(0.0, now - value)
        for (name, labels), value in samples.items()
        if name == _SUCCESS and value > 0
    }
    return found


def account_of(labels: Labels) -> str:
    return dict(labels).get("account", "")


def exposition(samples: Mapping[tuple[str, Labels], float]) -> str:
    """The samples as text."""
    by_name: dict[str, list[tuple[Labels, float]]] = {}
    for (name, labels), value in samples.items():
        by_name.setdefault(name, []).append((labels, value))
    lines: list[str] = []
    for name, family in FAMILIES.items():
        if name not in by_name:
            continue
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
        for labels, value in sorted(by_name[name]):
            shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
            lines.append(f"{name}{{{shown}}} {_number(value)}")
    return "".join(f"{line}\n" for line in lines)


def samples_in(text: str) -> Samples:
    """The samples of a file that `exposition` wrote; lines of others are left out."""
    found: Samples = {}
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match is None or match[1] not in FAMILIES:
            continue
        labels = tuple((label, _plain(value)) for label, value in _LABEL.findall(match[2]))
        try:
            found[match[1], labels] = float(match[3])
        except ValueError:
            continue
    return found


def by_account(samples: Samples) -> dict[str, Samples]:
    """The samples of each account."""
    found: dict[str, Samples] = {}
    for (name, labels), value in samples.items():
        found.setdefault(account_of(labels), {})[name, labels] = value
    return found


def configs_in(samples: Iterable[tuple[str, Labels]]) -> dict[str, str]:
    """The account file of each account."""
    return {
        account_of(labels): dict(labels).get("config", "")
        for name, labels in samples
        if name == "archiver_account_info"
    }


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _plain(text: str) -> str:
    return re.sub(r"\\.", lambda match: _ESCAPES.get(match[0], match[0]), text)
