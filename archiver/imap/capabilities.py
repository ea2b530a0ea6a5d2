"""What a server says about itself: its capabilities, and for people its greeting and how it is secured."""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection, Iterable
from typing import Any

from msgspec import Struct

from archiver.errors import ConnectionLost
from archiver.imap.replies import Reply, printable
from archiver.imap.session import Session

_CODE = re.compile(rb"\[CAPABILITY ([^\]]*)", re.IGNORECASE)
_LINE = re.compile(rb"\A\* (?:OK \[)?CAPABILITY ([^\]]*)", re.IGNORECASE)

#: The capabilities that matter for archiving, and why.
USED_CAPABILITIES = {
    "CONDSTORE": "folders whose flags did not change are not opened",
    "QRESYNC": "expunged and changed messages are reported when a folder is opened",
    "ENABLE": "needed for QRESYNC",
    "ESEARCH": "lists of UIDs are short",
    "LIST-EXTENDED": "subscriptions come with the list",
    "LIST-STATUS": "the status of all folders in one round trip",
    "STATUS=SIZE": "sizes are known before a folder is opened",
    "SPECIAL-USE": "shows which folder is Sent, Trash or Drafts",
    "NAMESPACE": "the prefix of personal folders is left out of names",
    "OBJECTID": "messages are recognised in other folders without a download",
    "BINARY": "messages with NULs come as they are",
    "ACL": "access rights are recorded",
    "METADATA": "annotations are recorded",
    "SASL-IR": "one round trip fewer at login",
    "ID": "the server's logs show which client this is",
}

#: The capabilities that matter for a destination, and why.
DESTINATION_CAPABILITIES = {
    "MULTIAPPEND": "many messages in one command",
    "LITERAL+": "no round trip per message",
    "UIDPLUS": "the server returns the UID of each new message; deletions can be mirrored",
    "LIST-EXTENDED": "subscriptions come with the list",
    "LIST-STATUS": "the status of all folders in one round trip",
    "SPECIAL-USE": "shows which folder is Sent, Trash or Drafts",
    "CREATE-SPECIAL-USE": "new folders are marked as Sent, Trash or Drafts",
    "NAMESPACE": "the prefix of personal folders is known",
    "QUOTA": "the free space is known",
    "BINARY": "messages with NULs can be sent as they are",
    "SASL-IR": "one round trip fewer at login",
}


class TlsFacts(Struct, frozen=True):
    """How a connection is secured. `subject` and `expires` are empty if the certificate is pinned."""

    version: str
    cipher: str
    subject: str
    expires: str


class ServerFacts(Struct, frozen=True):
    """A server's greeting, its capabilities after login (upper-case), and its TLS (None without it). `wanted` are
    the capabilities that matter to us. `login` is how we logged in, "" if the server did that by itself.
    `identity` is its answer to ID, "" if it was not asked."""

    greeting: str
    capabilities: frozenset[str]
    tls: TlsFacts | None
    wanted: Collection[str] = tuple(USED_CAPABILITIES)
    login: str = ""
    identity: str = ""

    @property
    def used(self) -> list[str]:
        """The capabilities that we want and the server has."""
        return [name for name in self.wanted if name in self.capabilities]

    @property
    def missed(self) -> list[str]:
        """The capabilities that we want and the server lacks."""
        return [name for name in self.wanted if name not in self.capabilities]


def capabilities_of(session: Session, login: Reply | None = None) -> frozenset[str]:
    """The server's capabilities now, upper-case: those that its answer to the login has, else those that it is
    asked for."""
    if login is not None:
        found = _CODE.match(login.text)
        words = _words([found[1]]) if found else _said(login)
        if words:
            return words
    (reply,) = session.flight(b"CAPABILITY")
    session.required(reply, ConnectionLost)
    return _said(reply)


def _said(reply: Reply) -> frozenset[str]:
    """What the lines before the end of an answer name; some servers need several."""
    return _words([found[1] for each in reply.untagged if (found := _LINE.match(each.text))])


def _words(lists: Iterable[bytes]) -> frozenset[str]:
    return frozenset(b" ".join(lists).decode("ascii", "replace").upper().split())


def server_facts(
    session: Session, capabilities: frozenset[str], wanted: Collection[str] = tuple(USED_CAPABILITIES)
) -> ServerFacts:
    """What is known about the server of a logged-in session."""
    greeting = session.welcome if isinstance(session.welcome, bytes) else b""
    return ServerFacts(
        greeting=printable(greeting.removeprefix(b"* OK"), 200),
        capabilities=capabilities,
        tls=tls_facts(session.line.sock),
        wanted=wanted,
        login=session.way,
        identity=printable(session.said_of_itself, 200),
    )


def tls_facts(sock: object) -> TlsFacts | None:
    """How a socket is secured; None if it is not."""
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
