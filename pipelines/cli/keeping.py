"""Holds, and what `forget` did, for people and as JSON; and what a command line says of why."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Collection, Mapping, Sequence
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
    from pipelines.cli.console import PlainConsole
    from pipelines.cli.terminal import Terminal

_SHOWN = 40
_SUBJECT = 40
_DIGITS = 16


class ForgetDone(Struct, frozen=True):
    """What `doomed` became: forgotten under `number`, None if it was only listed. `kept` is what could not be
    removed, `finished` what an earlier command had left, by number, of which `removed` copies were removed.
    `there`: also at the destination of these numbers. `left` copies of what was forgotten before are still at
    destinations. `before` of the messages that were named had been forgotten already."""

    doomed: Doom
    subjects: Mapping[Digest, str]
    destinations: Collection[int]
    there: bool
    number: int | None = None
    kept: Sequence[tuple[str, str]] = ()
    finished: Mapping[int, Sequence[tuple[str, str]]] | None = None
    removed: int = 0
    left: int = 0
    before: int = 0

    @property
    def copies(self) -> int:
        """How many copies are at the account's destination."""
        return sum(each.destination in self.destinations for each in self.doomed.copies)

    @property
    def octets(self) -> int:
        """Of the messages, each once."""
        return sum(its[0].placement.size for its in self.doomed.messages.values())


_LATER = "`archiver forget --finish --also-at-destination`"


def _copies(done: ForgetDone) -> list[str]:
    """What becomes of the copies at the destination, if there are any."""
    words, is_dry = [], done.number is None
    copies = counted(done.copies, "copy", "copies")
    if done.copies and done.there and is_dry:
        words = [f"{copies} at the destination, too"]
    elif done.copies and done.there and not done.kept:
        words = [f"{copies} removed from the destination"]
    elif done.copies and is_dry:
        words = [f"{copies} would stay at the destination (--also-at-destination, also later with --finish)"]
    elif done.copies and not done.there:
        stay = "stays" if done.copies == 1 else "stay"
        words = [f"{copies} {stay} at the destination: {_LATER} removes {'it' if done.copies == 1 else 'them'}"]
    if done.doomed.unsure:
        sent = counted(done.doomed.unsure, "message was", "messages were")
        words.append(
            f"{sent} being sent there when a run was cut off: give `archiver run` first, which finds them"
            if is_dry
            else f"{sent} being sent there when a run was cut off: look whether they arrived"
        )
    if done.left and not done.kept and (is_dry or done.there):
        still = f"{counted(done.left, 'copy', 'copies')} of what was forgotten before"
        words.append(f"{still} {'is' if done.left == 1 else 'are'} still there: {_LATER}")
    return words


def summary(done: ForgetDone) -> str:
    """What was done, in one line."""
    if done.finished is not None:
        words = (
            [f"{counted(len(done.finished), 'earlier forget', 'earlier forgets')} finished"]
            if done.finished
            else ["nothing is left"]
        )
        if done.removed:
            words.append(f"{counted(done.removed, 'copy', 'copies')} removed from the destination")
        words += _copies(done)
    elif not done.doomed.messages:
        words = ["no message to forget", *_copies(done)]
    else:
        what = f"{counted(len(done.doomed.messages), 'message')} ({size(done.octets)})"
        words = [f"would forget {what}" if done.number is None else f"forgot {what}, number {done.number}"]
        words += _copies(done)
    if done.before:
        words.append(f"{counted(done.before, 'message was', 'messages were')} forgotten before")
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
    doomed = done.doomed
    return {
        "number": done.number,
        "dry_run": done.number is None and done.finished is None,
        "octets": done.octets,
        "messages": [_message(done, digest, places) for digest, places in doomed.messages.items()],
        "elsewhere": [
            _message(done, digest, each.places) | _place(each.other) for digest, each in doomed.elsewhere.items()
        ],
        "held": [
            _message(done, digest, each.places) | {"hold": hold_to_record(each.hold)}
            for digest, each in doomed.held.items()
        ],
        "forgotten_before": done.before,
        "copies": done.copies,
        "copies_left": done.left,
        "copies_unsure": doomed.unsure,
        "copies_removed": done.removed,
        "kept": [{"what": printable(what), "why": printable(why)} for what, why in done.kept],
        "finished": None if done.finished is None else sorted(done.finished),
    }


def _message(done: ForgetDone, digest: Digest, places: Sequence[HeldPlace]) -> dict[str, Any]:
    return {
        "digest": digest,
        "size": places[0].placement.size,
        "subject": printable(done.subjects[digest]) if digest in done.subjects else None,
        "places": [_place(each) for each in places],
    }


def _place(place: HeldPlace) -> dict[str, Any]:
    its = place.placement
    return {
        "reference": f"{printable(place.folder)}/{its.uid}",
        "folder": printable(place.folder),
        "uidvalidity": its.uidvalidity,
        "uid": its.uid,
        "arrived": arrived_text(its.arrived),
        "gone_at": place.gone_at,
    }


def show_forgotten(
    outcomes: Sequence[AccountOutcome[ForgetDone]], results: Sequence[Mapping[str, Any]], terminal: Terminal
) -> None:
    """For people: what would be forgotten, what stays, and the result; of several accounts with a table and the
    total, and without those in which there is nothing to say. `results` are all accounts, those that were refused
    included."""
    done = [(outcome, outcome.result) for outcome in outcomes if outcome.result is not None]
    several = len(results) > 1
    for outcome, its in done:
        if not several or _has_news(its):
            _show_account(outcome, its, terminal, several=several)
    if several and not terminal.quiet:
        from pipelines.show.tables import forgotten_table

        rows = [each for each in results if each["exit_code"] or each.get("messages") or each.get("finished")]
        if rows:
            terminal.out.say("")
            terminal.out.table(forgotten_table(rows))
        terminal.out.say(_total([its for _, its in done], len(results)))


def _has_news(done: ForgetDone) -> bool:
    doomed = done.doomed
    return bool(doomed.messages or doomed.held or doomed.elsewhere or done.finished or done.kept)


def _total(done: Sequence[ForgetDone], accounts: int) -> str:
    """What all accounts have, in one line."""
    some = [each for each in done if each.doomed.messages]
    finished = [each for each in done if each.finished]
    is_dry = all(each.number is None for each in some)
    if some:
        messages, octets = sum(len(each.doomed.messages) for each in some), sum(each.octets for each in some)
        what = f"{counted(messages, 'message')} ({size(octets)}) of {len(some):,} of {accounts:,} accounts"
        words = f"{'would forget' if is_dry else 'forgot'} {what}"
    elif finished:
        copies = counted(sum(each.removed for each in done), "copy", "copies")
        words = f"finished in {len(finished):,} of {counted(accounts, 'account')}; {copies} removed"
    else:
        nothing = "no message to forget" if any(each.finished is None for each in done) else "nothing is left"
        words = f"{nothing} in {counted(accounts, 'account')}"
    held = sum(len(each.doomed.held) for each in done)
    words += f"; {counted(held, 'message is', 'messages are')} held" if held else ""
    return f"in all: {words}" + ("; --yes does it" if is_dry and some else "")


def _show_account(
    outcome: AccountOutcome[ForgetDone], done: ForgetDone, terminal: Terminal, *, several: bool
) -> None:
    out = terminal.err if terminal.quiet and outcome.exit_code else terminal.out
    if terminal.quiet and not outcome.exit_code:
        return
    if several:
        out.say(f"\n{outcome.account}", "bold")
    if done.number is None:
        oldest_first = sorted(done.doomed.messages.items(), key=lambda each: each[1][0].placement.arrived)
        for digest, places in oldest_first[:_SHOWN]:
            out.say(f"  {_line(done, digest, places)}")
        _more(len(oldest_first), out)
    for digest, shared in list(done.doomed.elsewhere.items())[:_SHOWN]:
        where = _reference(shared.other)
        why = f"was pruned from {where}" if shared.other.pruned else f"is also in {where}"
        out.say(f"  stays: {_line(done, digest, shared.places)}: {why}")
    _more(len(done.doomed.elsewhere), out)
    for digest, held in list(done.doomed.held.items())[:_SHOWN]:
        out.say(f"  held by hold {held.hold.number}: {_line(done, digest, held.places)}", "yellow")
    _more(len(done.doomed.held), out)
    for number, hold in sorted({each.hold.number: each.hold for each in done.doomed.held.values()}.items()):
        out.say(f"  hold {number}: {hold_words(hold_to_record(hold))}", "yellow")
    for what, why in done.kept[:_SHOWN]:
        out.say(f"  not removed: {printable(what)}: {printable(why)}", "yellow")
    _more(len(done.kept), out)
    message = printable(outcome.message or "")
    said = message if several else f"{outcome.account}: {message}"
    out.say(said, "yellow" if outcome.exit_code else "green")


def _more(number: int, out: PlainConsole) -> None:
    if number > _SHOWN:
        out.say(f"  and {number - _SHOWN:,} more; --json lists them all")


def _line(done: ForgetDone, digest: Digest, places: Sequence[HeldPlace]) -> str:
    """A message: when it arrived, its size, its subject, and what names it. Where no folder has it any more, its
    digest does, too."""
    first = places[0].placement
    subject = printable(done.subjects.get(digest, ""))[:_SUBJECT]
    where = [_reference(each) for each in places]
    if all(each.gone_at is not None for each in places):
        where.append(digest[:_DIGITS])
    return f"{arrived_text(first.arrived)[:10]}  {size(first.size):>9}  {subject}  [{', '.join(where)}]"


def _reference(place: HeldPlace) -> str:
    """What names a message at this place, and since when it is gone from there."""
    gone = "" if place.gone_at is None else f", gone since {place.gone_at[:10]}"
    return f"{printable(place.folder)}/{place.key[1]}{gone}"


def reason_of(text: str | None, verb: str) -> str:
    """The reason that a command line gives.

    Raises:
        ConfigError: it gives none.
    """
    reason = " ".join((text or "").split())
    if not reason:
        hint = "give --reason TEXT, which the archive's journal keeps for those who ask later"
        raise ConfigError(f"archiver {verb}", ["no reason was given"], hint=hint)
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
