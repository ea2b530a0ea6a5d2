"""A headless Chromium, driven through its debugging pipe: what a page looks like, and what it loads.

The pipe needs nothing but two file descriptors. Messages are JSON, each with a NUL at its end, and are those of the
Chrome DevTools Protocol.
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-pipe",
)


def executable() -> str | None:
    """The browser's program, where there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """A browser with one page; a context manager. `profile` is a directory of its own, and its home."""

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session = ""
        self.requests: list[str] = []

    @staticmethod
    def missing() -> str | None:
        """Why no browser can run here, or None."""
        return None if executable() else "chromium: not installed (.ci/install-servers installs it)"

    def __enter__(self) -> Self:
        program = executable()
        assert program is not None
        theirs, self._commands = os.pipe()
        self._answers, theirs_too = os.pipe()
        # The browser reads its commands from descriptor 3 and answers on 4; high ones cannot be in their way.
        commands, answers = _moved_up(theirs), _moved_up(theirs_too)
        script = f'exec "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", program, *_OPTIONS, f"--user-data-dir={self._profile}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(commands, answers), env={**os.environ, "HOME": str(self._profile)},
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        targets = self._send("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        self._session = self._send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self._send(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        try:
            self._send("Browser.close")
            self._process.wait(20)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def show(self, page: Path, *, width: int, height: int = 800, dark: bool = False, media: str = "screen") -> None:
        """Open a page in a window of this size, as a phone would if it is narrow. `requests` then has the
        addresses of all that was asked for."""
        self.requests.clear()
        phone = width < 600
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._send("Page.navigate", url=page.as_uri())
        self._await_event("Page.loadEventFired")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page. It runs from outside, whatever the page's policy is."""
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, file: Path) -> Path:
        """The whole page as a PNG."""
        content = self._send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": content["width"], "height": min(content["height"], 8000), "scale": 1}
        answer = self._send("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))
        return file

    def printed(self, file: Path) -> Path:
        """The page as it comes from a printer, a PDF of A4."""
        self._send("Emulation.setEmulatedMedia", media="print")
        answer = self._send("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)
        file.write_bytes(base64.b64decode(answer["data"]))
        return file

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _await_event(self, method: str) -> None:
        while self._next().get("method") != method:
            pass

    def _next(self, seconds: float = 60) -> Mapping[str, Any]:
        """The next message of the browser; requests that it reports are noted."""
        until = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            if not select.select([self._answers], [], [], max(0, until - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise ConnectionError("the browser is gone")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message


def _moved_up(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 100)
    os.close(descriptor)
    return moved


def different_rows(png: Path) -> int:
    """How many rows of pixels a picture has that differ from the one above: a blank one has none."""
    data, at, packed = png.read_bytes(), 8, b""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"IHDR":
            width, colours = int.from_bytes(data[at + 8 : at + 12], "big"), data[at + 17]
        elif kind == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += length + 12
    row = 1 + width * {2: 3, 6: 4}[colours]
    pixels = zlib.decompress(packed)
    # A row is stored as what is left of it after a prediction, so rows can be distinguished only as a whole.
    return len({pixels[start : start + row] for start in range(0, len(pixels), row)}) - 1
