"""A console of Rich's that takes text as it is: what servers say is never read as markup."""

from __future__ import annotations

import os
from typing import TextIO

from rich.console import Console, RenderableType

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
            self.print(table, crop=False)
            return
        with self.capture() as capture:
            self.print(table, crop=False)
        for line in capture.get().splitlines():
            self.say(line.rstrip())
