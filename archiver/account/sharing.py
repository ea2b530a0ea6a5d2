"""Which accounts meet in one mailbox, by what their files say. No server is asked and no file is read.

A mailbox is a host and a user. Hosts are compared without regard to case, to a dot at the end and to how an
address or an international name is spelled; users without regard to case, since providers do not tell "Alice" from
"alice" and a needless question does less harm than a missed one. The port does not count: 143 and 993 lead to one
mailbox.

Two destinations in one mailbox are *told apart* by their prefixes if these are not the same. One may lie below the
other, as that of an old account that becomes a folder of a new one. Whether they meet in a folder all the same is
known when both were replayed. What no file tells (two names of one host, two logins of one mailbox) is not known
here."""

from __future__ import annotations

import ipaddress
import os
import unicodedata
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from archiver.config.hosts import host_on_the_wire
from archiver.config.settings import Settings
from archiver.config.tables.server import DestinationSettings, SourceSettings
from archiver.destination.folder_map.escapes import unescape_level
from archiver.errors import ConfigError
from archiver.facts.replica import Address

_NAMED = 3

Mailbox = tuple[str, str]
"""A host and a user, each in the one form in which they are compared."""


def mailbox_of(server: SourceSettings) -> Mailbox:
    """The mailbox that an account file names."""
    return mailbox(server.host, server.user)


def mailbox(host: str, user: str) -> Mailbox:
    """The mailbox of a host and a user, however they are spelled."""
    return _host(host), unicodedata.normalize("NFC", user).casefold()


def _host(host: str) -> str:
    try:
        return ipaddress.ip_address(host).compressed
    except ValueError:
        pass
    try:
        return host_on_the_wire(host.rstrip(".")).lower()
    except ValueError:  # no name of a host
        return host.lower()


def address_in(settings: DestinationSettings) -> Address:
    """Where an account file says that its destination is."""
    return Address(settings.host.lower(), settings.user, settings.port)


def are_told_apart(one: DestinationSettings, other: DestinationSettings) -> bool:
    """Whether two accounts are meant for different folders of one mailbox."""
    return _levels(one.prefix) != _levels(other.prefix)


def _levels(prefix: str) -> tuple[str, ...]:
    """NOTE: where all folders lie below INBOX (Courier), "INBOX/Old" and "Old" are one folder."""
    levels = [
        unicodedata.normalize("NFC", unescape_level(level)).casefold() for level in prefix.split("/") if level
    ]
    return tuple(levels[1:] if levels[:1] == ["inbox"] else levels)


def fill_one(one: Settings, other: Settings) -> bool:
    """Whether both accounts are meant for the same folders of one mailbox."""
    here, there = one.destination, other.destination
    if here is None or there is None or mailbox_of(here) != mailbox_of(there):
        return False
    return not are_told_apart(here, there)


class Sharing(Struct, frozen=True):
    """What one account of a command has in common with others. Those of `destination` are replayed to the same
    folders of its mailbox by the same command, those of `beside` by another one; those of `source` are fetched from
    the same mailbox; those of `back` bring its mail back to where it came from."""

    account: Settings
    destination: tuple[Settings, ...] = ()
    beside: tuple[Settings, ...] = ()
    source: tuple[Settings, ...] = ()
    back: tuple[Settings, ...] = ()

    @property
    def refusal(self) -> ConfigError | None:
        """Why the account must not be replayed by one command with these others; None if it may be."""
        if not self.destination or _allow_each_other(self.account, self.destination):
            return None
        return ConfigError(str(self.account.file), [_filled(self.account, self.destination)], hint=_HINT)

    @property
    def problems(self) -> tuple[str, ...]:
        """What may be intended, so it is not refused; the user has to decide."""
        found = []
        if self.beside and not _allow_each_other(self.account, self.beside):
            found.append(f"{_filled(self.account, self.beside)}; {_HINT}")
        if self.back:
            found.append(
                f"destination: {named(self.back)} {'brings' if len(self.back) == 1 else 'bring'} its mail back to "
                "the source, so every run would double the folders and messages that a server changes on the way; "
                "do not run them together"
            )
        return tuple(found)

    @property
    def warning(self) -> str | None:
        """What the user should know. Archiving a mailbox twice only costs time and disk space."""
        if not self.source:
            return None
        return f"source: {_mailbox_text(self.account.source)} is archived by {named(self.source)}, too"

    @property
    def note(self) -> str | None:
        """What the account files allow."""
        allowed = [each for each in (*self.destination, *self.beside) if _allow_each_other(self.account, [each])]
        return f"{_filled(self.account, allowed)}, as shared = true allows" if allowed else None

    def to_json(self) -> dict[str, list[str]]:
        """The files of the other accounts, in the documents of `check` and of a dry run."""
        return {
            "destination": [str(each.file) for each in (*self.destination, *self.beside)],
            "source": [str(each.file) for each in self.source],
        }


def doubles(accounts: Iterable[Settings]) -> Iterator[tuple[Settings, Settings, str]]:
    """Accounts that have what an earlier one has: the account, the earlier one, and what it is, in words.
    Destinations that both allow each other with shared = true are none."""
    first: dict[Hashable, Settings] = {}
    for each in accounts:
        path = os.path.realpath(each.archive.path)
        keys: list[tuple[Hashable, str]] = [
            (("archive", path), f"the archive {path}"),
            (("source", mailbox_of(each.source)), f"the mailbox {each.source.mailbox}"),
        ]
        if (there := each.destination) is not None:
            place = ("destination", mailbox_of(there), _levels(there.prefix))
            keys.append((place, f"the destination {_mailbox_text(there)}"))
        for key, what in keys:
            earlier = first.setdefault(key, each)
            both_allow = what.startswith("the destination") and _allow_each_other(each, [earlier])
            if earlier is not each and not both_allow:
                yield each, earlier, what


_HINT = (
    "give each its own user or prefix (with {account} in defaults.toml), or write shared = true below "
    "[destination] in each"
)


def _allow_each_other(account: Settings, others: Sequence[Settings]) -> bool:
    return all(each.destination is not None and each.destination.shared for each in (account, *others))


def _filled(account: Settings, others: Sequence[Settings]) -> str:
    assert account.destination is not None
    return f"destination: {_mailbox_text(account.destination)} is filled by {named(others)}, too"


def _mailbox_text(server: SourceSettings) -> str:
    below = f', folder "{server.prefix}"' if isinstance(server, DestinationSettings) and server.prefix else ""
    return f"{server.mailbox}{below}"


def named(accounts: Sequence[Settings]) -> str:
    """Account files by their paths, the first few of many."""
    names = [str(each.file) for each in accounts[:_NAMED]]
    if more := len(accounts) - len(names):
        names.append(f"{more:,} more")
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def sharing_among(accounts: Sequence[Settings], others: Sequence[Settings] = ()) -> Mapping[Path, Sharing]:
    """What each of `accounts`, those of one command, shares with the rest of them and with `others`; by its
    file."""
    everyone = (*accounts, *others)
    outside = {each.file for each in others}
    sources = _grouped(everyone, lambda each: mailbox_of(each.source))
    destinations = _grouped(everyone, lambda each: each.destination and mailbox_of(each.destination))
    by_source: defaultdict[Mailbox, list[Settings]] = defaultdict(list)
    for each in everyone:
        by_source[mailbox_of(each.source)].append(each)
    found = {}
    for each in accounts:
        filled = [other for other in destinations[each.file] if fill_one(each, other)]
        found[each.file] = Sharing(
            each,
            destination=tuple(other for other in filled if other.file not in outside),
            beside=tuple(other for other in filled if other.file in outside),
            source=tuple(sources[each.file]),
            back=_way_back(each, by_source),
        )
    return found


def _way_back(account: Settings, by_source: Mapping[Mailbox, Sequence[Settings]]) -> tuple[Settings, ...]:
    """The accounts, one after the other, that bring mail from the account's destination to its source.

    Not the account itself: two servers on one host have the same name, and a run compares the two mailboxes.
    """
    if account.destination is None:
        return ()
    home, first = mailbox_of(account.source), mailbox_of(account.destination)
    if first == home:
        return ()
    ways: dict[Mailbox, tuple[Settings, ...]] = {first: ()}
    waiting = deque([first])
    while waiting:
        here = waiting.popleft()
        for each in by_source.get(here, ()):
            there = mailbox_of(each.destination) if each.destination is not None else here
            if there == home:
                return (*ways[here], each)
            if there not in ways:
                ways[there] = (*ways[here], each)
                waiting.append(there)
    return ()


def _grouped(
    accounts: Iterable[Settings], key: Callable[[Settings], Hashable | None]
) -> Mapping[Path, Sequence[Settings]]:
    """By each account's file, the others with the same key."""
    groups: defaultdict[Hashable, list[Settings]] = defaultdict(list)
    for each in accounts:
        if (its := key(each)) is not None:
            groups[its].append(each)
    return defaultdict(
        list,
        {
            each.file: [other for other in group if other.file != each.file]
            for group in groups.values()
            for each in group
        },
    )
