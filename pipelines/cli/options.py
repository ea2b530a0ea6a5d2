"""The options that several verbs have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.errors import ConfigError

if TYPE_CHECKING:
    from archiver.replay.identify import IdentityAnswer
    from pipelines.cli.terminal import Terminal

Configs = Annotated[
    list[Path], typer.Argument(metavar="CONFIG", help="Account files, or folders of account files.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only what needs attention.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log every folder and every step.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="How many accounts run at the same time.", show_default="4, or fewer accounts"
    ),
]
SchedulerUrl = Annotated[
    str | None, typer.Option("--scheduler-url", metavar="URL", help="Use this luigid instead of a local scheduler.")
]
RunId = Annotated[
    str | None,
    typer.Option("--run", metavar="ID", help="Name the run; the same name again resumes it, or does nothing."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan; fetch nothing, write nothing.")]
NewSource = Annotated[
    bool, typer.Option("--new-source", help="Confirm that the account's mail moved to another server or user.")
]
NewArchive = Annotated[
    bool,
    typer.Option("--new-archive", help="Confirm that a new archive may begin here, or that this is another one."),
]
SameDestination = Annotated[
    bool,
    typer.Option(
        "--same-destination", help="Confirm that the destination is the same mailbox as before, elsewhere."
    ),
]
NewDestination = Annotated[
    bool,
    typer.Option(
        "--new-destination", help="Confirm that the destination is the right mailbox, new to this archive."
    ),
]

AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="DATE", help="The state at that time: 2026-11-20, or 2026-11-20T14:00."),
]
IncludeVanished = Annotated[
    bool, typer.Option("--include-vanished", help="Also send messages that are gone from the source.")
]
IncludeRemoved = Annotated[
    bool, typer.Option("--include-removed", help="Send again messages that were removed at the destination.")
]
ConfirmDeletions = Annotated[
    bool,
    typer.Option(
        "--confirm-deletions", help='Carry out [replay] vanished = "mark" or "expunge" beyond the deletion limit.'
    ),
]


def terminal_of(as_json: bool, quiet: bool = False, verbose: bool = False) -> Terminal:
    """What a verb writes to."""
    from pipelines.cli.terminal import open_terminal

    if quiet and verbose:
        raise ConfigError("archiver", ["--quiet and --verbose contradict each other"])
    return open_terminal(as_json=as_json, quiet=quiet, verbose=verbose)


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
