"""The settings of an account as frozen values, and the shape of their tables in an account file.

`archiver.config.shape` reads the tables by these annotations. The checks of single values are here, with what to
write instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Struct, field

from archiver.config.age import checked_age, day_of, imap_day
from archiver.config.hosts import checked_host
from archiver.config.protocols import usual_port
from archiver.config.references import SecretReference
from archiver.config.shape import Seconds, Table, between
from archiver.config.tables.fleet import FleetPlace, FleetSettings
from archiver.config.tables.notify import MailSettings, MetricsSettings, NotifySettings
from archiver.config.tables.oauth2 import OAuth2Settings
from archiver.config.tables.s3 import S3Settings

Tls = Literal["implicit", "starttls", "off"]
Protocol = Literal["imap", "pop3"]


def _user(user: str) -> str:
    if not user or not user.isprintable():
        raise ValueError("must not be empty or contain control characters")
    return user


def _provider(name: str) -> str:
    from archiver.config.providers.table import providers

    if name not in providers():
        raise ValueError(f"is not a provider that is known; there are {', '.join(providers())}")
    return name


def _with_server_of(name: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table with the host of a provider for its protocol, and with port and TLS if none of the three is
    given."""
    from archiver.config.providers.table import providers

    known = providers().get(name)
    host = "" if known is None else known.pop3 if table.get("protocol") == "pop3" else known.host
    if known is None or not host or "host" in table:
        return table
    server: dict[str, Any] = {"host": host}
    if host == known.host and not {"port", "tls", "protocol"} & table.keys():
        server |= {"port": known.port, "tls": known.tls}
    return {**server, **table}


def _separator(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError('must be what the server has between the two names, as in "*"')
    return text


def _fingerprint(text: str) -> str:
    plain = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise ValueError(
            "must be the SHA-256 of the certificate, 64 hex digits with or without colons; "
            "`openssl x509 -noout -fingerprint -sha256` prints it"
        )
    return plain


def _glob(pattern: str) -> str:
    if not pattern.strip("/") or pattern != pattern.strip("/"):
        raise ValueError('must not be empty or begin or end with "/"; "Public/*" is all below Public')
    return pattern


def _folder_name(name: str) -> str:
    if not name or name != name.strip("/") or "//" in name:
        raise ValueError('must be a folder\'s name with "/" between levels, as in "Archive/2020"')
    return name


def _prefix(name: str) -> str:
    return _folder_name(name) if name else name


def _search(criteria: str) -> str:
    """NOTE: goes onto the wire as it stands, so it must be one command's ASCII and nothing more."""
    if not criteria.strip():
        raise ValueError("must not be empty; leave the key out to archive all messages")
    if not (criteria.isascii() and criteria.isprintable()):
        raise ValueError("must be one line of printable ASCII")
    if re.search(r"\{\d+[+-]?\}", criteria):
        raise ValueError('must not contain an IMAP literal ({5}); write a quoted string ("...")')
    if not re.fullmatch(r'(?:[^"]|"(?:[^"\\]|\\["\\])*")*', criteria):
        raise ValueError('has a quoted string that is not closed or escapes something other than \\ and "')
    if re.match(r"\s*(RETURN|CHARSET)\b", criteria, re.IGNORECASE):
        raise ValueError("must be only search keys, without RETURN or CHARSET")
    return criteria


def _some(globs: tuple[str, ...]) -> tuple[str, ...]:
    if not globs:
        raise ValueError("must not be empty, or nothing would be archived")
    return globs


def _limit(number: float) -> float:
    if number <= 0:
        raise ValueError("must be greater than 0; leave the key out for no limit")
    return number


Globs = tuple[Annotated[str, _glob], ...]
FolderName = Annotated[str, _folder_name]


class LimitsSettings(Table, frozen=True, kw_only=True):
    """How much all connections of the account to this server may do: messages and octets a second, and octets on a
    day (UTC), in either direction. None: as much as they can."""

    messages_per_second: Annotated[float, _limit] | None = None
    octets_per_second: Annotated[int, _limit] | None = None
    octets_per_day: Annotated[int, _limit] | None = None


class SharedLimits(Table, frozen=True, kw_only=True):
    """How much all accounts of a fleet together may do at a server. None: as much as each of them may."""

    connections: Annotated[int, between(1, 10_000)] | None = None
    octets_per_second: Annotated[int, _limit] | None = None


class ServerSettings(Table, frozen=True, kw_only=True):
    """How to reach a server and log in. `fingerprint` is 64 lower-case hex digits; timeouts in seconds. `side` is
    the name of its table in the account file. `user` is whose mailbox it is; with a `login_user` the password is
    that user's, or the token. Without both the client certificate says who we are. `provider` is a name in the
    table of providers, whose server this is."""

    side: ClassVar[str] = "source"
    provider: Annotated[str, _provider] | None = None
    protocol: Protocol = "imap"
    host: Annotated[str, checked_host]
    port: Annotated[int, between(1, 65535)] = usual_port("imap", "implicit")
    tls: Tls = "implicit"
    ca_file: Path | None = None
    fingerprint: Annotated[str, _fingerprint] | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    user: Annotated[str, _user]
    password: SecretReference | None
    auth: Literal["password", "oauth2"] = "password"
    oauth2: OAuth2Settings | None = None
    login: Literal["auto", "login", "plain", "scram", "cram-md5"] = "auto"
    login_user: Annotated[str, _user] | None = None
    login_separator: Annotated[str, _separator] = "*"
    connections: Annotated[int, between(1, 16)] = 2
    connect_timeout: Seconds = 30.0
    read_timeout: Seconds = 120.0
    attempts: Annotated[int, between(1, 100)] = 5
    limits: LimitsSettings | None = None

    @property
    def address(self) -> str:
        """host:port, for messages."""
        return f"{self.host}:{self.port}"

    @property
    def mailbox(self) -> str:
        """Whose mail it is and where, for messages."""
        return f"{self.user} at {self.host}"

    @property
    def mailbox_at_port(self) -> str:
        """The same with the port."""
        return f"{self.user} at {self.address}"

    @classmethod
    def meant(cls, table: Mapping[str, Any]) -> type[Table]:
        """A source may be files instead of a server."""
        return FilesSettings if cls is ServerSettings and table.get("protocol") == "files" else cls

    @classmethod
    def completed(cls, table: Mapping[str, Any]) -> Mapping[str, Any]:
        """With the server of the provider, the port and the connections that follow from `protocol` and `tls`, and
        no password where a token or a client certificate takes its place."""
        protocol = table.get("protocol", "imap")
        if isinstance(name := table.get("provider"), str):
            table = _with_server_of(name, table)
        if {"client_cert", "oauth2"} & table.keys() or table.get("auth") == "oauth2":
            table = {"password": None, **table}
        if protocol == "pop3":
            table = {"connections": 1, **table}
        return {"port": usual_port(protocol, table.get("tls", "implicit")), **table}


class FilesSettings(Table, frozen=True, kw_only=True):
    """Mail that lies on a disk below `path`. `format` is what is taken, "auto" all that is known. `labels`: whether
    the labels of Gmail in a Takeout are folders or keywords."""

    side: ClassVar[str] = "source"
    protocol: Literal["files"] = "files"
    path: Path
    format: Literal["auto", "maildir", "mbox", "eml"] = "auto"
    labels: Literal["folders", "keywords"] = "folders"

    #: What a server's settings say. One thread reads all, and a file that changes meanwhile is read again.
    host: ClassVar[str] = ""
    connections: ClassVar[int] = 1
    attempts: ClassVar[int] = 5
    limits: ClassVar[LimitsSettings | None] = None

    @property
    def user(self) -> str:
        """Whose mail it is: of files, nothing but their path is known."""
        return str(self.path)

    @property
    def address(self) -> str:
        """Where it is, for messages."""
        return str(self.path)

    @property
    def mailbox(self) -> str:
        """Whose mail it is and where, for messages."""
        return f"the files at {self.path}"

    @property
    def mailbox_at_port(self) -> str:
        """The same."""
        return self.mailbox


SourceSettings = ServerSettings | FilesSettings


def admin_of(source: SourceSettings) -> str | None:
    """The admin who opens somebody else's IMAP mailbox; None if its user logs in."""
    return source.login_user if isinstance(source, ServerSettings) and source.protocol == "imap" else None


class DestinationSettings(ServerSettings, frozen=True, kw_only=True):
    """Where an account is replayed to; everything goes below the folder `prefix`, "" is the top. `shared`: the user
    states that other accounts of ours may fill the same folders of this mailbox."""

    side: ClassVar[str] = "destination"
    protocol: Literal["imap"] = "imap"
    prefix: Annotated[str, _prefix] = ""
    shared: bool = False


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


class FolderRules(Table, frozen=True, kw_only=True):
    """Globs over decoded folder names with "/" between levels; what is excluded wins. `whole` are the folders that
    show all of their messages, although their number is one at which providers cut off."""

    include: Annotated[Globs, _some] = ("*",)
    exclude: Globs = ()
    whole: Globs = ()
    #: Source name → destination name, both with "/" between levels; children follow their parent.
    rename: Mapping[FolderName, FolderName] = field(default_factory=dict)


class ReplayRules(Table, frozen=True, kw_only=True):
    """How an account is replayed. `vanished` says what happens to copies whose messages are gone from the source;
    `repair` what may be altered in a message that was refused unaltered. `acls`: access rights are given as they
    are at the source. `labels`: what becomes of the folders of Gmail: each is replayed, or All Mail with the labels
    of its messages, or All Mail alone."""

    vanished: Literal["keep", "mark", "expunge"] = "keep"
    repair: tuple[Literal["crlf", "last-line", "nul", "long-lines"], ...] = ("crlf", "last-line")
    acls: bool = False
    #: An identifier at the source → what it is called at the destination; "" leaves it out.
    acl_users: Mapping[str, str] = field(default_factory=dict)
    labels: Literal["folders", "labels", "all-mail"] = "folders"


class MessageRules(Table, frozen=True, kw_only=True):
    """Which messages are archived: what an IMAP SEARCH in ASCII finds, and of these ages; None means all."""

    search: Annotated[str, _search] | None = None
    older_than: Annotated[str, checked_age] | None = None
    newer_than: Annotated[str, checked_age] | None = None

    def __post_init__(self) -> None:
        if self.older_than is not None and self.newer_than is not None:
            today = date(2001, 1, 31)
            if day_of(self.older_than, today) <= day_of(self.newer_than, today):
                raise ValueError(
                    f'older_than = "{self.older_than}" and newer_than = "{self.newer_than}" leave no message: '
                    "newer_than must be the longer time"
                )

    def criteria(self, today: date) -> str | None:
        """The SEARCH that finds them, for a run that begins on that day. A server compares days as they were where
        the message arrived (RFC 3501 section 6.4.4), so a message may be taken a day earlier or later."""
        ages = [
            f"{key} {imap_day(day_of(age, today))}"
            for key, age in (("BEFORE", self.older_than), ("SINCE", self.newer_than))
            if age is not None
        ]
        return " ".join([*ages, *([] if self.search is None else [self.search])]) or None


class SearchRules(Table, frozen=True, kw_only=True):
    """What is kept for searches besides the catalog: "text" also what messages say and what is attached to them;
    with `documents` also the text of attached PDF and office documents."""

    index: Literal["headers", "text"] = "headers"
    documents: bool = False

    def __post_init__(self) -> None:
        if self.documents and self.index != "text":
            raise ValueError('documents = true and index = "text" go together; write both')


class ReportRules(Table, frozen=True, kw_only=True):
    """How long reports of runs that ended well are kept; None: for ever."""

    keep: Annotated[str, checked_age] | None = None


class RetentionRules(Table, frozen=True, kw_only=True):
    """How long messages are kept that are gone from the source; None: for ever."""

    vanished: Annotated[str, checked_age] | None = None


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
