"""What is in a mailbox of which the archive knows nothing, and whether anything may be sent there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from archiver.catalog.port import Catalog
from archiver.destination.folder_map.names import VIEWS
from archiver.destination.folder_map.not_ours import below, not_ours
from archiver.destination.port import MailDestination
from archiver.errors import ConfigError, FolderNotFound, PermissionDenied
from archiver.facts.replica import Address, DestinationFolders, UnknownMessage
from archiver.mail.content import internaldate_seconds, message_id

#: A mailbox with so many messages may be a new one: providers greet their users.
WELCOME = 20

#: So many messages of the archive may be in a new mailbox, too: somebody tried a copy, or new mail is delivered to
#: both servers already.
HANDFUL = 5

_LOOKED_AT = 200  # of the messages in a mailbox that is full
_LOOKED_INTO = 20


@dataclass(frozen=True, slots=True)
class Place:
    """What an account's file says of its destination: the address, the prefix that everything goes below, and
    whether others may fill the same folders. `others` tells which account files beside it name that mailbox; and,
    of these, which have an archive, so that they may have filled it."""

    file: str
    address: Address
    prefix: str = ""
    shared: bool = False
    others: Callable[[], SharingFiles] = lambda: SharingFiles()


@dataclass(frozen=True, slots=True)
class SharingFiles:
    """The account files that name the same mailbox: `files`, and those `with_archive`."""

    files: Sequence[str] = ()
    with_archive: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class MailboxContents:
    """What a mailbox holds: so many `messages`; of the newest, which were `looked_at`, `ours` are in the archive,
    too, and as many of these as `alike` have size and INTERNALDATE of such a message. `ours` is None where there is
    no archive. So many messages were once there and are `gone`, as far as the UIDs tell."""

    messages: int
    looked_at: int
    ours: int | None
    alike: int = 0
    gone: int = 0

    @property
    def is_ours(self) -> bool:
        """Whether it is a mailbox that this archive filled. NOTE: a few messages in common are not enough, since
        colleagues get the same mail, though mostly with another date or size."""
        return 2 * (self.ours or 0) > self.looked_at or 4 * self.alike > self.looked_at

    @property
    def was_filled(self) -> bool:
        """Whether an archive of this account may have filled it, so that to send again is to undo deletions: when
        a user deleted much, little is left to tell. Nothing is to be undone in a mailbox that never held more than
        a few messages."""
        if not self.ours:
            return False
        mostly = 2 * self.ours > self.looked_at
        return self.messages + self.gone > WELCOME or (mostly and max(self.ours, self.gone) > HANDFUL)

    @property
    def is_in_use(self) -> bool:
        """Whether a person has to say first that it is the right one."""
        return self.messages > WELCOME or self.was_filled

    def __str__(self) -> str:
        some = f"{self.messages:,} {'message' if self.messages == 1 else 'messages'}"
        if self.ours is None:
            return some
        if not self.ours:
            return f"{some} that this archive does not know"
        if self.ours == self.messages:
            return f"{some} that {'is' if self.messages == 1 else 'are all'} in this archive, too"
        are = f"{self.ours:,} {'is' if self.ours == 1 else 'are'}"
        if self.looked_at == self.messages:
            return f"{some}, of which {are} in this archive, too"
        return f"{some} ({self.ours:,} of the newest {self.looked_at:,} {are.split()[1]} in this archive, too)"


def examine_contents(
    destination: MailDestination, listed: DestinationFolders, catalog: Catalog | None, prefix: str = ""
) -> MailboxContents:
    """What is in a mailbox, or below that prefix in it."""
    is_below = below(listed, prefix)
    told = [
        (each.status, each.folder.raw)
        for each in listed.listed
        if each.status and each.folder.selectable
        if is_below(each.folder) and not each.folder.attributes & VIEWS
    ]
    filled = sorted(((status.messages, raw) for status, raw in told if status.messages), reverse=True)
    found = not_ours(listed, {}, prefix)
    messages = found.below_prefix if prefix else found.messages
    if catalog is None:
        return MailboxContents(messages, 0, None)
    unclaimed = list(_unknown_messages(destination, [raw for _, raw in filled]))
    plain = [replace(each, message_id=None) for each in unclaimed]
    known = catalog.destinations()
    ours = known.count_known(unclaimed) if unclaimed else 0
    return MailboxContents(
        messages=messages,
        looked_at=len(unclaimed),
        ours=ours,
        alike=min(ours, known.count_known(plain)) if ours else 0,
        gone=sum(max(0, status.uidnext - 1 - status.messages) for status, _ in told if status.uidnext),
    )


def require_unused(
    place: Place, destination: MailDestination, listed: DestinationFolders, catalog: Catalog | None
) -> None:
    """Nothing is sent into a mailbox that somebody uses before a person said so. NOTE: the whole mailbox counts,
    also where everything goes below a prefix: it may be somebody else's. Where others of our accounts are meant to
    fill it, a person said that it is not; then only an archive may be missing.

    Raises:
        ConfigError: it is in use.
    """
    inside = examine_contents(destination, listed, catalog)
    if not inside.is_in_use:
        return
    others = place.others()
    if place.shared or others.files:
        if place.shared and others.with_archive:
            return
        inside = examine_contents(destination, listed, catalog, place.prefix)
        if not inside.was_filled:
            return
    raise ConfigError(place.file, [_in_use(place, inside, others)], hint=_hint(inside))


def _in_use(place: Place, inside: MailboxContents, others: SharingFiles) -> str:
    holds = f"{place.address} holds {inside}"
    if inside.ours is None:
        return (
            f"{holds}, and without an archive it cannot be told whether these are the account's own: is it "
            "somebody else's mailbox?"
        )
    if not inside.ours:
        return f"{holds}: is it somebody else's mailbox?"
    holds += ", but this archive sent nothing there: "
    missing = "the archive that did is missing (is its disk mounted, is [archive] path right?)"
    if others.with_archive:
        names = " or ".join(others.with_archive[:2])
        return f"{holds}probably {names} did, which goes to the same mailbox; or {missing}"
    return f"{holds}{missing}, or something else brought it: another program, or new mail goes to both servers"


def _hint(inside: MailboxContents) -> str:
    if inside.ours:
        return (
            "nothing was sent; give --new-destination once if this is the right archive: what is missing there is "
            "then sent, also what was deleted there"
        )
    return "nothing was sent; correct [destination], or give --new-destination once if it is the right mailbox"


def _unknown_messages(destination: MailDestination, raws: Sequence[bytes]) -> Iterator[UnknownMessage]:
    """The newest messages of its largest folders."""
    share = max(WELCOME, _LOOKED_AT // max(1, min(len(raws), _LOOKED_INTO)))
    for raw in raws[:_LOOKED_INTO]:
        try:
            destination.open(raw, readonly=True)
        except (FolderNotFound, PermissionDenied):
            continue
        newest = set(sorted(destination.uids())[-share:])
        for attributes, header in destination.headers(newest, "MESSAGE-ID"):
            if attributes.uid in newest:
                arrived = internaldate_seconds(attributes.internaldate)
                yield UnknownMessage(message_id(header), attributes.size, arrived)
