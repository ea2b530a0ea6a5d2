"""Account files in the same folders that the command line does not name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from archiver.account.sharing import Sharing, sharing_among
from archiver.config.load import account_files, load_account
from archiver.config.settings import Settings
from archiver.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Account files, and those that have mistakes and so may say anything."""

    settings: tuple[Settings, ...] = ()
    wrong: tuple[Path, ...] = ()


def neighbours_of(files: Iterable[Path]) -> Neighbours:
    """All account files in the folders of these, without these.

    NOTE: a folder is the one that the file was named in: a link is an account of its own, where the link lies.
    """
    known = {file.parent.resolve() / file.name for file in files}
    found: list[Settings] = []
    wrong: list[Path] = []
    for folder in sorted({file.parent for file in known}):
        try:
            beside = [file for file in account_files([folder]) if file not in known]
        except ConfigError:  # a folder that cannot be listed
            wrong.append(folder)
            continue
        for file in beside:
            try:
                found.append(load_account(file))
            except ConfigError:
                wrong.append(file)
    return Neighbours(tuple(found), tuple(wrong))


def sharing_of(accounts: Sequence[Settings]) -> Mapping[Path, Sharing]:
    """What accounts of one command share with each other and with their neighbours, by their files. A neighbour
    whose file has mistakes is passed over; it is not replayed either until they are corrected."""
    return sharing_among(accounts, neighbours_of(each.file for each in accounts).settings)
