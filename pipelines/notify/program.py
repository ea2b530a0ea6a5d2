"""A notice for a program of the user's: JSON on its standard input, never a shell."""

from __future__ import annotations

import json
import subprocess
import tempfile

from msgspec import Struct

from archiver.config.references import Program
from pipelines.notify.channel import Undelivered
from pipelines.notify.notice import Notice, one_line

_SHOWN = 200


class OwnProgram(Struct, frozen=True):
    """A program that is started with the notice, and has ended well if its exit status is 0."""

    program: Program

    @property
    def name(self) -> str:
        return f"command {one_line(self.program.argv[0])}"

    def deliver(self, notice: Notice) -> str:
        # NOTE: files, not pipes. A program that does not read, or leaves something behind that holds a pipe open,
        # keeps nobody waiting.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(json.dumps(notice.document).encode() + b"\n")
            given.seek(0)
            try:
                done = subprocess.run(
                    self.program.argv, stdin=given, stdout=subprocess.DEVNULL, stderr=said, check=False
                )
            except OSError as error:
                problem = f"cannot be run: {error.strerror}"
            else:
                if done.returncode == 0:
                    return "ended well"
                problem = f"ended with status {done.returncode}"
                if done.returncode < 0:
                    problem = f"was killed by signal {-done.returncode}"
                said.seek(0)
                words = one_line(" ".join(said.read(4096).decode("utf-8", "replace").split()))[:_SHOWN]
                problem += f": {words}" if words else ""
        raise Undelivered(problem, hint="run it by hand as the same user to see why")
