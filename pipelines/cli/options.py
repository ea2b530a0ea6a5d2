"""The options that several verbs have."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from archiver.errors import ConfigError
from archiver.fleet.model import STATES
from pipelines.cli.log import current_log, log_file_option, log_format_option

if TYPE_CHECKING:
    from archiver.replay.identify import IdentityAnswer
    from pipelines.cli.terminal import Terminal

_Function = TypeVar("_Function", bound=Callable[..., Any])

# NOTE: what cannot be read is no mistake on the command line: the verb says what is wrong with it.
PATH = click.Path(readable=False, path_type=Path)


class Integer(click.IntRange):
    """An integer of a range. "two" is not one, and is no "integer range". The message says the range in words."""

    name = "integer"

    def _describe_range(self) -> str:
        return f"{self.min} or more" if self.max is None else f"{self.min} to {self.max}"


class Duration(click.ParamType[float]):
    """A time such as 5h, 90m or 1h30m, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", value, re.ASCII)
        hours, minutes, seconds = (int(each or 0) for each in found.groups()) if found else (0, 0, 0)
        if not (hours or minutes or seconds):
            self.fail(f"{value!r} is not hours, minutes or seconds, as in 5h, 90m or 1h30m.", param, ctx)
        return hours * 3600.0 + minutes * 60 + seconds


config_argument = click.argument("config", metavar="CONFIG", type=PATH, help="One account file.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document to stdout and nothing else there."
)
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Show only what needs attention.")
verbose_option = click.option("--verbose", "-v", is_flag=True, help="Log every folder and every step.")
workers_option = click.option(
    "--workers",
    metavar="N",
    type=Integer(min=1),
    help="How many accounts run at the same time; by default 4.",
)
scheduler_url_option = click.option(
    "--scheduler-url", metavar="URL", help="Show the accounts on the page of this luigid."
)
run_id_option = click.option(
    "--run",
    "run_id",
    metavar="ID",
    help="Name the run; the same name again resumes it, or does nothing if it is complete.",
)
max_duration_option = click.option(
    "--max-duration",
    "max_seconds",
    metavar="TIME",
    type=Duration(),
    help="Stop in good order after 5h, 90m or 1h30m: no further account is begun; the next run goes on.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Print the plan; fetch nothing, write nothing.")
new_source_option = click.option(
    "--new-source", is_flag=True, help="Confirm that the account's mail moved to another server or user."
)
new_archive_option = click.option(
    "--new-archive",
    is_flag=True,
    help="Confirm that a new archive may begin here, or that this is another one.",
)
same_destination_option = click.option(
    "--same-destination",
    is_flag=True,
    help="Confirm that the destination is the same mailbox as before, elsewhere.",
)
new_destination_option = click.option(
    "--new-destination",
    is_flag=True,
    help="Confirm that the destination is the right mailbox, new to this archive.",
)
as_of_option = click.option(
    "--as-of", metavar="DATE", help="The state at that time: 2026-11-20, or 2026-11-20T14:00."
)
include_vanished_option = click.option(
    "--include-vanished", is_flag=True, help="Also send messages that are gone from the source."
)
include_removed_option = click.option(
    "--include-removed", is_flag=True, help="Send again messages that were removed at the destination."
)
confirm_deletions_option = click.option(
    "--confirm-deletions",
    is_flag=True,
    help='Carry out [replay] vanished = "mark" or "expunge", and [retention], beyond the deletion limit.',
)

after_cutover_option = click.option(
    "--after-cutover",
    is_flag=True,
    help="Follow flags, deletions and renamed folders although `archiver mark` said cutover.",
)


_CONFIGS = "Account files, or folders of account files, with their subfolders."


def configs_argument(verb: _Function) -> _Function:
    """The accounts of a verb that takes several: it gets them as `configs`, a `Chosen`."""
    verb = _account_options(verb)
    return click.argument("paths", metavar="CONFIG...", nargs=-1, required=True, type=PATH, help=_CONFIGS)(verb)


def configs_and(metavar: str, help: str, may_be: Callable[[str], bool]) -> Callable[[_Function], _Function]:
    """The accounts of a verb that takes several, and after them other words, as `names`: those that `may_be` such
    words, or are no files. Account files end with .toml, folders are there."""

    def decorated(verb: _Function) -> _Function:
        chosen = _account_options(verb)

        # NOTE: the last word is an argument of its own so that the help has both.
        @click.argument("paths", metavar="CONFIG...", nargs=-1, help=_CONFIGS)
        @click.argument("last", metavar=metavar, required=False, help=help)
        @wraps(chosen)
        def split(paths: Sequence[str], last: str | None, **options: Any) -> Any:
            words = [*paths, *([] if last is None else [last])]
            if not words:
                raise click.UsageError("Missing argument 'CONFIG...'.", click.get_current_context())
            files = [words[0]]
            for word in words[1:]:
                is_there = Path(word).exists()
                if is_there and may_be(word) and not word.endswith("/"):
                    problem = f"may be a {metavar.strip('[].')}, and is there as a file or a folder"
                    hint = f"write {word}/ for the folder; for the other give the command in another folder"
                    raise ConfigError(word, [problem], hint=hint)
                if is_there or word.endswith((".toml", "/")):
                    files.append(word)
            names = [word for word in words[1:] if word not in files]
            return chosen(paths=[Path(each) for each in files], names=names, **options)

        return cast("_Function", split)

    return decorated


def _account_options(verb: _Function) -> _Function:
    """The options that choose among the accounts that `paths` name."""

    @click.option(
        "--only", multiple=True, metavar="GLOB", help='Only these accounts: "a*", or "wave1/*"; repeatable.'
    )
    @click.option(
        "--except",
        "but",
        multiple=True,
        metavar="GLOB",
        help="All but these accounts, named in the same way; repeatable.",
    )
    @click.option(
        "--state",
        "states",
        multiple=True,
        metavar="STATE",
        type=click.Choice(STATES),
        help="Only accounts whose migration is that far: presynced, frozen, final, ...; repeatable.",
    )
    @wraps(verb)
    def chosen(
        paths: Sequence[Path], only: Sequence[str], but: Sequence[str], states: Sequence[str], **options: Any
    ) -> Any:
        from archiver.config.fleet.files import Chosen

        return verb(configs=Chosen(tuple(paths), tuple(only), tuple(but), tuple(states)), **options)

    return cast("_Function", chosen)


def output_options(verb: _Function) -> _Function:
    """What a verb prints: the options that `terminal_of` takes."""
    return json_option(quiet_option(verbose_option(log_file_option(log_format_option(verb)))))


def terminal_of(as_json: bool, quiet: bool = False, verbose: bool = False) -> Terminal:
    """What a verb writes to."""
    from pipelines.cli.terminal import Terminal

    if quiet and verbose:
        raise ConfigError("archiver", ["--quiet and --verbose contradict each other"])
    return Terminal(as_json, quiet, verbose, current_log())


def destination_answer(same: bool, new: bool) -> IdentityAnswer:
    """What the options say about a destination that is not known.

    Raises:
        ConfigError: the options contradict each other.
    """
    if same and new:
        raise ConfigError("archiver", ["--same-destination and --new-destination contradict each other"])
    return "same" if same else "new" if new else "ask"


def run_id_of(text: str | None) -> str | None:
    """The name given to a run.

    Raises:
        ConfigError: it cannot name a directory.
    """
    if text is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise ConfigError(
            "--run", ["an ID has up to 100 ASCII letters, digits and . _ -; the first is a letter or digit"]
        )
    return text
