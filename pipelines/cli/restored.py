"""What was restored, or would be: for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from archiver.mail.counts import counted
from archiver.mail.folder_names import decode_name, printable
from archiver.report.units import Row, size
from pipelines.cli.references import arrived_text, reference_of

if TYPE_CHECKING:
    from rich.table import Table

    from archiver.account.restore import RestoreMailbox, RestoreResult
    from archiver.replay.restore.choice import Candidate, RestoreChoice
    from pipelines.cli.terminal import Terminal
    from pipelines.outcome import AccountOutcome

_SHOWN = 50
_SUBJECT_WIDTH = 40
_IF_ONE = "without --dry-run it is restored"


class RestoreDone(Struct, frozen=True):
    """What was restored to the mailbox, or (`dry`) would be; `asked_dry`: only that was wanted. `gone_only`: of
    what is still there nothing was asked for."""

    result: RestoreResult
    mailbox: RestoreMailbox
    into: str | None
    dry: bool
    asked_dry: bool = False
    gone_only: bool = False

    @property
    def exit_code(self) -> int:
        """6 if the archive has lost something, 3 if something else is not there, otherwise 0."""
        if self.dry:
            return 0
        if self.result.damage is not None:
            return self.result.damage.exit_code
        return 3 if self.result.errors or len(self.result.back) < len(self.result.wanted) else 0


_COUNTED = {
    "there": ("is still there", "are still there"),
    "restored": ("was restored before", "were restored before"),
    "removed": (
        "was restored before and is away again (--again restores it once more)",
        "were restored before and are away again (--again restores them once more)",
    ),
}


def summary(done: RestoreDone) -> str:
    """What happened, in one line."""
    result, name = done.result, done.mailbox.name
    octets = size(sum(each.found.placement.size for each in result.wanted))
    words: list[str] = []
    if done.dry and result.wanted:
        first = f"dry run: {counted(len(result.wanted), 'message')}, {octets}, for {name}"
        instead = " instead of --dry-run" if done.asked_dry else ""
        words.append(f"{first}; " + (f"--yes{instead} restores them" if len(result.wanted) > 1 else _IF_ONE))
    elif result.wanted:
        words.append(f"{counted(len(result.back), 'message')} restored to {name}")
        if missing := len(result.wanted) - len(result.back):
            words.append(f"{missing:,} not (listed below)")
    for standing, (one, several) in _COUNTED.items():
        count = sum(each.standing == standing for each in result.chosen)
        if count:
            words.append(counted(count, f"message {one}", f"messages {several}"))
    if result.damage is not None:
        words.append(f"{result.damage} (see `archiver repair`)")
    nothing = "nothing to restore"
    if done.gone_only:
        nothing += ": what is gone does not match; --also-present takes what is still there, too"
    return "; ".join(words) or nothing


def mailbox_to_record(mailbox: RestoreMailbox) -> Row:
    """The mailbox, for JSON."""
    server = mailbox.settings
    return {"role": mailbox.role, "host": server.host, "port": server.port, "user": server.user}


def to_record(done: RestoreDone) -> Row:
    """The messages and what became of them, for JSON."""
    return {
        "dry_run": done.dry,
        "messages": [_record(each, done) for each in done.result.chosen],
        "errors": {printable(name): printable(reason) for name, reason in done.result.errors.items()},
    }


def _record(chosen: RestoreChoice, done: RestoreDone) -> Row:
    """One message. `state`: "to restore", "restored", "restored before", "removed since", "still there", "refused"
    or "not sent"."""
    candidate, result = chosen.candidate, done.result
    found, place = candidate.found, candidate.found.placement
    was_sent = chosen.standing == "wanted" and not done.dry
    back = result.back.get(candidate.key) if was_sent else chosen.before
    refused = result.refused.get(candidate.key)
    state = {"there": "still there", "restored": "restored before", "removed": "removed since"}.get(chosen.standing)
    if state is None and done.dry:
        state = "to restore"
    elif state is None and back is not None:
        state = "restored"
    elif state is None:
        state = "refused" if refused is not None else "not sent"
    return {
        "reference": reference_of(found),
        "folder": printable(found.folder),
        "uid": place.uid,
        "digest": place.digest,
        "size": place.size,
        "arrived": arrived_text(place.arrived),
        "subject": found.headers and printable(found.headers.subject),
        "state": state,
        "to": printable(decode_name(back.raw)) if back is not None else _goes_to(candidate, done.into),
        "to_uid": None if back is None else back.uid,
        "at": None if back is None else back.at,
        "there": [printable(name) for name in chosen.there],
        "flags_lost": [] if back is None else sorted(map(printable, back.lost)),
        "dated": None if back is None else back.dated,
        "repaired": [] if back is None else list(back.repaired),
        "likeness": back and back.likeness,
        "reason": refused and printable(refused.reason),
        "server_reply": refused and refused.server_reply and printable(refused.server_reply),
    }


def _goes_to(candidate: Candidate, into: str | None) -> str:
    name = candidate.folder.folder.name
    if into is None:
        return printable(name)
    return printable(into if name.upper() == "INBOX" else f"{into}/{name}")


def show_restored(outcome: AccountOutcome[RestoreDone], done: RestoreDone, terminal: Terminal) -> None:
    """A table of the messages, what happened, and what is not as it was."""
    good = outcome.exit_code == 0
    chosen = done.result.chosen
    out = terminal.err if terminal.quiet else terminal.out
    if terminal.tables and chosen:
        out.table(_table([_record(each, done) for each in chosen[:_SHOWN]]))
        if len(chosen) > _SHOWN:
            out.say(f"and {len(chosen) - _SHOWN:,} more; --json lists them all")
    if not (good and terminal.quiet):
        out.say(f"{outcome.account}: {printable(outcome.message or '')}", "green" if good else "red")
    for each in (_record(one, done) for one in chosen):
        if each["state"] == "refused":
            reply = f" ({each['server_reply']})" if each["server_reply"] else ""
            out.say(f"  {each['reference']}: refused: {each['reason']}{reply}")
        for words in _alterations(each) if each["state"] == "restored" and not terminal.quiet else ():
            out.say(f"  {each['reference']}: {words}")
    for name, reason in done.result.errors.items():
        out.say(f'  folder "{printable(name)}": {printable(reason)}')


def _alterations(record: Row) -> Iterator[str]:
    """What of a message is not as it was."""
    if record["flags_lost"]:
        yield f"the server does not keep the flags {', '.join(record['flags_lost'])}"
    if not record["dated"]:
        yield "the server does not keep its date"
    if record["repaired"]:
        yield f"a repaired copy was sent ({', '.join(record['repaired'])})"
    if record["likeness"] in ("cut", "other"):
        yield "the server shows it altered" if record["likeness"] == "other" else "the server shows its beginning"


def _table(records: Sequence[Row]) -> Table:
    from rich.text import Text

    from pipelines.show.tables import plain_table

    table = plain_table("arrived", "subject", "size", "", "message", left=5)
    for each in records:
        subject = each["subject"] or ""
        shown = subject if len(subject) <= _SUBJECT_WIDTH else subject[: _SUBJECT_WIDTH - 1] + "…"
        words = _words(each)
        table.add_row(*map(Text, (each["arrived"][:10], shown, size(each["size"]), words, each["reference"])))
    return table


def _words(record: Row) -> str:
    match record["state"]:
        case "to restore":
            return f"would go to {record['to']}"
        case "restored":
            return f"is in {record['to']}"
        case "restored before":
            return f"is in {record['to']} since {record['at'][:10]}"
        case "removed since":
            return f"was put into {record['to']} on {record['at'][:10]}"
        case "still there":
            return f"is still in {', '.join(record['there'])}"
        case state:
            return str(state)
