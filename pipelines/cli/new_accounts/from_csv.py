"""`init --from-csv`: account files in numbers, from a CSV file."""

from __future__ import annotations

import json
import shlex
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from archiver.errors import ConfigError
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable

if TYPE_CHECKING:
    from archiver.config.fleet.made import Fleet, Made
    from archiver.config.fleet.rows import Problem, Sheet
    from archiver.config.layers import Tree
    from archiver.config.settings import Settings
    from pipelines.cli.new_accounts.answers import Answers
    from pipelines.cli.new_accounts.files import Compared

_DEFAULTS_HEAD = """\
# What the accounts in this folder and its subfolders have in common; an account's own file wins over it, key by
# key. {account} in any string is the account's name.
"""
_SHOWN = 20  # accounts that differ


class Request(Struct, frozen=True):
    """The command line: the CSV file, the folder for its accounts, what all of them have in `common`, as tables of
    an account file, and whether to write."""

    csv: Path
    folder: Path
    encoding: str
    common: dict[str, Any]
    dry_run: bool
    as_json: bool


def accounts_from_csv(request: Request) -> int:
    """Write the account files that are new, and list those that differ from their rows.

    Raises:
        ConfigError: with all that is wrong, by line; nothing is written then.
        ArchiveNotWritable: the folder cannot be written.
    """
    from archiver.config.fleet.made import by_text, make_accounts
    from archiver.config.fleet.toml import text_of
    from pipelines.cli.new_accounts.files import compare, require_private, write

    sheet = _read(request)
    fleet, defaults = _fleet(request, sheet)
    made, problems = make_accounts(sheet.rows, fleet)
    compared, in_the_way = compare(made)
    problems = [*sheet.problems, *problems, *in_the_way, *_doubles(made, compared, fleet)]
    if problems:
        raise ConfigError(str(request.csv), by_text(problems), hint="nothing was written")
    if any(each.passwords for each in compared):
        require_private(request.folder)
    if not request.dry_run:
        write(request.folder, compared, None if defaults is None else text_of(defaults, _DEFAULTS_HEAD))
    _show(request, compared, defaults, sheet)
    return 0


def _read(request: Request) -> Sheet:
    from archiver.config.fleet.rows import ENCODINGS, read_sheet

    if request.encoding.lower() not in ENCODINGS:
        raise ConfigError("--encoding", [f'"{request.encoding}" is not one of {", ".join(ENCODINGS)}'])
    try:
        octets = request.csv.read_bytes()
    except OSError as error:
        raise ConfigError(str(request.csv), [f"cannot be read: {error.strerror}"]) from error
    return read_sheet(octets, request.encoding.lower())


def _fleet(request: Request, sheet: Sheet) -> tuple[Fleet, Tree | None]:
    """The folder as it is, with the `defaults.toml` that it will get, which is returned; None if it has one,
    or needs none.

    Raises:
        ConfigError: a part of the folder cannot be listed, or its defaults are wrong.
    """
    from archiver.config.fleet.files import Chosen, find_accounts
    from archiver.config.fleet.made import Fleet
    from archiver.config.layers import DEFAULTS, KnownDefaults
    from archiver.config.template import NewAccount

    folder = request.folder
    if folder.exists() and not folder.is_dir():
        raise ConfigError(str(folder), ["is a file; with --from-csv name the folder of the account files"])
    folder, files = folder.resolve(), defaultdict[str, list[Path]](list)
    if folder.is_dir():
        found = find_accounts(Chosen((folder,)))
        if unlisted := [str(error) for name, error in found.problems.items() if Path(name) != folder]:
            raise ConfigError(str(folder), unlisted)
        for file in found.files:
            files[file.stem.casefold()].append(file)
    common, new = request.common, None
    if not (folder / DEFAULTS).exists() and not (folder / DEFAULTS).is_symlink():
        inherited = KnownDefaults()(folder).tree
        has_path = "path" in {*common.get("archive", {}), *inherited.get("archive", {})}
        if not has_path and not all("path" in row.cells for row in sheet.rows):
            common = {**common, "archive": {**common.get("archive", {}), "path": NewAccount().path}}
        new = common or None
    to_come = {} if new is None else {folder / DEFAULTS: new}
    fleet = Fleet(folder, common, KnownDefaults(to_come), files)
    return fleet, new


def _doubles(made: Sequence[Made], compared: Sequence[Compared], fleet: Fleet) -> Iterator[Problem]:
    """The rows whose archive or mailbox another row has, or another account of the folder."""
    from archiver.account.sharing import doubles
    from archiver.config.fleet.rows import Problem

    lines = {each.file: each.line for each in made}
    others = [
        settings
        for file in (file for files in fleet.files.values() for file in files)
        if file not in lines and (settings := _loaded(file, fleet)) is not None
    ]
    here = [each.made.settings for each in compared]
    for settings, first, what in doubles([*others, *here]):
        if (line := lines.get(settings.file)) is not None:
            other = lines.get(first.file)
            yield Problem(line, f"has {what}, like {f'line {other}' if other else first.file}")


def _loaded(file: Path, fleet: Fleet) -> Settings | None:
    from archiver.config.load import load_account

    try:
        return load_account(file, fleet.defaults)
    except ConfigError:
        return None  # every other command says what is wrong with it


def _show(request: Request, compared: Sequence[Compared], defaults: Tree | None, sheet: Sheet) -> None:
    if request.as_json:
        click.echo(json.dumps(_document(request, compared, defaults), indent=1))
        return
    new, differing = [each for each in compared if each.is_new], [each for each in compared if each.differ]
    if request.dry_run:
        _print_files(request.folder, new, defaults)
    passwords = sum(len(each.passwords) for each in compared)
    text = f"{'would write' if request.dry_run else 'wrote'} {counted(len(new), 'account file')}"
    text += " and defaults.toml" if defaults is not None else ""
    text += f" in {request.folder}"
    text += f", and {counted(passwords, 'password')} in {request.folder / 'passwords'}" if passwords else ""
    if same := len(compared) - len(new) - len(differing):
        text += f"; {same:,} {'is' if same == 1 else 'are'} there already"
    click.echo(printable(text))
    if differing:
        told = counted(len(differing), "account differs", "accounts differ")
        click.echo(f"{told} from the table; nothing there is changed:")
        for each in differing[:_SHOWN]:
            keys = ", ".join(each.differ)
            click.echo(printable(f"  {each.made.file} (line {each.made.line}): {keys}"))
        if len(differing) > _SHOWN:
            click.echo(f"  and {len(differing) - _SHOWN:,} more; --json lists all")
    if request.dry_run:
        return
    click.echo(f"Next, try the accounts: `archiver check {shlex.quote(str(request.folder))}`")
    if sheet.has_passwords:
        open_to_all = request.csv.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
        who = ", and other users can read it" if open_to_all else ""
        click.echo(f"archiver: {request.csv} still has the passwords{who}; delete it", err=True)


def _print_files(folder: Path, new: Sequence[Compared], defaults: Tree | None) -> None:
    """What would be written, a password aside, of which only the place is shown."""
    from archiver.config.fleet.toml import text_of

    files = {} if defaults is None else {folder / "defaults.toml": defaults}
    for file, tree in {**files, **{each.made.file: each.made.tree for each in new}}.items():
        click.echo(printable(f"# {file}"))
        click.echo(text_of(tree, "").strip("\n") + "\n")


def _document(request: Request, compared: Sequence[Compared], defaults: Tree | None) -> Mapping[str, Any]:
    return {
        "format": "archiver-init-accounts/1",
        "folder": str(request.folder),
        "dry_run": request.dry_run,
        "defaults": None if defaults is None else str(request.folder / "defaults.toml"),
        "accounts": [
            {
                "account": each.made.account,
                "line": each.made.line,
                "file": str(each.made.file),
                "state": each.state,
                "differs": list(each.differ),
                "passwords": [str(place) for place in each.passwords],
            }
            for each in compared
        ],
        "exit_code": 0,
    }


def common_tree(answers: Answers, protocol: str | None, there: Answers, prefix: str | None) -> Tree:
    """What the options of `init` say about all accounts, as tables of an account file."""
    source = {"protocol": protocol, **_table("source", "--", answers)}
    if answers.files is not None:
        source |= {"protocol": "files", "path": answers.files}
    destination = {**_table("destination", "--to-", there), "prefix": prefix}
    tree = {"source": source, "destination": destination, "archive": {"path": answers.path}}
    given = {
        name: {key: value for key, value in table.items() if value is not None} for name, table in tree.items()
    }
    return {name: table for name, table in given.items() if table}


def _table(side: str, prefix: str, answers: Answers) -> Tree:
    import tomllib

    from archiver.config.fleet.columns import reference_tree
    from archiver.config.references import SecretReference
    from archiver.config.template import table_of
    from pipelines.cli.new_accounts.answers import secret_of

    table: Tree = {key: getattr(answers, key) for key in ("host", "user", "tls", "port", "ca_file")}
    secret = secret_of(prefix, answers)
    if isinstance(secret, SecretReference):
        table["password"] = reference_tree(secret)
    elif secret is not None:
        table |= {"auth": "oauth2", **tomllib.loads(table_of(secret, side))[side]}
    return table
