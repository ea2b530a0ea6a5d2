"""A CSV file's octets become rows with line numbers (RFC 4180, and what spreadsheets make of it).

The separator is the one of comma, semicolon and tab that the header has; a line `sep=;` before it says so, too.
Ends of lines may be of any kind, also within quotes. The text is UTF-8, with a mark at its beginning or without,
unless another encoding is named: a guess would alter passwords. UTF-16 is recognised by its mark.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from archiver.config.fleet.columns import COLUMNS, column_named, value_of

#: The encodings that may be named, and what Python calls them.
ENCODINGS = {
    "utf-8": "utf-8",
    "latin-1": "latin-1",
    "iso-8859-1": "latin-1",
    "windows-1252": "cp1252",
    "cp1252": "cp1252",
    "utf-16": "utf-16",
}


class Problem(Struct, frozen=True, order=True):
    """What is wrong in a line, numbered from 1. It never shows a cell that may be a password."""

    line: int
    text: str


class Row(Struct, frozen=True):
    """An account's line, the first one if it has several, and its cells that are not empty, by column. Cells of the
    columns `wrong` are not among them: what is wrong there is said."""

    line: int
    cells: Mapping[str, Any]
    wrong: frozenset[str] = frozenset()


class Sheet(Struct, frozen=True):
    """The rows of a file, and what is wrong with it. `has_passwords`: passwords themselves are in it."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    has_passwords: bool


def read_sheet(octets: bytes, encoding: str = "utf-8") -> Sheet:
    """The accounts of a CSV file. If the header is wrong, there are no rows."""
    try:
        text = _decoded(octets, ENCODINGS[encoding])
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        other = "save it as UTF-8, or say --encoding latin-1 or --encoding windows-1252"
        problem = f"is not {encoding.upper()} (octet {error.start + 1}); {other}"
        return Sheet((), (Problem(line, problem),), has_passwords=False)
    if "\0" in text:
        return Sheet((), (Problem(text.count("\n", 0, text.index("\0")) + 1, "has a NUL"),), has_passwords=False)
    problems: list[Problem] = []
    lines = _lines(text, problems)
    first, titles = next(lines, (1, []))
    if not titles:
        empty = Problem(1, "is empty; the first line has the names of the columns, like account,user,password")
        return Sheet((), tuple(problems) or (empty,), has_passwords=False)
    columns = _columns(first, titles, problems)
    if problems:
        return Sheet((), tuple(problems), has_passwords=False)
    rows = [row for line, cells in lines if (row := _row(line, cells, columns, problems)) is not None]
    if not rows and not problems:
        problems.append(Problem(first, "has no accounts below its header"))
    return Sheet(tuple(rows), tuple(problems), any(COLUMNS[each].kind == "password" for each in columns if each))


def _decoded(octets: bytes, encoding: str) -> str:
    if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    return octets.decode("utf-8-sig" if encoding == "utf-8" else encoding)


def _lines(text: str, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """The records with the number of their first line. Those that are empty are left out. A quote that is not
    closed ends the file: nobody knows where the next record begins."""
    skipped = 0
    if said := re.match(r"sep=([,;\t])(\r\n|\r|\n)", text, re.IGNORECASE):
        text, separator, skipped = text[said.end() :], said[1], 1
    else:
        separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line + 1 + skipped, cells
            line = reader.line_num
    except csv.Error as error:
        problem = 'has a quote that is not closed, or text behind one; write a quote within quotes as ""'
        if "field larger" in str(error):
            problem = "has a cell of more than 131,072 characters; is a quote not closed?"
        problems.append(Problem(line + 1 + skipped, problem))


def _separator(text: str) -> str:
    header = re.sub(r'"[^"]*"', "", re.split(r"\r|\n", text.lstrip("\r\n"), maxsplit=1)[0])
    return max(",;\t", key=header.count)


def _columns(line: int, titles: Sequence[str], problems: list[Problem]) -> list[str | None]:
    """The columns in the order of the file; None for those that are for people."""
    columns: list[str | None] = []
    for number, title in enumerate(titles, 1):
        shown = title.strip() if title.strip().isprintable() else f"number {number}"
        if not title.strip():
            problems.append(Problem(line, f"column {number} has no name"))
            continue
        try:
            column = column_named(title)
        except ValueError as error:
            problems.append(Problem(line, f'"{shown}" {error}'))
            continue
        if column is not None and column in columns:
            problems.append(Problem(line, f'"{shown}" is the column {column} once more; remove one of them'))
        columns.append(column)
    if "account" not in columns and not problems:
        problem = 'has no column "account" (or "name"), which names the account and its file'
        problems.append(Problem(line, problem))
    return columns


def _row(line: int, cells: Sequence[str], columns: Sequence[str | None], problems: list[Problem]) -> Row | None:
    if len(cells) != len(columns):
        problem = (
            f"has {len(cells)} cell{'s' if len(cells) > 1 else ''}, and the header {len(columns)}; "
            "quote a cell that has the separator in it"
        )
        problems.append(Problem(line, problem))
        return None
    found: dict[str, Any] = {}
    wrong: set[str] = set()
    for column, cell in zip(columns, cells, strict=True):
        if column is None:
            continue
        text = cell if COLUMNS[column].kind == "password" else cell.strip()
        if not text:
            continue
        try:
            found[column] = value_of(column, text)
        except ValueError as error:
            problems.append(Problem(line, f"column {column} {error}"))
            wrong.add(column)
    if "account" not in found and "account" not in wrong:
        problems.append(Problem(line, "names no account; fill the column account"))
        wrong.add("account")
    return Row(line, found, frozenset(wrong))
