"""What a command costs before it works: the interpreter, the modules, and a whole run in which nothing is new."""

from __future__ import annotations

import re
import sys

from tests.bench import contenders
from tests.bench.contenders import Contender
from tests.bench.sheet import Sheet
from tests.bench.sitting import Sitting, in_turn, installed
from tests.servers.dovecot import Dovecot

_WORK = "one account, 0 ms, nothing new"
_SELF = re.compile(r"^import time: +(\d+) \|", re.MULTILINE)


def measure(sitting: Sitting) -> Sheet:
    """All rounds; then once with every import timed, which makes it slower itself."""
    sheet = Sheet("Start", "python -c pass")
    with Dovecot() as server:
        user = installed(server, sitting.account(sitting.mailboxes[0]))
        directory = sitting.directory("start")
        run = contenders.archiver(directory, server.port, user)
        run.run()
        tools = [
            Contender("python -c pass", (sys.executable, "-c", "pass"), directory / "pass.log"),
            Contender("archiver --help", (*contenders.ARCHIVER[:-1], "--help"), directory / "help.log"),
            run,
        ]
        sitting.pass_second()
        for number in range(sitting.runs):
            for tool in in_turn(tools, number):
                sitting.settle()
                sheet.run(_WORK, tool)
        timed = Contender(
            "-X importtime", (sys.executable, "-X", "importtime", *run.command[1:]), directory / "x.log"
        )
        timed.run()
        spent = sum(int(each) for each in _SELF.findall(timed.log.read_text(errors="replace"))) / 1e6
        sheet.note(f"-X importtime of such a run: {spent:.2f} s in all modules, with what it costs to measure that")
    return sheet
