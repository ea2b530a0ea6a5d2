"""The account files that a command names, in folders and their subfolders, and those of them that it chooses.

One bad thing stops only itself: a folder that cannot be listed, or a name that nothing has, is a problem with its
own line, and the other accounts are found.
"""

from __future__ import annotations

import difflib
import os
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from pathlib import Path

from msgspec import Struct

from archiver.config.layers import DEFAULTS
from archiver.config.settings import Settings
from archiver.errors import ConfigError

NO_ACCOUNTS = ".no-accounts"  # such as a folder of examples; it can be named by itself


class Chosen(Struct, frozen=True):
    """What a command line says about accounts: `paths` of files and folders; and of the accounts there `only`
    some, `but` not those that one of these globs matches. A glob without "/" is compared with the account's name,
    one with "/" with the file's path below its folder, without ".toml"; `*` also stands for "/". `states`: only
    accounts whose migration is in one of them, which the files do not say."""

    paths: tuple[Path, ...]
    only: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    states: tuple[str, ...] = ()


class FleetFiles(Struct, frozen=True):
    """Account files in order, each once. `problems` are about folders and globs, by their names: accounts that were
    asked for may be missing. `unused` globs would have left out accounts, and there are none."""

    files: tuple[Path, ...]
    problems: Mapping[str, ConfigError]
    unused: tuple[str, ...] = ()


def find_accounts(chosen: Chosen) -> FleetFiles:
    """The account files that are meant: a file stands for itself, a folder for all *.toml files in it and below,
    sorted. Files and folders whose names begin with a dot, and `defaults.toml`, are no accounts; nor is what lies
    in a subfolder with the file `NO_ACCOUNTS`."""
    files: dict[Path, None] = {}
    folders: dict[Path, Path] = {}
    problems: dict[str, ConfigError] = {}
    used: set[str] = set()
    for path in chosen.paths:
        if path.is_dir():
            found, wrong = _below(path)
            problems |= {str(error.where): error for error in _few(wrong, path)}
            if not found and not wrong:
                hint = f"`archiver init {path / 'NAME.toml'}` writes one"
                problems[str(path)] = ConfigError(
                    str(path), ["no account files (*.toml) in this folder"], hint=hint
                )
        elif path.exists() or path.is_symlink():
            found = [(path, path.stem)]
        else:
            found = []
            problems[str(path)] = ConfigError(str(path), ["no such file or folder"], hint=_instead_of(path))
        for file in _of_these(found, chosen, used):
            if file.parent not in folders:
                folders[file.parent] = file.parent.resolve()
            files[folders[file.parent] / file.name] = None
    for glob in chosen.only:
        if glob not in used and (files or not problems):
            where = _places(chosen.paths)
            problem = f"matches no account in {where}"
            hint = "a glob is compared with the account's name, or, with a / in it, with the path below the folder"
            problems[glob] = ConfigError(f"--only {glob}", [problem], hint=hint)
    if not files and not problems:
        problem = f"leaves no account in {_places(chosen.paths)}"
        problems["--except"] = ConfigError(" ".join(f"--except {glob}" for glob in chosen.but), [problem])
    return FleetFiles(tuple(files), problems, tuple(glob for glob in chosen.but if glob not in used))


def _instead_of(path: Path) -> str:
    """What to name instead of a path that is not there: what has a similar name in the same folder."""
    try:
        beside = [each.name for each in path.parent.iterdir() if each.suffix == ".toml" or each.is_dir()]
    except OSError:
        beside = []
    if similar := difflib.get_close_matches(path.name, beside, n=1):
        return f"did you mean {path.parent / similar[0]}?"
    return "name an account file, or a folder of them"


def fleet_conflicts(settings: Sequence[Settings]) -> Mapping[Path, ConfigError]:
    """Accounts that run together need different names and different archives. Returns the problems by account file.
    Archive paths are compared with links resolved."""
    names: defaultdict[str, list[Path]] = defaultdict(list)
    archives: defaultdict[str, list[Path]] = defaultdict(list)
    for one in settings:
        names[one.account].append(one.file)
        archives[os.path.realpath(one.archive.path)].append(one.file)
    problems: defaultdict[Path, list[str]] = defaultdict(list)
    for name, files in names.items():
        for file, others in _each_with_the_others(files):
            problems[file].append(f'has the account name "{name}", as {others} has; rename all but one')
    for path, files in archives.items():
        for file, others in _each_with_the_others(files):
            problem = f"archive.path: {path} is that of {others}, too; give each its own, with {{account}} in it"
            problems[file].append(problem)
    return {file: ConfigError(str(file), found) for file, found in problems.items()}


_NAMED = 3  # of many files


def _places(paths: Sequence[Path]) -> str:
    """What a command names, in short: a shell may have made hundreds of names of one `*`."""
    more = len(paths) - _NAMED
    return " ".join(map(str, paths[:_NAMED])) + (f" and {more:,} more" if more > 0 else "")


def _each_with_the_others(files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    if len(files) > 1:
        for file in files:
            others = [str(other) for other in files[: _NAMED + 2] if other != file][:_NAMED]
            more = len(files) - 1 - len(others)
            yield file, " and ".join([*others, *([f"{more:,} more"] if more else [])])


def _below(folder: Path) -> tuple[list[tuple[Path, str]], list[ConfigError]]:
    """The account files of a folder and its subfolders, each with its path below the folder, and what cannot be
    listed. A link to a folder is followed, once."""
    found: list[tuple[Path, str]] = []
    wrong: list[ConfigError] = []
    seen: set[Path] = set()
    waiting, links = [(folder, "")], deque[tuple[Path, str]]()
    while waiting or links:
        here, below = waiting.pop() if waiting else links.popleft()  # a folder's own path counts, if it has one
        if (real := here.resolve()) in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            wrong.append(ConfigError(str(here), [f"cannot be listed: {error.strerror}"]))
            continue
        names = {entry.name for entry in entries}
        is_mail = _is_mail(names)
        if (is_mail or NO_ACCOUNTS in names) and here != folder:
            continue
        entries = [entry for entry in entries if not entry.name.startswith(".")]  # editors leave such files
        folders = [entry for entry in entries if os.path.isdir(entry)]
        for entry in entries:
            if entry.name.endswith(".toml") and entry.name != DEFAULTS and entry not in folders:
                found.append((here / entry.name, below + entry.name.removesuffix(".toml")))
        for entry in () if is_mail else reversed(folders):
            (links if entry.is_symlink() else waiting).append((here / entry.name, f"{below}{entry.name}/"))
    return found, wrong


def _few(wrong: Sequence[ConfigError], folder: Path) -> Sequence[ConfigError]:
    """What cannot be listed below a folder; if it is much, in one line: such a folder holds more than accounts."""
    if len(wrong) <= _NAMED:
        return wrong
    first = wrong[0]
    problem = f"{first.problems[0]}; nor can {len(wrong) - 1:,} more folders below {folder}"
    return [ConfigError(first.where, [problem], hint="name the folder of the account files")]


def _is_mail(names: Set[str]) -> bool:
    """Whether a folder with these names in it is an archive or a Maildir, which may lie below account files."""
    return bool({"catalog.sqlite", "Maildir"} & names) or {"cur", "new", "tmp"} <= names


def _of_these(found: Sequence[tuple[Path, str]], chosen: Chosen, used: set[str]) -> Iterator[Path]:
    """The files that the globs choose; adds the globs that matched one to `used`."""
    for file, below in found:
        wanted = {glob for glob in chosen.only if _matches(file, below, glob)}
        unwanted = {glob for glob in chosen.but if _matches(file, below, glob)}
        used |= wanted | unwanted
        if (wanted or not chosen.only) and not unwanted:
            yield file


def _matches(file: Path, below: str, glob: str) -> bool:
    glob = glob.removesuffix(".toml")
    return fnmatchcase(below if "/" in glob else file.stem, glob)
