"""A look at an account's destination before anything is done there: what it offers, and which folder goes where.

One connection, one attempt at a login, and nothing changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from archiver.config import Settings
from archiver.copies import DestinationFolders
from archiver.errors import ArchiverError
from archiver.folder_map.mapping import FolderMap
from archiver.folder_map.not_ours import Held, NotOurs, not_ours
from archiver.imap.introduction import ServerFacts
from archiver.model import Folder, KnownFolder
from archiver.names import printable
from archiver.replay.placing import Recorded, map_of
from archiver.wiring_reading import open_for_reading
from archiver.wiring_replay import destination_number, look_at_destination, map_rules
from pipelines.failures import logged
from pipelines.stop import STOP


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """Where a folder goes. `state` is "exists" or "create"; `why` it has another name there, else ""."""

    name: str
    there: str
    state: str
    why: str


@dataclass(frozen=True, slots=True)
class DestinationPreview:
    """What a look at a destination found; `error` is what ended it. `free_octets` and `append_limit` are None
    where there is no limit or the server does not tell. `held` copies are there already, and beside them mail that
    is `not_ours`, None where nobody could look."""

    settings: Settings
    server: ServerFacts | None = None
    folders: tuple[FolderPlace, ...] = ()
    warnings: tuple[str, ...] = ()
    free_octets: int | None = None
    append_limit: int | None = None
    held: int = 0
    not_ours: NotOurs | None = None
    error: ArchiverError | None = None

    @property
    def exit_code(self) -> int:
        return 0 if self.error is None else self.error.exit_code

    def to_json(self) -> dict[str, Any]:
        """The destination in the documents of `check` and of a dry run."""
        destination = self.settings.destination
        assert destination is not None
        names = ("name", "there", "state", "why")
        return {
            "address": f"{destination.host}:{destination.port}",
            "user": destination.user,
            "exit_code": self.exit_code,
            "message": None if self.error is None else str(self.error),
            "server": self.server and server_to_json(self.server),
            "free": self.free_octets,
            "append_limit": self.append_limit,
            "held": self.held,
            "not_ours": self.not_ours and asdict(self.not_ours),
            "folders": [{name: getattr(each, name) for name in names} for each in self.folders],
            "warnings": list(self.warnings),
        }


def server_to_json(server: ServerFacts) -> dict[str, Any]:
    """A server as JSON."""
    return {
        "greeting": server.greeting,
        "capabilities": sorted(map(printable, server.capabilities)),
        "used": server.used,
        "missed": server.missed,
        "tls": server.tls
        and {name: getattr(server.tls, name) for name in ("version", "cipher", "subject", "expires")},
    }


def preview_destination(settings: Settings, folders: Sequence[Folder]) -> DestinationPreview:
    """Look at the destination of an account that will have these folders. Never raises for its failure."""
    server = None
    try:
        STOP.check()
        connection = look_at_destination(settings)
        try:
            server = connection.facts
            listed = connection.list_folders()
            free = connection.free_octets()
        finally:
            connection.close()
        known, recorded, held, holding = _known(settings, folders)
        strangers = not_ours(listed, holding, map_rules(settings).prefix)
        folder_map = map_of(known, listed, map_rules(settings), recorded)
        return _preview(settings, server, listed, folder_map, free, held, strangers)
    except Exception as error:
        return DestinationPreview(settings, server, error=logged(error))


def _known(settings: Settings, folders: Sequence[Folder]) -> tuple[list[KnownFolder], Recorded, int, Held]:
    """The folders with their numbers, where the archive has them; their recorded places, how many copies of present
    messages are at the destination, and how many copies at all in each folder."""
    known = [KnownFolder(-number, folder, "") for number, folder in enumerate(folders, 1)]
    if not (settings.archive.path / "catalog.sqlite").exists():
        return known, {}, 0, {}
    with open_for_reading(settings) as archive:
        numbers = {raw: each.number for raw, each in archive.catalog.folders().items()}
        known = [KnownFolder(numbers.get(each.folder.raw, each.number), each.folder, "") for each in known]
        if (number := destination_number(archive)) is None:
            return known, {}, 0, {}
        copies = archive.catalog.at_destinations()
        held = sum(each.replayed + each.already_there for each in copies.tallies(number, None))
        return known, copies.mapped(number), held, copies.holding(number)


def _preview(
    settings: Settings,
    server: ServerFacts,
    listed: DestinationFolders,
    folder_map: FolderMap,
    free: int | None,
    held: int,
    strangers: NotOurs,
) -> DestinationPreview:
    folders = tuple(
        FolderPlace(
            name=printable(each.folder.name),
            there=printable("/".join(each.path)),
            state="exists" if each.exists else "create",
            why=printable(each.why),
        )
        for each in folder_map.folders
    )
    warnings = tuple(map(printable, folder_map.warnings))
    return DestinationPreview(settings, server, folders, warnings, free, listed.append_limit, held, strangers)
