"""The ways to map one folder of the archive to a destination, the best first.

A rule in [folders.rename] counts most, then special-use, then the folder's own name. A choice knows how certain it
is, so that a guess can give way to a folder that has no other choice.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from archiver.destination.folder_map.names import ALL, DestinationNames, Levels, TargetName, is_inbox
from archiver.destination.folder_map.special_use import names_of_uses, special_name
from archiver.mail.folder_names import canonical_raw
from archiver.mail.model import INBOX, Folder

Kind = Literal["recorded", "asked", "announced", "guess", "own"]
"""How certain a choice is: replayed there before, set by a rule, special-use on both sides, likely, its own
name."""


class MapRules(Struct, frozen=True):
    """The rules of the account file. `rename` maps a source folder's name to the destination's, both with "/"
    between levels; children follow. `prefix`: the folder that everything goes below, "" for none. `into_all`: All
    Mail may go into All Mail there, although that shows mail of other folders (Gmail)."""

    rename: Mapping[str, str]
    prefix: str = ""
    into_all: bool = False


class Choice(Struct, frozen=True):
    """One way to map a folder: to `levels` below `above`. `rule` is the rename rule that says so. `moved`: it
    differs from the folder's own name, so children that follow move, too."""

    folder: Folder
    place: TargetName
    kind: Kind
    why: str = ""
    rule: str | None = None
    moved: bool = False
    above: TargetName | None = None
    levels: Levels = ()


def source_path(folder: Folder) -> Levels:
    """The levels by which a folder is mapped; INBOX in any case, alone or as the first, is "INBOX"."""
    if canonical_raw(folder.raw) == INBOX:
        return ("INBOX",)
    first, *rest = folder.path or ("",)
    return ("INBOX" if is_inbox(first) else first, *rest)


class Chooser:
    """The choices of the folders `sources` under some rules, independent of each other."""

    def __init__(
        self, sources: Iterable[Folder], names: DestinationNames, rules: MapRules, recorded: Mapping[bytes, bytes]
    ) -> None:
        self._names = names
        self._recorded = recorded
        self._prefix = names.meant(rules.prefix)
        self._keys = {_normal(key.split("/")): key for key in sorted(rules.rename, reverse=True)}
        meant = {key: names.meant(f"{rules.prefix}/{rules.rename[key]}") for key in self._keys.values()}
        self._renamed = {key: folder for key, folder in meant.items() if folder and rules.rename[key].strip("/")}
        self._most = max((key.count("/") + 1 for key in self._keys), default=0)
        folders = list(sources)
        matched = ((each.raw, self._matching(source_path(each))) for each in folders)
        self._rules = {raw: rule for raw, rule in matched if rule}
        self._uses = {} if self._prefix else self._holders(folders)
        self._into_all = rules.into_all and not self._prefix

    @property
    def uses(self) -> Mapping[bytes, str]:
        """Which folder represents which use: the one that has the attribute, or else the one with the best name for
        it."""
        return self._uses

    @property
    def unused_rules(self) -> Sequence[str]:
        """The rules that no folder uses."""
        return sorted(set(self._renamed) - {key for key, _ in self._rules.values()})

    @property
    def empty_rules(self) -> Sequence[str]:
        """The rules that name no folder of the destination."""
        return sorted(set(self._keys.values()) - set(self._renamed))

    def options(self, folder: Folder, parent: Choice | None, attempt: int) -> Iterator[Choice]:
        """The ways to map a folder below its parent's choice; the last one is always possible. `attempt` counts how
        often its name was already taken by another folder."""
        key, length = self._rules.get(folder.raw, (None, 0))
        levels = source_path(folder)[length:]
        if folder.raw in self._recorded:
            there = self._recorded[folder.raw]
            place = TargetName(there, self._names.path_of(there))
            moved = place.path != self._own(folder, None, 0).place.path
            yield Choice(folder, place, "recorded", "recorded", key, moved)
        elif key is not None and parent and parent.rule == key:
            yield replace(self._below(folder, parent, attempt), kind="asked", why="renamed", rule=key)
        elif key is not None:
            yield self._choice(folder, "asked", "renamed", self._renamed[key], levels, attempt, rule=key)
        else:
            yield from self._unasked(folder, parent, attempt)

    def _unasked(self, folder: Folder, parent: Choice | None, attempt: int) -> Iterator[Choice]:
        own = self._own(folder, None if parent and parent.moved else parent, attempt)
        listed = own.place.raw in self._names.listed
        use = self._uses.get(folder.raw)
        if self._into_all and folder.special_use == ALL and (view := self._names.all_mail):
            yield Choice(folder, _at(view), "announced", "special-use \\All", moved=view.path != own.place.path)
        counterpart = self._names.of_use(use) if use else None
        if use and counterpart and (self._names.announces_uses or not listed):
            sure = self._names.announces_uses and folder.special_use == use
            why = f"special-use \\{use[1:].capitalize()}" + ("" if sure else ", by its name")
            moved = counterpart.path != own.place.path
            yield Choice(folder, _at(counterpart), "announced" if sure else "guess", why, moved=moved)
        if parent and parent.moved:
            yield replace(self._below(folder, parent, attempt), kind="guess", why="follows its parent", moved=True)
        elif not listed:
            yield from self._likely(folder, parent, own, attempt)
        yield own

    def _likely(self, folder: Folder, parent: Choice | None, own: Choice, attempt: int) -> Iterator[Choice]:
        """The folder's own name, in the destination's spelling."""
        first, *rest = source_path(folder)
        inbox_above = first == "INBOX" and (parent is None or parent.place.raw == INBOX) and not self._prefix
        if self._names.below_inbox and inbox_above and rest and not (len(rest) == 1 and is_inbox(rest[0])):
            why = "all folders are below INBOX there"
            yield self._choice(folder, "guess", why, None, tuple(rest), attempt, moved=True)
        like = self._names.like(own.place.path)
        if like:
            yield Choice(folder, _at(like), "guess", "spelled differently there", moved=True)

    def _own(self, folder: Folder, parent: Choice | None, attempt: int) -> Choice:
        """By its own name, below its parent."""
        if parent and canonical_raw(folder.raw) != INBOX:
            return self._below(folder, parent, attempt)
        path = source_path(folder)
        # NOTE: another name that decodes to INBOX must not be mapped to INBOX, even if INBOX is not among the
        # folders.
        looks_alike = path == ("INBOX",) and canonical_raw(folder.raw) != INBOX
        why = "below prefix" if self._prefix else ""
        return self._choice(folder, "own", why, self._prefix, path, max(attempt, int(looks_alike)))

    def _below(self, folder: Folder, parent: Choice, attempt: int) -> Choice:
        levels = source_path(folder)[len(source_path(parent.folder)) :]
        why = parent.why if parent.kind == "own" else ""
        return self._choice(folder, "own", why, parent.place, levels, attempt)

    def _choice(
        self,
        folder: Folder,
        kind: Kind,
        why: str,
        above: TargetName | None,
        levels: Levels,
        attempt: int,
        *,
        rule: str | None = None,
        moved: bool = False,
    ) -> Choice:
        place = self._names.place(above, levels, folder.raw, attempt)
        return Choice(folder, place, kind, why, rule, moved, above, levels)

    def _matching(self, path: Levels) -> tuple[str, int] | None:
        """The rule that matches the most levels of `path`, and their number."""
        for length in range(min(len(path), self._most), 0, -1):
            key = self._keys.get(_normal(path[:length]))
            if key in self._renamed:
                return key, length
        return None

    def _holders(self, folders: Iterable[Folder]) -> dict[bytes, str]:
        able = [each for each in folders if each.selectable and canonical_raw(each.raw) != INBOX]
        holders = {}
        for use in names_of_uses():
            having = [each for each in able if each.special_use == use]
            named = [each for each in able if each.special_use is None and _rank(each, use) is not None]
            if having or named:
                holders[min(having or named, key=lambda each: self._fitness(each, use)).raw] = use
        return holders

    def _fitness(self, folder: Folder, use: str) -> tuple[bool, bool, int, bytes]:
        """The sort key: lowest for the folder that represents a use best. One that a rule maps elsewhere comes
        last."""
        counterpart = self._names.of_use(use)
        elsewhere = counterpart is None or counterpart.path != folder.path or folder.special_use is None
        rank = _rank(folder, use)
        return folder.raw in self._rules, elsewhere, 1000 if rank is None else rank, folder.raw


def _at(folder: Folder) -> TargetName:
    return TargetName(folder.raw, folder.path)


def _rank(folder: Folder, use: str) -> int | None:
    told = special_name(folder.path)
    return told[1] if told and told[0] == use else None


def _normal(levels: Sequence[str]) -> str:
    first, *rest = levels
    return unicodedata.normalize("NFC", "/".join(["INBOX" if is_inbox(first) else first, *rest]))
