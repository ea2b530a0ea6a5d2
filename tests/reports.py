"""Reports of invented runs, as the documents that the page and the command line are made from."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

COUNTS = (
    "on_server", "stored", "stored_bytes", "excluded", "quarantined", "fetched", "fetched_bytes", "flags_changed",
    "vanished",
)  # fmt: skip
DELIVERY = ("replayed", "already_there", "refused", "removed", "pending", "verified", "differences")
RETRY = "`archiver retry` tries again; `archiver retry --accept` accepts what the server sends, or the loss"
HOSTILE = (
    '<script>alert(1)</script><img src=x onerror=alert(2)>"\'><b onclick="x">&lt;{{ 7 * 7 }}{% raw %}'
    "\u202egnp.exe\u2066\x1b[31m\x00\x07\r\n\ud800</td></table></style></title>`a`" + "W" * 10_000
)
"""What a stranger may put where text is expected: markup, a template, an override of direction, control characters,
half a character, ends of whatever may be open, a command, and a word that is too long for any screen."""


def folder(name: str, stored: int, **numbers: Any) -> dict[str, Any]:
    """A folder that balances. `there` has its numbers at the destination: all that is not given is delivered."""
    there = numbers.pop("there", None)
    row = {"name": name, "uidvalidity": 7, **dict.fromkeys(COUNTS, 0), "stored": stored, **numbers}
    row.setdefault("stored_bytes", 0)
    row["stored_bytes"] = row["stored_bytes"] or 5_000 * stored
    row["on_server"] = numbers.get("on_server", stored + row["excluded"] + row["quarantined"])
    row["destination"] = None
    if there is not None:
        terms = sum(there.get(term, 0) for term in ("already_there", "refused", "removed", "pending"))
        numbers_there = dict.fromkeys(DELIVERY, 0) | {"replayed": stored - terms, "verified": stored - terms}
        row["destination"] = {"name": name, **numbers_there, **there}
    return row


def document(folders: Sequence[Mapping[str, Any]], **keys: Any) -> dict[str, Any]:
    """The report of a complete run over these folders, with other values for `keys`."""
    totals: dict[str, Any] = {name: sum(each[name] for each in folders) for name in COUNTS}
    there = [each["destination"] for each in folders if each["destination"]]
    totals["destination"] = {name: sum(each[name] for each in there) for name in DELIVERY} if there else None
    return {
        "format": "archiver-report/1", "account": "alice", "run": "20261123T153258Z", "status": "complete",
        "started": "2026-11-23T15:32:58Z", "finished": "2026-11-23T15:33:21Z", "exit_code": 0,
        "source": {"server": "imap.example.org", "user": "alice@example.org"},
        "destination": {"server": "mail.example.net", "user": "alice@example.net"} if there else None,
        "timings": {"enumerate": 0.41, "archive": 12.1} | ({"replay": 8.2, "verify": 1.0} if there else {}),
        "folders": list(folders), "skipped": [], "totals": totals, "failures": [], "losses": [], "differences": [],
        **keys,
    }  # fmt: skip


def failure(place: str | None, uid: int | None, **keys: Any) -> dict[str, Any]:
    """A message that the server did not give, unless `keys` say otherwise."""
    return {
        "folder": place, "uid": uid, "step": "fetch", "reason": "the server sent no body",
        "server_reply": "NO [SERVERBUG] cannot read it", "next": RETRY, "date": None, "subject": None, **keys,
    }  # fmt: skip


def one_folder() -> dict[str, Any]:
    """A night with three new messages, without a destination."""
    return document([folder("INBOX", 12_345, fetched=3, fetched_bytes=15_000, flags_changed=2)])


def many_folders(number: int = 60, *, delivered: bool = True) -> dict[str, Any]:
    """Folders of very different sizes, all well."""
    chance = random.Random(7)
    names = ["INBOX", "Archive/2020/Q1 invoices", "R&D", "日本語", "עברית ודואר", "Work/Project Ünïcode"]
    names += [f"Clients/{word}/{2000 + index}" for index in range(number) for word in ("Contoso", "Initech")]
    there: dict[str, Any] | None = {"already_there": 1} if delivered else None
    return document([folder(name, 1 + int(30 * chance.paretovariate(0.8)), there=there) for name in names[:number]])


def with_everything() -> dict[str, Any]:
    """A run in which everything went wrong that can: every list of the report has something."""
    folders = [
        folder("INBOX", 900, quarantined=2, excluded=5, there={"refused": 12, "removed": 4, "differences": 2}),
        folder("Sent", 300, fetched=7, vanished=1, there={"name": "Sent Items", "already_there": 20}),
        folder("Drafts", 40, on_server=43, there={"pending": 40, "verified": 0}),
    ]
    reply = "NO [TOOBIG] Message size {} MB exceeds fixed maximum message size of 50 MB"
    failures = [
        failure("INBOX", 17, date="02-Mar-2019 09:12:44 +0100", subject="Re: Invoice"),
        failure("INBOX", 18),
    ]
    failures += [
        failure(
            "INBOX", uid, step="replay", reason="the destination refuses it as too large", subject="תמונות מהטיול",
            server_reply=reply.format(uid), date="2021-03-14T10:00:00Z", next="raise the limit, `archiver run`",
        )
        for uid in range(51, 63)
    ]  # fmt: skip
    failures.append(failure("Drafts", None, reason="3 messages are not accounted for", server_reply=None))
    return document(
        folders,
        status="incomplete",
        exit_code=3,
        failures=failures,
        skipped=[{"name": "Lists", "reason": "it holds no messages itself (\\Noselect)"}],
        losses=[
            {"folder": "INBOX", "kind": "flags", "detail": "$Forwarded", "count": 312, "uids": "1:300,401:412"},
            {"folder": "Sent", "kind": "repaired", "detail": "bare LF became CRLF", "count": 1, "uids": "4"},
        ],
        differences=[
            {"folder": "INBOX", "uid": 12, "destination_uid": 45, "what": "flags", "expected": "\\Seen",
             "found": "none"},
            {"folder": "INBOX", "uid": 13, "destination_uid": None, "what": "message", "expected": "there",
             "found": "missing"},
        ],
    )  # fmt: skip


def failed() -> dict[str, Any]:
    """A run that the server ended."""
    reason = "not reached: imap.example.org: the connection was closed"
    failures = [failure("Archive", None, reason=reason, server_reply=None, next="run again")]
    return document([folder("INBOX", 100)], status="failed", exit_code=5, failures=failures)


def with_text(value: Any, text: str, spared: Sequence[str] = ("format", "status")) -> Any:
    """The document with `text` for each of its texts, but for those under the keys that are spared."""
    if isinstance(value, dict):
        return {key: each if key in spared else with_text(each, text, spared) for key, each in value.items()}
    if isinstance(value, list):
        return [with_text(each, text, spared) for each in value]
    return text if isinstance(value, str) else value
