"""An account moved between two users of a Dovecot, for the first time, again, and after a night's changes.

The archiver's way is the longer one: it archives, replays and compares, and is measured over all of that. What
arrived is compared with the source in the first round.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.bench import movers
from tests.bench.arrived import difference, mail_of
from tests.bench.increment import change
from tests.bench.limits import append_raw, appends_of
from tests.bench.line import long_line
from tests.bench.movers import Mover
from tests.bench.sheet import Bar, Sheet
from tests.bench.sitting import Sitting, in_turn, installed
from tests.servers.dovecot import Dovecot

LIMIT = "raw MULTIAPPEND"
BARS = (
    Bar("S, 0 ms, first", "mbsync", 0.6),
    Bar("M, 0 ms, first", "mbsync", 0.6),
    Bar("M, 0 ms, first", LIMIT, 1.3),
    Bar("S, 40 ms, first", "mbsync", 0.3),
    Bar("S, 40 ms, first", "dsync", 0.8),
    Bar("S, 40 ms, nothing new", "mbsync", 0.6),
    Bar("M, 0 ms, nothing new", "imapsync", 0.5),
)


def measure(sitting: Sitting) -> Sheet:
    """All rounds of all tools."""
    sheet = Sheet("Migration", "mbsync", BARS)
    with Dovecot(extra="mail_fsync = optimized") as server:
        for mailbox, line in sitting.works():
            for number in range(sitting.runs):
                _round(sheet, sitting, server, mailbox, line, number)
    if not shutil.which("mbsync"):
        sheet.note("mbsync is not installed.")
    if sitting.imapsync is None:
        sheet.note("imapsync was not named (`--imapsync SCRIPT`).")
    return sheet


def _round(sheet: Sheet, sitting: Sitting, server: Dovecot, mailbox: str, line: int, number: int) -> None:
    account, directory = sitting.account(mailbox), sitting.directory("migration", mailbox, line, number)
    source = installed(server, account)
    before = mail_of(server, source) if number == 0 else None
    if not line:
        mail = appends_of(server, source, account.folders)
        sitting.settle()
        sheet.add(f"{mailbox}, 0 ms, first", LIMIT, append_raw(server, server.fresh_user(), mail))
        del mail
    with long_line(server.port, line / 1000) as port:
        tools = in_turn(_movers(sitting, directory, server, port, source, mailbox, line), number)
        for phase in ("first", "nothing new", "increment"):
            if phase == "increment":
                change(server, source, account)
            expected = mail_of(server, source) if before is not None else None
            for tool in list(tools):
                server.wait_idle(source)
                sitting.settle()
                if not sheet.run(f"{mailbox}, {line} ms, {phase}", tool):
                    tools.remove(tool)
                elif before is not None and expected is not None:
                    wrong = difference(mail_of(server, tool.user), expected, before)
                    if wrong and tool.name == "archiver":
                        raise RuntimeError(f"{tool.name}, {phase}: {wrong}")
                    if wrong:
                        sheet.note(f"{tool.name}, {mailbox}, {phase}: {wrong}.")


def _movers(
    sitting: Sitting, directory: Path, server: Dovecot, port: int, source: str, mailbox: str, line: int
) -> Sequence[Mover]:
    found = [movers.archiver(directory, port, source, server.fresh_user())]
    if shutil.which("mbsync"):
        found.append(movers.mbsync(directory, port, source, server.fresh_user()))
    found.append(movers.dsync(directory, server, port, source, server.fresh_user()))
    if sitting.imapsync is not None and (line == 0 or sitting.thorough):
        found.append(movers.imapsync(sitting.imapsync, directory, port, source, server.fresh_user()))
    return found
