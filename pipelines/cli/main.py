"""The command line: the verbs, the exit codes, and how errors are shown.

Each verb is a module of this package: its options and help, what it does, and what it prints. It is imported when
the verb is given, and imports Luigi, the clients of servers and Rich only inside its functions, so that
`archiver --help` and `archiver VERB --help` are quick.
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, NoReturn

import click

from archiver.config.secrecy import redacted
from archiver.errors import ArchiverError, ConfigError
from archiver.mail.folder_names import printable
from pipelines.cli.streams import failure_of, secure

if TYPE_CHECKING:
    from pipelines.cli.log import Log

#: What the exit code says; with several accounts the worst counts.
EXIT_CODES: dict[int, str] = {
    0: "done: all that was asked for is in the archive, and at the destination",
    1: "unexpected error: a bug, with its traceback",
    2: "the command line or the configuration is wrong",
    3: "incomplete: some messages or folders are missing; all are listed",
    4: "verify found differences at the destination, or unexpected files",
    5: "the login was refused, or the server cannot be reached",
    6: "the archive is damaged: bytes are missing or different",
    7: "another run holds the account's lock",
    8: "the archive is missing or cannot be written: disk full, no permission",
    75: "throttled: the server asks to try later",
    128: "stopped by signal N; what was fetched is kept, run again to resume",
}

# By this variable a shell asks for what completes its lines, as in bash_source.
_COMPLETION = "_ARCHIVER_COMPLETE"

_COLLECTOR = (200_000, 20, 20)  # while modules are loaded, which makes many small values and hardly any garbage

_CODES = "\n".join(f"{'128+N' if code == 128 else code:>6} {text}" for code, text in EXIT_CODES.items())
_EPILOG = f"""
\b
Exit codes, the worst one with several accounts:
{_CODES}

\b
Getting started:
  archiver init configs/alice.toml   write an account file
  archiver check configs/alice.toml  log in and look; changes nothing
  archiver run configs/alice.toml    archive and replay it, every night

CONFIG is an account file or a folder of them. `archiver VERB --help` explains a verb.
"""


_CODES_OF_ALL = "`archiver --help` lists the exit codes."


class _Verbs(click.Group):
    """Verbs are shown in the order of `VERBS`, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--version", "show_version", is_flag=True, help="Print the version and exit.")
@click.option("--json", "as_json", is_flag=True, hidden=True)
@click.pass_context
def archiver(context: click.Context, show_version: bool, as_json: bool) -> None:
    """Archive mail accounts exactly, incrementally and provably: fetched once, byte for byte, into a Maildir that
    any mail program reads, or into a bucket; safe to re-run; verified like a backup; sent on to any server.
    """
    if show_version:
        text = json.dumps({"format": "archiver-version/1", "version": _version()}) if as_json else _version()
        click.echo(text if as_json else f"archiver {text}")
        context.exit(0)
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


#: All verbs in the order of the help, each with its line there. A verb is a function in a module of its name.
VERBS: Mapping[str, str] = {
    "init": "Write a commented account file.",
    "login": "Log in to accounts with OAuth2, and keep their tokens.",
    "check": "Log in and look at the server and the folders; changes nothing.",
    "run": "Archive accounts; those with a [destination] are brought up to date there, too.",
    "worker": "Do the accounts of a fleet that are due, on one host or on several.",
    "archive": "Archive accounts, and leave their destinations alone.",
    "replay": "Bring destinations up to date with the archives, without the sources.",
    "status": "Show what the archives hold, what is missing, and how the last runs ended.",
    "report": "Show what the last run did: as text, or as a page for the browser.",
    "search": "Find messages by sender, subject, date, size, flags, or by what they say.",
    "show": "Show one message: its header, its path, its parts, its exact bytes.",
    "restore": "Put messages back into a mailbox, each once.",
    "forget": "Erase messages from an archive, for good.",
    "hold": "Protect messages: none is forgotten or pruned while a hold lasts.",
    "release": "End holds.",
    "mark": "Say how far a migration is: frozen, cutover, or back.",
    "prune": "Remove from the source what the archive has, by age.",
    "verify": "Check that every message is there, byte for byte; at the destination, too.",
    "repair": "Fetch again what is missing or damaged in the archive.",
    "retry": "Try messages again that could not be fetched or sent, or accept their loss.",
    "export": "Export folders, of any date, as a Maildir, as mboxes or as single files.",
    "import": "Add mail that lies in files to an archive.",
    "gc": "List or delete what killed runs left in buckets.",
    "rebuild": "Recreate the catalog of an archive, if it was lost or damaged.",
    "demo": "See everything work in a minute, without an account.",
}


class _Verb(click.Command):
    """A verb whose module is imported when the verb is given: `archiver --help` need not import all of them."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        name = str(self.name)
        verb: click.Command = getattr(import_module(f"pipelines.cli.{name}"), f"{name}_" * iskeyword(name) or name)
        verb.epilog = _CODES_OF_ALL
        return verb.make_context(info_name, args, parent, **extra)


for _name, _line in VERBS.items():
    archiver.add_command(_Verb(_name, short_help=_line))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The `archiver` command. Ends the process with one of `EXIT_CODES`, which says what became of the mail,
    whether that could be printed or not."""
    secure()
    _leave_no_core()
    gc.set_threshold(*_COLLECTOR)
    instruction = os.environ.get(_COMPLETION)
    code = _complete(instruction) if instruction else invoke(sys.argv[1:] if arguments is None else arguments)
    if (failure := failure_of(sys.stdout)) is not None:
        click.echo(f"archiver: standard output: {failure.strerror}; what was printed is not complete", err=True)
    gc.freeze()  # otherwise the interpreter looks through all modules for garbage, several times, before it ends
    sys.exit(code)


def _leave_no_core() -> None:
    """Nothing of a process that dies is written to a disk: its memory has passwords, tokens and mail in it."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. An error that nobody foresaw is raised as it is."""
    as_json = "--json" in arguments
    context: click.Context | None = None
    try:
        with archiver.make_context("archiver", list(arguments)) as context:
            code = archiver.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return _fail(_usage_error(error), as_json, context)
    except click.Abort:
        return _fail(ConfigError("archiver", ["no answer was given"], hint="nothing was written"), as_json, context)
    except ArchiverError as error:
        return _fail(error, as_json, context)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BaseException as error:
        if context is not None and (log := _opened_log(context)) is not None and not isinstance(error, SystemExit):
            log.say(f"archiver: unexpected error: {printable(redacted(repr(error)))}", "red")
        if as_json and not isinstance(error, SystemExit):
            _print_error(redacted(f"unexpected error: {error!r}"), None, 1)
        raise
    _log_end(context, int(code or 0), is_quiet="--quiet" in arguments or "-q" in arguments)
    return int(code or 0)


def _log_end(context: click.Context, code: int, *, is_quiet: bool) -> None:
    """The last line of a log, by which a machine knows that the command was not killed."""
    log = _opened_log(context)
    if log is not None and not (is_quiet and log.is_stderr and code == 0):
        verb = context.invoked_subcommand or ""
        log.say(f"archiver {verb}: exit code {code}", "yellow" if code else None)


def _complete(instruction: str) -> int:
    """Print the script that adds completion to a shell. The package installs it, but not every shell finds it."""
    from pipelines.cli.manual.files import COMPLETION, completion_of

    shell = instruction.removesuffix("_source")
    if shell == instruction or shell not in COMPLETION:
        return 2
    click.echo(completion_of(archiver, shell), nl=False)
    return 0


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mail-archiver")
    except PackageNotFoundError:
        return "(not installed)"


_DID_YOU_MEAN = re.compile(r"\. \(?Did you mean (?:one of: )?(.*?)\?\)?$")


def _usage_error(error: click.ClickException) -> ConfigError:
    """A mistake on the command line in our words: one line, and where to read on."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "archiver"
    text = " ".join(error.format_message().rstrip(".").split())
    text = _DID_YOU_MEAN.sub(r" (did you mean \1?)", text)
    lists = "verbs" if command == "archiver" else "options"
    return ConfigError(command, [text[:1].lower() + text[1:]], hint=f"`{command} --help` lists the {lists}")


def _fail(error: ArchiverError, as_json: bool, context: click.Context | None) -> int:
    if as_json:
        _print_error(error.message, error.hint, error.exit_code)
    log = None if context is None else _opened_log(context)
    for line in str(error).splitlines():
        text = line if line.startswith(("archiver: ", "archiver ")) else f"archiver: {line}"
        if log is not None:
            log.say(text, "red")
        if log is None or not log.is_stderr:
            click.echo(text, err=True)
    return error.exit_code


def _opened_log(context: click.Context) -> Log | None:
    """The log that the command line asks for, if it could be opened."""
    from pipelines.cli.log import log_of

    try:
        return log_of(context)
    except ConfigError:
        return None


def _print_error(message: str, hint: str | None, exit_code: int) -> None:
    click.echo(json.dumps({"error": {"message": message, "hint": hint, "exit_code": exit_code}}, indent=1))
