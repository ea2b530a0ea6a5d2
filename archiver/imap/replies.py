"""What a server's NO, BAD or BYE means, as one of our errors.

Servers use response codes (RFC 5530) and prose for the same things. Both are read only here (and in `limits`), so
that the wording of another server has one place to go.
"""

from __future__ import annotations

import re

from msgspec import Struct, field

from archiver.config.secrecy import without_secrets
from archiver.errors import (
    AuthenticationFailed,
    BackendError,
    ConnectionLost,
    FolderNotFound,
    MessageRefused,
    PermissionDenied,
    ServerUnavailable,
    Throttled,
    Where,
)
from archiver.imap.answers import Share
from archiver.imap.limits import (
    asked_to_wait,
    certainly_limits,
    is_about_credentials,
    limits_reading,
    says_limit,
    wait_for,
    without_names,
)
from archiver.imap.tokens import Response
from archiver.login.around import CHECK_LOGIN
from archiver.mail import folder_names

_SHOWN = 300
_READ = 4096  # octets of a reply that are read; the rest is never shown, however much is removed before it

_CODE = re.compile(rb"\A(?:NO|BAD|BYE|OK|PREAUTH)?\s*\[([A-Z0-9-]+)", re.IGNORECASE)

_SESSIONS = re.compile(rb"connections|sessions|logins", re.IGNORECASE)

_BY_CODE: dict[bytes, type[BackendError]] = {
    b"AUTHENTICATIONFAILED": AuthenticationFailed,
    b"AUTHORIZATIONFAILED": AuthenticationFailed,
    b"EXPIRED": AuthenticationFailed,
    b"WEBALERT": AuthenticationFailed,
    b"PRIVACYREQUIRED": AuthenticationFailed,
    b"CONTACTADMIN": AuthenticationFailed,
    b"NOPERM": PermissionDenied,
    b"NONEXISTENT": FolderNotFound,
    b"TRYCREATE": FolderNotFound,
    b"UNAVAILABLE": ServerUnavailable,
    b"INUSE": ServerUnavailable,
    b"LIMIT": Throttled,
    b"THROTTLED": Throttled,
}

_NOT_CONNECTED = (
    "check the password, that IMAP is enabled for this mailbox, that it exists, and how many sessions are open; an "
    "app needs IMAP.AccessAsApp and the right to this mailbox (Add-MailboxPermission)"
)

_BY_WORDS: tuple[tuple[bytes, type[BackendError], str | None], ...] = (
    (
        b"authenticated but not connected",  # Exchange: wrong password, no mailbox, no right, too many sessions
        ServerUnavailable,
        _NOT_CONNECTED,
    ),
    (
        b"unsafe login",  # 163.com and its sister domains
        AuthenticationFailed,
        "allow IMAP clients (an authorisation code) in the provider's settings",
    ),
    (
        b"application-specific password",  # Gmail
        AuthenticationFailed,
        "create an app password at the provider and use it here",
    ),
)


class Reply(Struct):
    """The answer to a command: its status word ("OK", "NO", "BAD"), its text, and the untagged responses before
    it, with their share of the budget."""

    status: bytes
    text: bytes
    untagged: list[Response] = field(default_factory=list)
    kept: Share = field(default_factory=Share)

    @property
    def ok(self) -> bool:
        return self.status == b"OK"


def response_code(text: bytes) -> bytes | None:
    """The code of a status response (`[CODE ...]` right after the status word), upper-case."""
    found = _CODE.match(text)
    return found[1].upper() if found else None


def is_of_session(error: BackendError | None) -> bool:
    """Whether a refusal means that the whole session is of no use (Exchange): in words alone, since a code may be
    about a message (Yahoo)."""
    said = (error.server_reply or "").encode() if isinstance(error, ServerUnavailable) else b"["
    return said[:1] != b"[" and response_code(said) is None


def printable(text: bytes, longest: int = _SHOWN) -> str:
    """A server's text for people: one line of at most `longest` characters, without our secrets, with control
    characters and broken UTF-8 escaped.

    NOTE: no octets of a server may become text in any other way. Do not cut them before, since the cut may leave
    the beginning of a secret.
    """
    words = without_secrets(text[:_READ]).decode("utf-8", "backslashreplace")
    return folder_names.printable(words.strip())[:longest]


def not_imap(text: bytes, where: Where) -> ConnectionLost:
    """The error for a line that does not belong to the protocol."""
    return ConnectionLost(f"this is not IMAP: {printable(text, 80)}", where=where)


def error_of(
    text: bytes,
    where: Where,
    otherwise: type[BackendError] = MessageRefused,
    *,
    writing: bool = False,
    name: bytes = b"",
) -> BackendError:
    """The error that a server's refusal means: `otherwise` if neither its code nor its words say.

    `writing`: it answers a command that stores something, so that a quota is one on storage. `name` is the folder's
    name as it was in the command; words in a name that the reply repeats do not count.
    """
    reply = printable(text)
    said = without_names(without_names(text, name), (where.folder or "").encode())
    kind, hint = _kind(said, otherwise, writing=writing)
    if kind is AuthenticationFailed and hint is None:
        hint = CHECK_LOGIN
    error = kind(f"the server says: {reply}", where=where, server_reply=reply, hint=hint)
    if isinstance(error, Throttled):
        error.delay_seconds = wait_for(said)
        error.certain = certainly_limits(said)
        error.may_put_back = error.certain or otherwise is not AuthenticationFailed
    return error


def _kind(text: bytes, otherwise: type[BackendError], *, writing: bool) -> tuple[type[BackendError], str | None]:
    known = _BY_CODE.get(response_code(text) or b"")
    if known is None:
        lowered = text.lower()
        for words, meant, advice in _BY_WORDS:
            if words in lowered:
                return meant, advice
        if otherwise is AuthenticationFailed and is_about_credentials(text) and not certainly_limits(text):
            return AuthenticationFailed, None
    # NOTE: "not available" may be about one message, even if the words say to try later.
    passing = known is ServerUnavailable and not (writing and asked_to_wait(text) is None)
    if (known is None or passing) and says_limit(text):
        return Throttled, "lower `connections`, or close other sessions of this user" if _SESSIONS.search(
            text
        ) else None
    if known is not None:
        return known, None
    # A folder that has to be opened later is not a limit of the account; the next run opens it.
    if not writing and limits_reading(text) and (otherwise is not FolderNotFound or certainly_limits(text)):
        return Throttled, None
    return (ConnectionLost if text[:3].upper() == b"BYE" else otherwise), None
