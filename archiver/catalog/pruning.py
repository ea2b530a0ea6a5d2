"""What a catalog knows about messages that were removed from the source because the archive has them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from msgspec import Struct

from archiver.mail.uidset import UidSet


class BegunPrune(Struct, frozen=True):
    """A message that was about to be removed `at` that time, with no outcome known. `marked`: it had \\Deleted
    before."""

    at: str
    marked: bool


class Pruned(Struct, frozen=True):
    """How many messages were removed, the last one at that time; None if there was none. Of `unknown` it is not
    known whether they were."""

    messages: int
    last: str | None
    unknown: int


class Unsent(Struct, frozen=True):
    """How many messages of a folder that we removed from the source a destination never had: those that are
    `waiting` to be sent, and those that it `refused`."""

    waiting: int
    refused: int


class Prunes(Protocol):
    """Messages that we removed from the source, or were about to."""

    def begun(self, epoch: int) -> Mapping[int, BegunPrune]:
        """The messages of an epoch, by UID, whose outcome is not known."""

    def unsettled(self) -> Collection[int]:
        """The epochs that have such messages."""

    def done(self, epoch: int) -> UidSet:
        """The messages of an epoch that we removed."""

    def unlisted(self) -> Mapping[int, UidSet]:
        """By epoch, the messages that we removed and that are in no list yet: something else than a prune saw that
        they are gone."""

    def folders(self) -> Collection[int]:
        """The folders, by number, from which we removed messages, or were about to."""

    def unsent(self, destination: int | None) -> Mapping[int, Unsent]:
        """How many messages of each folder, by its number, we removed and this destination never had, where there
        are some: nobody deleted them, so they are to be there. None: a destination that is not known yet."""

    def tally(self) -> Pruned:
        """How many of all epochs."""
