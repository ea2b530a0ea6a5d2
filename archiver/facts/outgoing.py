"""Messages on their way to a destination: to be sent, perhaps sent, taken for unsent, come late, refused."""

from __future__ import annotations

from msgspec import Struct

from archiver.facts.replica import MessageKey
from archiver.mail.model import Flags, Placement, StoredMessage


class Outgoing(Struct, frozen=True):
    """A message of the archive that is missing in a replica folder. If the placement has flags of a past moment,
    `followed` are its present flags, and only later changes are replayed. `restored`: somebody asked for it, so its
    replica stays when its message vanishes."""

    epoch: int
    placement: Placement
    followed: Flags | None = None
    restored: bool = False

    @property
    def key(self) -> MessageKey:
        return self.epoch, self.placement.uid

    @property
    def message(self) -> StoredMessage:
        return self.placement.message

    @property
    def present(self) -> bool:
        """False for a message that vanished at the source."""
        return self.placement.present

    @property
    def comes_back(self) -> bool:
        """Whether its replica is one that the user asked for, whatever the source has."""
        return self.restored or not self.present


class Intent(Struct, frozen=True):
    """A message that was about to be appended and whose outcome is not recorded. Its replica, if there is one, has
    at least the UID `uidnext`."""

    outgoing: Outgoing
    uidnext: int
    at: str


class Watch(Struct, frozen=True):
    """Since when a folder is watched for what a run before that one was sending: `began` on that `clock`."""

    clock: str
    began: float


class Attempt(Struct, frozen=True):
    """A message that was taken for unsent `times` times and has a replica now. If another one of it comes late,
    that has at least the UID `uidnext`, one of `sizes`, and, if the destination keeps dates (`dated`), the
    message's INTERNALDATE. `flags` are those that the replica showed. `at` is when it was last taken for unsent;
    `silent`: the server did not answer at that time."""

    outgoing: Outgoing
    uidnext: int
    times: int
    sizes: frozenset[int]
    dated: bool
    flags: Flags
    at: str
    silent: bool


class LateTwin(Struct, frozen=True):
    """A message of ours that came late, next to the replica with the UID `copy`, None if that is gone. `certain`:
    only we can have stored it."""

    uid: int
    key: MessageKey
    copy: int | None
    flags: Flags
    certain: bool


class Refused(Struct, frozen=True):
    """A message that a destination refused, for the report and for another try."""

    folder: str
    target: int
    key: MessageKey
    refusal: str
    reason: str
    server_reply: str | None
    date: str | None
    subject: str | None
    tries: int
    accepted: bool
