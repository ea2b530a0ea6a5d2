"""The settings of an account as frozen values, and the shape of their tables in an account file.

pydantic checks each value strictly (a number in quotes is a mistake) and does not stop at the first one.
`archiver.config.load` turns its errors into text for people; the messages for our own types are here. A validation
context `{"folder": Path}` makes relative paths relative to that folder.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from archiver.config.hosts import host_on_the_wire

HOW_TO_REFER = (
    'write a reference to the password instead: { env = "NAME" }, { file = "PATH" }, '
    '{ command = ["PROGRAM", "ARGUMENT"] } or { keyring = "SERVICE" }'
)

Tls = Literal["implicit", "starttls", "off"]
PORTS = {"implicit": 993, "starttls": 143, "off": 143}


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is stored, never the secret: `value` is an argv for "command", otherwise a name or a path."""

    kind: Literal["env", "file", "command", "keyring"]
    value: str | tuple[str, ...]


def _path(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    folder = (info.context or {}).get("folder", Path())
    return _absolute(value, folder)


def _absolute(text: str, folder: Path) -> Path:
    if not text or "\0" in text:
        raise ValueError("must name a file or a folder")
    if re.search(r"\{\w*\}", text):
        raise ValueError("has an unknown placeholder; the only one is {account}")
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        raise ValueError('begins with "~", but the home folder is unknown; write the full path') from None


def _reference(value: object, info: ValidationInfo) -> SecretReference:
    """NOTE: no message here may contain any part of `value`, since it may be the password itself."""
    if isinstance(value, SecretReference):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"is not a reference; {HOW_TO_REFER}")
    folder = (info.context or {}).get("folder", Path())
    match next(iter(value.items())):
        case "env", str(name):
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError("env must be the name of a variable (letters, digits, _), not the password")
            return SecretReference("env", name)
        case "file", str(text):
            return SecretReference("file", str(_absolute(text, folder)))
        case "command", [str(program), *arguments] if program and all(isinstance(a, str) for a in arguments):
            if any("\0" in word for word in (program, *arguments)):
                raise ValueError("command must not contain NUL")
            if "/" in program:
                program = str(_absolute(program, folder))
            return SecretReference("command", (program, *arguments))
        case "keyring", str(service) if service:
            return SecretReference("keyring", service)
        case _:
            raise ValueError(f"is not a reference; {HOW_TO_REFER}")


def _host(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not (re.fullmatch(r"[\w.-]+", host) and _is_name(host)):
            raise ValueError('must be the server\'s name alone, as in "imap.example.org"') from None
    return host


def _is_name(host: str) -> bool:
    try:
        host_on_the_wire(host)
    except ValueError:
        return False
    return True


def _user(user: str) -> str:
    if not user or not user.isprintable():
        raise ValueError("must not be empty or contain control characters")
    return user


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


def _bucket(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        raise ValueError("must be only a bucket's name: 3 to 63 of a-z, 0-9, dot and hyphen")
    return name


def _key_prefix(prefix: str) -> str:
    if prefix and not re.fullmatch(r"[A-Za-z0-9!_.*'()=+@-]+(/[A-Za-z0-9!_.*'()=+@-]+)*", prefix):
        raise ValueError('must be letters, digits and !_.*\'()=+@- with "/" between levels, as in "mail/archive"')
    if any(level.strip(".") == "" for level in prefix.split("/")) and prefix:
        raise ValueError("must not have a level that consists only of dots")
    return prefix


def _endpoint(url: str) -> str:
    """NOTE: the message does not show the value, since a URL may contain a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError('must be only the address, as in "https://s3.example.org:9000"')
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user or a password; boto3 finds the credentials in its usual places")
    return url.rstrip("/")


def _word(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be one word of ASCII")
    return text


LocalPath = Annotated[Path, BeforeValidator(_path)]
Globs = Annotated[tuple[Annotated[str, AfterValidator(_glob)], ...], Field(strict=False)]
FolderName = Annotated[str, AfterValidator(_folder_name)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Table(BaseModel):
    """A table of an account file. Unknown keys are mistakes, and no message shows a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class ServerSettings(Table):
    """How to reach a server and log in. `fingerprint` is 64 lower-case hex digits; timeouts in seconds. `side` is
    the name of its table in the account file."""

    side: ClassVar[str] = "source"
    protocol: Literal["imap"] = "imap"
    host: Annotated[str, AfterValidator(_host)]
    port: Annotated[int, Field(ge=1, le=65535)] = PORTS["implicit"]
    tls: Tls = "implicit"
    ca_file: LocalPath | None = None
    fingerprint: Annotated[str, AfterValidator(_fingerprint)] | None = None
    client_cert: LocalPath | None = None
    user: Annotated[str, AfterValidator(_user)]
    password: Annotated[SecretReference, BeforeValidator(_reference)]
    login: Literal["auto", "login", "plain"] = "auto"
    connections: Annotated[int, Field(ge=1, le=16)] = 2
    connect_timeout: Seconds = 30.0
    read_timeout: Seconds = 120.0
    attempts: Annotated[int, Field(ge=1, le=100)] = 5

    @property
    def address(self) -> str:
        """host:port, for messages."""
        return f"{self.host}:{self.port}"

    @model_validator(mode="before")
    @classmethod
    def _port_from_tls(cls, table: object) -> object:
        if not isinstance(table, dict) or "port" in table or not isinstance(table.get("tls"), str):
            return table
        return {**table, "port": PORTS.get(table["tls"], PORTS["implicit"])}


class DestinationSettings(ServerSettings):
    """Where an account is replayed to; everything goes below the folder `prefix`, "" is the top. `shared`: the user
    states that other accounts of ours may fill the same folders of this mailbox."""

    side: ClassVar[str] = "destination"
    prefix: Annotated[str, AfterValidator(_prefix)] = ""
    shared: bool = False


class ObjectLock(Table):
    """How the messages and the journal are locked in the bucket: they cannot be deleted for `days` days."""

    mode: Literal["GOVERNANCE", "COMPLIANCE"]
    days: Annotated[int, Field(ge=1, le=36500)]
    legal_hold: bool = False


class S3Settings(Table):
    """Which bucket, how to reach it, and how objects are kept there. boto3 finds the credentials in its usual
    places. `checksums` "auto" sends ours if the endpoint accepts them; `client` "auto" uses the faster one if it is
    installed and supports the settings. `single_writer`: the user states that only one machine works on this
    archive, for endpoints that cannot provide a lock between machines. `attempts` is of one request.
    """

    bucket: Annotated[str, AfterValidator(_bucket)]
    prefix: Annotated[str, AfterValidator(_key_prefix)] = ""
    layout: Literal["objects", "packs"] = "objects"
    endpoint_url: Annotated[str, AfterValidator(_endpoint)] | None = None
    region: Annotated[str, AfterValidator(_word)] | None = None
    profile: Annotated[str, AfterValidator(_word)] | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    ca_file: LocalPath | None = None
    checksums: Literal["auto", "when_supported", "when_required"] = "auto"
    storage_class: Annotated[str, AfterValidator(_word)] | None = None
    sse: Literal["AES256", "aws:kms", "customer"] | None = None
    kms_key: Annotated[str, AfterValidator(_word)] | None = None
    customer_key: Annotated[SecretReference, BeforeValidator(_reference)] | None = None
    tags: Mapping[str, str] = Field(default={}, max_length=10)
    object_lock: ObjectLock | None = None
    create_bucket: bool = False
    single_writer: bool = False
    client: Literal["auto", "boto3"] = "auto"
    connections: Annotated[int, Field(ge=1, le=256)] = 16
    connect_timeout: Seconds = 10.0
    read_timeout: Seconds = 60.0
    attempts: Annotated[int, Field(ge=1, le=100)] = 8

    @model_validator(mode="after")
    def _keys_go_with_their_encryption(self) -> S3Settings:
        if self.kms_key is not None and self.sse != "aws:kms":
            raise ValueError('kms_key goes with sse = "aws:kms" alone')
        if (self.customer_key is not None) != (self.sse == "customer"):
            raise ValueError('customer_key and sse = "customer" go together')
        return self


class ArchiveSettings(Table):
    """Where the archive is and how durable a write must be. `must_exist`: no run begins one."""

    path: LocalPath
    store: Literal["maildir", "s3"] = "maildir"
    durability: Literal["batch", "file", "none"] = "batch"
    must_exist: bool = False
    s3: S3Settings | None = None

    @model_validator(mode="after")
    def _a_bucket_for_s3_alone(self) -> ArchiveSettings:
        if (self.s3 is not None) != (self.store == "s3"):
            raise ValueError('store = "s3" and the table [archive.s3] go together')
        return self


class FolderRules(Table):
    """Globs over decoded folder names with "/" between levels; what is excluded wins. `whole` are the folders that
    show all of their messages, although their number is one at which providers cut off."""

    include: Annotated[Globs, Field(min_length=1)] = ("*",)
    exclude: Globs = ()
    whole: Globs = ()
    #: Source name → destination name, both with "/" between levels; children follow their parent.
    rename: Mapping[FolderName, FolderName] = Field(default={})


class ReplayRules(Table):
    """How an account is replayed. `vanished` says what happens to copies whose messages are gone from the source;
    `repair` what may be altered in a message that was refused unaltered."""

    vanished: Literal["keep", "mark", "expunge"] = "keep"
    repair: Annotated[tuple[Literal["crlf", "nul", "long-lines"], ...], Field(strict=False)] = ("crlf",)


class MessageRules(Table):
    """Which messages are archived: `search` is an IMAP SEARCH in ASCII; None means all."""

    search: Annotated[str, AfterValidator(_search)] | None = None


class AccountFile(Table):
    """An account file merged with its defaults."""

    source: ServerSettings
    archive: ArchiveSettings
    destination: DestinationSettings | None = None
    folders: FolderRules = FolderRules()
    messages: MessageRules = MessageRules()
    replay: ReplayRules = ReplayRules()


#: The tables of a file and their keys.
TABLES: Mapping[str, type[BaseModel]] = {
    "source": ServerSettings,
    "archive": ArchiveSettings,
    "archive.s3": S3Settings,
    "destination": DestinationSettings,
    "folders": FolderRules,
    "messages": MessageRules,
    "replay": ReplayRules,
}


class Settings(Struct, frozen=True):
    """One account as configured: all paths are absolute, and there are no secrets. `warnings` are for people."""

    account: str
    file: Path
    source: ServerSettings
    archive: ArchiveSettings
    folders: FolderRules
    messages: MessageRules
    destination: DestinationSettings | None
    replay: ReplayRules
    warnings: tuple[str, ...] = ()
