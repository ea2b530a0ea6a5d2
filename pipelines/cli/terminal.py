"""Where a verb speaks: people read tables on stdout and a log on stderr, programs one JSON document on stdout.

What servers say is escaped before it comes here. Rich is imported for tables and terminals: it takes a tenth of the
time of a run in which nothing is new.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, cast

from msgspec import Struct

from archiver.mail.folder_names import printable
from pipelines.cli.log import Lines, Log
from pipelines.show.live.display import Display, LogLine
from pipelines.stop import STOP

if TYPE_CHECKING:
    from pipelines.cli.console import PlainConsole


#: With these variables Rich takes any stream for a terminal.
_LIKE_A_TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE")


class Terminal(Struct, frozen=True, dict=True):
    """How a verb speaks on the process's own stdout and stderr. `tables` is whether people want to see them."""

    as_json: bool
    quiet: bool
    verbose: bool
    log: Log | None = None

    @cached_property
    def out(self) -> PlainConsole:
        """For tables."""
        from pipelines.cli.console import PlainConsole

        return PlainConsole(sys.stdout)

    @cached_property
    def err(self) -> PlainConsole:
        """For the log."""
        from pipelines.cli.console import PlainConsole

        if self.log is not None and self.log.is_stderr:
            return PlainConsole(cast(TextIO, Lines(self.log)))
        return PlainConsole(sys.stderr)

    @property
    def is_log_of_machine(self) -> bool:
        """Whether stderr has lines of JSON, and nothing else."""
        return self.log is not None and self.log.is_stderr

    @property
    def tables(self) -> bool:
        return not (self.as_json or self.quiet)

    @property
    def live(self) -> PlainConsole | None:
        """The terminal that can show things that move, if there is one."""
        if not (self.tables and _is_rich(sys.stderr)) or self.is_log_of_machine:
            return None
        return self.err if self.err.is_terminal and not self.err.is_dumb_terminal else None

    def say(self, text: str, style: str | None = None, account: str = "") -> None:
        """A line of the log. In a file or a pipe it has no style."""
        if self.log is not None:
            self.log.say(text, style, account)
        self._show(text, style)

    def _show(self, text: str, style: str | None = None) -> None:
        """A line for people alone."""
        if self.is_log_of_machine:
            return
        if _is_rich(sys.stderr):
            self.err.say(text, style)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def document(self, document: dict[str, Any]) -> None:
        """Print the one JSON document, if it was asked for."""
        if not self.as_json:
            return
        text = json.dumps(document, indent=1, ensure_ascii=not _is_utf8(sys.stdout.encoding))
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def progress(self, accounts: Sequence[str]) -> Display:
        """What shows the work on these accounts. From here on SIGINT and SIGTERM end the work cleanly."""
        STOP.install()
        return Display(
            self._show,
            accounts,
            live=self.live,
            quiet=self.quiet,
            verbose=self.verbose,
            stopping=lambda: STOP.signal,
            log=self._write_line if self.log is not None else None,
        )

    def _write_line(self, line: LogLine) -> None:
        """A line of the display's, for the log; a file gets all of them, also with --quiet."""
        assert self.log is not None
        if not (self.quiet and self.log.is_stderr and line.level == "info"):
            self.log.write(line)

    def problem(self, text: str, account: str = "") -> None:
        """Something a person has to do something about; every line of it is one problem. `account` is for the log
        for machines: the text names what it is about."""
        for line in text.splitlines():
            self.say(f"archiver: {printable(line)}", "red", account)

    def warn(self, text: str, account: str = "") -> None:
        """Something a person should know."""
        if not self.quiet:
            self.say(f"archiver: {printable(text)}", "yellow", account)
        elif self.log is not None and not self.log.is_stderr:
            self.log.say(f"archiver: {printable(text)}", "yellow", account)


def _is_rich(stream: TextIO) -> bool:
    """Whether Rich may find colours or a terminal here."""
    return stream.isatty() or any(os.environ.get(name) for name in _LIKE_A_TERMINAL)


def _is_utf8(encoding: str | None) -> bool:
    return (encoding or "utf-8").lower().replace("-", "") == "utf8"
