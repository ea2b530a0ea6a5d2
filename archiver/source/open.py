"""Which adapter a source gets: by the protocol that the account file names."""

from __future__ import annotations

from archiver.config.settings import ServerSettings
from archiver.login.port import Authenticator
from archiver.mail.content import Spool
from archiver.source.imap import ImapSource
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
