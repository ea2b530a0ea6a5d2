"""Shows something again and again in place, on a terminal, until somebody interrupts it."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence

Draw = Callable[[], tuple[Sequence[str], Sequence[str], int]]
"""What is to be seen now: lines of which the first are the most important, lines that are always seen, and an exit
code."""

_SECONDS = 5.0
_OTHER_SCREEN, _OWN_SCREEN = "\033[?1049h", "\033[?1049l"
_FROM_THE_TOP, _TO_THE_END = "\033[H", "\033[J"


def watch(draw: Draw) -> int:
    """Draw every few seconds; returns the last exit code when Ctrl-C is pressed."""
    code = 0
    sys.stdout.write(_OTHER_SCREEN)
    try:
        while True:
            lines, below, code = draw()
            sys.stdout.write(_FROM_THE_TOP + "\r\n".join(_fitting(lines, below)) + _TO_THE_END)
            sys.stdout.flush()
            time.sleep(_SECONDS)
    except KeyboardInterrupt:
        return code
    finally:
        sys.stdout.write(_OWN_SCREEN)
        sys.stdout.flush()


def _fitting(lines: Sequence[str], below: Sequence[str]) -> Sequence[str]:
    """As many lines as the terminal has, none of them wrapped by the terminal or left over from before."""
    size = shutil.get_terminal_size()
    whole = [part for each in below for part in textwrap.wrap(each, size.columns)]
    if len(whole) <= size.lines // 2:
        below = whole
    room = max(2, size.lines - len(below) - 1)
    shown = list(lines[:room])
    if len(lines) > room:
        shown[-1] = f"… {len(lines) - room + 1:,} more"
    return [f"{_cut(line, size.columns)}\033[K" for line in (*shown, "", *below)]


def _cut(line: str, columns: int) -> str:
    if line.startswith("\033[") and line.endswith("\033[0m"):  # one colour for all of it
        start = line.index("m") + 1
        return line[:start] + line[start:-4][:columns] + "\033[0m"
    return line[:columns]
