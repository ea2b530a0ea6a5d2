"""Every folder of the archive is mapped to one of the destination, which is created, recorded and subscribed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from archiver.destination.folder_map.choices import MapRules
from archiver.destination.folder_map.mapping import FolderMap, MappedFolder, map_folders
from archiver.destination.port import FolderTree
from archiver.errors import ConfigError, FolderRefused
from archiver.events import Noted
from archiver.facts.access import GrantedFact
from archiver.facts.archive import Fact
from archiver.facts.destination import MappedFact
from archiver.facts.known import KnownFolder
from archiver.facts.mailbox import DestinationFolders
from archiver.facts.replica import MappedPlace
from archiver.mail.folder_names import printable
from archiver.mail.model import Folder
from archiver.replay.connection import DestinationConnection
from archiver.replay.context import ReplayContext

Recorded = Mapping[int, MappedPlace]
"""The destination folder that a folder is mapped to, by the folder's number."""


def map_of(
    folders: Sequence[KnownFolder],
    destination: DestinationFolders,
    rules: MapRules,
    recorded: Recorded,
    unnameable: Collection[bytes] = (),
) -> FolderMap:
    """Map the folders. A mapping that was recorded under the same rules stays.

    Raises:
        ConfigError: the map cannot be used, with every reason.
    """
    same_rules = {
        each.folder.raw: recorded[each.number][0]
        for each in folders
        if each.number in recorded and recorded[each.number][2] == rules_for(each.folder, rules)
    }
    folder_map = map_folders(
        [each.folder for each in folders], destination, rules, recorded=same_rules, unnameable=unnameable
    )
    if folder_map.problems:
        raise ConfigError("[folders]", folder_map.problems)
    before = {each.folder.raw: recorded[each.number] for each in folders if each.number in recorded}
    moved = (
        f'"{each.folder.name}" was mapped to "{"/".join(before[each.folder.raw][1])}" and is now mapped to '
        f'"{"/".join(each.path)}": all its messages are sent there, and the copies in the old folder stay'
        for each in folder_map.folders
        if each.folder.raw in before and before[each.folder.raw][0] != each.raw
    )
    return replace(folder_map, warnings=(*folder_map.warnings, *moved))


def rules_for(folder: Folder, rules: MapRules) -> str:
    """The rules that apply to a folder, as text: as long as they stay the same, so does its mapping."""
    matching = [
        (name, to) for name, to in rules.rename.items() if (folder.name + "/").startswith(name.rstrip("/") + "/")
    ]
    return json.dumps([rules.prefix, max(matching, key=lambda rule: len(rule[0]), default=None)])


def create_folders(
    context: ReplayContext,
    connection: DestinationConnection,
    listed: DestinationFolders,
    folders: Sequence[KnownFolder],
    rules: MapRules,
    errors: dict[str, str],
    gone: Collection[bytes],
) -> list[tuple[KnownFolder, MappedFolder]]:
    """Map every folder; create what is missing at the destination, record the map, and subscribe as at the source.
    Folders that the destination refuses are left out, with the reason in `errors`; so are those that are `gone`
    from it, unless they have mail that was never there."""
    recorded = context.replicas.folders.mapped(context.destination)
    unnameable: set[bytes] = set()
    made: set[bytes] = set()
    left_out = _without_news(context, folders, recorded, gone)
    folders = [each for each in folders if each.number not in left_out]
    while True:
        folder_map = map_of(folders, listed, rules, recorded, unnameable)
        refused = _create(connection, folder_map, made, unnameable, errors)
        if not refused:
            break
        unnameable |= refused
    for warning in folder_map.warnings:
        context.control.progress(Noted(warning))
    known = {each.folder.raw: each for each in folders}
    placed = [(known[each.folder.raw], each) for each in folder_map.folders if each.folder.name not in errors]
    followed: dict[int, bool | None] = {}
    for folder, each in placed:
        before = recorded.get(folder.number)
        is_new = before is None or before.raw != each.raw or each.raw in made
        followed[folder.number] = False if is_new or before is None else before.subscribed
    _record(context, placed, rules, followed)
    _forget_rights(context, folders, made)
    _follow_subscriptions(context, connection, listed, placed, rules, followed)
    return placed


def _record(
    context: ReplayContext,
    placed: Sequence[tuple[KnownFolder, MappedFolder]],
    rules: MapRules,
    followed: Mapping[int, bool | None],
) -> None:
    """Record the places that are not recorded like this yet."""
    recorded, facts = context.replicas.folders.mapped(context.destination), list[Fact]()
    for folder, each in placed:
        place = MappedPlace(each.raw, each.path, rules_for(each.folder, rules), followed[folder.number])
        if recorded.get(folder.number) != place:
            raw, path, said, subscribed = place
            now = context.control.now()
            facts.append(MappedFact(context.destination, folder.number, raw, path, said, now, subscribed))
    context.recorder.write(facts)


def _forget_rights(context: ReplayContext, folders: Sequence[KnownFolder], made: Collection[bytes]) -> None:
    """Folders that were made again have none of the rights that were given in them before."""
    granted, now = context.replicas.sharing.granted(context.destination), context.control.now()
    again = [each.number for each in folders if each.number in granted and granted[each.number].raw in made]
    context.recorder.write(
        [GrantedFact(context.destination, number, granted[number].raw, (), (), now) for number in again]
    )


def _follow_subscriptions(
    context: ReplayContext,
    connection: DestinationConnection,
    listed: DestinationFolders,
    placed: Sequence[tuple[KnownFolder, MappedFolder]],
    rules: MapRules,
    followed: Mapping[int, bool | None],
) -> None:
    """Subscribe to new folders as at the source, and to others when they were subscribed to there since: what the
    destination's user unsubscribed from stays so. `followed` are the subscriptions that were followed before; None
    is from an archive whose every run subscribed. They are recorded afterwards, so a run that ends in between only
    subscribes again."""
    subscribed = {each.folder.raw for each in listed.listed if each.folder.subscribed}
    wanted = {
        each.raw: None
        for folder, each in placed
        if each.folder.subscribed and followed[folder.number] is False and each.raw not in subscribed
    }
    connection.with_retries(lambda destination: destination.subscribe(list(wanted)))
    _record(context, placed, rules, {folder.number: each.folder.subscribed for folder, each in placed})


def _without_news(
    context: ReplayContext, folders: Sequence[KnownFolder], recorded: Recorded, gone: Collection[bytes]
) -> set[int]:
    """The numbers of the folders that were removed at the destination and have nothing new for it."""
    replica_folders = context.replicas.folders.current(context.destination)
    vanished = context.rules.include_vanished
    return {
        each.number
        for each in folders
        if each.number in recorded
        and recorded[each.number][0] in gone
        and not context.pending.count(
            replica_folders[recorded[each.number][0]].number, [each.number], vanished=vanished
        )[0]
    }


def _create(
    connection: DestinationConnection,
    folder_map: FolderMap,
    made: set[bytes],
    unnameable: set[bytes],
    errors: dict[str, str],
) -> set[bytes]:
    """Create what is missing, parents first. Returns the names that the destination refuses; they are tried once
    more, escaped."""
    missing = [each for each in folder_map.folders if not each.exists and each.raw not in made]
    missing = [each for each in sorted(missing, key=lambda each: each.path) if each.folder.name not in errors]
    known: dict[bytes, FolderRefused | None] = {}

    def make(destination: FolderTree) -> None:
        left = {each.raw: each.use for each in missing if each.raw not in known}
        for raw, refusal in destination.create_all(list(left.items())):
            known[raw] = refusal

    connection.with_retries(make, lambda: len(known))
    made.update(raw for raw, refusal in known.items() if refusal is None)
    refused: set[bytes] = set()
    for each in missing:
        if (refusal := known[each.raw]) is None:
            continue
        if each.raw in unnameable:  # its most cautious spelling
            errors[each.folder.name] = refusal.within(printable(each.folder.name))
        else:
            refused.add(each.raw)
    return refused
