"""Which folders are replayed by themselves: Gmail shows a message in All Mail and in the folder of each label.

`[replay] labels` decides. Spam and Trash are the only folders whose mail is not in All Mail.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from archiver.destination.folder_map.names import ALL
from archiver.errors import ConfigError
from archiver.mail.model import Folder

LabelsAs = Literal["folders", "labels", "all-mail"]
"""What becomes of labels: each folder is replayed; All Mail with its labels, and what it does not have; All Mail
alone."""

_BESIDE = frozenset({"\\junk", "\\trash"})
_REPLAYED = {"labels": _BESIDE | {ALL}, "all-mail": frozenset({ALL})}


def is_replayed(folder: Folder, labels: LabelsAs) -> bool:
    """Whether a folder is replayed by itself. What was imported from files is in no other folder."""
    return labels == "folders" or folder.is_imported or bool(folder.attributes & _REPLAYED[labels])


def is_in_all_mail(folder: Folder) -> bool:
    """Whether All Mail has the messages of a folder, too."""
    return not folder.attributes & _BESIDE


def require_all_mail(folders: Iterable[Folder], labels: LabelsAs) -> None:
    """Raise ConfigError if nothing could be replayed, because All Mail is not among the account's folders."""
    known = [each for each in folders if not each.is_imported]
    if labels == "folders" or not known or any(ALL in each.attributes for each in known):
        return
    problem = f'labels = "{labels}" needs All Mail, and no folder that is archived has the attribute \\All'
    hint = (
        'in the settings of Gmail, let All Mail "Show in IMAP", and do not exclude it in [folders]; '
        'or write labels = "folders"'
    )
    raise ConfigError("[replay]", [problem], hint=hint)
