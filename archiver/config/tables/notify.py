"""The tables [notify] and [metrics]: who gets to know how a run ended, and where monitoring finds its numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import field

from archiver.config.hosts import checked_host
from archiver.config.layers import Tree, defaults_of, merge, named, read_toml
from archiver.config.references import Program, SecretReference, readers
from archiver.config.shape import Table, between, read_table
from archiver.config.tables.oauth2 import checked_url
from archiver.errors import ConfigError

Occasion = Literal["failure", "change", "digest"]

_MAIL_PORTS = {"implicit": 465, "starttls": 587, "off": 25}


def _address(text: str) -> str:
    """NOTE: goes into a header and into an SMTP command as it stands."""
    if not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+(@[A-Za-z0-9.\[\]:-]+)?", text):
        raise ValueError('must be an address in ASCII alone, as in "ops@example.org"')
    return text


def _some(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("must not be empty; leave the table out for no mail")
    return tuple(dict.fromkeys(values))


def _login_name(user: str) -> str:
    if not user or not user.isprintable():
        raise ValueError("must not be empty or contain control characters")
    return user


def _prom(path: Path) -> Path:
    if path.suffix != ".prom":
        raise ValueError('must be a file whose name ends in ".prom": node_exporter reads no other')
    return path


class MailSettings(Table, frozen=True, kw_only=True):
    """Mail by SMTP. `user` and `password` go together; without them nobody logs in."""

    host: Annotated[str, checked_host]
    port: Annotated[int, between(1, 65535)] = _MAIL_PORTS["implicit"]
    tls: Literal["implicit", "starttls", "off"] = "implicit"
    user: Annotated[str, _login_name] | None = None
    password: SecretReference | None = None
    sender: Annotated[str, _address] = field(name="from")
    to: Annotated[tuple[Annotated[str, _address], ...], _some]

    @property
    def address(self) -> str:
        """host:port, for messages."""
        return f"{self.host}:{self.port}"

    @classmethod
    def completed(cls, table: Mapping[str, Any]) -> Mapping[str, Any]:
        """With the port that follows from `tls`, and one recipient as a list of one."""
        port = _MAIL_PORTS.get(str(table.get("tls", "implicit")), _MAIL_PORTS["implicit"])
        to = {"to": [table["to"]]} if isinstance(table.get("to"), str) else {}
        return {"port": port, **table, **to}

    def __post_init__(self) -> None:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together; write both, or none for a server without a login")


class NotifySettings(Table, frozen=True, kw_only=True):
    """Who gets to know how a run ended, and `on` which occasions: "failure", an account is not complete; "change",
    it is and was not, or the other way round; "digest", every command. `webhook` gets the notice as JSON, signed
    with `webhook_secret`; `command` on its standard input. `ping` is asked at the start and at the end."""

    on: tuple[Occasion, ...] = ("failure",)
    mail: MailSettings | None = None
    webhook: Annotated[str, checked_url] | None = None
    webhook_secret: SecretReference | None = None
    command: Program | None = None
    ping: Annotated[str, checked_url] | None = None

    def __post_init__(self) -> None:
        if self.webhook_secret is not None and self.webhook is None:
            raise ValueError("webhook_secret signs what a webhook gets, and there is no webhook; write that, too")


class MetricsSettings(Table, frozen=True, kw_only=True):
    """Where monitoring finds its numbers: a file for the textfile collector of Prometheus's node_exporter."""

    textfile: Annotated[Path, _prom] | None = None


def written_watch(path: Path) -> tuple[NotifySettings, MetricsSettings]:
    """Who gets to know of an account whose file has mistakes: by the file, or by its defaults alone if it cannot be
    read. A table with a mistake counts as empty."""
    tree: Tree = {}
    folder = path.absolute().parent
    try:
        tree = defaults_of(folder).tree
        tree = merge(tree, read_toml(path))
    except ConfigError:
        pass  # the account is refused, and says why
    tree, known = named(tree, path.stem), readers(folder)
    notify, _ = read_table(NotifySettings, tree.get("notify", {}), known)
    metrics, _ = read_table(MetricsSettings, tree.get("metrics", {}), known)
    return notify or NotifySettings(), metrics or MetricsSettings()
