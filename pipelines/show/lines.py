"""Sentences for people about a run: totals, failures and what to do about them, what the destination altered.

They are made from the same JSON documents that programs get.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from archiver.mail.folder_names import printable
from archiver.report.units import Row, missing

_QUOTED = re.compile(r'"([^"]+)"')
_NUMBER = re.compile(r"\d+")
_FOLDER = re.compile(r'folder "([^"]*)"')

_SHOWN = 40
_SHOWN_WORDS = 8


def equation(totals: Row, *, counted: bool = True) -> str:
    """The totals in one line; an equation only if it holds. `counted`: the mail of every folder was counted."""
    terms = [f"{totals['stored']:,} stored"]
    terms += [f"{totals[name]:,} {name}" for name in ("excluded", "quarantined", "forgotten") if totals.get(name)]
    left = missing(totals)
    if left > 0:
        terms.append(f"{left:,} not archived yet")
    if left < 0 or not counted:
        so_far = f"{totals['on_server']:,} counted on server so far, {', '.join(terms)}"
        return f"{so_far}; some folders were not opened to the end"
    return f"{totals['on_server']:,} on server = {' + '.join(terms)}"


def destination_equation(totals: Row) -> str:
    """The destination's totals in one line."""
    there = totals["destination"]
    terms = [f"{there['replayed']:,} replayed", f"{there['already_there']:,} already there"]
    terms += [f"{there['refused']:,} refused"] if there["refused"] else []
    terms += [f"{there['removed']:,} removed there"] if there["removed"] else []
    terms += [f"{there['pending']:,} not sent yet"] if there["pending"] else []
    terms += [f"{there['left_out']:,} in folders left out"] if there["left_out"] else []
    restored = f"; {there['restored']:,} brought back that are gone from the source" if there["restored"] else ""
    checked = f"; {there['verified']:,} compared and equal" if there["verified"] else ""
    differing = f", {there['differences']:,} differ" if there["differences"] else ""
    accepted = f"; {there['accepted']:,} accepted as they are there" if there["accepted"] else ""
    return f"{totals['stored']:,} stored = {' + '.join(terms)}{restored}{checked}{differing}{accepted}"


_LOST = {
    "flags": "the destination does not keep the flags {detail}",
    "labels": "the destination does not keep the labels {detail}",
    "internaldate": "the destination does not keep the INTERNALDATE",
    "repaired": "a repaired copy was sent ({detail})",
    "twin": "stored twice, because the first answer came too late (UIDs there: {detail})",
    "rewritten": "the destination rewrites {detail}",
    "cut": "the destination shows only the beginning, although all was sent ({detail})",
}


def loss_lines(losses: Sequence[Row]) -> Iterable[str]:
    """What the destination altered or does not keep."""
    for each in losses[:_SHOWN]:
        what = _LOST.get(each["kind"], "{kind}: {detail}").format(**each)
        words = "message" if each["count"] == 1 else "messages"
        yield printable(f'  folder "{each["folder"]}", {each["count"]:,} {words}: {what}')
    if len(losses) > _SHOWN:
        yield f"  and {len(losses) - _SHOWN:,} more; the report lists them all"


def difference_lines(differences: Sequence[Row]) -> Iterable[str]:
    """What differs between the archive and the destination."""
    for each in differences[:_SHOWN]:
        uid = "" if each["uid"] is None else f", uid {each['uid']}"
        there = "" if each["destination_uid"] is None else f" (uid {each['destination_uid']} there)"
        found = f"expected {each['expected'] or 'none'}, found {each['found'] or 'none'}"
        yield printable(f'  differs: folder "{each["folder"]}"{uid}{there}: {each["what"]}: {found}')
    if len(differences) > _SHOWN:
        yield f"  and {len(differences) - _SHOWN:,} more differences; the report lists them all"
    for advice in dict.fromkeys(each["next"] for each in differences if each.get("next")):
        yield f"  → {printable(advice)}"


def failure_lines(failures: Sequence[Row]) -> Iterable[str]:
    """What is not in the archive, and what to do about it. Failures whose reasons differ at most in the folder's
    name share a line, with the reason of the first."""
    by_advice: dict[str, dict[tuple[str, str], list[Row]]] = {}
    for each in failures:
        reasons = by_advice.setdefault(each["next"], {})
        kind = (_anonymous(each["reason"], each["folder"]), _anonymous(each["server_reply"] or "", each["folder"]))
        reasons.setdefault(kind, []).append(each)
    for advice, reasons in by_advice.items():
        for group in reasons.values():
            answer = f" ({group[0]['server_reply']})" if group[0]["server_reply"] else ""
            yield printable(f"  {_places(group)}{group[0]['reason']}{answer}")
        yield f"  → {printable(advice)}"


def notice_lines(notices: Sequence[Row]) -> Iterable[str]:
    """What people should know although nothing failed."""
    return (f"note: {printable(each['text'])}" for each in notices)


def folder_in(text: str) -> str | None:
    """The folder that a line names, in the way in which all lines name one; None if it names none."""
    found = _FOLDER.search(text)
    return found[1] if found else None


def kind_of(text: str) -> str:
    """A line without the names that are quoted in it and without numbers: lines of one kind have the same text."""
    for name in _QUOTED.findall(text):
        text = _anonymous(text, name)
    return _NUMBER.sub("…", text)


def _anonymous(text: str, name: str | None) -> str:
    return text.replace(name, "…") if name else text


def _places(group: Sequence[Row]) -> str:
    """The folders of a group, with the UIDs in them."""
    uids: dict[str, list[str]] = {}
    for each in group:
        if each["folder"] is not None:
            uids.setdefault(each["folder"], []).extend([] if each["uid"] is None else [str(each["uid"])])
    places = []
    for folder, numbers in uids.items():
        word = "uid" if len(numbers) == 1 else "uids"
        places.append(f'folder "{folder}"' + (f", {word} {_some(numbers)}" if numbers else ""))
    return f"{_some(places)}: " if places else ""


def _some(words: Sequence[str]) -> str:
    more = len(words) - _SHOWN_WORDS
    return ", ".join(words[:_SHOWN_WORDS]) + (f" and {more:,} more" if more > 0 else "")
