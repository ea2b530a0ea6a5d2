"""Holds, and what `forget` did, for people and as JSON; and what a command line says of why."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from archiver.errors import ConfigError
from archiver.facts.keeping import HoldFact
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.mail.model import Digest
from archiver.report.units import size
from pipelines.cli.references import arrived_text
from pipelines.outcome import AccountOutcome

if TYPE_CHECKING:
    from archiver.account.upkeep.forgetting import Doom
    from archiver.catalog.keeping import HeldPlace
    from pipelines.cli.terminal import Terminal

_SHOWN = 40
_SUBJECT = 40


class ForgetDone(Struct, frozen=True):
    """What `doomed` became: forgotten under `number`, None if it was only listed. `kept` is what could not be
    removed, `finished` what an earlier command had left, by number. `there`: also at the destination of that
    number."""

    doomed: Doom
    subjects: Mapping[Digest, str]
    destination: int | None
    there: bool
    number: int | None = None
    kept: Sequence[tuple[str, str]] = ()
    finished: Mapping[int, Sequence[tuple[str, str]]] | None = None

    @property
    def copies(self) -> int:
        """How many copies are at the account's destination."""
        return sum(each.destination == self.destination for each in self.doomed.copies)


def _copies(done: ForgetDone) -> list[str]:
    """What becomes of the copies at the destination, if there are any. Those that are left cannot be removed later:
    the archive no longer knows whose they are."""
    copies, is_dry = counted(done.copies, "copy", "copies"), done.number is None
    if not done.copies or (done.there and done.kept):
        return []
    if done.there:
        verb = "is" if done.copies == 1 else "are"
        return [f"{copies} at the destination, too" if is_dry else f"{copies} {verb} gone from the destination"]
    if is_dry:
        return [f"{copies} would stay at the destination (--also-at-destination, now or never)"]
    return [f"{copies} {'stays' if done.copies == 1 else 'stay'} at the destination, to be removed by hand"]


def summary(done: ForgetDone) -> str:
    """What was done, in one line."""
    if done.finished is not None:
        words = (
            [f"{counted(len(done.finished), 'forget')} gone through again"]
            if done.finished
            else ["nothing is left"]
        )
    elif not done.doomed.messages:
        words = ["no message to forget"]
    else:
        messages, octets = (
            len(done.doomed.messages),
            sum(its[0].placement.size for its in done.doomed.messages.values()),
        )
        what = f"{counted(messages, 'message')} ({size(octets)})"
        words = [f"would forget {what}" if done.number is None else f"forgot {what}, number {done.number}"]
        words += _copies(done)
    if done.doomed.elsewhere:
        stay = "message stays" if len(done.doomed.elsewhere) == 1 else "messages stay"
        words.append(f"{len(done.doomed.elsewhere):,} {stay}, since another place does not match (--everywhere)")
    if done.doomed.held:
        words.append(f"{counted(len(done.doomed.held), 'message is', 'messages are')} held")
    if done.kept:
        words.append(f"{len(done.kept):,} could not be removed: give `archiver forget --finish` later")
    if done.number is None and done.doomed.messages:
        words.append("--yes does it")
    return "; ".join(words)


def to_record(done: ForgetDone) -> dict[str, Any]:
    """The same, for JSON."""
    return {
        "number": done.number,
        "dry_run": done.number is None and done.finished is None,
        "messages": [
            {
                "digest": digest,
                "size": places[0].placement.size,
                "subject": printable(done.subjects[digest]) if digest in done.subjects else None,
                "places": [_place(each) for each in places],
            }
            for digest, places in done.doomed.messages.items()
        ],
        "elsewhere": [{"digest": digest, **_place(each)} for digest, each in done.doomed.elsewhere.items()],
        "held": [{"digest": digest, "hold": hold_to_record(each)} for digest, each in done.doomed.held.items()],
        "copies": done.copies,
        "kept": [{"what": printable(what), "why": printable(why)} for what, why in done.kept],
        "finished": None if done.finished is None else sorted(done.finished),
    }


def _place(place: HeldPlace) -> dict[str, Any]:
    its = place.placement
    return {
        "folder": printable(place.folder),
        "uidvalidity": its.uidvalidity,
        "uid": its.uid,
        "arrived": arrived_text(its.arrived),
        "gone_at": place.gone_at,
    }


def show_forgotten(outcome: AccountOutcome[ForgetDone], done: ForgetDone, terminal: Terminal) -> None:
    """For people: what would be forgotten, what stays, and the result."""
    out = terminal.err if terminal.quiet and outcome.exit_code else terminal.out
    if terminal.quiet and not outcome.exit_code:
        return
    if done.number is None:
        _show_messages(done, terminal)
    for places in list(done.doomed.elsewhere.items())[:_SHOWN]:
        digest, place = places
        where = f'"{printable(place.folder)}", UID {place.key[1]}'
        why = f"was pruned from {where}" if place.pruned else f"is also in {where}"
        out.say(f"  stays: {digest[:16]} {why}")
    for digest, hold in list(done.doomed.held.items())[:_SHOWN]:
        out.say(f"  held: {digest[:16]}, by hold {hold.number}: {hold_words(hold_to_record(hold))}", "yellow")
    for what, why in done.kept[:_SHOWN]:
        out.say(f"  not removed: {printable(what)}: {printable(why)}", "yellow")
    out.say(f"{outcome.account}: {printable(outcome.message or '')}", "yellow" if outcome.exit_code else "green")


def _show_messages(done: ForgetDone, terminal: Terminal) -> None:
    oldest_first = sorted(done.doomed.messages.items(), key=lambda each: each[1][0].placement.arrived)
    for digest, places in oldest_first[:_SHOWN]:
        first = places[0].placement
        subject = printable(done.subjects.get(digest, ""))[:_SUBJECT]
        where = ", ".join(_where(each) for each in places)
        terminal.out.say(f"  {arrived_text(first.arrived)[:10]}  {size(first.size):>9}  {subject}  [{where}]")
    if len(done.doomed.messages) > _SHOWN:
        terminal.out.say(f"  and {len(done.doomed.messages) - _SHOWN:,} more; --json lists them all")


def _where(place: HeldPlace) -> str:
    gone = "" if place.gone_at is None else f", gone since {place.gone_at[:10]}"
    return f"{printable(place.folder)}/{place.key[1]}{gone}"


def reason_of(text: str | None, verb: str) -> str:
    """The reason that a command line gives.

    Raises:
        ConfigError: it gives none.
    """
    reason = " ".join((text or "").split())
    if not reason:
        hint = "say it for those who ask later; it stays in the archive's journal"
        raise ConfigError(f"archiver {verb}", ["why? Give --reason TEXT"], hint=hint)
    return reason


def user() -> str:
    """Who gives this command, and on which machine."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name
        return socket.gethostname()


def hold_to_record(hold: HoldFact) -> dict[str, Any]:
    """A hold, for JSON. Control characters are escaped."""
    return {
        "number": hold.number,
        "folders": [printable(each) for each in hold.folders],
        "addresses": [printable(each) for each in hold.addresses],
        "reason": printable(hold.reason),
        "by": printable(hold.by),
        "at": hold.at,
    }


def hold_words(record: dict[str, Any]) -> str:
    """What a hold keeps, since when and why, in one line."""
    what = []
    if record["folders"]:
        what.append("in " + " or ".join(f'"{each}"' for each in record["folders"]))
    if record["addresses"]:
        what.append("from or to " + " or ".join(record["addresses"]))
    held = f"messages {', '.join(what)}" if what else "everything"
    return f"{held}; since {record['at'][:10]} by {record['by']}: {record['reason']}"
