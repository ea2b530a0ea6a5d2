"""How many messages a destination will refuse because they are larger than what it takes.

What the archive has, its catalog knows. Where there is no archive yet, an IMAP source is asked: it finds them by
size (SEARCH LARGER, RFC 3501 section 6.4.4) without anything being fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from archiver.account.account import Account
from archiver.config.tables.server import ServerSettings
from archiver.control.run import utc_today
from archiver.errors import ArchiverError, BackendError
from archiver.facts.query import Query
from archiver.mail.model import Folder
from archiver.source.numbering import UnrecordedNumbers
from pipelines.stop import STOP

_MOST = 10_000


def count_too_large(account: Account, limit: int, chosen: Sequence[Folder]) -> int | None:
    """How many messages have more than `limit` octets; None if nobody knows. `chosen` are the folders that a run
    would archive. Never raises: the account's own look has shown what is wrong with it."""
    try:
        if account.catalog.exists():
            with account.reading() as archive:
                return len(archive.catalog.index.find(Query(larger=limit, limit=_MOST)))
        source = account.settings.source
        if isinstance(source, ServerSettings) and source.protocol == "imap":
            return _at_source(account, limit, chosen)
    except ArchiverError:
        pass
    return None


def _at_source(account: Account, limit: int, chosen: Sequence[Folder]) -> int:
    criteria = account.settings.messages.criteria(utc_today())
    search = f"{criteria} LARGER {limit}" if criteria is not None else f"LARGER {limit}"
    found = 0
    with closing(account.source.connect_once(UnrecordedNumbers())) as source:
        source.list_folders()  # which the connection expects first
        for folder in chosen:
            STOP.check()
            try:
                source.open(folder)
                found += len(source.uids(search))
            except BackendError as error:
                if error.where is None or error.where.folder is None:
                    raise
    return found
