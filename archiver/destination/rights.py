"""Which access rights a folder gets at a destination, and what has to be changed there for it. Pure.

Rights are given as they are at the source, by the same names or by those of the account file. Nothing is taken away
from the mailbox' own user, and of others only what was given before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct

from archiver.facts.access import Entries, Granted, Rights

_ORDER = "lrswipkxtea"  # RFC 4314 section 2.1
_IMPLIED = {"owner", "administrators"}  # Courier: each server has its own
_OF_MANY = ("anyone", "authenticated", "$", "group:")

_MEANT = {"c": "kx", "d": "te"}  # RFC 4314 section 2.1.1
_OLD = {"k": "c", "x": "c", "t": "d", "e": "d"}


class RightsRules(Struct, frozen=True):
    """`users` are names at the source and what they are called at the destination; "" leaves one out. `source_user`
    and `user` are whose mailboxes these are."""

    users: Mapping[str, str]
    source_user: str
    user: str


class RightsChange(Struct, frozen=True):
    """Rights to give ("+") or to take away ("-")."""

    identifier: str
    sign: str
    rights: str


def normal(rights: str) -> frozenset[str]:
    """The rights of RFC 4314 that a server's letters mean: `c` and `d` of RFC 2086 are two each, and what only one
    kind of server knows (Cyrus' `n`) is left out."""
    return frozenset("".join(_MEANT.get(each, each) for each in rights)) & frozenset(_ORDER)


def in_old_letters(rights: str) -> str:
    """The same for a server that knows those of RFC 2086 alone."""
    return "".join(dict.fromkeys(_OLD.get(each, each) for each in rights))


def wanted(rights: Rights | None, rules: RightsRules) -> dict[str, str]:
    """What a folder's rights should be at the destination, by identifier.

    Left out are the users of both mailboxes, and what is taken away (`-`) from all, or from a group, because the
    mailbox' user is among them.
    """
    found: dict[str, frozenset[str]] = {}
    for identifier, letters in (rights.entries or ()) if rights else ():
        takes, name = identifier.startswith("-"), identifier.removeprefix("-")
        if name.lower() in _IMPLIED or _is(name, rules.source_user):
            continue
        name = rules.users.get(name, name)
        if not name or _is(name, rules.user) or (takes and name.lower().startswith(_OF_MANY)):
            continue
        key = f"-{name}" if takes else name
        found[key] = found.get(key, frozenset()) | normal(letters)
    return {name: _written(letters) for name, letters in found.items() if letters}


def _is(name: str, user: str) -> bool:
    """Whether a name is this user's; servers leave out the domain, or write it."""
    name, user = name.casefold(), user.casefold()
    return name == user or (("@" in name) != ("@" in user) and name.partition("@")[0] == user.partition("@")[0])


def _written(letters: Collection[str]) -> str:
    return "".join(each for each in _ORDER if each in letters)


def is_due(want: Mapping[str, str], granted: Granted, *, again: bool) -> bool:
    """Whether anything has to be changed; what the folder's rights are lacking only if it is tried `again`, since
    it was refused."""
    refused = dict(granted.refused)
    if refused.keys() - want.keys() or (again and refused):
        return True
    kept = {name: letters for name, letters in granted.entries if name not in refused}
    return {name: letters for name, letters in want.items() if name not in refused} != kept


def changes(want: Mapping[str, str], granted: Granted, present: Rights, *, again: bool) -> list[RightsChange]:
    """What has to be given or taken away in a folder that shows these rights. What its user took away since stays
    so."""
    held = {name: normal(letters) for name, letters in present.entries or ()}
    given, refused = dict(granted.entries), dict(granted.refused)
    found = []
    for name in sorted(want.keys() | given.keys()):
        if name in refused and name in want and not again:
            continue
        mine, has, before = (
            frozenset(want.get(name, "")),
            held.get(name, frozenset()),
            frozenset(given.get(name, "")),
        )
        if more := mine - has - before:
            found.append(RightsChange(name, "+", _written(more)))
        if less := (before - mine) & has:
            found.append(RightsChange(name, "-", _written(less)))
    return found


def lacking(want: Mapping[str, str], present: Rights) -> dict[str, str]:
    """Which of these rights the folder does not show, by identifier."""
    held = {name: normal(letters) for name, letters in present.entries or ()}
    missing = {name: frozenset(letters) - held.get(name, frozenset()) for name, letters in want.items()}
    return {name: _written(letters) for name, letters in missing.items() if letters}


def after(want: Mapping[str, str], granted: Granted, refused: Mapping[str, str], *, again: bool) -> Granted:
    """What was given in the end, if these identifiers were `refused` now, for these reasons."""
    earlier = {} if again else {name: why for name, why in granted.refused if name in want}
    without = {**earlier, **refused}
    before = dict(granted.entries)
    entries: dict[str, str] = {name: letters for name, letters in want.items() if name not in without}
    entries |= {name: before[name] for name in refused if name in before}
    return Granted(granted.raw, _sorted(entries), _sorted(without))


def _sorted(entries: Mapping[str, str]) -> Entries:
    return tuple(sorted(entries.items()))
