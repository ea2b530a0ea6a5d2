"""The accounts that a command line names, and the one JSON document about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from archiver.errors import ArchiverError, ConfigError, worst
from pipelines.failures import logged
from pipelines.outcome import AccountOutcome, T

if TYPE_CHECKING:
    from archiver.account.sharing import Sharing
    from archiver.config.fleet.files import Chosen, FleetFiles
    from archiver.config.settings import Settings
    from pipelines.cli.terminal import Terminal


class Accounts(Struct, frozen=True):
    """The accounts that a command line names. The work cannot begin for those that were `refused`, mostly because
    of mistakes in their files; `wrong` are the files of these, in the same order."""

    settings: Sequence[Settings]
    refused: Sequence[AccountOutcome[Any]]
    wrong: Sequence[Path] = ()

    @property
    def several(self) -> bool:
        return len(self.settings) + len(self.refused) > 1

    @property
    def names(self) -> list[str]:
        """Of those that are not refused."""
        return [each.account for each in self.settings]


def load_accounts(chosen: Chosen, terminal: Terminal) -> Accounts:
    """Load the accounts that a command line names, and say what is wrong with those that are refused.

    Raises:
        ConfigError: there is no account file, or the only one is wrong.
    """
    from archiver.config.fleet.files import find_accounts

    accounts = load_found(find_accounts(chosen), terminal)
    return in_states(accounts, chosen.states, terminal) if chosen.states else accounts


def load_found(fleet: FleetFiles, terminal: Terminal, *, others: int = 0) -> Accounts:
    """Load these files; `others` more belong to the same command.

    Raises:
        ConfigError: there is no account file, or the only one is wrong.
    """
    from archiver.config.fleet.files import fleet_conflicts
    from archiver.config.layers import DEFAULTS, KnownDefaults
    from archiver.config.load import load_account

    settings: list[Settings] = []
    wrong: list[tuple[str, ArchiverError, Path]] = [
        (name, error, Path(name) / DEFAULTS) for name, error in fleet.problems.items()
    ]
    if not fleet.files and not others and len(wrong) == 1:
        raise wrong[0][1]
    defaults = KnownDefaults()
    for file in fleet.files:
        try:
            settings.append(load_account(file, defaults))
        except Exception as raised:  # whatever it is, it ends only this account
            error = logged(raised)
            if len(fleet.files) + others == 1 and not wrong:
                raise error from None
            wrong.append((file.stem, error, file))
    conflicts = fleet_conflicts(settings)
    wrong += [(file.stem, conflict, file) for file, conflict in conflicts.items()]
    told = {str(error): name for name, error, _ in reversed(wrong)}
    for text in dict.fromkeys(str(error) for _, error, _ in wrong):  # one in defaults is that of many accounts
        terminal.problem(text, told[text])
    for glob in fleet.unused:
        terminal.warn(f"--except {glob}: matches no account")
    settings = [each for each in settings if each.file not in conflicts]
    for each in settings:
        for warning in each.warnings:
            terminal.warn(f"{each.file}: {warning}", each.account)
    refused: list[AccountOutcome[Any]] = [AccountOutcome.of_error(name, error) for name, error, _ in wrong]
    return Accounts(settings, refused, [file for _, _, file in wrong])


def in_states(accounts: Accounts, states: Sequence[str], terminal: Terminal) -> Accounts:
    """Those of the accounts whose migration is that far. Those that were refused stay: nobody knows how far they
    are.

    Raises:
        ConfigError: no account is.
    """
    from pipelines.fleet.look import states_of

    known = states_of(accounts.settings)
    left = [each for each in accounts.settings if known[each.file] in states]
    if not left and not accounts.refused:
        raise nobody_in(states)
    return Accounts(left, accounts.refused, accounts.wrong)


def nobody_in(states: Sequence[str]) -> ConfigError:
    """The error that no account is in one of these states."""
    hint = "`archiver status` shows how far they are"
    return ConfigError(" ".join(f"--state {each}" for each in states), ["no account is that far"], hint=hint)


def load_one(config: Path, verb: str) -> Settings:
    """Load the account of a verb that takes one account file.

    Raises:
        ConfigError: `config` is a folder, or the file is wrong.
    """
    from archiver.config.load import load_account

    if config.is_dir():
        hint = f"name one of the files in it: `archiver {verb} {config / 'NAME.toml'}`"
        raise ConfigError(str(config), [f"is a folder; {verb} takes one account file at a time"], hint=hint)
    return load_account(config)


def finish(
    terminal: Terminal,
    document: str,
    accounts: Accounts,
    outcomes: Iterable[AccountOutcome[T]],
    to_json: Callable[[AccountOutcome[T]], dict[str, Any]],
    **fields: Any,
) -> tuple[list[dict[str, Any]], int]:
    """Print the JSON `document`, if it was asked for, with the verb's own `fields` before the accounts.

    Returns each account's part of it, those that were refused last, and the worst exit code.
    """
    results = [to_json(each) for each in outcomes] + [each.to_json() for each in accounts.refused]
    exit_code = worst(each["exit_code"] for each in results)
    terminal.document({"format": document, **fields, "accounts": results, "exit_code": exit_code})
    return results, exit_code


def finish_document(
    terminal: Terminal,
    document: str,
    accounts: Accounts,
    outcomes: Sequence[AccountOutcome[T]],
    to_json: Callable[[AccountOutcome[T]], dict[str, Any]],
) -> tuple[list[dict[str, Any]], int]:
    """The same; where one account was named, what the document says of it is also in the document itself."""
    only = to_json(outcomes[0]) if len(outcomes) == 1 and not accounts.several else {}
    return finish(terminal, document, accounts, outcomes, to_json, **only)


def warn_of_sharing(sharing: Iterable[Sharing], terminal: Terminal, *, with_destination: bool) -> None:
    """Say which accounts share a mailbox. A refusal because of it is shown where the account is refused."""
    for each in sharing:
        if each.warning:
            terminal.warn(f"{each.account.file}: {each.warning}", each.account.account)
        for problem in each.problems if with_destination else ():
            terminal.problem(f"{each.account.file}: {problem}")
