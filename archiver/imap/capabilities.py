"""What a server says of itself, for people: its greeting, what it offers, how the connection is secured."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from archiver.imap.replies import printable
from archiver.imap.session import Session

#: The capabilities that make a difference to an archive, and what each is good for.
USED_CAPABILITIES = {
    "CONDSTORE": "folders whose flags did not change are not opened",
    "QRESYNC": "what vanished and what changed is told at once",
    "ENABLE": "needed for QRESYNC",
    "ESEARCH": "short lists of UIDs",
    "LIST-EXTENDED": "subscriptions come with the list",
    "LIST-STATUS": "all folders' numbers in one round trip",
    "STATUS=SIZE": "sizes are known before a folder is opened",
    "SPECIAL-USE": "which folder is Sent, Trash, Drafts",
    "NAMESPACE": "the prefix of personal folders is left out of names",
    "OBJECTID": "moved messages are known again without a download",
    "SASL-IR": "one round trip less at login",
    "ID": "the server learns whom to complain about",
}

#: The same for a destination.
DESTINATION_CAPABILITIES = {
    "MULTIAPPEND": "many messages in one command",
    "LITERAL+": "no round trip for each message",
    "UIDPLUS": "the server tells which UID a message got; deletions can be mirrored",
    "LIST-EXTENDED": "subscriptions come with the list",
    "LIST-STATUS": "all folders' numbers in one round trip",
    "SPECIAL-USE": "which folder is Sent, Trash, Drafts",
    "CREATE-SPECIAL-USE": "new folders get their use",
    "NAMESPACE": "the prefix of personal folders is known",
    "QUOTA": "the room that is left is known",
    "SASL-IR": "one round trip less at login",
}


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """How a connection is secured. `subject` and `expires` are empty where a certificate is pinned."""

    version: str
    cipher: str
    subject: str
    expires: str


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server's greeting, its capabilities after login (upper-case), its TLS; None without TLS."""

    greeting: str
    capabilities: frozenset[str]
    tls: TlsFacts | None
    wanted: Collection[str] = tuple(USED_CAPABILITIES)

    @property
    def used(self) -> list[str]:
        """The capabilities that we use and the server has."""
        return [name for name in self.wanted if name in self.capabilities]

    @property
    def missed(self) -> list[str]:
        """Those that we could use and the server has not."""
        return [name for name in self.wanted if name not in self.capabilities]


def server_facts(
    session: Session, capabilities: frozenset[str], wanted: Collection[str] = tuple(USED_CAPABILITIES)
) -> ServerFacts:
    """The facts of a logged-in session; `wanted` are the capabilities that make a difference to us."""
    greeting = session.welcome if isinstance(session.welcome, bytes) else b""
    return ServerFacts(
        greeting=printable(greeting.removeprefix(b"* OK"), 200),
        capabilities=capabilities,
        tls=_tls_facts(session._imap.sock),
        wanted=wanted,
    )


def _tls_facts(sock: object) -> TlsFacts | None:
    if not isinstance(sock, ssl.SSLSocket):
        return None
    cipher = sock.cipher()
    certificate: dict[str, Any] = dict(sock.getpeercert() or {})
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    return TlsFacts(
        version=sock.version() or "",
        cipher=cipher[0] if cipher else "",
        subject=", ".join(map(str, names[:5])),
        expires=str(certificate.get("notAfter", "")),
    )
