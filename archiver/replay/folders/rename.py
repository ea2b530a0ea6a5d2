"""Folders that were renamed at the source are renamed at the destination, since their mail is already there.

This loses nothing, so it is done whatever the policy for vanished mail is; but only if everything in that folder
and below it is ours and no other account counts on it. Otherwise, or if the destination refuses, the renamed folder
is handled as a new one, and the old one stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from archiver.destination.folder_map.choices import MapRules
from archiver.destination.folder_map.mapping import MappedFolder
from archiver.destination.port import DestinationReader, FolderOpener
from archiver.errors import ArchiverError, FolderNotFound, FolderRefused, PermissionDenied
from archiver.events import Noted
from archiver.facts.destination import RenamedFact, RenamingFact
from archiver.facts.known import KnownFolder
from archiver.facts.mailbox import DestinationFolders
from archiver.facts.replica import Moved, ReplicaFolder
from archiver.mail.folder_names import decode_name, folder_path, printable
from archiver.mail.model import INBOX, Folder, Listed
from archiver.mail.uidset import UidSet
from archiver.replay.connection import DestinationConnection
from archiver.replay.context import ReplayContext
from archiver.replay.folders.create import map_of


class _Move(Struct, frozen=True):
    """A folder of the destination to rename to the mapped folder."""

    folder: ReplicaFolder
    to: MappedFolder


def resolve_renames(context: ReplayContext, connection: DestinationConnection) -> None:
    """Find out and record the result of renames that an earlier run began and did not finish."""
    for raw, folder in context.replicas.folders.current(context.destination).items():
        if folder.renaming is None:
            continue
        old, new = (connection.with_retries(partial(_is_there, name)) for name in (raw, folder.renaming))
        if new and not old:
            raw = folder.renaming
        context.recorder.write([RenamedFact(folder.number, raw, context.control.now())])


def follow_renames(
    context: ReplayContext,
    connection: DestinationConnection,
    listed: DestinationFolders,
    folders: Sequence[KnownFolder],
    rules: MapRules,
) -> DestinationFolders:
    """Rename what was renamed at the source; returns the destination's folders as they are afterwards."""
    moves = _moves(context, listed, folders, rules)
    while moves:
        move = moves.pop(0)
        if (along := _with_those_below(context, move, moves, listed)) is None:
            continue
        if not all(connection.with_retries(partial(_is_ours, context, folder)) for folder, _ in along):
            continue
        if (reason := _why_not_ours_alone(context, along)) is not None:
            old, new = (printable(decode_name(raw)) for raw in (move.folder.raw, move.to.raw))
            context.control.progress(Noted(f'destination folder "{old}": not renamed to "{new}": {reason}'))
        elif _rename(context, connection, move, along):
            names = {folder.raw: to for folder, to in along}
            listed = replace(listed, listed=[_under(each, names, listed) for each in listed.listed])
            moves = [each for each in moves if each.folder.raw not in names]
    return listed


def without_renamed(
    context: ReplayContext,
    listed: DestinationFolders,
    folders: Sequence[KnownFolder],
    rules: MapRules,
    errors: dict[str, str],
) -> Sequence[KnownFolder]:
    """The folders without those that would be renamed at the destination, where nothing may be changed: to send
    their mail again would double it. They are added to `errors`."""
    moves = {move.to.raw: move for move in _moves(context, listed, folders, rules)}
    if not moves:
        return folders
    recorded = context.replicas.folders.mapped(context.destination)
    places = {each.folder.raw: each.raw for each in map_of(folders, listed, rules, recorded).folders}
    left = []
    for each in folders:
        if (move := moves.get(places[each.folder.raw])) is None:
            left.append(each)
            continue
        old = printable(decode_name(move.folder.raw))
        errors[printable(each.folder.name)] = (
            f'was renamed at the source after the cutover, and its mail is in "{old}" at the destination; '
            "rename it there, or give --after-cutover"
        )
    return left


def _moves(
    context: ReplayContext,
    listed: DestinationFolders,
    folders: Sequence[KnownFolder],
    rules: MapRules,
) -> list[_Move]:
    """Which folders to rename, parents first."""
    recorded = context.replicas.folders.mapped(context.destination)
    places = {each.folder.raw: each for each in map_of(folders, listed, rules, recorded).folders}
    mapped = {each.number: places[each.folder.raw] for each in folders}
    missing = {number: each for number, each in mapped.items() if not each.exists}
    if not missing:
        return []
    replica_folders = context.replicas.folders.current(context.destination)
    movable = {
        replica_folders[each.folder.raw].number: replica_folders[each.folder.raw]
        for each in listed.listed
        if each.folder.raw in replica_folders and _is_movable(each.folder)
    }
    same = [
        pair
        for pair in context.replicas.folders.moved(context.destination)
        if pair.is_same and pair.target in movable
    ]
    stay = {pair.target for pair in same if _still_goes_there(pair, mapped, movable)}
    found: dict[int, _Move] = {}
    taken: set[bytes] = set()
    for pair in sorted(same, key=lambda pair: (-pair.equal, pair.folder)):
        place = missing.get(pair.folder)
        if place is None or pair.target in stay or pair.target in found or place.raw in taken:
            continue
        known = replica_folders.get(place.raw)
        # If there was a copy, its user removed the folder there.
        if known is None or not context.replicas.messages.newest(known.number, 1, removed=True):
            found[pair.target] = _Move(movable[pair.target], place)
            taken.add(place.raw)
    return sorted(found.values(), key=lambda move: len(move.folder.raw))


def _is_movable(folder: Folder) -> bool:
    """INBOX and folders with a special use belong to the destination."""
    return folder.selectable and folder.raw != INBOX and folder.special_use is None


def _still_goes_there(pair: Moved, mapped: dict[int, MappedFolder], folders: dict[int, ReplicaFolder]) -> bool:
    return pair.folder in mapped and mapped[pair.folder].raw == folders[pair.target].raw


def _with_those_below(
    context: ReplayContext, move: _Move, others: Sequence[_Move], listed: DestinationFolders
) -> list[tuple[ReplicaFolder, bytes]] | None:
    """The folder and those below it, which a server renames with it, and their new names. None if one of
    these has to stay or is not ours."""
    along = [(move.folder, move.to.raw)]
    step = (listed.delimiter or "").encode("utf-8", "surrogatepass")
    folders = context.replicas.folders.current(context.destination)
    for each in listed.listed if step else ():
        raw = each.folder.raw
        if not raw.startswith(move.folder.raw + step):
            continue
        to = move.to.raw + raw.removeprefix(move.folder.raw)
        follows = any((other.folder.raw, other.to.raw) == (raw, to) for other in others)
        is_empty = raw in folders and each.status is not None and each.status.messages == 0
        if follows or is_empty:
            along.append((folders[raw], to))
        elif each.folder.selectable:
            return None
    return along


def _is_ours(context: ReplayContext, folder: ReplicaFolder, destination: DestinationReader) -> bool:
    """Whether a folder holds only our copies, and no APPEND to it is unresolved."""
    try:
        opened = destination.open(folder.raw, readonly=True)
    except (FolderNotFound, PermissionDenied):
        return False
    if not opened.uidvalidity or opened.uidvalidity != folder.uidvalidity or context.pending.intents(folder.number):
        return False
    claimed = context.replicas.messages.claimed(folder.number)
    ours = UidSet(uid for uid, is_live in claimed.items() if is_live)
    return not opened.messages or destination.uids() <= ours


def _why_not_ours_alone(context: ReplayContext, along: Sequence[tuple[ReplicaFolder, bytes]]) -> str | None:
    """Why these folders keep their names: another account fills them, counts on mail in them, or may do so. It
    would not find its mail under the new name and would take it for removed."""
    live = {
        folder: context.replicas.messages.newest(
            folder.number, len(context.replicas.messages.claimed(folder.number))
        )
        for folder, _ in along
    }
    try:
        if (
            block := context.others.deletion_block([raw for folder, to in along for raw in (folder.raw, to)])
        ) is not None:
            return block.reason
        claimed = context.others.claimed(live)
    except ArchiverError as error:
        return str(error)
    accounts = sorted({account for its in claimed.values() for account in its.values()})
    return f"it has mail that also belongs to {', '.join(accounts)}" if accounts else None


def _rename(
    context: ReplayContext,
    connection: DestinationConnection,
    move: _Move,
    along: Sequence[tuple[ReplicaFolder, bytes]],
) -> bool:
    context.control.check_stop()
    context.recorder.write([RenamingFact(folder.number, to, context.control.now()) for folder, to in along])
    old, new = (printable(decode_name(raw)) for raw in (move.folder.raw, move.to.raw))
    try:
        connection.with_retries(lambda destination: destination.rename(move.folder.raw, move.to.raw))
    except FolderRefused as error:
        context.recorder.write(
            [RenamedFact(folder.number, folder.raw, context.control.now()) for folder, _ in along]
        )
        context.control.progress(Noted(str(error)))
        return False
    # NOTE: a server may assign another UIDVALIDITY and other UIDs, in another order (Courier). Then the messages
    # are matched by their octets when the folder is opened.
    _record_names(context, along)
    context.control.progress(Noted(f'destination folder "{old}": renamed to "{new}", as it was at the source'))
    return True


def _record_names(context: ReplayContext, along: Sequence[tuple[ReplicaFolder, bytes]]) -> None:
    context.recorder.write([RenamedFact(folder.number, to, context.control.now()) for folder, to in along])


def _under(each: Listed, names: dict[bytes, bytes], there: DestinationFolders) -> Listed:
    """A listed folder under its new name, if it has one, and without a status: the folder is opened anyway."""
    raw = names.get(each.folder.raw)
    if raw is None:
        return each
    path = folder_path(raw.removeprefix(there.prefix), there.delimiter)
    return Listed(replace(each.folder, raw=raw, path=path, subscribed=False))


def _is_there(raw: bytes, destination: FolderOpener) -> bool:
    try:
        destination.open(raw, readonly=True)
    except FolderNotFound:
        return False
    return True
