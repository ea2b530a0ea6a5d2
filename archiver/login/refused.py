"""Refused logins, remembered so that nobody is locked out: a server locks an account, or a whole address, after a
few wrong passwords, and a job that runs every hour would send the same one again and again.

A refusal is kept in a file of the archive's directory, until the login works, something of it changes, or a night
has passed. What is compared is a key made of the settings and the secret, by a slow function and a salt, so that
the file does not help anybody to guess the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, to_builtins
from msgspec.structs import asdict

from archiver.config.tables.server import ServerSettings
from archiver.control.run import utc_now
from archiver.errors import AuthenticationFailed, ConfigError
from archiver.login.port import Authenticator
from archiver.login.reach import has_logged_in, note_login

T = TypeVar("T")

#: A nightly run, which begins a little earlier or later each time, tries once a night.
_AGAIN_AFTER = timedelta(hours=22)

#: A reply that says so, by a code (RFC 5530, RFC 3206) or in words. Any other NO may be the server's own trouble.
_ABOUT_THE_LOGIN = re.compile(
    r"\[(?:AUTH|AUTHENTICATIONFAILED|AUTHORIZATIONFAILED|EXPIRED|WEBALERT|CONTACTADMIN)\b"
    r"|credential|password|passwd|authenticat|\buser ?name\b|log ?[io]n (?:failed|failure)|invalid log ?[io]n",
    re.IGNORECASE,
)

#: What of a server's settings says nothing about who logs in, and where.
_NOT_OF_THE_LOGIN = ("connections", "connect_timeout", "read_timeout", "attempts", "limits")


class Refusal(Struct, frozen=True):
    """When which login was refused, and what was said about it."""

    at: str
    salt: str
    key: str
    message: str
    server_reply: str
    hint: str | None = None


class RefusedLogins(Struct, frozen=True):
    """What is known of the logins of one account to one server; kept in `path`. Safe for threads and processes."""

    path: Path
    server: ServerSettings
    authenticator: Authenticator

    def guard(self, log_in: Callable[[], T], *, anyway: bool = False) -> T:
        """What `log_in` returns, unless this very login was refused before; `anyway`: a person asks for it.

        Raises:
            AuthenticationFailed: it was refused now, or before and not tried.
        """
        if not anyway:
            self._require_untried()
        try:
            connection = log_in()
        except AuthenticationFailed as error:
            if _ABOUT_THE_LOGIN.search(error.server_reply or ""):
                self._note(error)
            raise
        note_login(self._name)
        with suppress(OSError):
            self.path.unlink()
        return connection

    @property
    def _name(self) -> str:
        return f"{self.path} {self.server.address} {self.server.user}"

    def _require_untried(self) -> None:
        refusal = self._read()
        if refusal is None:
            return
        again = datetime.fromisoformat(refusal.at) + _AGAIN_AFTER
        if not datetime.fromisoformat(refusal.at) <= datetime.fromisoformat(utc_now()) < again:
            return
        if (key := self._key(refusal.salt)) is None or not hmac.compare_digest(key, refusal.key):
            return
        raise AuthenticationFailed(
            f"{refusal.message}; so it was at {refusal.at}, and the same login is not tried again before "
            f"{again.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}, because servers lock users out",
            server_reply=refusal.server_reply,
            hint=f"{refusal.hint or 'correct the login'}; a change is tried at once, and `archiver check` always "
            "tries",
        )

    def _note(self, error: AuthenticationFailed) -> None:
        """NOTE: some servers refuse a login when a user has too many sessions. Where another one worked in this
        command, the login is right."""
        if has_logged_in(self._name):
            return
        salt = secrets.token_hex(16)
        if (key := self._key(salt)) is None:
            return
        refusal = Refusal(utc_now(), salt, key, error.message, error.server_reply or "", error.hint)
        _replace(self.path, json.dumps(to_builtins(refusal)).encode())

    def _key(self, salt: str) -> str | None:
        """What tells this login from others; None for one by a token, which is another one each time."""
        if self.server.auth == "oauth2":
            return None
        try:
            secret = self.authenticator.secret().reveal()
        except ConfigError:
            return None  # the login says so itself
        shown = {name: str(each) for name, each in asdict(self.server).items() if name not in _NOT_OF_THE_LOGIN}
        text = json.dumps([shown, secret], sort_keys=True).encode("utf-8", "surrogatepass")
        return hashlib.scrypt(text, salt=bytes.fromhex(salt), n=1 << 14, r=8, p=1).hex()

    def _read(self) -> Refusal | None:
        try:
            record = json.loads(self.path.read_bytes())
            refusal = Refusal(**{name: record[name] for name in Refusal.__struct_fields__})
            datetime.fromisoformat(refusal.at)
            bytes.fromhex(refusal.salt)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return refusal


def _replace(path: Path, octets: bytes) -> None:
    """Fine if it cannot be written: then the next run finds out for itself."""
    with suppress(OSError):
        part = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(octets)
        part.replace(path)
