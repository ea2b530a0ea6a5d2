"""Attempts at a run or a replay, each its own process and process group, so that it can be killed in any way."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.accounts import ARCHIVER, PROJECT
from tests.patience import PATIENCE
from tests.warm import WarmProcess

_SMALL_BATCHES = """
from archiver.journal import recorder
from pipelines.cli.main import main
assert recorder.BATCH_MESSAGES == 1000
recorder.BATCH_MESSAGES = {messages}
main()
"""
SMALL_BATCHES = ("-c", _SMALL_BATCHES.format(messages=25))
"""The same program, with forty times as many moments at which something becomes lasting."""
SMALLER_BATCHES = ("-c", _SMALL_BATCHES.format(messages=12))
"""The same for half as many messages."""

_KILLED_BEFORE_THE_FACTS = """
import os, signal
from archiver.facts.archive import StoredFact
from archiver.journal.recorder import Recorder
from pipelines.cli.main import main
write = Recorder.write
def killed(self, facts):
    if any(isinstance(fact, StoredFact) for fact in facts):
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, facts)
Recorder.write = killed
main()
"""
KILLED_BEFORE_THE_FACTS = ("-c", _KILLED_BEFORE_THE_FACTS)
"""The same program, killed when octets are durable and before their facts are."""

_SIGNALLED_AFTER = """
import itertools, os, signal, threading
from archiver.journal.recorder import Recorder

def signalled_after(count, seconds, number, group):
    first, moments, begin, write = os.getpid(), itertools.count(), Recorder.__init__, Recorder.write
    def moment():
        if next(moments) == count:
            threading.Timer(seconds, os.killpg if group else os.kill, [first, number]).start()
    def begun(self, *arguments):
        moment()
        begin(self, *arguments)
    def written(self, facts):
        if facts:
            moment()
        write(self, facts)
    Recorder.__init__, Recorder.write = begun, written

signalled_after({count}, {seconds}, {number}, {group})
"""


def signalled_after(
    count: int,
    seconds: float,
    number: int = signal.SIGKILL,
    *,
    group: bool = False,
    program: Sequence[str] = SMALL_BATCHES,
) -> Sequence[str]:
    """The program, whose first process or whose group gets a signal some seconds after it began to write the
    `count`th time, 0: when it is about to read its archive.

    Whether it gets that far does not depend on how fast it is; and it does not end before the signal came.
    """
    patch = _SIGNALLED_AFTER.format(count=count, seconds=seconds, number=int(number), group=group)
    return ("-c", patch + program[1])


def is_killed(
    *configs: Path,
    chance: random.Random,
    program: Sequence[str],
    verb: str = "run",
    options: Sequence[str] = (),
    group: bool | None = None,
    within: int = 8,
) -> bool:
    """An attempt that is killed at a random moment, a little after it began to write for one of the first `within`
    times; false if it wrote less often, and ended well. `group`: with all its processes; None: by chance too."""
    with_all = chance.random() < 0.5 if group is None else group
    killed = signalled_after(chance.randint(0, within), chance.uniform(0, 0.05), group=with_all, program=program)
    ended = to_the_end(*configs, program=killed, verb=verb, options=options)
    assert ended.exit_code in (0, -signal.SIGKILL), ended.output
    return ended.exit_code != 0


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: like a shell, a negative code is a signal."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


class Attempt:
    """`archiver VERB CONFIG...`, under way."""

    def __init__(
        self, *configs: Path, program: Sequence[str] = ARCHIVER, verb: str = "run", options: Sequence[str] = ()
    ) -> None:
        line = [*program, verb, "--verbose", *options, *map(str, configs)]
        self._process = WarmProcess(line, PROJECT, {**os.environ, "PYTHONPATH": str(PROJECT)})
        self.pid = self._process.pid

    def begun(self) -> Attempt:
        """Wait for its first word: the interpreter and the libraries are loaded."""
        assert self._process.stderr is not None
        self._first = self._process.stderr.readline()
        return self

    _first = b""

    def ends_within(self, seconds: float) -> bool:
        """Whether it came to its own end within that time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def is_idle(self) -> bool:
        """Whether all its threads wait for something."""
        stats = [path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/stat")]
        return all(stat.rpartition(")")[2].split()[0] == "S" for stat in stats)

    def signal(self, number: int) -> None:
        """Send a signal to the process that was started, alone."""
        self._process.send_signal(number)

    def kill(self, *, group: bool) -> None:
        """SIGKILL, to the process that was started alone or with all it started; fine if it has just ended."""
        if group:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def end(self, seconds: float = PATIENCE) -> Ended:
        """Wait for its end."""
        try:
            stdout, stderr = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill(group=True)
            raise
        return Ended(self._process.returncode, stdout.decode(), (self._first + stderr).decode())


def to_the_end(
    *configs: Path, program: Sequence[str] = ARCHIVER, verb: str = "run", options: Sequence[str] = ()
) -> Ended:
    """A whole attempt."""
    return Attempt(*configs, program=program, verb=verb, options=options).end()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.01)


def is_locked(archive: Path) -> bool:
    """Whether a process holds the archive's lock."""
    try:
        with (archive / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
