"""What an unknown mailbox holds, and whether anything may be sent there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from archiver.catalog.port import Catalog
from archiver.destination.folder_map.names import VIEWS
from archiver.destination.folder_map.not_ours import below, not_ours
from archiver.destination.port import DestinationReader
from archiver.errors import ConfigError, FolderNotFound, PermissionDenied
from archiver.facts.mailbox import DestinationFolders
from archiver.facts.replica import Address, UnknownMessage
from archiver.mail.content import message_id
from archiver.mail.dates import internaldate_seconds

#: A mailbox with up to this many messages may be a new one: providers send welcome messages.
WELCOME = 20

#: Up to this many messages of the archive may be in a new mailbox: somebody copied a few to try it out, or new mail
#: is already delivered to both servers.
HANDFUL = 5

_LOOKED_AT = 200  # messages
_LOOKED_INTO = 20  # folders


class ConfiguredDestination(Struct, frozen=True):
    """What an account file says about its destination: the address, the prefix that everything goes below, and
    whether other accounts may fill the same folders. `others` returns the other account files that name the same
    mailbox."""

    file: str
    address: Address
    prefix: str = ""
    shared: bool = False
    others: Callable[[], SharingFiles] = lambda: SharingFiles()


class SharingFiles(Struct, frozen=True):
    """Other account files that name the same mailbox: all `files`, and those `with_archive`, which may have filled
    it."""

    files: Sequence[str] = ()
    with_archive: Sequence[str] = ()


class MailboxContents(Struct, frozen=True):
    """What a mailbox holds, as counts: all its `messages`; the newest ones that were `looked_at`; of these, `ours`
    are also in the archive, and `alike` also have the size and INTERNALDATE of a message there. `ours` is None if
    there is no archive. `gone` messages were once there, as far as the UIDs show."""

    messages: int
    looked_at: int
    ours: int | None
    alike: int = 0
    gone: int = 0

    @property
    def is_ours(self) -> bool:
        """Whether this archive filled the mailbox. NOTE: a few common messages are not enough, since colleagues get
        the same mail, though mostly with another date or size."""
        return 2 * (self.ours or 0) > self.looked_at or 4 * self.alike > self.looked_at

    @property
    def was_filled(self) -> bool:
        """Whether an archive of this account may have filled it, so that sending again would undo deletions; if the
        user deleted much, few messages are left as evidence. A mailbox that never held more than a few messages has
        no deletions to undo."""
        if not self.ours:
            return False
        mostly = 2 * self.ours > self.looked_at
        return self.messages + self.gone > WELCOME or (mostly and max(self.ours, self.gone) > HANDFUL)

    @property
    def is_in_use(self) -> bool:
        """Whether the user has to confirm first that it is the right one."""
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
    destination: DestinationReader, listed: DestinationFolders, catalog: Catalog | None, prefix: str = ""
) -> MailboxContents:
    """Count what is in a mailbox, or below that prefix in it."""
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
    known = catalog.replicas.destinations
    ours = known.count_known(unclaimed) if unclaimed else 0
    return MailboxContents(
        messages=messages,
        looked_at=len(unclaimed),
        ours=ours,
        alike=min(ours, known.count_known(plain)) if ours else 0,
        gone=sum(max(0, status.uidnext - 1 - status.messages) for status, _ in told if status.uidnext),
    )


def require_unused(
    place: ConfiguredDestination,
    destination: DestinationReader,
    listed: DestinationFolders,
    catalog: Catalog | None,
) -> None:
    """Require a confirmation before anything is sent into a mailbox that is in use. NOTE: the whole mailbox counts,
    even if everything goes below a prefix, since it may be somebody else's. If other accounts of ours are meant to
    fill it, the user has said that it is not; then only a missing archive is possible.

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


def _in_use(place: ConfiguredDestination, inside: MailboxContents, others: SharingFiles) -> str:
    holds = f"{place.address} holds {inside}"
    if inside.ours is None:
        return (
            f"{holds}, and without an archive it is unknown whether these are the account's own: is it somebody "
            "else's mailbox?"
        )
    if not inside.ours:
        return f"{holds}: is it somebody else's mailbox?"
    holds += ", but this archive sent nothing there: "
    missing = "the archive that did is missing (is its disk mounted, is [archive] path right?)"
    if others.with_archive:
        names = " or ".join(others.with_archive[:2])
        return f"{holds}probably {names} did, which fills the same mailbox; or {missing}"
    return f"{holds}{missing}, or another program brought the mail, or new mail goes to both servers"


def _hint(inside: MailboxContents) -> str:
    if inside.ours:
        return (
            "nothing was sent; if this is the right archive, use --new-destination once: what is missing there is "
            "then sent, including what was deleted there"
        )
    return "nothing was sent; correct [destination], or use --new-destination once if it is the right mailbox"


def _unknown_messages(destination: DestinationReader, raws: Sequence[bytes]) -> Iterator[UnknownMessage]:
    """The newest messages of the largest folders."""
    share = max(WELCOME, _LOOKED_AT // max(1, min(len(raws), _LOOKED_INTO)))
    for raw in raws[:_LOOKED_INTO]:
        try:
            destination.open(raw, readonly=True)
        except (FolderNotFound, PermissionDenied):
            continue
        newest = set(destination.uids().newest(share))
        for attributes, header in destination.headers(newest, "MESSAGE-ID"):
            if attributes.uid in newest:
                arrived = internaldate_seconds(attributes.internaldate)
                yield UnknownMessage(message_id(header), attributes.size, arrived)
