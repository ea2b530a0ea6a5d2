"""The log for machines: `--log-file FILE`, and `--log-format json` for it or, without it, for stderr.

One line is one write at the end of the file, so several commands may share one, and logrotate may rename it, or
copy it and cut it off: a command writes into the file that it opened, the next one opens it again.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from archiver.config.secrecy import redacted
from archiver.errors import ConfigError
from archiver.mail.folder_names import printable
from pipelines.cli.streams import StandardStream
from pipelines.show.lines import folder_in

if TYPE_CHECKING:
    from pipelines.show.live.display import LogLine

Level = Literal["info", "warning", "error"]
_LEVELS: dict[str | None, Level] = {"red": "error", "yellow": "warning"}
_KEY = "archiver.log"


class Log:
    """Where lines of the log go. `is_stderr`: they take the place of what people read there."""

    def __init__(self, file: Path | None, *, as_json: bool) -> None:
        self.is_stderr = file is None
        self._as_json = as_json
        self._raw = StandardStream(2 if file is None else _opened(file))

    def write(self, line: LogLine) -> None:
        """Add a line, which may have several in the text of its message. Never raises: a full disk stops no run."""
        at = line.at.astimezone()
        if self._as_json:
            fields: dict[str, Any] = {
                "time": at.isoformat(timespec="milliseconds"),
                "level": line.level,
                "account": line.account or None,
                "folder": line.folder,
                "run": line.run,
                "message": line.text,
            }
            self._raw.write(json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
            return
        name = f"{line.account}: " if line.account else ""
        stamp = at.isoformat(timespec="seconds")
        text = "".join(f"{stamp} {line.level} {name}{printable(each)}\n" for each in line.text.splitlines())
        self._raw.write(text.encode("utf-8", "backslashreplace"))

    def say(self, text: str, style: str | None = None, account: str = "") -> None:
        """Add what is said in a style of Rich's."""
        from pipelines.show.live.display import LogLine

        for each in text.splitlines():
            if each.strip():
                folder = folder_in(each)
                self.write(
                    LogLine(datetime.now().astimezone(), _LEVELS.get(style, "info"), account, folder, None, each)
                )

    def close(self) -> None:
        """Close a file."""
        if not self.is_stderr:
            os.close(self._raw.fileno())


class Lines(io.TextIOBase):
    """A stream for a console of Rich's, whose lines go to a log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._log.say(line, "yellow")
        return len(text)


def _opened(file: Path) -> int:
    """The file, opened to be added to; a new one is private. A pipe without a reader keeps nobody waiting."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        descriptor = os.open(file, flags, 0o600)
    except OSError as error:
        hint = "name a file in a folder that this user can write to"
        raise ConfigError("--log-file", [f"{file} cannot be opened: {error.strerror}"], hint=hint) from None
    os.set_blocking(descriptor, True)
    return descriptor


def current_log() -> Log | None:
    """The log that this command line asks for, if it asks for one."""
    context = click.get_current_context(silent=True)
    return None if context is None else log_of(context)


def log_of(context: click.Context) -> Log | None:
    """The log of this command line, which is opened when it is first asked for. From then on, what libraries log
    goes there, too."""
    asked: dict[str, Any] = context.meta.get(_KEY, {})
    if "log" not in asked and ("file" in asked or asked.get("format") == "json"):
        asked["log"] = log = Log(asked.get("file"), as_json=asked.get("format") == "json")
        handler = _Handler(log)
        logging.getLogger().addHandler(handler)
        context.find_root().call_on_close(lambda: logging.getLogger().removeHandler(handler))
    return asked.get("log")


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None:
        context.meta.setdefault(_KEY, {})[str(parameter.name).removeprefix("log_")] = value


class _Handler(logging.Handler):
    """What libraries log outside of a run; without a handler, Python would write it to stderr as it is."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(redacted(record.getMessage()))
        self._log.say(text, "red" if record.levelno >= logging.ERROR else "yellow")
        if not self._log.is_stderr:
            sys.stderr.write(text + "\n")


log_file_option = click.option(
    "--log-file",
    metavar="FILE",
    type=click.Path(readable=False, path_type=Path),
    expose_value=False,
    callback=_remember,
    help="Add the log to this file, too, also with --quiet.",
)
log_format_option = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    expose_value=False,
    callback=_remember,
    help="The form of the log file; without a log file, that of the log on stderr.",
)
