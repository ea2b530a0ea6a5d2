"""A notice as a value: its subject and text for people, its JSON for programs. docs/formats.md specifies the JSON.

Names of accounts and words of servers are in it, so every text is one line without control characters.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from archiver.config.secrecy import redacted
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.document import ACCEPTED
from archiver.report.units import size
from pipelines.notify.occasion import News
from pipelines.show.reasons import reason_of

FORMAT = "archiver-notice/1"
_SHOWN = 200  # accounts in the text; the JSON has them all
_NAMED = 3  # accounts in the subject
_LONGEST = 1000  # characters of a line


class Command(Struct, frozen=True):
    """What was run: the verb, when it began and ended (UTC), and the exit code of the whole command."""

    verb: str
    began: str
    ended: str
    exit_code: int


class Notice(Struct, frozen=True):
    """What is sent, whatever the channel. `failed`: whether an account of it is not complete."""

    subject: str
    text: str
    document: Mapping[str, Any]
    failed: bool


def one_line(text: str) -> str:
    """A text of somebody else as one line that hides nothing and has no secret."""
    words = redacted(text).replace("\n", " ").replace("\r", " ")
    shown = printable(words.encode("utf-8", "replace").decode())
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def notice_of(
    command: Command, occasions: Sequence[str], shown: Sequence[News], everybody: Sequence[News]
) -> Notice:
    """The notice about the accounts `shown`, of `everybody` whom the channel is about."""
    bad = [each for each in shown if each.result.exit_code]
    recovered = [each for each in shown if each.change == "recovered"]
    host = one_line(socket.gethostname())
    subject = f"archiver: {_summary(bad, recovered, everybody)} ({host})"
    worst_first = sorted(shown, key=lambda each: (not each.result.exit_code, each.change is None))
    accounts = [_account(each) for each in worst_first]
    lines = [
        f"archiver {command.verb} on {host}, {command.began} to {command.ended}, exit code {command.exit_code}",
        f"{_summary(bad, recovered, everybody)}.",
    ]
    first_quiet = next((each for each in accounts if not _is_news(each)), None)
    for each in accounts[:_SHOWN]:
        if _is_news(each):
            lines += ["", *_paragraph(each)]
        else:
            lines += [*([""] if each is first_quiet else []), _line(each)]
    if len(accounts) > _SHOWN:
        lines += ["", f"and {len(accounts) - _SHOWN:,} more accounts; `archiver status` shows them all"]
    text = "\n".join([*lines, ""])
    document = {
        "format": FORMAT,
        "occasions": list(occasions),
        "host": host,
        "verb": command.verb,
        "began": command.began,
        "ended": command.ended,
        "exit_code": command.exit_code,
        "subject": subject,
        "text": text,
        "counts": {
            "accounts": len(everybody),
            "complete": sum(each.result.exit_code == 0 for each in everybody),
            "failed": sum(each.result.exit_code != 0 for each in everybody),
        },
        "accounts": accounts,
    }
    return Notice(subject, text, document, failed=bool(bad))


def trial_notice(now: str, accounts: Sequence[str]) -> Notice:
    """What `check --notify` sends."""
    host = one_line(socket.gethostname())
    subject = f"archiver: a test notice ({host})"
    names = _names([one_line(each) for each in accounts], _SHOWN)
    text = f"Notices about these accounts arrive here: {names}.\nNothing was run, and nothing has happened.\n"
    counts = {"accounts": len(accounts), "complete": 0, "failed": 0}
    document = {
        "format": FORMAT,
        "occasions": ["test"],
        "host": host,
        "verb": "check",
        "began": now,
        "ended": now,
        "exit_code": 0,
        "subject": subject,
        "text": text,
        "counts": counts,
        "accounts": [],
    }
    return Notice(subject, text, document, failed=False)


def _summary(bad: Sequence[News], recovered: Sequence[News], everybody: Sequence[News]) -> str:
    if len(everybody) == 1:
        one = everybody[0]
        name, code = one_line(one.result.account), one.result.exit_code
        if code:
            return f"{name} {one.result.status}, exit code {code}"
        return f"{name} is complete again" if recovered else f"{name} is complete"
    total = sum(each.result.exit_code != 0 for each in everybody)
    if bad:
        names = _names([one_line(each.result.account) for each in bad])
        return f"{total:,} of {len(everybody):,} accounts {_are(total)} not complete: {names}"
    if recovered:
        names = _names([one_line(each.result.account) for each in recovered])
        several = len(recovered)
        return f"{several:,} of {len(everybody):,} accounts {_are(several)} complete again: {names}"
    return f"all {len(everybody):,} accounts are complete"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _names(names: Sequence[str], most: int = _NAMED) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def _account(news: News) -> dict[str, Any]:
    result, document = news.result, news.result.document
    left = [each for each in document.get("failures", ()) if not each["next"].startswith(ACCEPTED)]
    cause = (result.message or reason_of(document)) if result.exit_code else None
    was = None if news.before.ok is None else "complete" if news.before.ok else "failed"
    return {
        "account": one_line(result.account),
        "file": one_line(str(result.watched.file)),
        "server": one_line(result.server),
        "run": result.run,
        "status": result.status,
        "exit_code": result.exit_code,
        "change": news.change,
        "was": was,
        "was_since": news.before.since or None,
        "cause": None if cause is None else one_line(cause),
        "next": one_line(left[0]["next"]) if left else None,
        "again_at": document.get("again_at"),
        "report": None if result.report is None else one_line(result.report),
        "totals": document.get("totals"),
    }


def _is_news(account: Mapping[str, Any]) -> bool:
    """Whether there is more to say of it than that it is complete."""
    return bool(account["exit_code"]) or account["change"] is not None


def _paragraph(account: Mapping[str, Any]) -> list[str]:
    code = account["exit_code"]
    first = f"{account['account']}: {account['status']}" + (f", exit code {code}" if code else "")
    if account["change"] is not None and account["was"] is not None:
        since = f" since {account['was_since']}" if account["was_since"] else ""
        first += f" ({'not complete' if account['was'] == 'failed' else 'complete'}{since} until now)"
    lines = [first]
    if (cause := account["cause"]) is not None:
        lines.append(f"  {cause}")
    if account["next"] and account["next"] not in (cause or ""):
        lines.append(f"  next: {account['next']}")
    if account["again_at"] and account["again_at"] not in (cause or ""):
        lines.append(f"  may be run again at {account['again_at']}")
    if account["report"]:
        lines.append(f"  report: {account['report']}")
    return lines


def _line(account: Mapping[str, Any]) -> str:
    """An account that is complete, as it was."""
    text, totals = f"{account['account']}: {account['status']}", account["totals"]
    if totals:
        text += f", {counted(totals['stored'], 'message')} held, {size(totals['stored_bytes'])}"
        text += f"; {totals['fetched']:,} fetched"
    return text
