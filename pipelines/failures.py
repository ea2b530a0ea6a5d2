"""What stopped an account, whatever it was, as one of our errors: so it stops only that account."""

from __future__ import annotations

import logging
import traceback

from archiver.config.secrecy import redacted
from archiver.errors import ArchiveNotWritable, ArchiverError
from archiver.mail.folder_names import printable

log = logging.getLogger("archiver")

_TRACE_LIMIT = 2500


class UnexpectedError(ArchiverError):
    """A bug; `trace` is the end of its traceback."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(printable(redacted(f"unexpected error: {error!r}")))
        trace = redacted("".join(traceback.format_exception(error)))
        self.trace = "\n".join(map(printable, trace.splitlines()))[-_TRACE_LIMIT:]


def foreseen(error: BaseException) -> ArchiverError:
    """The error in our words. A file that cannot be used is no bug, wherever it was met."""
    if isinstance(error, ArchiverError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        path = printable(str(error.filename))
        return ArchiveNotWritable(
            f"{path}: {error.strerror}", hint="give this user access to it, or run as the user who owns the archive"
        )
    return UnexpectedError(error)


def logged(error: BaseException) -> ArchiverError:
    """The same, for where nobody listens to events: the traceback of a bug is logged."""
    known = foreseen(error)
    if isinstance(known, UnexpectedError):
        log.error("%s", known.trace)
    return known
