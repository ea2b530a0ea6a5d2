"""`login`: get the tokens of accounts with `auth = "oauth2"`, and keep them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from archiver.errors import ArchiverError, ConfigError, worst
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from pipelines.cli.accounts import finish, load_accounts
from pipelines.cli.options import configs_argument, output_options, terminal_of
from pipelines.failures import logged, with_file
from pipelines.outcome import AccountOutcome, look_up_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings
    from archiver.config.tables.server import ServerSettings
    from archiver.login.oauth.access import AccessTokens
    from archiver.login.oauth.device import Prompt
    from pipelines.cli.terminal import Terminal


class Login(Struct, frozen=True):
    """A login of an account: `users` are the names of who logged in, as far as the provider tells; `kept` is where
    the token is kept, and `expires` when it will be renewed. `error`: why there is none."""

    side: str
    user: str
    flow: str
    kept: str
    users: Sequence[str] = ()
    scopes: Sequence[str] = ()
    expires: str | None = None
    error: str | None = None


Logins = list[Login]


@click.command
@configs_argument
@click.option("--again", is_flag=True, help="Ask everybody to log in, also where the kept token still works.")
@output_options
def login(
    configs: Chosen,
    again: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Get the tokens of accounts with auth = "oauth2", one after the other, and keep them where the account file
    says. Says first who has to log in, and then who did.

    A token that is kept and still works is renewed, and nobody is asked. Otherwise a person logs in: with a code on
    any device (flow = "device"), or with a browser on this machine (flow = "browser"). If somebody else than the
    account's user logs in, the token is not kept. An app or a service account needs no person: a token is fetched,
    to see whether it works.

    No mail server is contacted; `archiver check` does that. Tokens are never shown.

    \b
      archiver login configs/alice.toml
      archiver login configs/            everybody who has to
    """
    terminal = terminal_of(as_json, quiet, verbose)
    accounts = load_accounts(configs, terminal)
    STOP.install()
    if not any(True for settings in accounts.settings for _ in _servers(settings)) and not accounts.refused:
        problem = 'no account there has auth = "oauth2": there is nothing to log in to'
        raise ConfigError(
            " ".join(map(str, configs.paths)), [problem], hint="docs/providers.md shows what to write"
        )
    _say_who_is_missing(accounts.settings, terminal, again=again)
    from archiver.login.reach import learning

    with learning():
        outcomes = look_up_each(accounts.settings, lambda settings: _log_in(settings, terminal, again=again))
    _, exit_code = finish(terminal, "archiver-login/1", accounts, outcomes, _to_json)
    for outcome in outcomes:
        if outcome.exit_code and outcome.message:
            terminal.problem("\n".join(f"{outcome.account}: {line}" for line in outcome.message.splitlines()))
    return exit_code


def _servers(settings: Settings) -> Iterator[ServerSettings]:
    """Those that take a token."""
    from archiver.config.tables.server import ServerSettings

    for server in (settings.source, settings.destination):
        if isinstance(server, ServerSettings) and server.auth == "oauth2":
            yield server


def _access(server: ServerSettings) -> AccessTokens:
    from archiver.login.oauth.access import AccessTokens
    from archiver.login.oauth.grants import client_of

    return AccessTokens(client_of(server), pause=STOP.pause)


def _say_who_is_missing(accounts: Sequence[Settings], terminal: Terminal, *, again: bool) -> None:
    """Who has to log in, and what is missing, before the first one is asked."""
    from archiver.login.oauth.logging_in import is_of_a_person, needs_person

    logins, waiting, wrong = 0, [], []
    for settings in accounts:
        for server in _servers(settings):
            logins += 1
            access, where = _access(server), f"{settings.account} ({server.side})"
            try:
                access.client.require_secrets()
                needed = is_of_a_person(access.client) and (again or needs_person(access))
            except ArchiverError as error:
                wrong.append(f"{where}: {error}")
                continue
            if needed:
                waiting.append(f'{where}: "{printable(access.client.user)}" has to log in')
    if terminal.quiet or terminal.as_json:
        return
    who = counted(len(waiting), "person has", "people have") if waiting else "nobody has"
    terminal.err.say(f"{counted(logins, 'login')}; {who} to log in")
    for line in (*waiting, *map(printable, wrong)):
        terminal.err.say(line)


def _log_in(settings: Settings, terminal: Terminal, *, again: bool) -> AccountOutcome[Logins]:
    logins, codes, problems = [], [0], []
    for server in _servers(settings):
        access = _access(server)
        found = Login(server.side, access.client.user, access.client.settings.flow, access.keeper.name)
        try:
            STOP.check()
            logins.append(_logged_in(settings, access, found, terminal, again=again))
        except Exception as raised:  # whatever it is, it ends only this login
            STOP.check()  # a signal ends all of them
            error = logged(raised)
            problems.append(with_file(str(error), settings.file))
            codes.append(error.exit_code)
            logins.append(replace(found, error=problems[-1]))
    message = "\n".join(problems) or (None if logins else 'has no auth = "oauth2"')
    return AccountOutcome(settings.account, worst(codes), message, logins)


def _logged_in(settings: Settings, access: AccessTokens, found: Login, terminal: Terminal, *, again: bool) -> Login:
    from archiver.login.oauth.logging_in import lives_until, log_in
    from archiver.login.oauth.persons import shown

    where = f"{settings.account} ({found.side})"
    token = log_in(access, lambda prompt: _show(prompt, where, found.user, terminal), STOP.pause, again=again)
    if terminal.tables:
        app = access.client.settings.client_id or "the service account"
        who = f"the app {app}, for the mailbox of {printable(found.user)}"
        who = who if access.client.is_app else shown(token.users)
        kept = "" if access.keeper.name == "memory" else f"; kept in {access.keeper.name}"
        terminal.out.say(f"{where}: logged in: {who}{kept}", "green")
    return replace(found, users=token.users, scopes=token.scopes, expires=lives_until(token))


def _show(prompt: Prompt, where: str, user: str, terminal: Terminal) -> None:
    """What a person has to do, on stderr: also with --json and --quiet, since nothing goes on without it."""
    say = terminal.err.say
    say(f'{where}: log in as "{printable(user)}" within {counted(ceil(prompt.seconds / 60), "minute")}:')
    if prompt.code is not None:
        say(f"  open {prompt.address}")
        say(f"  enter the code {prompt.code}")
        return
    say(f"  open {prompt.address}")
    if _has_display():
        import webbrowser

        webbrowser.open(prompt.address)
    else:
        port = prompt.back_to
        say(f"  with a browser of this machine; of another one after `ssh -L {port}:127.0.0.1:{port}` to this one")


def _has_display() -> bool:
    """Whether a browser can be opened. NOTE: without one `webbrowser` opens a browser in the terminal and waits."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _to_json(outcome: AccountOutcome[Logins]) -> dict[str, Any]:
    return outcome.to_json({"logins": to_builtins(outcome.result or [])})
