"""Reads the text of documents by a process that is ended when it takes too long."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType

from archiver.mail.parts.contents import DocumentKind
from archiver.mail.parts.pdf import can_read_pdf
from archiver.upkeep.documents.child import ANSWER, CUT, OFFICE, PDF, REQUEST, UNREADABLE

_SECONDS = 10.0  # for one document
_LOOK_MILLISECONDS = 200
_LONGEST_ANSWER = 4 << 20  # octets
_KINDS: dict[DocumentKind, int] = {"office": OFFICE, "pdf": PDF}


class DocumentReader:
    """Reads documents one after the other, each within `seconds`. The process begins with the first document and
    ends with the block. It belongs to one thread. `check_stop` raises if the work has to end."""

    def __init__(self, check_stop: Callable[[], None], seconds: float = _SECONDS) -> None:
        self._check_stop, self._seconds = check_stop, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._kinds = {"office", *(["pdf"] if can_read_pdf() else [])}

    def __enter__(self) -> DocumentReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, kind: DocumentKind, octets: bytes, most: int) -> tuple[str, bool] | None:
        """Up to `most` characters of the text, and whether there is more; None: it cannot be read, or not in time,
        or what reads it is not installed."""
        if kind not in self._kinds:
            return None
        deadline = time.monotonic() + self._seconds
        try:
            process = self._started()
            assert process.stdin is not None
            self._write(process.stdin.fileno(), REQUEST.pack(_KINDS[kind], len(octets), most) + octets, deadline)
            status, length = ANSWER.unpack(self._read(ANSWER.size, deadline))
            if length > _LONGEST_ANSWER:
                raise OSError("the answer is too long")
            text = self._read(length, deadline).decode("utf-8", "replace")
        except OSError:  # it died of its limits, or was too slow
            self._end()
            return None
        return None if status == UNREADABLE else (text, status == CUT)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = [sys.executable, "-m", "archiver.upkeep.documents.child"]
            # Nothing of our environment, where passwords may be, but where our own modules are.
            environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for us
            )
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _write(self, descriptor: int, octets: bytes, deadline: float) -> None:
        """NOTE: a pipe holds 64 KiB, and a child that has died reads nothing."""
        left = memoryview(octets)
        while left:
            self._wait(descriptor, select.POLLOUT, deadline)
            left = left[os.write(descriptor, left) :]

    def _read(self, length: int, deadline: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor, pieces = self._process.stdout.fileno(), []
        while length:
            self._wait(descriptor, select.POLLIN, deadline)
            piece = os.read(descriptor, length)
            if not piece:
                raise OSError("the process has ended")
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        while not poll.poll(_LOOK_MILLISECONDS):
            self._check_stop()
            if time.monotonic() > deadline:
                raise TimeoutError
