"""Which folder of the archive goes into which folder of a destination.

Pure decisions from the destination's listing, so that a dry run prints the map that a replay follows. No two
folders are mapped to the same one unless a rule says so, and a folder that has been replayed keeps its mapping.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import count

from msgspec import Struct

from archiver.destination.folder_map.choices import Choice, Chooser, MapRules, source_path
from archiver.destination.folder_map.names import ALL, VIEWS, DestinationNames, Levels
from archiver.destination.folder_map.special_use import folded
from archiver.facts.mailbox import DestinationFolders
from archiver.mail.folder_names import canonical_raw, encode_name
from archiver.mail.model import INBOX, Folder

Choices = Mapping[bytes, Choice]


class MappedFolder(Struct, frozen=True):
    """A folder of the archive, and where it goes: `raw` on the wire, `path` for people.

    `exists`: it already exists and can be opened. `use`: the special-use to create it with, None if it has none or
    exists. `why` it has another name, for people; "" if the name is the same.
    """

    folder: Folder
    raw: bytes
    path: tuple[str, ...]
    exists: bool
    use: str | None
    why: str


class FolderMap(Struct, frozen=True):
    """All folders, INBOX first. `problems` say what makes the map unusable and what to do about it."""

    folders: tuple[MappedFolder, ...]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def map_folders(
    folders: Iterable[Folder],
    destination: DestinationFolders,
    rules: MapRules,
    *,
    recorded: Mapping[bytes, bytes] = {},
    unnameable: Container[bytes] = (),
) -> FolderMap:
    """The map of `folders`, whatever their order. Never raises.

    `recorded` are earlier mappings under the same rules, which stay. `unnameable` are names that the destination
    refused to create: folders that would get them get a more cautious spelling.
    """
    sources = {each.raw: each for each in sorted(folders, key=_order, reverse=True)}
    names = DestinationNames(destination, unnameable)
    kept = {raw: there for raw, there in recorded.items() if there not in unnameable}
    chooser = Chooser(sources.values(), names, rules, kept)
    choices = _Placing(sources.values(), chooser, names).choices()
    uses = {choices[raw].place.raw: use for raw, use in chooser.uses.items() if not names.has_use(use)}
    mapped = tuple(_mapped(choices[raw], names, uses) for raw in sorted(choices, key=_inbox_first))
    problems = (*_empty(chooser), *_clashes(choices), *_views(mapped, names, rules))
    return FolderMap(mapped, problems, (*_unused(chooser), *_look_alikes(mapped, names)))


def _mapped(choice: Choice, names: DestinationNames, uses: Mapping[bytes, str]) -> MappedFolder:
    place, listed = choice.place, names.listed.get(choice.place.raw)
    exists = listed is not None and listed.selectable
    reasons = list(filter(None, (choice.why, *place.notes)))
    if not reasons:
        reasons = [
            "follows its parent" if len(place.path) == len(choice.folder.path) else "there are no levels there"
        ]
    why = ", ".join(reasons) if place.path != choice.folder.path else ""
    return MappedFolder(choice.folder, place.raw, place.path, exists, None if exists else uses.get(place.raw), why)


class _Placing:
    """Maps all folders, then gives those that conflict with another one their next choice, until there is no
    conflict."""

    def __init__(self, sources: Iterable[Folder], chooser: Chooser, names: DestinationNames) -> None:
        # Parents before their children, since these follow.
        self._sources = sorted(sources, key=lambda each: (len(source_path(each)), each.raw))
        self._lengths = sorted({len(source_path(each)) for each in self._sources}, reverse=True)
        self._chooser = chooser
        self._names = names
        self._yielded: dict[bytes, int] = {}
        self._attempts: dict[bytes, int] = {}

    def choices(self) -> Choices:
        choices = self._placed()
        while self._make_way(choices):
            choices = self._placed()
        return choices

    def _placed(self) -> Choices:
        choices: dict[bytes, Choice] = {}
        by_path: dict[Levels, list[Choice]] = {}
        for folder in self._sources:
            attempt = self._attempts.get(folder.raw, 0)
            options = list(self._chooser.options(folder, self._parent(folder, by_path), attempt))
            choice = options[min(self._yielded.get(folder.raw, 0), len(options) - 1)]
            choices[folder.raw] = choice
            by_path.setdefault(source_path(folder), []).append(choice)
        return choices

    def _parent(self, folder: Folder, by_path: Mapping[Levels, Sequence[Choice]]) -> Choice | None:
        """The nearest folder above. Of several with the same decoded name, the one whose octets `folder` begins
        with."""
        path = source_path(folder)
        for length in self._lengths:
            above = by_path.get(path[:length]) if length < len(path) else None
            if above:
                step = (folder.delimiter or "").encode("utf-8", "surrogatepass")
                return next((each for each in above if folder.raw.startswith(each.folder.raw + step)), above[0])
        return None

    def _make_way(self, choices: Choices) -> bool:
        """Whether a folder that conflicts with another one has another choice. Guesses yield first, then
        special-use to earlier mappings, then, of two names that decode to the same, the one with the unusual
        spelling."""
        crowds = _crowds(choices)
        yielding = [each for crowd in crowds for each in crowd if each.kind == "guess"]
        if not yielding:
            parts = [part for crowd in crowds for part in _unasked(crowd)]
            late = [part for part in parts if any(each.kind == "recorded" for each in part)]
            yielding = [each for part in late for each in part if each.kind == "announced"]
        for each in yielding:
            self._yielded[each.folder.raw] = self._yielded.get(each.folder.raw, 0) + 1
        if yielding:
            return True
        namesakes = [each for crowd in crowds for part in _unasked(crowd) for each in _namesakes(part)]
        taken = {each.place.raw for each in choices.values()}
        for each in namesakes:
            self._distinguish(each, taken)
        return bool(namesakes)

    def _distinguish(self, choice: Choice, taken: set[bytes]) -> None:
        """Give a folder a name with a unique ending, since hostile names may imitate our digests."""
        raw = choice.folder.raw
        for attempt in count(self._attempts.get(raw, 0) + 1):
            place = self._names.place(choice.above, choice.levels, raw, attempt)
            if place.raw not in taken:
                break
        taken.add(place.raw)
        self._attempts[raw] = attempt


def _crowds(choices: Choices) -> list[list[Choice]]:
    """The groups of folders that are mapped to the same one."""
    by_place: dict[bytes, list[Choice]] = {}
    for raw in sorted(choices, key=_inbox_first):
        by_place.setdefault(canonical_raw(choices[raw].place.raw), []).append(choices[raw])
    return [crowd for crowd in by_place.values() if len(crowd) > 1]


def _unasked(crowd: Iterable[Choice]) -> list[list[Choice]]:
    """Those of a group that were not joined on purpose. A rule joins one folder with whatever is there; two folders
    that follow the same rule (children with the same decoded name) are not joined on purpose."""
    by_rule: dict[str | None, list[Choice]] = {}
    for each in crowd:
        by_rule.setdefault(each.rule, []).append(each)
    return [part for part in by_rule.values() if len(part) > 1]


def _namesakes(part: Sequence[Choice]) -> Iterator[Choice]:
    """Those that need another name because they decode to the same name as one that keeps it."""
    fixed = [each for each in part if each.kind in ("recorded", "announced")]
    free = sorted((each for each in part if each.kind in ("asked", "own")), key=lambda each: _oddness(each.folder))
    keepers = {source_path(each.folder) for each in fixed}
    for each in free if fixed else free[1:]:
        if not fixed or source_path(each.folder) in keepers:
            yield each


def _oddness(folder: Folder) -> tuple[bool, bytes]:
    """The sort key: lowest for a name whose octets are the regular encoding of its text."""
    step = (folder.delimiter or "").encode("utf-8", "surrogatepass")
    return not folder.raw.endswith(step.join(map(encode_name, folder.path))), folder.raw


def _empty(chooser: Chooser) -> Iterator[str]:
    for key in chooser.empty_rules:
        yield f'the rule for "{key}" in [folders.rename] names no folder; write one, or remove the rule'


def _clashes(choices: Choices) -> Iterator[str]:
    for crowd in _crowds(choices):
        for part in _unasked(crowd):
            names = " and ".join(f'"{each.folder.name}"' for each in part)
            there = "/".join(part[0].place.path)
            yield (
                f'{names} would go into one folder of the destination, "{there}"; give one of them another name in '
                f'[folders.rename], or join them on purpose by giving each the name "{there}" there'
            )


def _views(mapped: Iterable[MappedFolder], names: DestinationNames, rules: MapRules) -> Iterator[str]:
    for each in mapped:
        listed = names.listed.get(each.raw)
        if rules.into_all and listed and listed.special_use == each.folder.special_use == ALL:
            continue
        if listed and listed.attributes & VIEWS:
            yield (
                f'"{each.folder.name}" would go into "{"/".join(each.path)}" of the destination, which shows mail '
                "of other folders and holds none itself; add it to [folders] exclude, or give it another "
                "name in [folders.rename]"
            )


def _unused(chooser: Chooser) -> Iterator[str]:
    for key in chooser.unused_rules:
        yield f'the rule for "{key}" in [folders.rename] matches no folder of the archive'


def _look_alikes(mapped: Sequence[MappedFolder], names: DestinationNames) -> Iterator[str]:
    """Names that are the same for a server that ignores case (Exchange)."""
    alike: dict[Levels, set[Levels]] = {}
    for each in mapped:
        alike.setdefault(_likeness(each.path), set()).add(each.path)
    created = {_likeness(each.path) for each in mapped if not each.exists}
    for folder in names.listed.values():
        if _likeness(folder.path) in created:
            alike[_likeness(folder.path)].add(folder.path)
    for paths in alike.values():
        if len(paths) > 1:
            shown = " and ".join(f'"{"/".join(path)}"' for path in sorted(paths))
            yield f"{shown} differ only in case or in how accents are written; for some servers they are the same"


def _likeness(path: Levels) -> Levels:
    return tuple(map(folded, path))


def _order(folder: Folder) -> tuple[bytes, Levels, list[str], str, bool]:
    return folder.raw, folder.path, sorted(folder.attributes), folder.delimiter or "", folder.subscribed


def _inbox_first(raw: bytes) -> tuple[bool, bytes]:
    return raw != INBOX, raw
