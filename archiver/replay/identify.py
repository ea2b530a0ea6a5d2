"""Identifies a destination: whose mailbox it is, and what the archive knows about it. Nothing is changed there.

A destination is identified by its contents and not by its address: by our copies under their UIDs. A new address
may lead to a known mailbox; then the records of that mailbox apply. If the contents do not decide, the user has to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from archiver.catalog.port import Catalog
from archiver.destination.port import DestinationReader
from archiver.errors import ConfigError, FolderNotFound, PermissionDenied
from archiver.facts.mailbox import DestinationFolders
from archiver.facts.replica import Address, KnownDestination, ReplicaFolder
from archiver.mail.counts import counted
from archiver.mail.folder_names import decode_name, printable
from archiver.mail.model import Listed
from archiver.replay.contents import ConfiguredDestination, examine_contents, require_unused
from archiver.source.port import MailSource
from archiver.source.same_mailbox import (
    FOLDERS,
    NEWEST,
    MessageTraits,
    Resemblance,
    TraitsByUid,
    filled_of,
    resemblance,
    shown_by,
    suspects,
    traits_of,
)

IdentityAnswer = Literal["ask", "same", "new"]
"""What the user says about an unknown destination: nothing, that it is the mailbox that had another address before,
or that it is a new one."""


class Identification(Struct, frozen=True):
    """The number of a destination in the catalog, None if it is new. `address_known` is false if its address is not
    recorded yet. `distinct`: the user confirmed that it is not the source's mailbox, which is not recorded yet.
    `before` is the earlier address of a mailbox that is known under another one."""

    number: int | None
    address_known: bool = False
    distinct: bool = False
    before: Address | None = None


class DestinationIdentifier(Struct):
    """Identifies the destination of one account."""

    place: ConfiguredDestination
    catalog: Catalog
    answer: IdentityAnswer = "ask"

    def identify(self, destination: DestinationReader, listed: DestinationFolders) -> Identification:
        """Identify the destination from its listing and its newest messages.

        Raises:
            ConfigError: the user has to say what it is; nothing may be sent before.
            BackendError: it could not be read.
        """
        shown = shown_by(listed.listed)
        known = self.catalog.replicas.destinations.at(self.place.address)
        if known is None:
            return self._introduced(destination, listed, None)
        folders = self.catalog.replicas.folders.current(known.number)
        address_known = known.address.port is not None
        if not (address_known or folders):
            return self._introduced(destination, listed, known.number)
        ours = [raw for raw, folder in folders.items() if shown.get(raw) == folder.uidvalidity]
        seen = _without(filled_of(listed.listed), _with_views(listed, ours) if address_known else ())
        distinct = self._is_not_source(destination, seen, known.number)
        if self._is_another(destination, listed, known.number, folders, ours):
            return Identification(None, distinct=distinct)
        return Identification(known.number, address_known, distinct)

    def _introduced(
        self, destination: DestinationReader, listed: DestinationFolders, number: int | None
    ) -> Identification:
        """Identify one that was never filled under this address."""
        recognised = recognise(destination, listed.listed, self.catalog)
        known, before = recognised.known, self.catalog.replicas.destinations.with_history()
        if known is None and before and self.answer == "same":
            known = before[0]
        seen = _without(filled_of(listed.listed), _with_views(listed, recognised.ours))
        distinct = self._is_not_source(destination, seen, known.number if known else number)
        if known is not None:
            return Identification(known.number, distinct=distinct, before=known.address)
        if self.answer != "new":
            if before:
                raise self._unknown(before[0].address)
            require_unused(self.place, destination, listed, self.catalog)
        return Identification(number, distinct=distinct)

    # -- is it one that was met before -----------------------------------------------------------------------

    def _is_another(
        self,
        destination: DestinationReader,
        listed: DestinationFolders,
        number: int,
        folders: Mapping[bytes, ReplicaFolder],
        ours: Collection[bytes],
    ) -> bool:
        """Whether the address now leads to another mailbox. If no folder with copies is as we left it, the user may
        have cleaned up, or the server was rebuilt: then it still has mail of ours somewhere.

        Raises:
            ConfigError: it has none, and the user has to say which mailbox it is.
        """
        replicas = self.catalog.replicas
        if any(replicas.messages.newest(folders[raw].number, 1) for raw in ours):
            return False
        lost = {raw: folder for raw, folder in folders.items() if replicas.messages.newest(folder.number, 1)}
        if self.answer != "ask":
            return self.answer == "new" and bool(lost or (folders and not ours))
        # NOTE: the following run must record the answer, or it would be asked again. A run records the copies of a
        # folder that is gone, and opens a recreated one, but only if mail is mapped to it.
        shown, mapped = shown_by(listed.listed), {each.raw for each in replicas.folders.mapped(number).values()}
        hidden = {raw: folder for raw, folder in lost.items() if raw not in shown}
        if not hidden and mapped.isdisjoint(lost):
            return False
        if self._stands_unlisted(destination, hidden):
            return False
        inside = examine_contents(destination, listed, self.catalog)
        if inside.is_ours:
            return False
        what = f", but {inside}" if inside.messages else ": it is empty"
        problem = f"{self.place.address} shows nothing of what was sent there{what}"
        hint = (
            "nothing was sent; check where that host leads; if it is the same mailbox, use --same-destination once "
        )
        hint += (
            "(what was deleted there stays deleted); if it is another one, --new-destination (everything is sent)"
        )
        raise ConfigError(self.place.file, [problem], hint=hint)

    def _stands_unlisted(self, destination: DestinationReader, hidden: Mapping[bytes, ReplicaFolder]) -> bool:
        """Whether a folder without a listed status still exists as we left it: a LIST answer may be cut short."""
        if not (some := list(hidden.items())[:FOLDERS]):
            return False
        copies = {raw: copies_in(self.catalog, folder.number) for raw, folder in some}
        looks = destination.stat([(raw, copies[raw].keys()) for raw, _ in some])
        return any(
            look.uidvalidity == folder.uidvalidity
            or (not look.uidvalidity and resemblance(raw, copies[raw], look.seen).proven)
            for (raw, folder), look in zip(some, looks, strict=True)
            if look is not None
        )

    def _unknown(self, before: Address) -> ConfigError:
        problem = f"{self.place.address} does not show what was sent to {before} before"
        hint = "nothing was sent; if it is the same mailbox, use --same-destination once (its records are kept); "
        hint += "if it is another one, --new-destination (everything is sent)"
        return ConfigError(self.place.file, [problem], hint=hint)

    # -- is it the source ------------------------------------------------------------------------------------

    def _is_not_source(
        self, destination: DestinationReader, shown: Mapping[bytes, int], number: int | None
    ) -> bool:
        """Whether the user confirms now that it is not the source's mailbox, although it looks like it.

        Raises:
            ConfigError: it looks like the source's mailbox, and this was not confirmed.
        """
        if number is not None and self.catalog.replicas.destinations.is_distinct(number):
            return False
        epochs = self.catalog.account.epochs()
        known = {
            raw: epoch
            for raw, folder in self.catalog.account.folders().items()
            if (epoch := epochs.get(folder.number)) is not None and not epoch.other_source
        }
        pairs = suspects({raw: epoch.uidvalidity for raw, epoch in known.items()}, shown)
        found = _seen(destination, ((there, self._messages_of(known[raw].number)) for raw, there in pairs))
        if found.proven and self.answer != "new":
            raise one_mailbox(
                self.place.file, f"the destination, {self.place.address}, is the source's own mailbox", found
            )
        return found.proven

    def _messages_of(self, epoch: int) -> TraitsByUid:
        newest = self.catalog.messages.uids(epoch).newest(NEWEST)
        placements = self.catalog.messages.placements(epoch, uids=newest)
        return {each.uid: traits_of(each.message.attributes) for each in placements}


class Recognised(Struct, frozen=True):
    """The known destination that a mailbox is, by our copies in it; and those of its folders that need not be
    compared with the source, since they were ours when it was identified before. NOTE: before ports were recorded,
    destinations were not compared with the source."""

    known: KnownDestination | None = None
    ours: Sequence[bytes] = ()


def recognise(destination: DestinationReader, listed: Sequence[Listed], catalog: Catalog) -> Recognised:
    """Which of the destinations that were filled before this mailbox is."""
    best, found = Recognised(), Resemblance()
    for known in catalog.replicas.destinations.with_history():
        folders = catalog.replicas.folders.current(known.number)
        pairs = suspects({raw: each.uidvalidity for raw, each in folders.items()}, filled_of(listed))
        seen = _seen(destination, ((there, copies_in(catalog, folders[raw].number)) for raw, there in pairs))
        if seen.proven and seen.same > found.same:
            asked = known.address.port is not None
            best, found = Recognised(known, [there for _, there in pairs] if asked else ()), seen
    return best


def _without(shown: Mapping[bytes, int], raws: Collection[bytes]) -> dict[bytes, int]:
    return {raw: uidvalidity for raw, uidvalidity in shown.items() if raw not in raws}


def _with_views(listed: DestinationFolders, ours: Collection[bytes]) -> Collection[bytes]:
    """Our folders, and all others if All Mail is one of ours: what they show is in it."""
    views = {each.folder.raw for each in listed.listed if each.folder.special_use == "\\all"}
    return {each.folder.raw for each in listed.listed} if views & set(ours) else ours


def one_mailbox(file: str, problem: str, proof: Resemblance) -> ConfigError:
    """The error that source and destination are one mailbox: the evidence, and what to do."""
    names = [f'"{printable(decode_name(raw))}"' for raw in proof.folders[:3]]
    where = " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
    have = "has" if proof.same == 1 else "have"
    text = f"{problem}: {counted(proof.same, 'message')} in {where} {have} the same UIDs, sizes and dates at both"
    hint = "nothing was changed; correct host and user of [source] or [destination], or use --new-destination once "
    hint += "if they are two mailboxes that another program made equal (dsync, a copied disk)"
    return ConfigError(file, [text], hint=hint)


def copies_in(catalog: Catalog, folder: int) -> TraitsByUid:
    """The newest copies in a folder of a destination, as it showed them."""
    newest = catalog.replicas.messages.newest(folder, NEWEST)
    return {
        replica.uid: MessageTraits(replica.size, replica.message.arrived if replica.dated else None)
        for replica in newest
    }


def _seen(destination: DestinationReader, expected: Iterable[tuple[bytes, TraitsByUid]]) -> Resemblance:
    """How far a destination shows the expected messages, in the first few folders that have any."""
    some: list[tuple[bytes, TraitsByUid]] = []
    for raw, traits in expected:
        if traits:
            some.append((raw, traits))
        if len(some) == FOLDERS:
            break
    if not some:
        return Resemblance()
    looks = destination.stat([(raw, traits.keys()) for raw, traits in some])
    found = (
        resemblance(raw, traits, look.seen)
        for (raw, traits), look in zip(some, looks, strict=True)
        if look is not None
    )
    return sum(found, Resemblance())


# -- the source ----------------------------------------------------------------------------------------------


def like_destination(
    source: MailSource, listed: Sequence[Listed], catalog: Catalog, destination: int
) -> Resemblance:
    """How far the source shows our own copies at that destination, because its host name now leads there. A folder
    whose UIDVALIDITY the archive knew before the destination showed it belongs to the source."""
    folders = catalog.replicas.folders.current(destination)
    shown = filled_of(listed)
    pairs = suspects({raw: folder.uidvalidity for raw, folder in folders.items()}, shown)
    if not pairs:
        return Resemblance()
    own = catalog.replicas.destinations.known_before(destination)
    fresh = [(raw, here) for raw, here in pairs if shown[here] not in own]
    expected = ((here, copies_in(catalog, folders[raw].number)) for raw, here in fresh)
    return _read(source, listed, expected)


def alike(
    source: MailSource, at_source: Sequence[Listed], destination: DestinationReader, shown: Mapping[bytes, int]
) -> Resemblance:
    """How far a source and these folders of a destination show the same messages, regardless of records."""
    folders = {each.folder.raw: each.folder for each in at_source}
    expected: list[tuple[bytes, TraitsByUid]] = []
    for here, there in suspects(filled_of(at_source), shown):
        if len(expected) < FOLDERS:
            try:
                source.open(folders[here])
                newest = source.uids().newest(NEWEST)
                expected.append((there, {each.uid: traits_of(each) for each in source.scan(newest)}))
            except (FolderNotFound, PermissionDenied):
                continue
    return _seen(destination, expected)


def alike_if_new(
    source: MailSource,
    at_source: Sequence[Listed],
    destination: DestinationReader,
    there: DestinationFolders,
    catalog: Catalog | None,
) -> Resemblance:
    """The same for a destination under a new address, without the folders that are known as ours."""
    ours = recognise(destination, there.listed, catalog).ours if catalog is not None else ()
    return alike(source, at_source, destination, _without(filled_of(there.listed), ours))


def _read(
    source: MailSource, listed: Sequence[Listed], expected: Iterable[tuple[bytes, TraitsByUid]]
) -> Resemblance:
    folders = {each.folder.raw: each.folder for each in listed}
    found, looked_into = Resemblance(), 0
    for raw, traits in expected:
        if not traits:
            continue
        try:
            source.open(folders[raw])
            found += resemblance(raw, traits, source.scan(traits.keys()))
        except (FolderNotFound, PermissionDenied):
            continue
        looked_into += 1
        if looked_into == FOLDERS:
            break
    return found
