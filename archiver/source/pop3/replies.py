"""What a POP3 server's -ERR means, as one of our errors.

Response codes are those of RFC 2449 (LOGIN-DELAY, IN-USE) and RFC 3206 (SYS/TEMP, SYS/PERM, AUTH). Other words are
read as those of an IMAP server, since the same products say them.
"""

from __future__ import annotations

import re

from archiver.errors import (
    AuthenticationFailed,
    BackendError,
    ConnectionLost,
    MessageRefused,
    ServerUnavailable,
    Throttled,
    Where,
)
from archiver.imap.limits import asked_to_wait
from archiver.imap.replies import error_of as error_of_imap
from archiver.imap.replies import printable

_CODE = re.compile(rb"\A-ERR\s*\[([A-Z/-]+)", re.IGNORECASE)
#: qpopper, Courier, Dovecot, Cyrus, Exchange and others, of a maildrop that another session has open.
_IN_USE = re.compile(
    rb"\block(?:ed)?\b(?! ?out)|already (?:open|in use|logged in)|\bin use\b|\bis busy\b|other (?:pop3? )?session|"
    rb"another (?:pop3? )?session|unable to (?:get|obtain) .{0,20}lock",
    re.IGNORECASE,
)
_TOO_OFTEN = re.compile(
    rb"minimum (?:time )?(?:between|interval)|too (?:often|frequent)|login[- ]delay", re.IGNORECASE
)
_CLOSE_OTHERS = "close the other mail program of this user, or run again later"
_NOT_OFTEN = "run again later; this server wants some minutes between two logins"


def is_ok(line: bytes) -> bool:
    """Whether a status line is a positive one."""
    return line[:3].upper() == b"+OK"


def error_of(line: bytes, where: Where, otherwise: type[BackendError] = MessageRefused) -> BackendError:
    """The error that a refusal means: `otherwise` if neither its code nor its words say.

    NOTE: a maildrop that is locked is no wrong password, whatever command was refused.
    """
    found = _CODE.match(line)
    code = found[1].upper() if found else b""
    at_login = otherwise is AuthenticationFailed
    if code == b"IN-USE" or (not code and at_login and _IN_USE.search(line)):
        return _later(line, where, _CLOSE_OTHERS)
    if code == b"LOGIN-DELAY" or (not code and at_login and _TOO_OFTEN.search(line)):
        return _later(line, where, _NOT_OFTEN)
    if code == b"SYS/TEMP":
        return _as(ServerUnavailable, line, where)
    if code == b"SYS/PERM":
        return _as(otherwise, line, where, "ask the administrator of the server")
    meant = error_of_imap((b"NO [AUTHENTICATIONFAILED]" if code == b"AUTH" else b"NO") + line[4:], where, otherwise)
    error = _as(type(meant), line, where, meant.hint)
    if isinstance(meant, Throttled) and isinstance(error, Throttled):
        error.delay_seconds, error.certain, error.may_put_back = (
            meant.delay_seconds,
            meant.certain,
            meant.may_put_back,
        )
    return error


def _later(line: bytes, where: Where, hint: str) -> Throttled:
    reply = printable(line)
    error = Throttled(f"the server says: {reply}", where=where, server_reply=reply, hint=hint)
    error.delay_seconds = asked_to_wait(line)
    return error


def _as(kind: type[BackendError], line: bytes, where: Where, hint: str | None = None) -> BackendError:
    reply = printable(line)
    return kind(f"the server says: {reply}", where=where, server_reply=reply, hint=hint)


def not_pop3(line: bytes, where: Where) -> ConnectionLost:
    """The error for a line that does not belong to the protocol."""
    return ConnectionLost(f"this is not POP3: {printable(line, 80)}", where=where)
