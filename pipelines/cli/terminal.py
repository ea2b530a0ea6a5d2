"""Where a verb speaks: people read tables on stdout and a log on stderr, programs one JSON document on stdout.

What servers say is never read as markup and is escaped before it comes here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from msgspec import Struct
from rich.console import Console, RenderableType

from archiver.mail.folder_names import printable
from pipelines.show.display import Display
from pipelines.stop import STOP

_WIDTH_WITHOUT_TERMINAL = 120


class PlainConsole(Console):
    """A console that takes text as it is."""

    def __init__(self, file: TextIO) -> None:
        width = None if file.isatty() or "COLUMNS" in os.environ else _WIDTH_WITHOUT_TERMINAL
        super().__init__(file=file, width=width, markup=False, emoji=False, highlight=False)

    def say(self, text: str, style: str | None = None) -> None:
        """One line, never broken by us, so that it can be copied and searched for."""
        self.print(text, style=style, soft_wrap=True)

    def table(self, table: RenderableType) -> None:
        """A table; in a file or a pipe without the blanks that fill its lines."""
        if self.is_terminal:
            self.print(table)
            return
        with self.capture() as capture:
            self.print(table)
        for line in capture.get().splitlines():
            self.say(line.rstrip())


class Terminal(Struct, frozen=True):
    """How a verb speaks. `tables` is whether people want to see them."""

    out: PlainConsole
    err: PlainConsole
    as_json: bool
    quiet: bool
    verbose: bool

    @property
    def tables(self) -> bool:
        return not (self.as_json or self.quiet)

    @property
    def live(self) -> bool:
        """Whether there is a terminal that can show things that move."""
        return self.err.is_terminal and not self.err.is_dumb_terminal and self.tables

    def document(self, document: dict[str, Any]) -> None:
        """Print the one JSON document, if it was asked for."""
        if not self.as_json:
            return
        text = json.dumps(document, indent=1, ensure_ascii=not _is_utf8(self.out))
        self.out.file.write(text + "\n")
        self.out.file.flush()

    def progress(self, accounts: Sequence[str]) -> Display:
        """What shows the work on these accounts. From here on SIGINT and SIGTERM end the work cleanly."""
        STOP.install()
        return Display(
            self.err,
            accounts,
            live=self.live,
            quiet=self.quiet,
            verbose=self.verbose,
            stopping=lambda: STOP.signal,
        )

    def problem(self, text: str) -> None:
        """Something a person has to do something about; every line of it is one problem."""
        for line in text.splitlines():
            self.err.say(f"archiver: {printable(line)}", "red")

    def warn(self, text: str) -> None:
        """Something a person should know."""
        if not self.quiet:
            self.err.say(f"archiver: {printable(text)}", "yellow")


def open_terminal(*, as_json: bool, quiet: bool, verbose: bool) -> Terminal:
    """The process's own stdout and stderr."""
    return Terminal(PlainConsole(sys.stdout), PlainConsole(sys.stderr), as_json, quiet, verbose)


def _is_utf8(console: Console) -> bool:
    return console.encoding.lower().replace("-", "") == "utf8"
