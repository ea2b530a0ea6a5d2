"""What a server's NO, BAD or BYE means, as one of our errors.

Servers say the same thing in response codes (RFC 5530) and in prose; both are read here and nowhere else, so
that a new server's wording has one place to go.
"""

from __future__ import annotations

import re

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
from archiver.imap.limits import (
    asked_to_wait,
    certainly_limits,
    is_about_credentials,
    limits_reading,
    says_limit,
    wait_for,
    without_names,
)
from archiver.mail import folder_names

_SHOWN = 300
_READ = 4096  # octets; what stands behind them is not shown, whatever is removed before

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

_BY_WORDS: tuple[tuple[bytes, type[BackendError], str | None], ...] = (
    (
        b"authenticated but not connected",  # Exchange: wrong password, no mailbox, no right, or too many sessions
        ServerUnavailable,
        "check the password, that IMAP is switched on for this user, and how many sessions are open",
    ),
    (
        b"unsafe login",  # 163.com and its sisters
        AuthenticationFailed,
        "allow IMAP clients (an authorisation code) in the provider's settings",
    ),
    (
        b"application-specific password",  # Gmail
        AuthenticationFailed,
        "create an app password at the provider and use it here",
    ),
)


def response_code(text: bytes) -> bytes | None:
    """The code of a status response's text (`[CODE ...]` right behind the status word), upper-case."""
    found = _CODE.match(text)
    return found[1].upper() if found else None


def printable(text: bytes, longest: int = _SHOWN) -> str:
    """A server's words for people: one line without our secrets, control characters and broken UTF-8 escaped, at
    most `longest` characters.

    NOTE: the only way from a server's octets to a text of ours. Octets that are cut before they come here may hold
    the beginning of a secret.
    """
    words = without_secrets(text[:_READ]).decode("utf-8", "backslashreplace")
    return folder_names.printable(words.strip())[:longest]


def not_imap(text: bytes, where: Where) -> ConnectionLost:
    """The error for a line that is none of the protocol's."""
    return ConnectionLost(f"this is not IMAP: {printable(text, 80)}", where=where)


def error_of(
    text: bytes,
    where: Where,
    otherwise: type[BackendError] = MessageRefused,
    *,
    writing: bool = False,
    name: bytes = b"",
) -> BackendError:
    """The error that a server's refusal means; `otherwise` where neither code nor words tell. `writing`: it answers
    a command that stores something, so that a quota is one of storage. `name` is the folder's, as the command named
    it: what a name says is no word of the server's."""
    reply = printable(text)
    said = without_names(without_names(text, name), (where.folder or "").encode())
    kind, hint = _kind(said, otherwise, writing=writing)
    if kind is AuthenticationFailed and hint is None:
        hint = "check `user` and the password reference of this server in the account file"
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
    # NOTE: "not available" may be said of one message, and its words may ask to try later all the same.
    passing = known is ServerUnavailable and not (writing and asked_to_wait(text) is None)
    if (known is None or passing) and says_limit(text):
        return Throttled, "lower `connections`, or close other sessions of this user" if _SESSIONS.search(
            text
        ) else None
    if known is not None:
        return known, None
    # One folder that asks to be opened later is no limit of the account, and the next run opens it.
    if not writing and limits_reading(text) and (otherwise is not FolderNotFound or certainly_limits(text)):
        return Throttled, None
    return (ConnectionLost if text[:3].upper() == b"BYE" else otherwise), None
