"""Access rights at the destination: given as they are at the source, if the account file says so.

What was given is recorded, so a run in which no rights changed asks the destination for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from archiver.destination.rights import RightsChange, after, changes, is_due, lacking, wanted
from archiver.facts.access import Granted, GrantedFact, Rights
from archiver.facts.known import KnownFolder
from archiver.replay.connection import DestinationConnection
from archiver.replay.context import ReplayContext

_NOT_OFFERED = "the destination offers no access rights (ACL)"
_NOT_SHOWN = "the destination does not show this folder's access rights"
_NOT_KEPT = "accepted, and not shown afterwards"

Placed = Sequence[tuple[KnownFolder, bytes]]


class _Folder(Struct, frozen=True):
    """A folder whose rights are not as they should be: its number and its name there."""

    number: int
    raw: bytes
    want: dict[str, str]
    granted: Granted


def are_due(context: ReplayContext, placed: Placed) -> bool:
    """Whether rights have to be changed in any of these folders."""
    return next(_due(context, placed), None) is not None


def _due(context: ReplayContext, placed: Placed) -> Iterator[_Folder]:
    rules = context.rules.rights
    if rules is None or not context.rules.follows:
        return
    sharing = context.replicas.sharing
    rights, granted = sharing.rights(), sharing.granted(context.destination)
    for folder, raw in placed:
        want = wanted(rights.get(folder.number), rules)
        known = granted.get(folder.number, Granted(raw))
        known = known if known.raw == raw else Granted(raw)
        if is_due(want, known, again=context.retry != "due"):
            yield _Folder(folder.number, raw, want, known)


def follow_rights(context: ReplayContext, connection: DestinationConnection, placed: Placed) -> None:
    """Give and take away what has to be, and record what came of it."""
    due = list(_due(context, placed))
    if not due:
        return
    again = context.retry != "due"
    raws = [each.raw for each in due]
    present = connection.with_retries(lambda destination: destination.rights(raws))
    asked = [(each, change) for each in due for change in _changes(each, present.get(each.raw), again=again)]
    lines = [(each.raw, change) for each, change in asked]
    refused: dict[int, dict[str, str]] = {each.number: {} for each in due}
    if lines:
        answers = connection.with_retries(lambda destination: destination.change_rights(lines))
        for (each, change), reason in zip(asked, answers, strict=True):
            if reason is not None:
                refused[each.number][change.identifier] = reason
        present = connection.with_retries(lambda destination: destination.rights(raws))
    facts = []
    for each in due:
        shown = present.get(each.raw)
        if shown is None:
            reasons = dict.fromkeys(each.want, _NOT_SHOWN if present else _NOT_OFFERED)
        else:
            given = {change.identifier: change.rights for of, change in asked if of is each and change.sign == "+"}
            reasons = dict.fromkeys(lacking(given, shown), _NOT_KEPT) | refused[each.number]
        result = after(each.want, each.granted, reasons, again=again)
        facts.append(
            GrantedFact(
                context.destination, each.number, each.raw, result.entries, result.refused, context.control.now()
            )
        )
    context.recorder.write(facts)


def _changes(each: _Folder, present: Rights | None, *, again: bool) -> list[RightsChange]:
    return [] if present is None else changes(each.want, each.granted, present, again=again)
