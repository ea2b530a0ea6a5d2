"""An account archived for the first time, again, and after a night's changes, beside what else Debian has."""

from __future__ import annotations

from tests.bench import contenders
from tests.bench.increment import change
from tests.bench.limits import drain, drain_and_write, timed
from tests.bench.line import long_line
from tests.bench.sheet import Bar, Sheet
from tests.bench.sitting import Sitting, in_turn, installed
from tests.servers.dovecot import Dovecot

BARS = (
    Bar("S, 0 ms, first", "mbsync", 0.7),
    Bar("M, 0 ms, first", "mbsync", 0.5),
    Bar("S, 40 ms, first", "mbsync", 0.5),
    Bar("S, 40 ms, nothing new", "mbsync", 0.6),
    Bar("S, 40 ms, increment", "mbsync", 0.6),
)


def measure(sitting: Sitting) -> Sheet:
    """All rounds of all tools."""
    sheet = Sheet("Archiving", "mbsync", BARS)
    with Dovecot() as server:
        for mailbox, line in sitting.works():
            for number in range(sitting.runs):
                _round(sheet, sitting, server, mailbox, line, number)
    for name in contenders.peers_missing():
        sheet.note(f"{name} is not installed.")
    return sheet


def _round(sheet: Sheet, sitting: Sitting, server: Dovecot, mailbox: str, line: int, number: int) -> None:
    account, directory = sitting.account(mailbox), sitting.directory("archive", mailbox, line, number)
    user = installed(server, account)
    if not line:
        written = sitting.directory("written", mailbox, number)
        work = f"{mailbox}, 0 ms, first"
        sheet.add(work, "reading alone", timed(lambda: drain(server.port, user, account.folders)))
        writing = timed(lambda: drain_and_write(server.port, user, account.folders, written))
        sheet.add(work, "reading and writing", writing)
    with long_line(server.port, line / 1000) as port:
        slow = sitting.takes_slow(mailbox, line, number)
        makes = in_turn([contenders.archiver, *contenders.peers_here(slow=slow)], number)
        tools = [make(directory, port, user) for make in makes]
        for phase in ("first", "nothing new", "increment"):
            if phase == "increment":
                change(server, user, account)
            server.wait_idle(user)
            sitting.pass_second()
            for tool in list(tools):
                sitting.settle()
                if not sheet.run(f"{mailbox}, {line} ms, {phase}", tool):
                    tools.remove(tool)
