"""The program, forked from a process that has loaded it already.

Hundreds of tests start the program, and loading it takes longer than most of them last. So each test worker has one
process that loads it once and forks for each start. Such a child has its own session, folder, environment and
standard streams, as one that a shell started, and it ends as the interpreter ends. It does not test how the program
is loaded: use `subprocess` for that.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE

PROJECT = Path(__file__).resolve().parents[1]

_REQUEST_OCTETS = 1 << 20
_loaded: _Loaded | None = None


def ended(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `python ARGUMENTS...` in the project to its end, with this process's environment."""
    with WarmProcess(arguments) as process:
        out, err = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


class WarmProcess(subprocess.Popen[bytes]):
    """`python ARGUMENTS...`, like a `Popen` with pipes for stdout and stderr. There is nothing to read on stdin
    unless it is `spoken_to`: then that is a pipe too."""

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path = PROJECT,
        env: Mapping[str, str] | None = None,
        *,
        spoken_to: bool = False,
    ) -> None:
        self._told, reported = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words, out, err = os.pipe(), os.pipe(), os.pipe()
        env = dict(os.environ if env is None else env)
        request = json.dumps({"arguments": list(arguments), "cwd": str(cwd), "env": env}).encode()
        _load().ask(request, [words[0], out[1], err[1], reported.fileno()])
        for end in (words[0], out[1], err[1]):
            os.close(end)
        reported.close()
        self.args = list(arguments)
        self.stdin, self.stdout, self.stderr = (
            os.fdopen(words[1], "wb"),
            os.fdopen(out[0], "rb"),
            os.fdopen(err[0], "rb"),
        )
        if not spoken_to:
            self.stdin.close()
            self.stdin = None
        self.returncode: int | None = None  # type: ignore[assignment]
        self.text_mode = self._communication_started = False  # type: ignore[assignment]
        self._input = None
        self._child_created = True
        self.pid = int(self._told.recv(32))

    def poll(self) -> int | None:
        """Its exit code if it has ended."""
        return self._look(0)

    def _wait(self, timeout: float | None) -> int:
        if (code := self._look(timeout)) is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            reported = self._told.recv(32)
            self._told.close()
            self.returncode = os.waitstatus_to_exitcode(int(reported)) if reported else -signal.SIGKILL
        return self.returncode

    def __del__(self, *_: Any) -> None:
        self._told.close()


class _Loaded:
    """The process that forks. It ends with this one."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for each in (self._control, theirs):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _REQUEST_OCTETS)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
            cwd=PROJECT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )
        theirs.close()
        atexit.register(self.close)

    def ask(self, request: bytes, descriptors: Sequence[int]) -> None:
        """Have a child forked with these streams; the last descriptor gets its pid, and later how it ended."""
        socket.send_fds(self._control, [request], list(descriptors))

    def close(self) -> None:
        """Let it end."""
        self._control.close()
        self._process.wait(10)


def _load() -> _Loaded:
    global _loaded
    if _loaded is None:
        _loaded = _Loaded()
    return _loaded


# -- the other side ----------------------------------------------------------------------------------------------


def _serve(control: socket.socket) -> list[str]:
    """Fork for each request. Returns in the children alone: what they are to run."""
    ends = select.poll()
    ends.register(control, select.POLLIN)
    children: dict[int, tuple[int, int]] = {}
    while True:
        for descriptor, _ in ends.poll():
            if descriptor == control.fileno():
                request, descriptors, _, _ = socket.recv_fds(control, _REQUEST_OCTETS, 4)
                if not request:
                    os._exit(0)
                if (pid := os.fork()) == 0:
                    control.detach()
                    return _become(json.loads(request), descriptors)
                for each in descriptors[:3]:
                    os.close(each)
                os.write(descriptors[3], b"%d" % pid)
                watch = os.pidfd_open(pid)
                children[watch] = pid, descriptors[3]
                ends.register(watch, select.POLLIN)
            else:
                pid, reported = children.pop(descriptor)
                ends.unregister(descriptor)
                os.close(descriptor)
                status = os.waitpid(pid, 0)[1]
                try:
                    os.write(reported, b"%d" % status)
                except BrokenPipeError:
                    pass  # nothing waits for it any more
                os.close(reported)


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> list[str]:
    os.setsid()
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    os.closerange(3, 1 << 16)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    tasks = sys.modules["pipelines.graph.tasks"]
    tasks.__dict__["_PARENT"] = os.getpid()  # NOTE: it is read when the module is loaded
    return list(request["arguments"])


def _prepare_statements() -> None:
    """Ask a catalog whatever can be asked, so that no child has to compile the statements for that again."""
    from archiver.catalog.sqlite.catalog import SqlCatalog
    from archiver.report import page
    from tests.contracts import catalog as facts
    from tests.contracts.replicas import ACCOUNT, everything

    page._template()
    importlib.import_module("tests.contracts.store")
    with tempfile.TemporaryDirectory() as directory:
        catalog = SqlCatalog(Path(directory) / "catalog.sqlite")
        facts.apply(catalog, *ACCOUNT, facts.stored(1), facts.failed(2))
        everything(catalog)
        (
            catalog.account.folders(),
            catalog.account.epochs(),
            catalog.account.next_numbers(),
            catalog.account.quarantined(),
            catalog.account.quarantined(1),
        )
        (
            catalog.account.tallies(),
            catalog.account.tallies("run"),
            catalog.messages.known(1),
            catalog.messages.uids(1),
        )
        (
            list(catalog.messages.placements()),
            list(catalog.messages.placements(1)),
            list(catalog.messages.placements(1, uids=[1])),
        )
        catalog.messages.twins([facts.digest_of("message 1")])
        ledger = catalog.ledger
        ledger.begin("run", facts.AT)
        ledger.complete_step("run", "step", "", facts.AT, 1.0)
        ledger.step_result("run", "step"), ledger.runs(), ledger.timings("run")
        ledger.finish("run", "complete", 0, facts.AT)
        catalog.close()


def _end(code: int) -> None:
    """End as the interpreter does, but leave the memory to the kernel: to free each object of all that was loaded
    before the fork takes five times as long as to start the program. Returns if an output cannot be written any
    more, which the interpreter has to say."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _import_all() -> None:
    for package in ("archiver", "pipelines"):
        module = importlib.import_module(package)
        for each in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not each.name.endswith("__main__"):
                importlib.import_module(each.name)


if __name__ == "__main__":
    _import_all()
    _prepare_statements()
    gc.collect()
    gc.freeze()
    _kind, _program, *_rest = _serve(socket.socket(fileno=int(sys.argv[1])))
    try:
        if _kind == "-m":
            sys.argv = [_program, *_rest]
            runpy.run_module(_program, run_name="__main__", alter_sys=True)
        else:
            sys.argv = ["-c", *_rest]
            exec(compile(_program, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        _end(ended.code or 0)
    _end(0)
