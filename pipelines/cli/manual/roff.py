"""Text as a manual page has it: the macros of man(7) that groff and mandoc both know."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

_COLUMNS = 78  # of the source: no line that is longer can be read, or told apart, in a diff
# What is between backquotes, an option, and anything that a command line or a path may have in it.
_MARKED = re.compile(r"`([^`]+)`|(?<![\w/-])(--?[A-Za-z][\w-]*)|([^\s`]*(?:[/_{}=]|\.\w)[^\s`]*)")


def text(words: str) -> list[str]:
    """A paragraph: what is between backquotes, and options, in bold."""
    parts = []
    at = 0
    for found in _MARKED.finditer(words):
        code, option, literal = found.groups()
        parts.append(_plain(words[at : found.start()]))
        parts.append(_whole(bold(code or option) if literal is None else verbatim(literal)))
        at = found.end()
    parts.append(_plain(words[at:]))
    filled = textwrap.wrap("".join(parts), _COLUMNS, break_long_words=False, break_on_hyphens=False)
    return list(map(_no_request, filled))


def bold(words: str) -> str:
    """What is to be typed as it stands here."""
    return f"\\fB{verbatim(words)}\\fR"


def italic(words: str) -> str:
    """What stands for something else."""
    return f"\\fI{verbatim(words)}\\fR"


def verbatim(words: str) -> str:
    """Characters that can be copied to a command line: a minus stays one."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return _ascii(escaped.replace("^", "\\(ha").replace("~", "\\(ti").replace('"', "\\(dq"))


def section(title: str) -> str:
    return f".SH {title}"


def subsection(title: str) -> str:
    return f'.SS "{verbatim(title)}"'


def paragraph(words: str) -> list[str]:
    return [".PP", *text(words)]


def paragraphs(words: str) -> list[str]:
    """Paragraphs with a blank line between them."""
    return [line for each in words.strip().split("\n\n") for line in paragraph(" ".join(each.split()))]


def item(tag: str, words: str) -> list[str]:
    """An entry of a list: its tag, which is roff already, and what there is to say of it."""
    return [".TP", _no_request(tag), *text(words)]


def lines(shown: Iterable[str]) -> list[str]:
    """Lines that stay as they are."""
    return [".PP", ".RS 4", ".EX", *(_no_request(verbatim(line)) for line in shown), ".EE", ".RE"]


def page(parts: Iterable[str]) -> str:
    """The whole page. The first paragraph of a section needs no macro of its own."""
    written: list[str] = []
    for line in parts:
        if line != ".PP" or not written[-1].startswith((".SH", ".SS")):
            written.append(line)
    return "\n".join(written) + "\n"


def _plain(words: str) -> str:
    return _ascii(words.replace("\\", "\\e").replace("'", "\\(aq"))


def _ascii(words: str) -> str:
    return "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in words)


def _whole(words: str) -> str:
    """Words that are not hyphenated: somebody may copy them."""
    return " ".join(f"\\%{word}" for word in words.split(" "))


def _no_request(line: str) -> str:
    """A line that begins with text: a dot or a quote at the beginning would be a request."""
    return f"\\&{line}" if line.startswith((".", "'")) else line
