"""Which of the messages that somebody asks for are sent, and why others are not. Pure decisions.

A message is sent if it is gone, and if it was not brought back before. What is gone is decided by octets: what was
only moved to another folder is still there. What was brought back before and is away again was moved or deleted by
the mailbox's user, so it comes back only if that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from archiver.facts.known import KnownFolder
from archiver.facts.outgoing import Outgoing
from archiver.facts.query import Found
from archiver.facts.replica import MessageKey
from archiver.facts.restored import Restored
from archiver.mail.model import Digest, Flags

Standing = Literal["wanted", "there", "restored", "removed"]
"""A message is to be sent; or it is still there; or it was brought back before, and is there or was removed."""


class Candidate(Struct, frozen=True):
    """A message that may be brought back: where the archive has it, its folder, and the flags that it had."""

    found: Found
    folder: KnownFolder
    flags: Flags

    @property
    def key(self) -> MessageKey:
        return self.found.key

    @property
    def digest(self) -> Digest:
        return self.found.placement.digest

    @property
    def outgoing(self) -> Outgoing:
        """The message as it is sent. Its flags are not followed afterwards; \\Deleted would remove it again."""
        place = self.found.placement
        flags = frozenset(flag for flag in self.flags if flag.lower() != "\\deleted")
        sent = place if flags == place.flags else place.with_flags(flags)  # there may be many
        return Outgoing(self.key[0], sent, followed=place.flags, restored=True)


class RestoreChoice(Struct, frozen=True):
    """A message that was asked for, and what is to be done about it. `there` are the folders that still have it,
    for people; `before` is what became of it when it was brought back."""

    candidate: Candidate
    standing: Standing
    there: tuple[str, ...] = ()
    before: Restored | None = None


class Wishes(Struct, frozen=True):
    """What was asked for. `also_present`: also what is still there, unless it is in its very folder and goes there
    (`in_place`). `again`: also what was brought back and is away again, which shows when its folder was `checked`.
    """

    also_present: bool = False
    again: bool = False
    in_place: bool = False
    checked: bool = False

    @property
    def doubts(self) -> bool:
        """Whether what is recorded as brought back may be away again."""
        return self.again and not self.checked


def distinct(candidates: Iterable[Candidate], made: Collection[bytes] = ()) -> list[Candidate]:
    """Each message once for each folder: of equal octets in a folder the newest ones. What lies in a folder that an
    earlier restore `made` there counts only if it is nowhere else."""
    newest: dict[tuple[int, Digest], Candidate] = {}
    for each in candidates:
        known = newest.setdefault((each.folder.number, each.digest), each)
        if (each.found.gone_at is None, each.key) > (known.found.gone_at is None, known.key):
            newest[each.folder.number, each.digest] = each
    elsewhere = {each.digest for each in newest.values() if each.folder.folder.raw not in made}
    return [each for each in newest.values() if each.folder.folder.raw not in made or each.digest not in elsewhere]


def choose(
    candidates: Sequence[Candidate],
    wishes: Wishes,
    there: Callable[[Candidate], Mapping[str, bool]],
    before: Mapping[MessageKey, Restored],
) -> list[RestoreChoice]:
    """Decide about each candidate, in their order. `there` gives the names of the folders that still have its
    octets, and whether that is the one to which it would go in place; `before` is what earlier restores did."""
    return [_chosen(each, wishes, there(each), before.get(each.key)) for each in candidates]


def _chosen(
    candidate: Candidate, wishes: Wishes, there: Mapping[str, bool], before: Restored | None
) -> RestoreChoice:
    if before is not None and not before.removed and not wishes.doubts:
        return RestoreChoice(candidate, "restored", before=before)
    in_its_folder = wishes.in_place and any(there.values())
    if there and (in_its_folder or not wishes.also_present):
        return RestoreChoice(candidate, "there", tuple(sorted(there)), before)
    if before is not None and not wishes.again:
        return RestoreChoice(candidate, "removed", before=before)
    return RestoreChoice(candidate, "wanted", before=before)
