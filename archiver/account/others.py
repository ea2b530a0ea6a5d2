"""The other accounts that an account may meet: their files in the same folders, and, at its destination, their
catalogs. All of it is only read."""

from __future__ import annotations

import fcntl
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from archiver.account.medium import catalog_place, medium_of
from archiver.account.sharing import Mailbox, Sharing, fill_one, mailbox, mailbox_of, named, sharing_among
from archiver.config.fleet.files import Chosen, find_accounts
from archiver.config.layers import KnownDefaults, defaults_of
from archiver.config.load import load_account, written_destination
from archiver.config.settings import Settings
from archiver.control.run import RunControl
from archiver.errors import ArchiverError, ConfigError, IntegrityError
from archiver.events import Noted
from archiver.facts.replica import Replica, ReplicaFolder
from archiver.mail.folder_names import decode_name, printable
from archiver.mail.model import Digest
from archiver.replay.context import DeletionBlock

_TURN_SECONDS = 0.5

_SEGMENT = re.compile(r"(\d{8,})-.+\.jsonl\.gz")


class Neighbours(Struct, frozen=True):
    """Account files, and those that have mistakes and so may say anything."""

    settings: tuple[Settings, ...] = ()
    wrong: tuple[Path, ...] = ()


def neighbours_of(files: Iterable[Path]) -> Neighbours:
    """All account files of the fleets of these, without these: those in their folders and below, and where folders
    above have defaults for them, those below the highest such folder.

    NOTE: a folder is the one that the file was named in: a link is an account of its own, where the link lies.
    """
    known = {file.parent.resolve() / file.name for file in files}
    found: list[Settings] = []
    defaults = KnownDefaults()
    fleet = find_accounts(Chosen(tuple(sorted({_fleet_of(file.parent) for file in known}))))
    wrong = [Path(problem) for problem in fleet.problems]  # folders that cannot be listed
    for file in fleet.files:
        if file in known:
            continue
        try:
            found.append(load_account(file, defaults))
        except ConfigError:
            wrong.append(file)
    return Neighbours(tuple(found), tuple(wrong))


def _fleet_of(folder: Path) -> Path:
    try:
        return defaults_of(folder).top
    except ConfigError:  # its accounts cannot be loaded either
        return folder


def sharing_of(accounts: Sequence[Settings]) -> Mapping[Path, Sharing]:
    """What accounts of one command share with each other and with their neighbours, by their files. A neighbour
    whose file has mistakes is passed over; it is not replayed either until they are corrected."""
    return sharing_among(accounts, neighbours_of(each.file for each in accounts).settings)


class AccountsBeside:
    """Implements `OtherAccounts` for one account: those of the fleet to which its file belongs, and `more` files
    that the same command works on. Files elsewhere, and archives on other machines, are not known here."""

    def __init__(self, settings: Settings, more: Iterable[Path] = ()) -> None:
        self._settings = settings
        self._more = tuple(more)

    @cached_property
    def _beside(self) -> Neighbours:
        found = neighbours_of([self._settings.file])
        known = {self._settings.file, *(each.file for each in found.settings), *found.wrong}
        settings, wrong = list(found.settings), list(found.wrong)
        for file in self._more:
            if file not in known:
                try:
                    settings.append(load_account(file))
                except ConfigError:
                    wrong.append(file)
        return Neighbours(tuple(settings), tuple(wrong))

    @contextmanager
    def turn(self, control: RunControl) -> Iterator[None]:
        """Hold the mailbox for the block, and wait until no other account of the fleet does, whichever command
        fills it: two at once would both send the mail that they have in common.

        NOTE: what is locked is the first of their account files, which is there for all of them and which nobody
        has to be able to write. The kernel's lock ends with its process.
        """
        meeting = [each.file for each in self._beside.settings if fill_one(self._settings, each)]
        first = min([self._settings.file, *meeting], key=os.path.realpath)
        descriptor = os.open(first, os.O_RDONLY | os.O_CLOEXEC)
        try:
            is_noted = False
            while not _locked(descriptor):
                if not is_noted:
                    control.progress(Noted("waiting until another account that fills the same mailbox is done"))
                    is_noted = True
                control.pause(_TURN_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def deletion_block(self, raws: Iterable[bytes]) -> DeletionBlock | None:
        if wrong := [file for file in self._beside.wrong if self._may_fill_it(file)]:
            reason = f"{wrong[0]} has mistakes, so it is not known whether that account fills the same mailbox"
            return DeletionBlock(
                reason, "`archiver check` names the mistakes; correct them, or move the file elsewhere"
            )
        if meeting := [each for each in self._beside.settings if fill_one(self._settings, each)]:
            reason = f"{named(meeting)} {'fills' if len(meeting) == 1 else 'fill'} the same mailbox"
            return DeletionBlock(reason, 'give each account its own prefix there, or write vanished = "keep"')
        for each in self._of_this_mailbox():
            _require_caught_up(each)
        for raw in raws:
            if meeting := [each for each in self._of_this_mailbox() if self._is_filled_by(each, raw)]:
                folder = printable(decode_name(raw))
                reason = f'{named(meeting)} {"fills" if len(meeting) == 1 else "fill"} the folder "{folder}", too'
                return DeletionBlock(
                    reason, 'give the folder another place with rename, or write vanished = "keep"'
                )
        return None

    def claimed(
        self, replicas: Mapping[ReplicaFolder, Sequence[Replica]]
    ) -> Mapping[ReplicaFolder, Mapping[int, str]]:
        return self.counted_on(
            {folder: {each.uid: each.message.digest for each in its} for folder, its in replicas.items()}
        )

    def counted_on(
        self, ours: Mapping[ReplicaFolder, Mapping[int, Digest]]
    ) -> Mapping[ReplicaFolder, Mapping[int, str]]:
        """The same for UIDs with the digests of their messages."""
        found: defaultdict[ReplicaFolder, dict[int, str]] = defaultdict(dict)
        own = catalog_place(self._settings)
        theirs = {each.file for each in self._of_this_mailbox()}
        for each in self._beside.settings:
            place = catalog_place(each)
            try:
                if not place.exists() or place == own:
                    continue
                claimed = place.claims().replicas({folder: uids.keys() for folder, uids in ours.items()})
            except ArchiverError:
                if each.file in theirs:
                    raise
                continue  # the archive of another mailbox, according to the account files
            for claim in claimed:
                # NOTE: one mailbox may have two names. Then the folder, the UIDVALIDITY, the UID and the octets
                # are the same; of two mailboxes that were made at the same second all of that is not.
                is_here = mailbox(claim.host, claim.user) == self._mailbox
                if is_here or claim.digest == ours[claim.target][claim.uid]:
                    found[claim.target][claim.uid] = each.account
        return found

    def _is_filled_by(self, other: Settings, raw: bytes) -> bool:
        place = catalog_place(other)
        return place.exists() and any(mailbox(*each) == self._mailbox for each in place.claims().fillers(raw))

    def _may_fill_it(self, wrong: Path) -> bool:
        """Whether a file with mistakes may be that of an account which is replayed to this mailbox."""
        try:
            destination = written_destination(wrong)
        except ConfigError:
            return True
        if destination is None:
            return False
        host, user = destination.get("host"), destination.get("user")
        if not isinstance(host, str) or not isinstance(user, str):
            return True
        return mailbox(host, user) == self._mailbox

    @property
    def _mailbox(self) -> Mailbox:
        assert self._settings.destination is not None
        return mailbox_of(self._settings.destination)

    def _of_this_mailbox(self) -> Iterator[Settings]:
        """Other accounts that are replayed to it."""
        for each in self._beside.settings:
            if each.destination is not None and mailbox_of(each.destination) == self._mailbox:
                yield each


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _require_caught_up(settings: Settings) -> None:
    """
    Raises:
        ArchiverError: the catalog does not know all that its journal says; or it is not here, and the journal is.
    """
    place = catalog_place(settings)
    if not place.exists():
        if medium_of(settings).is_remote or _journal(settings).is_dir():
            raise IntegrityError(f"{place}: is missing, so it is not known which mail {settings.account} counts on")
        return  # an account that was never run counts on nothing
    newest = max((int(found[1]) for found in _segments(settings)), default=0)
    if newest > place.claims().last_segment():
        raise IntegrityError(f"{place}: does not know yet what its journal says; run {settings.account} once")


def _journal(settings: Settings) -> Path:
    return settings.archive.path / "journal"


def _segments(settings: Settings) -> Iterator[re.Match[str]]:
    directory = _journal(settings)
    try:
        names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    except OSError as error:
        raise IntegrityError(f"{directory}: cannot be read: {error.strerror}") from None
    return filter(None, map(_SEGMENT.fullmatch, names))
