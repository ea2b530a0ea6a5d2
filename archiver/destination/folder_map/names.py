"""How a destination names folders: those that it lists, and the names on the wire for new ones.

Only the personal namespace counts. The octets of a listed folder are used unchanged, also for new folders below it:
a server may list names that are not modified UTF-7.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Container, Sequence
from functools import cached_property

from msgspec import Struct

from archiver.destination.folder_map.escapes import (
    BETWEEN,
    CAUTIONS,
    escape_level,
    longest_name,
    refused_in,
    unescape_level,
)
from archiver.destination.folder_map.special_use import names_of_uses, special_name
from archiver.facts.mailbox import DestinationFolders
from archiver.mail.folder_names import NameRules, encode_name, folder_path
from archiver.mail.model import INBOX, Folder

Levels = tuple[str, ...]

#: The special use of the folder that shows all mail.
ALL = "\\all"

#: Folders that show mail of other folders (RFC 6154) and so have none of their own.
VIEWS = frozenset({ALL, "\\flagged", "\\important"})

_INBOX_PATH = ("INBOX",)


class TargetName(Struct, frozen=True):
    """Where a folder goes: the name on the wire, the decoded path, and how the name was changed, for people."""

    raw: bytes
    path: Levels
    notes: tuple[str, ...] = ()


def is_inbox(level: str) -> bool:
    """Whether a first level is INBOX for a server. ASCII case only: `ınbox` is another name."""
    return level.isascii() and level.upper() == "INBOX"


class DestinationNames:
    """The names of one destination. `unnameable` are those that it refused to create."""

    def __init__(self, destination: DestinationFolders, unnameable: Container[bytes]) -> None:
        self.prefix = destination.prefix
        self._delimiter = destination.delimiter or None
        self._said = destination.said
        self._unnameable = unnameable
        ours = [each.folder for each in destination.listed if self._is_personal(each.folder.raw)]
        ours.sort(key=self._rank)
        self.listed = {folder.raw: folder for folder in reversed(ours)}
        self._by_path = {folder.path: folder for folder in reversed(ours)}
        self._ours = ours
        self._announced = {each.folder.special_use for each in destination.listed} - {None}
        self._of_use = {use: self._found_by_use(use) for use in names_of_uses()}

    @cached_property
    def _rules(self) -> NameRules:
        """Looked up when a name is made, which a run with nothing new does not do."""
        from archiver.config.providers.table import name_rules

        return name_rules(self._said)

    @cached_property
    def _by_likeness(self) -> dict[Levels, Folder]:
        return {self._likeness(folder.path): folder for folder in reversed(self._ours) if _holds(folder)}

    @property
    def below_inbox(self) -> bool:
        """Whether all folders are children of INBOX on the wire, as at Courier."""
        return bool(self._delimiter) and self.prefix.upper() == INBOX + self._octets.upper()

    @property
    def announces_uses(self) -> bool:
        return bool(self._announced)

    def has_use(self, use: str) -> bool:
        return use in self._announced

    def of_use(self, use: str) -> Folder | None:
        """The one folder of that use. If no uses are announced at all, the folder with the best name for it."""
        return self._of_use.get(use)

    @property
    def all_mail(self) -> Folder | None:
        """The folder that shows all mail, if there is one that can be opened."""
        return next((each for each in self.listed.values() if each.special_use == ALL and each.selectable), None)

    def _found_by_use(self, use: str) -> Folder | None:
        ours = [folder for folder in self.listed.values() if _holds(folder) and folder.raw != INBOX]
        if self.announces_uses:
            found = [folder for folder in ours if folder.special_use == use]
            return found[0] if len(found) == 1 else None
        told = ((name, folder) for folder in ours if (name := special_name(folder.path)) and name[0] == use)
        best = min(told, key=lambda each: (each[0], each[1].raw), default=None)
        return best[1] if best else None

    def at(self, path: Levels) -> Folder | None:
        """The folder listed under that path."""
        return self._by_path.get(path)

    def like(self, path: Levels) -> Folder | None:
        """The folder listed under that path, whatever the composition of accents; in any case if the server ignores
        it."""
        return self._by_likeness.get(self._likeness(path))

    def path_of(self, raw: bytes) -> Levels:
        """The decoded path of any name of this destination, without the namespace's prefix."""
        if raw in self.listed:
            return self.listed[raw].path
        shown = raw.removeprefix(self.prefix) if raw != self.prefix else raw
        return folder_path(shown, self._delimiter)

    def meant(self, text: str) -> TargetName | None:
        """The levels of `text` from the account file, with "/" between them; None if it names nothing. Escapes are
        decoded, and INBOX may be included if all folders are below it."""
        written = tuple(level for level in text.split("/") if level)
        if written and is_inbox(written[0]):
            written = ("INBOX", *written[1:])
        if not written or (found := self.at(written)):
            return TargetName(found.raw, found.path) if written and found else None
        levels = tuple(map(unescape_level, written))
        if self.below_inbox and len(levels) > 1 and levels[0] == "INBOX":
            levels = levels[1:]
        return self.place(None, levels, text.encode("utf-8", "surrogatepass"))

    def place(self, above: TargetName | None, levels: Sequence[str], source: bytes, attempt: int = 0) -> TargetName:
        """Where the folder `levels` below `above` goes; None: from the top. `source` distinguishes names that are
        truncated or taken: `attempt`, from 1, counts how often this happened. Never raises."""
        if above and not levels and not attempt:
            return above
        true = (*(above.path if above else ()), *levels)
        found = self.at(true) if self._delimiter or len(true) == 1 else None
        if found and not attempt and all(level and unescape_level(level) == level for level in levels):
            return TargetName(found.raw, found.path)
        for caution in CAUTIONS:
            place, along = self._named(above, levels, source, attempt, caution)
            if not any(raw in self._unnameable for raw in (*along, place.raw)):
                break
        return place

    def _named(
        self, above: TargetName | None, levels: Sequence[str], source: bytes, attempt: int, caution: int
    ) -> tuple[TargetName, list[bytes]]:
        longest = longest_name(self._rules, caution)
        if not attempt and sum(len(level) + 1 for level in levels) <= longest:
            place, along = self._joined(above, levels, caution)
            if len(place.raw) <= longest:
                return place, along
        return self._shortened(above, levels, source, attempt, caution)

    def _shortened(
        self, above: TargetName | None, levels: Sequence[str], source: bytes, attempt: int, caution: int
    ) -> tuple[TargetName, list[bytes]]:
        """The longest prefix, in whole characters, that fits together with a digest of `source`. The levels above
        are truncated, too, if necessary."""
        levels = (*map(unescape_level, above.path if above else ()), *levels)
        note = "another folder has this name" if attempt else "shortened"
        ending = f"-{hashlib.sha256(source).hexdigest()[:12]}" + (f"-{attempt}" if attempt > 1 else "")
        longest = longest_name(self._rules, caution)
        room = min(longest - len(self.prefix) - len(ending), sum(map(len, levels)) + len(levels) - 1)
        while True:
            *upper, last = _beginning(levels, room)
            place, along = self._joined(None, (*upper, last + ending), caution)
            over = len(place.raw) - longest
            if over <= 0 or room <= 0:
                return TargetName(place.raw, place.path, (*place.notes, note)), along
            room -= 1 + over // 12  # a character is at most 12 octets: four of UTF-8, escaped

    def _joined(
        self, above: TargetName | None, levels: Sequence[str], caution: int
    ) -> tuple[TargetName, list[bytes]]:
        """The place, and the names of the levels between it and `above`."""
        raw, path = (above.raw, above.path) if above else (b"", ())
        written = [escape_level(level, self._delimiter, self._rules, caution) for level in levels]
        along = []
        for level in written:
            along.append(raw)
            raw, path = self._step(raw, path, level)
        changed = [level for level, other in zip(levels, written, strict=True) if level != other]
        return TargetName(raw, path, self._escapes(changed, caution)), along[1:]

    def _step(self, raw: bytes, path: Levels, level: str) -> tuple[bytes, Levels]:
        """One level down, from the name `raw`."""
        if path and not self._delimiter:
            flat = (*path[:-1], path[-1] + BETWEEN + level)
            made = raw + BETWEEN.encode("ascii") + encode_name(level)
            return (self._by_path[flat].raw if flat in self._by_path else made), flat
        path = (*path, level)
        if path == _INBOX_PATH:
            return INBOX, path
        if path in self._by_path:
            return self._by_path[path].raw, path
        if len(path) == 1:
            return self.prefix + encode_name(level), path
        if path[:-1] == _INBOX_PATH:
            raw = self.prefix + INBOX
        return raw + self._octets + encode_name(level), path

    def _escapes(self, levels: Sequence[str], caution: int) -> tuple[str, ...]:
        """What had to be escaped in `levels`, for people."""
        refused = {char for each in levels for char in refused_in(each, self._delimiter, self._rules, caution)}
        names = [f'"{char}"' for char in sorted(refused)] + ["an empty level"] * ("" in levels)
        shown = " ".join(names[:8]) + (" …" if len(names) > 8 else "")
        return (f"escaped: {shown}",) if names else ()

    @property
    def _octets(self) -> bytes:
        return (self._delimiter or "").encode("utf-8", "surrogatepass")

    def _is_personal(self, raw: bytes) -> bool:
        return raw == INBOX or raw.startswith(self.prefix)

    def _likeness(self, path: Levels) -> Levels:
        levels = (unicodedata.normalize("NFC", level) for level in path)
        if self._rules.ignores_case:
            levels = (unicodedata.normalize("NFC", level.casefold()) for level in levels)
        return tuple(levels)

    def _rank(self, folder: Folder) -> tuple[bool, bool, bytes, Levels, list[str]]:
        """If two are listed under the same path, the first counts."""
        plain = self._octets.join(map(encode_name, folder.path))
        return (
            not folder.selectable,
            not folder.raw.endswith(plain),
            folder.raw,
            folder.path,
            sorted(folder.attributes),
        )


def _holds(folder: Folder) -> bool:
    """Whether it can have mail."""
    return folder.selectable and not folder.attributes & VIEWS


def _beginning(levels: Sequence[str], room: int) -> list[str]:
    """The first `room` characters of a path, where a separator counts as one. At least one level."""
    kept: list[str] = []
    for level in levels:
        if kept and room <= 0:
            break
        kept.append(level[: max(room, 0)])
        room -= len(level) + 1
    return kept
