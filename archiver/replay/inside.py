"""What is in a mailbox of which the archive knows nothing, and whether anything may be sent there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from archiver.copies import Address, DestinationFolders, Stranger
from archiver.destination_ports import MailDestination
from archiver.errors import ConfigError, FolderNotFound, PermissionDenied
from archiver.folder_map.destination_names import VIEWS
from archiver.folder_map.not_ours import below, not_ours
from archiver.message import internaldate_seconds, message_id
from archiver.ports import Catalog

#: A mailbox with so many messages may be a new one: providers greet their users.
WELCOME = 20

_LOOKED_AT = 200  # of the messages in a mailbox that is full
_LOOKED_INTO = 20


@dataclass(frozen=True, slots=True)
class Place:
    """What an account's file says of its destination: the address, and the prefix that everything goes below.
    `others_fill_it` tells whether other accounts of ours are meant to fill the same mailbox."""

    file: str
    address: Address
    prefix: str = ""
    others_fill_it: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Inside:
    """What a mailbox holds: so many `messages`; of the newest, which were `looked_at`, `ours` are in the archive,
    too."""

    messages: int
    looked_at: int
    ours: int

    def __str__(self) -> str:
        if not self.ours:
            return f"{self.messages:,} messages that this archive does not know"
        if self.ours == self.messages:
            return f"{self.messages:,} messages, all of which are in this archive, too"
        if self.looked_at == self.messages:
            return f"{self.messages:,} messages, of which {self.ours:,} are in this archive, too"
        return (
            f"{self.messages:,} messages ({self.ours:,} of the newest {self.looked_at:,} are in this archive, too)"
        )


def look_inside(
    destination: MailDestination, listed: DestinationFolders, catalog: Catalog | None, prefix: str = ""
) -> Inside:
    """What is in a mailbox, or below that prefix in it. Where there is no archive yet, nothing is the archive's."""
    is_below = below(listed, prefix)
    filled = [
        (each.status.messages, each.folder.raw)
        for each in listed.listed
        if each.status and each.status.messages and each.folder.selectable
        if is_below(each.folder) and not each.folder.attributes & VIEWS
    ]
    strangers = list(_strangers(destination, [raw for _, raw in sorted(filled, reverse=True)]))
    found = not_ours(listed, {}, prefix)
    return Inside(
        messages=found.below_prefix if prefix else found.messages,
        looked_at=len(strangers),
        ours=catalog.destinations().count_known(strangers) if catalog and strangers else 0,
    )


def refuse_full(
    place: Place, destination: MailDestination, listed: DestinationFolders, catalog: Catalog | None
) -> None:
    """Nothing is sent into a mailbox that somebody uses before a person said so. NOTE: the whole mailbox counts,
    also where everything goes below a prefix: it may be somebody else's. Where others of our accounts are meant to
    fill it, a person said that it is not; then only an archive may be missing.

    Raises:
        ConfigError: it is in use.
    """
    inside = look_inside(destination, listed, catalog)
    if inside.messages <= WELCOME and not inside.ours:
        return
    if place.others_fill_it():
        inside = look_inside(destination, listed, catalog, place.prefix)
        if 2 * inside.ours <= inside.looked_at:
            return
    if inside.ours:
        problem = f"{place.address} holds {inside}, but this archive sent nothing there: the archive that did is "
        problem += "missing (is its disk mounted, is [archive] path right?), or another program sent it"
        hint = (
            "nothing was sent; give --new-destination once if this is the right archive: what is missing there is "
        )
        hint += "then sent, also what was deleted there"
    else:
        problem = f"{place.address} holds {inside}: is it somebody else's mailbox?"
        hint = "nothing was sent; correct [destination], or give --new-destination once if it is the right mailbox"
    raise ConfigError(place.file, [problem], hint=hint)


def _strangers(destination: MailDestination, raws: Sequence[bytes]) -> Iterator[Stranger]:
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
                yield Stranger(message_id(header), attributes.size, arrived)
