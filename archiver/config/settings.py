"""The settings of an account as frozen values, and all tables of an account file.

`archiver.config.shape` reads the tables by their annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct, field

from archiver.config.hosts import checked_host
from archiver.config.shape import Table
from archiver.config.tables.fleet import FleetPlace, FleetSettings
from archiver.config.tables.notify import MailSettings, MetricsSettings, NotifySettings
from archiver.config.tables.oauth2 import OAuth2Settings
from archiver.config.tables.rules import (
    FolderRules,
    MessageRules,
    ReplayRules,
    ReportRules,
    RetentionRules,
    SearchRules,
)
from archiver.config.tables.s3 import S3Settings
from archiver.config.tables.server import (
    DestinationSettings,
    LimitsSettings,
    ServerSettings,
    SharedLimits,
    SourceSettings,
)


class ArchiveSettings(Table, frozen=True, kw_only=True):
    """Where the archive is and how durable a write must be. `must_exist`: no run begins one."""

    path: Path
    store: Literal["maildir", "s3"] = "maildir"
    durability: Literal["batch", "file", "none"] = "batch"
    must_exist: bool = False
    s3: S3Settings | None = None

    def __post_init__(self) -> None:
        if (self.s3 is not None) != (self.store == "s3"):
            raise ValueError('store = "s3" and the table [archive.s3] go together')


class AccountFile(Table, frozen=True, kw_only=True):
    """An account file merged with its defaults."""

    source: SourceSettings
    archive: ArchiveSettings
    destination: DestinationSettings | None = None
    folders: FolderRules = FolderRules()
    messages: MessageRules = MessageRules()
    replay: ReplayRules = ReplayRules()
    search: SearchRules = SearchRules()
    reports: ReportRules = ReportRules()
    retention: RetentionRules = RetentionRules()
    notify: NotifySettings = NotifySettings()
    metrics: MetricsSettings = MetricsSettings()
    fleet: FleetSettings = FleetSettings()
    #: By the name of the host.
    servers: Mapping[Annotated[str, checked_host], SharedLimits] = field(default_factory=dict)


#: The tables of a file and their keys.
TABLES: Mapping[str, type[Table]] = {
    "source": ServerSettings,
    "source.oauth2": OAuth2Settings,
    "source.limits": LimitsSettings,
    "archive": ArchiveSettings,
    "archive.s3": S3Settings,
    "destination": DestinationSettings,
    "destination.oauth2": OAuth2Settings,
    "destination.limits": LimitsSettings,
    "folders": FolderRules,
    "messages": MessageRules,
    "replay": ReplayRules,
    "search": SearchRules,
    "reports": ReportRules,
    "retention": RetentionRules,
    "notify": NotifySettings,
    "notify.mail": MailSettings,
    "metrics": MetricsSettings,
    "fleet": FleetSettings,
    "servers.HOST": SharedLimits,
}


class Settings(Struct, frozen=True):
    """One account as configured: all paths are absolute, and there are no secrets. `fleet` is None without a
    `defaults.toml`. `warnings` are for people."""

    account: str
    file: Path
    source: SourceSettings
    archive: ArchiveSettings
    folders: FolderRules
    messages: MessageRules
    destination: DestinationSettings | None
    replay: ReplayRules
    search: SearchRules = SearchRules()
    reports: ReportRules = ReportRules()
    retention: RetentionRules = RetentionRules()
    notify: NotifySettings = NotifySettings()
    metrics: MetricsSettings = MetricsSettings()
    fleet: FleetPlace | None = None
    servers: Mapping[str, SharedLimits] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
