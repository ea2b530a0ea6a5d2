"""How much mail a destination has that this account neither appended nor adopted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from archiver.destination.folder_map.escapes import BETWEEN
from archiver.destination.folder_map.names import VIEWS, DestinationNames
from archiver.facts.mailbox import DestinationFolders
from archiver.mail.model import Folder, FolderStatus

#: Folders whose mail is not in All Mail.
_APART = frozenset({"\\junk", "\\trash"})


class NotOurs(Struct, frozen=True):
    """Messages in all folders, and how many of them are below the account's prefix. `untold` is the number of
    folders without a message count."""

    messages: int
    below_prefix: int
    untold: int = 0


OurCopies = Mapping[bytes, tuple[int, int]]
"""UIDVALIDITY and number of our copies in each folder of a destination, by its raw name."""


def not_ours(listed: DestinationFolders, held: OurCopies, prefix: str) -> NotOurs:
    """Count what the folders have beyond our copies.

    NOTE: Gmail also shows messages of other folders in All Mail. Such a view counts only for what it shows beyond
    all of these; or, if our copies are in it, the other folders show them again, and do not count.
    """
    is_below = below(listed, prefix)
    told = [(each.folder, each.status) for each in listed.listed if each.folder.selectable and each.status]
    own = [(folder, status) for folder, status in told if not folder.attributes & VIEWS]
    beyond = [(folder, _beyond(status, held.get(folder.raw))) for folder, status in own]
    in_folders = sum(status.messages for _, status in own)
    views = [(folder, status) for folder, status in told if folder.attributes & VIEWS]
    in_views = max((status.messages for _, status in views), default=0)
    filled = [_beyond(status, held[folder.raw]) for folder, status in views if held.get(folder.raw, (0, 0))[1]]
    if filled:
        apart = sum(count for folder, count in beyond if folder.attributes & _APART)
        return NotOurs(max(filled) + apart, sum(count for folder, count in beyond if is_below(folder)))
    return NotOurs(
        messages=sum(count for _, count in beyond) + max(0, in_views - in_folders),
        below_prefix=sum(count for folder, count in beyond if is_below(folder)),
        untold=sum(each.status is None for each in listed.listed if each.folder.selectable),
    )


def _beyond(status: FolderStatus, held: tuple[int, int] | None) -> int:
    """The number of our copies; 0 under another UIDVALIDITY, until they are matched again."""
    replicas = held[1] if held is not None and held[0] == status.uidvalidity else 0
    return max(0, status.messages - replicas)


def below(listed: DestinationFolders, prefix: str) -> Callable[[Folder], bool]:
    """Returns a test of whether a folder is an account's prefix or below it."""
    names = DestinationNames(listed, ())
    if (place := names.meant(prefix)) is None:
        return lambda folder: True
    top = place.path if listed.delimiter else (place.path[0] + BETWEEN,)

    def is_below(folder: Folder) -> bool:
        path = names.path_of(folder.raw)
        if listed.delimiter:
            return path[: len(top)] == top
        return path == place.path or path[0].startswith(top[0])

    return is_below
