"""The rows of a CSV file become accounts: their files' tables, their settings, and files for their passwords.

An account gets FOLDER/ACCOUNT.toml, or FOLDER/SUBFOLDER/ACCOUNT.toml with a column `folder`, unless it has a file
in another subfolder already. Passwords get files of their own, `passwords/source/ACCOUNT` and
`passwords/destination/ACCOUNT`, to which the account file refers.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from archiver.config.fleet.columns import column_of, filled_by, tree_of
from archiver.config.fleet.rows import Problem, Row
from archiver.config.layers import Defaults, KnownDefaults, Tree, anchored, merge
from archiver.config.load import is_account_name, settings_of
from archiver.config.settings import Settings
from archiver.errors import ConfigError

PASSWORDS = "passwords"
_RESERVED = ("defaults", PASSWORDS, "tokens")
_LONGEST = 100  # characters of a name: an archive's files are named by it, too


class Made(Struct, frozen=True):
    """An account of a row: what its file says, and the files of its passwords with what is in them."""

    line: int
    account: str
    file: Path
    tree: Tree
    settings: Settings
    passwords: Mapping[Path, str]


class Fleet(Struct, frozen=True):
    """The folder that accounts are made for: what they have in `common` besides its defaults, its `defaults`, those
    that will be written included, and the files of the accounts that it has, by their names in lower case."""

    folder: Path
    common: Tree
    defaults: KnownDefaults
    files: Mapping[str, Sequence[Path]]


def make_accounts(rows: Iterable[Row], fleet: Fleet) -> tuple[list[Made], list[Problem]]:
    """The accounts of rows, and all that is wrong with others."""
    made: list[Made] = []
    problems: list[Problem] = []
    lines: dict[str, int] = {}
    for row in rows:
        wrong = list(_name_problems(row, lines))
        has_name = not wrong and "account" in row.cells
        if has_name:
            lines[row.cells["account"].casefold()] = row.line
        try:
            one = _made(row if has_name else _renamed(row), fleet)
            if has_name and not row.wrong:
                made.append(one)
        except ConfigError as error:
            wrong += [_in_words_of_columns(each) for each in error.problems if not _is_said(each, row.wrong)]
        except ValueError as error:
            wrong.append(str(error))
        problems += [Problem(row.line, text) for text in wrong]
    return made, problems


def by_text(problems: Iterable[Problem]) -> list[str]:
    """The problems for people, with the lines that have them: one text for all lines that have the same."""
    lines: defaultdict[str, list[int]] = defaultdict(list)
    for each in sorted(problems):
        if each.line not in lines[each.text]:
            lines[each.text].append(each.line)
    return [f"{_numbered(its)}: {text}" for text, its in sorted(lines.items(), key=lambda each: each[1][0])]


def _numbered(lines: Sequence[int]) -> str:
    if len(lines) == 1:
        return f"line {lines[0]}"
    ranges: list[tuple[int, int]] = []
    for line in lines:
        if ranges and ranges[-1][1] == line - 1:
            ranges[-1] = (ranges[-1][0], line)
        else:
            ranges.append((line, line))
    named = [str(first) if first == last else f"{first} to {last}" for first, last in ranges[:10]]
    more = f" and {len(ranges) - 10:,} more places" if len(ranges) > 10 else ""
    return f"lines {', '.join(named)}{more}"


def _name_problems(row: Row, lines: Mapping[str, int]) -> Iterator[str]:
    account = row.cells.get("account", "")
    for column in ("account", "folder"):
        name = row.cells.get(column)
        if name is None:
            continue
        if not is_account_name(name):
            yield f'{column} "{name}": use ASCII letters, digits and . _ - @ + only, not . or - first'
        elif len(name) > _LONGEST:
            yield f'{column} "{name}": use at most {_LONGEST} characters'
        elif name.lower() in (_RESERVED if column == "folder" else _RESERVED[:1]):
            yield f'{column} "{name}": has a meaning of its own in a folder of accounts; use another name'
        elif name.lower().endswith(".toml"):
            yield f'{column} "{name}": leave out ".toml"'
    if (line := lines.get(account.casefold())) is not None:
        yield f'account "{account}" is that of line {line}, too; names that differ only by case count as one'


def _renamed(row: Row) -> Row:
    """The row under a name that nothing is wrong with, to find what else is wrong in it."""
    return Row(row.line, {**row.cells, "account": "row-without-name", "folder": ""})


def _made(row: Row, fleet: Fleet) -> Made:
    account = row.cells["account"]
    file = _file_of(account, row, fleet)
    tree, common, passwords = tree_of(row.cells), fleet.common, {}
    if file.parent != fleet.folder:  # relative paths are relative to the folder of all
        tree, common = anchored(tree, fleet.folder), anchored(common, fleet.folder)
    for table, column in (("source", "password"), ("destination", "to_password")):
        if (password := row.cells.get(column)) is not None:
            place = fleet.folder / PASSWORDS / table / account
            passwords[place] = password
            tree.setdefault(table, {})["password"] = {"file": os.path.relpath(place, file.parent)}
    defaults = fleet.defaults(file.parent)
    tree = merge(_besides(common, defaults), tree)
    return Made(row.line, account, file, tree, settings_of(file, tree, defaults), passwords)


def _file_of(account: str, row: Row, fleet: Fleet) -> Path:
    there = fleet.files.get(account.casefold(), ())
    same = [file for file in there if file.stem == account]
    if len(there) > len(same):
        other = next(file for file in there if file not in same)
        raise ValueError(f'account "{account}": {other} has that name but for upper and lower case')
    if len(same) > 1:
        raise ValueError(f'account "{account}": {" and ".join(map(str, same))} have that name; remove all but one')
    if same:
        return same[0]
    return fleet.folder / str(row.cells.get("folder", "")) / f"{account}.toml"


def _besides(common: Tree, defaults: Defaults) -> Tree:
    """What is common and does not follow from the defaults already."""
    return _without(common, defaults.tree)


def _without(tree: Tree, known: Tree) -> Tree:
    left: Tree = {}
    for key, value in tree.items():
        if isinstance(value, dict) and isinstance(under := known.get(key), dict) and value != under:
            left[key] = _without(value, under) if key in ("source", "destination", "archive", "oauth2") else value
        elif known.get(key) != value:
            left[key] = value
    return left


def _is_said(problem: str, wrong: Collection[str]) -> bool:
    """Whether a problem of an account file is only that it lacks what is in a cell that is `wrong`."""
    found = re.match(r"(\w+)\.(\w+): is missing", problem)
    return found is not None and (found[1], found[2]) in {filled_by(each) for each in wrong}


def _in_words_of_columns(problem: str) -> str:
    """A problem of an account file in the words of somebody who has a table."""
    found = re.fullmatch(r"(source|destination|archive|messages)\.(\w+)(.*?): (.*)", problem, re.DOTALL)
    if found is None or found[3] or (column := column_of(found[1], found[2])) is None:
        return problem
    if found[4].startswith("is missing"):
        what = "password" if found[2] == "password" else found[2]
        where = f"write it below [{found[1]}] in defaults.toml"
        return f"the {found[1]} has no {what}: fill the column {column}, or {where}"
    return f"column {column}: {found[4]}"
