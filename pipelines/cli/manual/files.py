"""All files that are made from the verbs, each where it belongs below a prefix such as /usr."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import click

from pipelines.cli.manual import bash, fish, zsh
from pipelines.cli.manual.account_file import page_of_account_file
from pipelines.cli.manual.pages import Edition, page_of_program, page_of_verb
from pipelines.cli.manual.verbs import options_of, verbs_of

_PAGES = PurePosixPath("share/man")
#: Where the packages of a system, and shells, look for what completes a program's lines.
COMPLETION = {
    "bash": PurePosixPath("share/bash-completion/completions/archiver"),
    "zsh": PurePosixPath("share/zsh/site-functions/_archiver"),
    "fish": PurePosixPath("share/fish/vendor_completions.d/archiver.fish"),
}
_SCRIPTS = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}


def files_of(program: click.Group, root: Path, edition: Edition) -> Mapping[PurePosixPath, str]:
    """The text of each file by its path. `root` is the project's, which has the documents."""
    verbs = verbs_of(program)
    configuration = (root / "docs" / "configuration.md").read_text(encoding="utf-8")
    return {
        **{path: completion_of(program, shell) for shell, path in COMPLETION.items()},
        _PAGES / "man1" / "archiver.1": page_of_program(verbs, options_of(program), edition),
        **{_PAGES / "man1" / f"archiver-{verb.name}.1": page_of_verb(verb, verbs, edition) for verb in verbs},
        _PAGES / "man5" / "archiver.toml.5": page_of_account_file(configuration, edition),
    }


def completion_of(program: click.Group, shell: str) -> str:
    """What completes the program's lines in one of the shells of `COMPLETION`."""
    return _SCRIPTS[shell](verbs_of(program), options_of(program))
