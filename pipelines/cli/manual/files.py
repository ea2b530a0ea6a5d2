"""All files that are made from the verbs, each where it belongs below a prefix such as /usr."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import click

from pipelines.cli.manual.account_file import page_of_account_file
from pipelines.cli.manual.pages import Edition, page_of_program, page_of_verb
from pipelines.cli.manual.verbs import options_of, verbs_of

_PAGES = PurePosixPath("share/man")


def files_of(program: click.Group, root: Path, edition: Edition) -> Mapping[PurePosixPath, str]:
    """The text of each file by its path. `root` is the project's, which has the documents."""
    verbs = verbs_of(program)
    configuration = (root / "docs" / "configuration.md").read_text(encoding="utf-8")
    return {
        _PAGES / "man1" / "archiver.1": page_of_program(verbs, options_of(program), edition),
        **{_PAGES / "man1" / f"archiver-{verb.name}.1": page_of_verb(verb, verbs, edition) for verb in verbs},
        _PAGES / "man5" / "archiver.toml.5": page_of_account_file(configuration, edition),
    }
