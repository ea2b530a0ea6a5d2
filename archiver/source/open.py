"""Which adapter a source gets: by the protocol that the account file names. What few accounts need is imported when
it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from archiver.config.tables.server import FilesSettings, ServerSettings
from archiver.login.port import Authenticator
from archiver.mail.content import Spool
from archiver.source.imap import ImapSource
from archiver.source.imports import Import, ImportSource
from archiver.source.numbering import Numbering
from archiver.source.port import SourceConnection


def open_source(
    server: ServerSettings,
    authenticator: Authenticator,
    spool: Spool,
    numbering: Numbering,
    *,
    fallback: bool = False,
    accept: bool = False,
) -> SourceConnection:
    """Connect and log in, in a single attempt. `spool` opens files for messages that are too large for memory.
    `numbering` gives UIDs to messages of a protocol that has none.
    `fallback` leaves out whatever some servers hang up on. `accept` stores a server's placeholder as the message.

    Raises:
        BackendError: no connection, or the login was refused.
    """
    match server.protocol:
        case "imap":
            return ImapSource(server, authenticator, spool, cautious=fallback, accept=accept)
        case "pop3":
            from archiver.source.pop3.source import Pop3Source

            return Pop3Source(server, authenticator, spool, numbering, accept=accept)


def open_files(
    settings: FilesSettings,
    cache: Path,
    spool: Spool,
    numbering: Numbering,
    *,
    looks: bool,
    check_stop: Callable[[], None],
) -> SourceConnection:
    """Open mail that lies in files. What was read is remembered in `cache`, unless the caller only `looks`.

    Raises:
        ArchiveNotWritable: the cache cannot be written.
    """
    from archiver.source.files.source import FilesSource

    return FilesSource(settings, spool, numbering, cache, writable=not looks, check_stop=check_stop)


def doubts_in_files(cache: Path) -> Mapping[bytes, Mapping[str, tuple[int, str]]]:
    """What `cache` remembers of messages that could be read in another way: their number and UIDs, by the folder's
    raw name and by what is doubtful."""
    from archiver.source.files.cache import kept_doubts

    return kept_doubts(cache)


def open_import(
    settings: FilesSettings,
    spool: Spool,
    numbering: Numbering,
    check_stop: Callable[[], None],
    imports: Import,
) -> ImportSource:
    """Open files that are added to an archive which is not theirs. What was read is remembered only for as long as
    it is open."""
    from archiver.source.files.source import FilesSource

    return FilesSource(settings, spool, numbering, None, writable=False, check_stop=check_stop, imports=imports)
