"""Many accounts in which nothing is new, done by one command, as every night."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench import contenders
from tests.bench.contenders import ARCHIVER, Contender
from tests.bench.line import long_line
from tests.bench.sheet import Bar, Sheet
from tests.bench.sitting import Sitting, in_turn, installed
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import SMALL_FOLDERS, Shape, generate
from tests.servers.postgresql import Postgresql

_ACCOUNTS, _QUICK = 200, 3
_SHARED = "archiver, ledger in PostgreSQL"
_SHAPE = Shape(24, 1500, 1.0, SMALL_FOLDERS, 60_000)


def measure(sitting: Sitting) -> Sheet:
    """All rounds. Everything is archived once before."""
    count = _QUICK if sitting.quick else _ACCOUNTS
    works = {line: f"{count} quiet accounts, {line} ms" for line in sitting.lines}
    sheet = Sheet("Many quiet accounts", "mbsync", (Bar(works.get(40, ""), "mbsync", 0.1),))
    account = generate(sitting.directory("mailbox-fleet"), _SHAPE)
    with ExitStack() as stack:
        server = stack.enter_context(Dovecot())
        ledger = None
        if Postgresql.missing() is None:
            database = stack.enter_context(Postgresql())
            ledger = database.socket_url(database.fresh_database())
        users = [installed(server, account) for _ in range(count)]
        directory = sitting.directory("fleet")
        for tool in _tools(directory, server.port, users, ledger):
            tool.run()
        sitting.pass_second()
        for line, work in works.items():
            with long_line(server.port, line / 1000) as port:
                tools = _tools(directory, port, users, ledger)
                for tool in tools if line else ():
                    tool.run()  # at another port it is another account file, so each account is opened once
                for number in range(sitting.runs):
                    for tool in in_turn(tools, number):
                        sitting.settle()
                        sheet.run(work, tool)
    sheet.notes += [
        f"{work}, {tool}: {1000 * cpu / count:.1f} ms of CPU an account"
        for work, tool in sheet.rows
        if (cpu := sheet.cpu(work, tool)) is not None
    ]
    return sheet


def _tools(directory: Path, port: int, users: Sequence[str], ledger: str | None) -> list[Contender]:
    """The archiver with as many workers as by itself, with one and with eight, with a `ledger` that several hosts
    may use, and without a fleet's ledger, so that each account is opened; each has archives of its own. Called
    again, it only changes the port."""
    found = []
    for name, options in (
        ("archiver", ()),
        ("archiver, one worker", ("--workers", "1")),
        ("archiver, eight workers", ("--workers", "8")),
        *([] if ledger is None else [(_SHARED, ())]),
        ("archiver, no ledger", ()),
    ):
        configs = directory / name.replace(" ", "-")
        configs.mkdir(exist_ok=True)
        if name == _SHARED:
            (configs / "defaults.toml").write_text(f'[fleet]\nledger = "{ledger}"\n')
        elif "ledger" not in name:
            (configs / "defaults.toml").touch()
        for user in users:
            contenders.account_file(configs, port, user)
        command = (*ARCHIVER, str(configs), "--quiet", *options)
        found.append(Contender(name, command, directory / f"{configs.name}.log"))
    if shutil.which("mbsync"):
        found.append(contenders.mbsync(directory, port, *users))
    return found
