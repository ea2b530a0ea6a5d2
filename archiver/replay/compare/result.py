"""What a comparison with a destination found."""

from __future__ import annotations

from msgspec import Struct, field

from archiver.mail.counts import counted

#: The difference of messages and folders that the destination does not have.
NOT_REPLAYED = "not replayed"


class Difference(Struct, frozen=True):
    """A difference between the destination and the archive. `destination_uid` is None if there is no copy. `next`
    says what to do, if a command can do anything."""

    folder: str
    uid: int | None
    destination_uid: int | None
    what: str
    expected: str
    found: str
    next: str = ""


class FolderCheck(Struct):
    """One folder: `verified` copies are as expected, `removed` are gone from the destination, and the flags of
    `changed` were changed by its user; that is not known of copies in a folder that need not be read again.
    `accepted` copies are altered or cut off as the user accepted them. `rewritten` were compared without the parts
    that the server rewrites; `refused` are messages that the destination did not take and whose loss was not
    accepted."""

    verified: int = 0
    differences: int = 0
    removed: int = 0
    changed: int = 0
    rewritten: int = 0
    refused: int = 0
    accepted: int = 0


class DestinationCheck(Struct):
    """The result, by folder name. `shown` is a digest of what the destination listed before its copies were
    compared, if it shows no change since, and nothing is left to do there."""

    deep: bool
    folders: dict[str, FolderCheck] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    shown: str | None = None

    def add_missing(self, name: str, count: int) -> None:
        """Add messages of a folder that are missing there, and that no comparison finds: the folder is not replayed
        by itself and no replayed one has them, or they were pruned from the source."""
        check = self.folders.setdefault(name, FolderCheck())
        check.differences += count
        if count:
            what = counted(count, "message")
            self.differences.append(Difference(name, None, None, NOT_REPLAYED, what, "none"))

    @property
    def exit_code(self) -> int:
        if self.differences:
            return 4
        return 3 if any(each.refused for each in self.folders.values()) else 0
