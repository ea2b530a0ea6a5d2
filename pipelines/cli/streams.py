"""The process's own stdout and stderr, which cannot make a run fail.

A run that archived everything has done so even if nobody can be told: the log's disk is full, the reader of a pipe
went away, the terminal has no sign for a name. What cannot be written is dropped, and what cannot be encoded is
written as an escape.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class StandardStream(io.RawIOBase):
    """One of the process's standard streams, written to without an error. `failure` is the first one that there
    was, None if there was none; a reader who went away has seen enough, and is not one."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_gone = False
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, octets: ReadableBuffer, /) -> int:
        """Write all of them, or drop what is left."""
        left = memoryview(octets).cast("B")
        size = len(left)
        while left and not self._is_gone:
            try:
                left = left[os.write(self._descriptor, left) :]
            except OSError as error:
                # NOTE: a full disk may have room again, a reader does not come back.
                self._is_gone = error.errno == errno.EPIPE
                if not self._is_gone:
                    self.failure = self.failure or error
                return size
        return size


def secure() -> None:
    """Replace the process's `sys.stdout` and `sys.stderr` by such streams; fine if a caller closed them.

    NOTE: a file that is opened later must not get the number of a closed standard stream: what is said would be
    written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _secured(sys.stdout, 1)
    sys.stderr = _secured(sys.stderr, 2)


def failure_of(stream: TextIO) -> OSError | None:
    """Why something of what was written to it is missing; None if nothing is, or its reader went away."""
    stream.flush()
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, StandardStream) else None


def _secured(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is not None:
        stream.flush()
    raw = StandardStream(descriptor)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=descriptor == 2 or raw.isatty(),
    )
