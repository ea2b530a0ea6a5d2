"""What `init` knows about an account: from its options, or from a person who answers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, cast

import click
from msgspec import Struct
from msgspec.structs import replace

from archiver.errors import ConfigError

if TYPE_CHECKING:
    from archiver.config.references import SecretReference
    from archiver.config.tables.oauth2 import Flow
    from archiver.config.tables.server import Protocol, Tls
    from archiver.config.template import NewAccount, NewDestination, NewToken

_KINDS = ("env", "file", "command", "keyring")
_ASKED = {
    "env": "Name of the environment variable",
    "file": "Path of the file",
    "command": "Command that prints it",
    "keyring": "Service in the keyring",
}


class Answers(Struct, frozen=True):
    """What the options say; None, or an empty mapping, if they say nothing. `password` is kind → value, and
    `token` what is known about logins by one. `tokens_of` is who gives tokens for this server, if that is known;
    without `takes_passwords` it takes nothing else. `files` is where mail lies that is on no server."""

    host: str | None
    user: str | None
    tls: str | None
    port: int | None
    path: str | None
    password: Mapping[str, str]
    ca_file: str | None = None
    destination: NewDestination | None = None
    token: Mapping[str, str] = {}
    protocol: Protocol = "imap"
    tokens_of: str | None = None
    takes_passwords: bool = True
    files: str | None = None


def given_of(references: Mapping[str, str | None]) -> Mapping[str, str]:
    """The options that were given."""
    return {kind: value for kind, value in references.items() if value}


def token_options(*values: str | None) -> Mapping[str, str]:
    """What the options say about logins by a token."""
    return given_of(dict(zip(("provider", "client_id", "tenant", "flow"), values, strict=True)))


def secret_of(prefix: str, answers: Answers) -> SecretReference | NewToken | None:
    """The password's reference, or what is known about logins by a token; None if the options say nothing of both.
    `prefix` begins their names."""
    return _secret(prefix, answers) if answers.password or answers.token else None


def destination_of(there: Answers, prefix: str | None) -> NewDestination | None:
    """The destination that the options name; None if they name none.

    Raises:
        ConfigError: they name only a part of one.
    """
    from archiver.config.template import NewDestination

    if there == Answers(None, None, None, None, None, {}) and not prefix:
        return None
    if not (there.host and there.user and (there.password or there.token)):
        problem = (
            "a destination needs --to-host, --to-user, and one of the --to-password-... options or --to-oauth2"
        )
        raise ConfigError("archiver init", [problem])
    secret = _secret("--to-", there)
    tls = _tls("--to-tls", there.tls)
    return NewDestination(there.host, there.user, secret, tls, there.port, there.ca_file, prefix or "")


def account_given(answers: Answers) -> NewAccount:
    """The account from the options alone; nobody can guess the server, the user, and where the password is."""
    if answers.files is not None:
        return _of_files(answers)
    missing = [f"--{name} is missing" for name in ("host", "user") if not getattr(answers, name)]
    if not (answers.password or answers.token):
        if answers.takes_passwords:
            missing.append(
                "--password-env, --password-file, --password-command, --password-keyring or --oauth2 is missing"
            )
        else:
            missing.append(f"--oauth2 {answers.tokens_of} is missing, and --client-id with it")
    if missing:
        raise ConfigError("archiver init", missing, hint="in a terminal, archiver asks for it")
    return _account(answers.host or "", answers.user or "", answers, _tls("--tls", answers.tls), answers.path)


def account_asked(answers: Answers, name: str) -> NewAccount:
    """The account from the options, and from a person for what they leave out. `name` is the file's."""
    if answers.files is not None:
        return _of_files(answers)
    like = "imap" if answers.protocol == "imap" else "pop"
    host = answers.host or _ask(f"{answers.protocol.upper()} server (like {like}.example.org)")
    user = answers.user or _ask("User at that server", default=name if "@" in name else None)
    asked = answers.tls or _ask("TLS: implicit, starttls or off", default="implicit")
    tls = _tls("--tls", asked)
    password, token = answers.password, answers.token
    if not password and not token:
        kind = ""
        while kind not in (*_KINDS, "oauth2"):
            kind = _ask(
                "Where is the password stored: env, file, command or keyring; or oauth2",
                default="env" if answers.takes_passwords else "oauth2",
            )
        if kind == "oauth2":
            provider = _ask("Provider: microsoft or google", default=answers.tokens_of)
            token = {"provider": provider, "client_id": _ask("ID of the app there")}
        else:
            password = {kind: _ask(_ASKED[kind])}
    path = answers.path or _ask("Path of the archive", default="/srv/mail-archive/{account}")
    complete = replace(answers, host=host, user=user, tls=tls, path=path, password=password, token=token)
    return _account(host, user, complete, tls, path)


def _of_files(answers: Answers) -> NewAccount:
    """An account of mail that is on no server.

    Raises:
        ConfigError: the options name a server, too.
    """
    from archiver.config.template import NewAccount

    if answers.host or answers.user or answers.password or answers.token or answers.tls or answers.port:
        raise ConfigError("--files", ["goes without the options of a server; leave those or this out"])
    path = answers.path or NewAccount().path
    return NewAccount(path=path, destination=answers.destination, files=answers.files)


def _ask(text: str, default: str | None = None) -> str:
    return str(click.prompt(text, default=default, err=True))


def _tls(option: str, text: str | None) -> Tls:
    if text is not None and text not in ("implicit", "starttls", "off"):
        raise ConfigError(option, [f'"{text}" is not one of implicit, starttls, off'])
    return cast("Tls", text or "implicit")


def protocol_of(text: str | None) -> Protocol:
    """The protocol that the option --protocol names.

    Raises:
        ConfigError: it is none for which `init` writes a file.
    """
    if text is not None and text not in ("imap", "pop3"):
        raise ConfigError("--protocol", [f'"{text}" is not one of imap, pop3'])
    return cast("Protocol", text or "imap")


def _account(host: str, user: str, answers: Answers, tls: Tls, path: str | None) -> NewAccount:
    from archiver.config.template import NewAccount

    archive, secret = path or NewAccount().path, _secret("--", answers)
    to, spoken = answers.destination, answers.protocol
    return NewAccount(host, user, secret, archive, tls, answers.port, answers.ca_file, to, spoken)


def _secret(prefix: str, answers: Answers) -> SecretReference | NewToken:
    """The password's reference, or what is known about logins by a token. `prefix` begins the options' names."""
    if not answers.token:
        return _reference(f"{prefix}password", answers.password)
    from archiver.config.template import NewToken

    token = answers.token
    if answers.password or token.get("provider") not in ("microsoft", "google"):
        problem = f'{prefix}oauth2 must be "microsoft" or "google", and goes with no password'
        raise ConfigError(
            "archiver init", [problem], hint="docs/providers.md has what to write for other providers"
        )
    provider = cast(Literal["microsoft", "google"], token["provider"])
    flow = token.get("flow", "browser" if provider == "google" else "device")
    return NewToken(provider, token.get("client_id", ""), cast("Flow", flow), token.get("tenant"))


def _reference(option: str, password: Mapping[str, str]) -> SecretReference:
    from archiver.config.references import SecretReference

    if len(password) > 1:
        raise ConfigError("archiver init", [f"give exactly one {option}-... option"])
    (kind, value), *_ = password.items()
    reference: str | tuple[str, ...] = value
    if kind == "command":
        try:
            reference = tuple(shlex.split(value))
        except ValueError as error:
            raise ConfigError(f"{option}-command", [f"is not a valid command line: {error}"]) from error
    return SecretReference(cast(Literal["env", "file", "command", "keyring"], kind), reference)
