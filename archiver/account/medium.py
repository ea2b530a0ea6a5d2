"""What can be said of where an account's archive lies, from its account file alone: on a disk, or in a bucket.

Everything that differs between the two and is not a store's own business is a fact here, so that nobody else asks
which of them it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from archiver.config.load import Settings
from archiver.storage.bucket.objects import SPOOL


@dataclass(frozen=True, slots=True)
class Medium:
    """`name` is where the archive lies, for people: a path or a URL. `wanted` is what has to be in order so that it
    is found ("disk mounted"). `is_remote`: messages and journal lie on another machine. Then reading them costs
    requests, they need no room here, and everything that is local can be made again from them.

    `has_directories`: each folder has a directory of its own. `leaves_garbage`: what killed runs leave there is
    removed by `archiver gc`, not by the next run. `own_directory` exists as soon as an archive was begun."""

    name: str
    wanted: str
    is_remote: bool
    has_directories: bool
    leaves_garbage: bool
    own_directory: Path


def medium_of(settings: Settings) -> Medium:
    """Where the account's archive lies; nothing is opened or looked at."""
    path, s3 = settings.archive.path, settings.archive.s3
    if s3 is None:
        return Medium(
            name=os.fspath(path),
            wanted="disk mounted",
            is_remote=False,
            has_directories=True,
            leaves_garbage=False,
            own_directory=path / "journal",
        )
    return Medium(
        name="/".join(filter(None, (f"s3://{s3.bucket}", s3.prefix, settings.account))),
        wanted="bucket named, with the right prefix",
        is_remote=True,
        has_directories=False,
        leaves_garbage=True,
        own_directory=path / SPOOL,  # where mail for the bucket is spooled
    )
