"""A preview of an account's destination: what it offers, and which folder goes where.

It uses one connection, tries one login, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from archiver.account.account import Account
from archiver.account.archive import known_number
from archiver.account.meeting import copies_at, look_at_both, look_at_meeting, removed_at, words_of
from archiver.account.replay import map_rules
from archiver.catalog.port import Catalog
from archiver.config.settings import Settings
from archiver.destination.folder_map.not_ours import NotOurs, OurCopies, not_ours
from archiver.destination.folder_map.replayed import is_replayed, require_all_mail
from archiver.errors import ArchiverError, ConfigError
from archiver.facts.known import KnownFolder
from archiver.facts.mailbox import DestinationFolders
from archiver.imap.capabilities import ServerFacts
from archiver.mail.folder_names import printable
from archiver.mail.model import Folder, Listed
from archiver.replay.folders.create import Recorded, map_of
from archiver.replay.identify import IdentityAnswer
from archiver.replay.send.labels import require_labels
from pipelines.failures import logged
from pipelines.show.preview.provider import provider_to_json
from pipelines.show.preview.token import TokenPreview, preview_token
from pipelines.stop import STOP


class FolderPlace(Struct, frozen=True):
    """Where a folder goes. `state` is "exists" or "create"; `why` it has another name there, or ""."""

    name: str
    there: str
    state: str
    why: str


class DestinationPreview(Struct, frozen=True):
    """The preview of a destination; `error` is what ended it early. `free_octets` and `append_limit` are None if
    there is no limit or the server does not report it; `too_large` messages are larger than that, None if that is
    not known. `held` copies exist already, `removed` ones were removed by
    the user. `not_ours` is mail besides them, None if it could not be read; `compared` is false if there is no
    archive yet to compare with. `met` is a text for people about how the mailbox is known."""

    settings: Settings
    server: ServerFacts | None = None
    folders: tuple[FolderPlace, ...] = ()
    warnings: tuple[str, ...] = ()
    free_octets: int | None = None
    append_limit: int | None = None
    too_large: int | None = None
    held: int = 0
    removed: int = 0
    not_ours: NotOurs | None = None
    compared: bool = True
    met: str = ""
    error: ArchiverError | None = None

    @property
    def token(self) -> TokenPreview | None:
        """The token that the login there uses."""
        return None if self.settings.destination is None else preview_token(self.settings.destination)

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
            "server": self.server
            and {**server_to_json(self.server), "provider": provider_to_json(destination, self.server)},
            "token": (token := self.token) and to_builtins(token),
            "free": self.free_octets,
            "append_limit": self.append_limit,
            "too_large": self.too_large,
            "held": self.held,
            "not_ours": self.not_ours and to_builtins(self.not_ours),
            "mailbox": self.met or None,
            "folders": [{name: getattr(each, name) for name in names} for each in self.folders],
            "warnings": list(self.warnings),
        }


def server_to_json(server: ServerFacts) -> dict[str, Any]:
    """A server as a JSON object."""
    return {
        "greeting": server.greeting,
        "capabilities": sorted(map(printable, server.capabilities)),
        "used": server.used,
        "missed": server.missed,
        "tls": server.tls
        and {name: getattr(server.tls, name) for name in ("version", "cipher", "subject", "expires")},
        "login": server.login,
    }


class AtSource(Struct, frozen=True):
    """What the source showed: all listed folders, and those that will be archived."""

    listed: Sequence[Listed]
    chosen: Sequence[Folder]


def preview_destination(account: Account, source: AtSource, answer: IdentityAnswer = "ask") -> DestinationPreview:
    """Preview the destination of an account with such a source. Never raises for its failure."""
    settings = account.settings
    found = DestinationPreview(settings)
    try:
        STOP.check()
        with closing(account.destination.connect_once(anyway=True)) as connection, _catalog_of(account) as catalog:
            found = replace(found, server=connection.facts)
            listed = connection.list_folders()
            found = replace(found, server=connection.facts)  # with the list comes the answer to ID
            found = replace(found, free_octets=connection.free_octets(), append_limit=listed.append_limit)
            number = known_number(settings, catalog)
            if settings.replay.labels == "labels":
                require_labels(connection)
            try:
                look_at_both(settings, catalog, source.listed, connection, listed, answer, STOP.control())
                meeting = look_at_meeting(settings, catalog, connection, listed, answer)
                number = meeting.number
                found = replace(found, met=words_of(meeting, copies_at(catalog, number)))
            except ConfigError as error:
                found = replace(found, error=error)
            return _compared(found, source.chosen, listed, catalog, number)
    except Exception as error:
        return replace(found, error=found.error or logged(error))


@contextmanager
def _catalog_of(account: Account) -> Iterator[Catalog | None]:
    """What the account's archive knows; None where there is none."""
    if not account.catalog.exists():
        yield None
        return
    with account.reading() as archive:
        yield archive.catalog


def _compared(
    preview: DestinationPreview,
    chosen: Sequence[Folder],
    listed: DestinationFolders,
    catalog: Catalog | None,
    number: int | None,
) -> DestinationPreview:
    """Add the folder map and what the destination holds. Folders of the archive keep their numbers."""
    numbers = {raw: each.number for raw, each in catalog.account.folders().items()} if catalog else {}
    labels = preview.settings.replay.labels
    replayed = [each for each in chosen if is_replayed(each, labels)]
    known = [KnownFolder(numbers.get(folder.raw, -number), folder, "") for number, folder in enumerate(replayed, 1)]
    recorded: Recorded = {}
    holding: OurCopies = {}
    if catalog is not None and number is not None:
        recorded = catalog.replicas.folders.mapped(number)
        holding = catalog.replicas.folders.holding(number)
    rules = map_rules(preview.settings)
    preview = replace(
        preview,
        held=copies_at(catalog, number),
        removed=removed_at(catalog, number),
        not_ours=not_ours(listed, holding, rules.prefix),
        compared=catalog is not None,
    )
    require_all_mail(chosen, labels)
    folder_map = map_of(known, listed, rules, recorded)
    folders = tuple(
        FolderPlace(
            name=printable(each.folder.name),
            there=printable("/".join(each.path)),
            state="exists" if each.exists else "create",
            why=printable(each.why),
        )
        for each in folder_map.folders
    )
    return replace(preview, folders=folders, warnings=tuple(map(printable, folder_map.warnings)))
