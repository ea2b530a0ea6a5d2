"""A luigid for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.faults.attempts import wait_for
from tests.servers.mail_server import free_port


class Central:
    """A luigid on a port of loopback, which may be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = Path(sys.executable).parent / "luigid"
        with (self.directory / "luigid.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "--address", "127.0.0.1", "--port", str(self.port)], cwd=self.directory,
                stdout=log, stderr=log, env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        wait_for(self._answers, "luigid")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def tasks(self, status: str) -> dict[str, Any]:
        data = urllib.parse.urlencode({"data": json.dumps({"status": status, "upstream_status": ""})}).encode()
        with urllib.request.urlopen(f"{self.url}/api/task_list", data, timeout=5) as answer:
            tasks: dict[str, Any] = json.loads(answer.read())["response"]
        return tasks

    def _answers(self) -> bool:
        try:
            self.tasks("DONE")
        except OSError:
            return False
        return True
