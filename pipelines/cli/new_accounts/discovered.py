"""An address instead of an account file: its server is searched for."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec.structs import replace

from archiver.errors import ConfigError
from archiver.mail.folder_names import printable
from pipelines.cli.new_accounts.answers import Answers


def address_in(file: Path) -> str | None:
    """The address that was given instead of an account file, with a folder before it or without."""
    local, at, domain = file.name.rpartition("@")
    return file.name if local and at and "." in domain and file.suffix != ".toml" else None


def with_server(address: str, answers: Answers, *, offline: bool) -> Answers:
    """The answers with the server of an address. What the options say of it counts.

    Raises:
        ConfigError: it is not found.
    """
    from archiver.config.protocols import usual_port
    from archiver.config.providers.discovery import Net, discover
    from archiver.config.providers.table import Provider, providers

    def say(text: str) -> None:
        click.echo(text, err=True)

    net: Net | None = None
    if not offline:
        from archiver.config.providers.lookup import Internet

        net = Internet()
    found = discover(address, net, say, answers.protocol)
    if found is None:
        domain = printable(address.rpartition("@")[2])
        nowhere = "not in the table of providers" if offline else "not found"
        problem = f"the {answers.protocol.upper()} server of {domain} is {nowhere}"
        hint = "give it with --host" + (", or leave out --offline" if offline else "")
        raise ConfigError(printable(address), [problem], hint=hint)
    say(f"found {printable(found.host)}:{found.port} (TLS: {found.tls}) by {printable(found.where)}")
    provider = providers().get(found.provider or "", Provider(name=""))
    if provider.login:
        say(f"{provider.name} wants {provider.login}")
    port = answers.port
    if port is None and answers.tls in (None, found.tls) and found.port != usual_port(answers.protocol, found.tls):
        port = found.port
    user = answers.user or found.user
    tokens = {"tokens_of": provider.oauth2, "takes_passwords": provider.passwords}
    return replace(answers, host=found.host, user=user, tls=answers.tls or found.tls, port=port, **tokens)
