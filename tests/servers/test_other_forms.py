"""Messages that a destination takes in another form alone: without keywords, without flags, with another date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.accounts import mail, run
from tests.faults.replays import migration
from tests.servers.scripted import DESTINATION, MINIMAL, Appended, Appending, ScriptedFolder, ScriptedServer
from tests.servers.scripted import ScriptedMessage as Message
from tests.servers.scripted_append import EPOCH

Scripted = Callable[..., ScriptedServer]
Refuse = Callable[[Appended], bytes | None]

OLD = "31-Dec-1960 23:59:59 +0000"
DATE = "05-Feb-1999 10:11:12 +0330"
INSTEAD = " 2-Jan-1970 00:00:00 +0000"

NAMED = (b"NO Too many user flags in mailbox", b"BAD Invalid date-time in Append command")
UNNAMED = (b"NO Error in IMAP command received by server.",) * 2


def taking(keywords: bytes | None, dates: bytes | None, flags: bytes | None = None) -> Refuse:
    """Refuse, with these replies, what has keywords, a date before 1970, any flags."""

    def refuse(message: Appended) -> bytes | None:
        if dates and message.arrived and message.arrived < EPOCH:
            return dates
        if keywords and any(not flag.startswith("\\") for flag in message.flags):
            return keywords
        return flags if message.flags else None

    return refuse


def held() -> ScriptedFolder:
    """Some messages, of which the third has what a destination may not like."""
    flags = {3: ("\\Seen", "$Forwarded", "work")}
    dates = {3: OLD}
    messages = {uid: Message(mail(uid), flags.get(uid, ()), dates.get(uid, DATE)) for uid in range(1, 6)}
    return ScriptedFolder(5, messages)


@pytest.mark.parametrize("capabilities", [DESTINATION, MINIMAL], ids=["together", "one by one"])
@pytest.mark.parametrize(
    ("refuse", "flags", "date", "losses"),
    [
        pytest.param(taking(NAMED[0], None), {"\\Seen"}, OLD, {"flags"}, id="keywords"),
        pytest.param(taking(UNNAMED[0], None), {"\\Seen"}, OLD, {"flags"}, id="keywords, without a word"),
        pytest.param(
            taking(None, NAMED[1]), {"\\Seen", "$Forwarded", "work"}, INSTEAD, {"internaldate"}, id="dates"
        ),
        pytest.param(
            taking(None, UNNAMED[1]),
            {"\\Seen", "$Forwarded", "work"},
            INSTEAD,
            {"internaldate"},
            id="dates, without a word",
        ),
        pytest.param(taking(NAMED[0], NAMED[1]), {"\\Seen"}, INSTEAD, {"flags", "internaldate"}, id="both"),
        pytest.param(
            taking(UNNAMED[0], UNNAMED[1]),
            {"\\Seen"},
            INSTEAD,
            {"flags", "internaldate"},
            id="both, without a word",
        ),
        pytest.param(
            taking(NAMED[0], UNNAMED[1]),
            {"\\Seen"},
            INSTEAD,
            {"flags", "internaldate"},
            id="both, the keywords by name",
        ),
        pytest.param(
            taking(UNNAMED[0], NAMED[1]),
            {"\\Seen"},
            INSTEAD,
            {"flags", "internaldate"},
            id="both, the dates by name",
        ),
        pytest.param(taking(None, None, NAMED[0]), set(), OLD, {"flags"}, id="all flags"),
        pytest.param(
            taking(None, NAMED[1], NAMED[0]), set(), INSTEAD, {"flags", "internaldate"}, id="all flags and dates"
        ),
    ],
)
def test_a_message_arrives_with_as_much_as_is_taken(
    scripted: Scripted,
    tmp_path: Path,
    capabilities: tuple[str, ...],
    refuse: Refuse,
    flags: set[str],
    date: str,
    losses: set[str],
) -> None:
    source = scripted({b"INBOX": held()})
    there = scripted(
        {b"INBOX": ScriptedFolder(7, permanentflags=("\\Seen", "\\*"))},
        capabilities=capabilities,
        writable=True,
        appending=Appending(refuse=refuse),
    )
    there.on(b"UID STORE", NAMED[0])  # nor are they taken afterwards

    result = run(migration(tmp_path, source, "u1", there, "u1"))

    messages = {each.octets: each for each in there.folders[b"INBOX"].messages.values()}
    assert messages.keys() == {mail(uid) for uid in range(1, 6)}
    assert (set(messages[mail(3)].flags), messages[mail(3)].internaldate) == (flags, date)
    assert {each.internaldate for octets, each in messages.items() if octets != mail(3)} == {DATE}
    assert {(each["kind"], each["uids"]) for each in result.report["losses"]} == {(kind, "3") for kind in losses}
    assert result.report["failures"] == []
