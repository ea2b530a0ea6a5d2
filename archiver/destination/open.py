"""Which adapter a destination gets: by the protocol that the account file names."""

from __future__ import annotations

from archiver.config.tables.server import DestinationSettings
from archiver.destination.port import MailDestination
from archiver.login.port import Authenticator
from archiver.mail.content import Spool


def open_destination(server: DestinationSettings, authenticator: Authenticator, spool: Spool) -> MailDestination:
    """Connect and log in, in a single attempt. `spool` opens files for messages that are too large for memory.

    Raises:
        BackendError: no connection, or the login was refused.
    """
    match server.protocol:
        case "imap":
            from archiver.destination.imap import ImapDestination

            return ImapDestination(server, authenticator, spool)
