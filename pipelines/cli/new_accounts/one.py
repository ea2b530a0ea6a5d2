"""One account file, from what `init` knows about its account."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from archiver.errors import ArchiveNotWritable, ArchiverError, ConfigError
from archiver.storage.files import sync_paths
from pipelines.cli.new_accounts.answers import Answers, account_asked, account_given

if TYPE_CHECKING:
    from archiver.config.references import SecretReference
    from archiver.config.template import NewAccount, NewToken


def write_account(file: Path, answers: Answers, *, force: bool, as_json: bool) -> int:
    """Write the account file atomically, readable only by this user.

    Raises:
        ConfigError: it exists already, or the options do not make an account; nothing is written.
        ArchiveNotWritable: it cannot be written.
    """
    from archiver.config.template import NewToken, template

    require_absent(file, force=force)
    asking = sys.stdin.isatty() and not as_json
    account = account_asked(answers, file.stem) if asking else account_given(answers)
    _write(file, template(_with_paths_from(file, account)))
    found, there = _archive_there(file), account.destination
    if as_json:
        document = {"format": "archiver-init/1", "file": str(file), "account": file.stem, "archive": found}
        click.echo(json.dumps(document, indent=1))
    else:
        if found is not None:
            click.echo(f"there is already an archive at {found}; runs will continue it")
        named = shlex.quote(str(file))
        logins = any(isinstance(each, NewToken) for each in (account.password, there and there.password))
        first = f"get its token: `archiver login {named}`; then " if logins else ""
        click.echo(f"wrote {file}. Next, {first}try the account: `archiver check {named}`")
    return 0


def require_absent(file: Path, *, force: bool) -> None:
    """
    Raises:
        ConfigError: the account file exists already.
    """
    if os.path.lexists(file) and not force:
        raise ConfigError(str(file), ["already exists"], hint="give another name, or --force to overwrite it")


def _with_paths_from(file: Path, account: NewAccount) -> NewAccount:
    """The account with paths as its file has to name them, which is from its own folder. People also name a file
    from the current folder, as a shell completes it."""
    there = account.destination
    if there is not None:
        there = replace(there, password=_secret_from(file, there.password), ca_file=_path_from(file, there.ca_file))
    return replace(
        account,
        password=_secret_from(file, account.password),
        ca_file=_path_from(file, account.ca_file),
        destination=there,
        files=_path_from(file, account.files),
    )


def _secret_from(file: Path, secret: SecretReference | NewToken) -> SecretReference | NewToken:
    from archiver.config.references import SecretReference

    if not isinstance(secret, SecretReference) or secret.kind != "file" or not isinstance(secret.value, str):
        return secret
    return replace(secret, value=_path_from(file, secret.value))


def _path_from(file: Path, path: str | None) -> str | None:
    if path is None or (file.parent / path).exists() or not Path(path).exists():
        return path
    meant, folder = Path(path).absolute(), file.parent.absolute()
    return str(meant.relative_to(folder) if meant.is_relative_to(folder) else meant)


def _write(file: Path, text: str) -> None:
    """Write a draft, load it as a run would, and only then move it into place.

    NOTE: the draft has the file's own name, which is the account's, in a new folder next to it, and is loaded
    without defaults: the file must be valid by itself.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".init-") as scratch:
            draft = Path(scratch) / file.name
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            _check(draft, file)
            os.replace(draft, file)
            sync_paths([os.fspath(file.absolute().parent)])
    except OSError as error:
        raise ArchiveNotWritable(f"{file}: {error.strerror}", hint="give this user write access there") from error


def _check(draft: Path, file: Path) -> None:
    from archiver.config.layers import Defaults
    from archiver.config.load import load_account

    try:
        load_account(draft, Defaults)
    except ConfigError as error:
        problems = error.problems
    else:
        return
    raise ConfigError(str(file), problems, hint="nothing was written")


def _archive_there(file: Path) -> str | None:
    """Where the account's archive is, None if there is none. Notes that it belongs to this account."""
    from archiver.account.account import Account
    from archiver.config.load import load_account

    try:
        account = Account(load_account(file.absolute()))
        if not account.has_archive():
            return None
        with account.opened() as archive:
            identity = archive.catalog.account.identity()
    except ArchiverError:
        return None  # `archiver check` will say what is wrong
    if identity is None or identity.account != account.settings.account:
        return None
    account.note.leave(identity)
    return account.medium.name
