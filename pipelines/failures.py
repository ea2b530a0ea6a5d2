"""Any exception as one of our errors, so that it stops only its own account."""

from __future__ import annotations

import logging
import re
import shlex
import traceback
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path

from archiver.config.secrecy import redacted
from archiver.errors import ArchiveNotWritable, ArchiverError, Throttled
from archiver.mail.folder_names import printable

log = logging.getLogger("archiver")

_COMMAND = re.compile(
    r"`(archiver (?:archive|check|forget|gc|login|rebuild|repair|replay|report|retry|run|search|status|verify)"
    r"(?: --[a-z-]+)*)`"
)
_TRACE_LIMIT = 2500
_THROTTLE_SECONDS = 60.0  # if the server does not say how long
_LONGEST_THROTTLE_SECONDS = 30 * 86_400.0  # whatever the server says


class UnexpectedError(ArchiverError):
    """A bug; `trace` is the end of its traceback."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(printable(redacted(f"unexpected error: {error!r}")))
        trace = redacted("".join(traceback.format_exception(error)))
        self.trace = "\n".join(map(printable, trace.splitlines()))[-_TRACE_LIMIT:]


def foreseen(error: BaseException) -> ArchiverError:
    """The exception as one of our errors. A file that cannot be used is never a bug."""
    if isinstance(error, ArchiverError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        path = printable(str(error.filename))
        return ArchiveNotWritable(
            f"{path}: {error.strerror}", hint="give this user access to it, or run as the user who owns the archive"
        )
    return UnexpectedError(error)


def logged(error: BaseException) -> ArchiverError:
    """The same, for callers without events: the traceback of a bug is logged."""
    known = foreseen(error)
    if isinstance(known, UnexpectedError):
        log.error("%s", known.trace)
    return known


def with_time(error: Throttled) -> Throttled:
    """The error with the time to come back, by this machine's clock; at most a month from now."""
    if error.again_at is not None:
        return error
    if error.delay_seconds is None:
        error.delay_seconds = _THROTTLE_SECONDS
    error.delay_seconds = min(error.delay_seconds, _LONGEST_THROTTLE_SECONDS)
    then = datetime.now(UTC) + timedelta(seconds=ceil(error.delay_seconds))
    error.again_at = then.strftime("%Y-%m-%dT%H:%M:%SZ")
    error.hint = f"try again after {error.again_at}, or with fewer `connections`"
    return error


def with_file(text: str, file: Path) -> str:
    """The text with the account file in each command of ours, so that it can be pasted into a shell."""
    return _COMMAND.sub(lambda found: f"`{found[1]} {shlex.quote(str(file))}`", text)
