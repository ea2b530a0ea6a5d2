"""What all benchmarks of one sitting have in common: how often, how large, through which lines, and where."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.bench.limits import drain
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import LARGE, SMALL, TINY, GeneratedAccount, generate

T = TypeVar("T")

SHAPES = {"XS": TINY, "S": SMALL, "M": LARGE}


@dataclass
class Sitting:
    """`runs` rounds for each mailbox and each line (round trip in milliseconds). Slow peers take part only in the
    first round of S without delay, unless it is `thorough`. Everything is made in `scratch`, and nothing is removed
    before the end: ext4 creates files slowly for minutes where many were just deleted."""

    scratch: Path
    runs: int
    mailboxes: tuple[str, ...]
    lines: tuple[int, ...]
    quick: bool
    thorough: bool
    imapsync: Path | None
    _accounts: dict[str, GeneratedAccount] = field(default_factory=dict)

    def works(self) -> Iterator[tuple[str, int]]:
        """Mailboxes with their lines. Only the smallest goes through a long line."""
        for mailbox in self.mailboxes:
            for line in self.lines if mailbox == self.mailboxes[0] or self.thorough else self.lines[:1]:
                yield mailbox, line

    def takes_slow(self, mailbox: str, line: int, number: int) -> bool:
        """Whether slow peers take part in this round."""
        return self.thorough or (not self.quick and mailbox != "M" and line == 0 and number == 0)

    def account(self, mailbox: str) -> GeneratedAccount:
        """The generated mailbox, the same one each time."""
        if mailbox not in self._accounts:
            account = self._accounts[mailbox] = generate(self.directory("mailbox", mailbox), SHAPES[mailbox])
            size = sum(message.size for message in account.messages) / 1e6
            print(f"{mailbox}: {len(account.messages)} messages, {size:.0f} MB, {len(account.folders)} folders")
        return self._accounts[mailbox]

    def settle(self) -> None:
        """Let the disk finish: no tool pays for another's delayed writes."""
        if not self.quick:
            subprocess.run(["sync"], check=True)

    def pass_second(self) -> None:
        """NOTE: mbsync waits for the second to end when a Maildir changed within it."""
        if not self.quick:
            time.sleep(1.1)

    def directory(self, *words: object) -> Path:
        """A new directory."""
        path = self.scratch / "-".join(map(str, words))
        path.mkdir()
        path.chmod(0o755)
        return path


def installed(server: Dovecot, account: GeneratedAccount) -> str:
    """A new user of the server with this mailbox, whose indexes are made."""
    user = server.fresh_user()
    server.install(user, account.home)
    drain(server.port, user, account.folders)
    return user


def in_turn(tools: list[T], number: int) -> list[T]:
    """The tools in the order of this round: each is first in its turn."""
    first = number % len(tools)
    return tools[first:] + tools[:first]


@contextmanager
def kept(scratch: Path, keep: bool) -> Iterator[Path]:
    """The directory of the sitting, removed at its end unless it is to be kept."""
    try:
        yield scratch
    finally:
        if keep:
            print(f"all trees are kept in {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
