"""The tables [source] and [destination] with their limits, and [servers.HOST]: servers, and how to log in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from archiver.config.hosts import checked_host
from archiver.config.protocols import usual_port
from archiver.config.references import SecretReference
from archiver.config.shape import Seconds, Table, between
from archiver.config.tables.oauth2 import OAuth2Settings
from archiver.config.tables.rules import checked_folder

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


def _prefix(name: str) -> str:
    return checked_folder(name) if name else name


def _limit(number: float) -> float:
    if number <= 0:
        raise ValueError("must be greater than 0; leave the key out for no limit")
    return number


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
