"""What the protocols differ in, as far as an account file says: usual ports, and keys that one does not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archiver.config.shape import Keys
from archiver.mail.folder_names import matches

_PORTS = {
    "imap": {"implicit": 993, "starttls": 143, "off": 143},
    "pop3": {"implicit": 995, "starttls": 110, "off": 110},
}

USUAL_PORTS = frozenset(port for ports in _PORTS.values() for port in ports.values())
"""Those of all protocols."""


def usual_port(protocol: object, tls: object) -> int:
    """The port of a protocol; what is neither a protocol nor a mode counts as the usual one."""
    ports = _PORTS.get(str(protocol), _PORTS["imap"])
    return ports.get(str(tls), ports["implicit"])


def port_warning(protocol: str, tls: str, port: int) -> str | None:
    """What is odd about a port that is not the usual one of this protocol and mode; None if nothing is."""
    ports = _PORTS[protocol]
    if port == ports["implicit"] and tls != "implicit":
        return f'{port} usually wants tls = "implicit", not "{tls}"'
    if port == ports["starttls"] and tls == "implicit":
        return f'{port} usually wants tls = "starttls", not "implicit"'
    return None


def contradicts_pop3(tree: Mapping[str, Any]) -> Iterator[tuple[Keys, str]]:
    """The keys of an account file that say what POP3 cannot do. It has one folder, INBOX, and no more."""
    source, folders = _of(tree, "source"), _of(tree, "folders")
    if source.get("protocol") != "pop3":
        return
    if source.get("connections", 1) != 1:
        yield ("source", "connections"), "must be 1: a POP3 server opens a maildrop for one connection; remove it"
    for key in ("search", "older_than", "newer_than"):
        if key in _of(tree, "messages"):
            yield ("messages", key), "is for IMAP: POP3 has no search; remove it"
    for key, chosen in (("include", True), ("exclude", False)):
        globs = folders.get(key)
        if not isinstance(globs, list) or not all(isinstance(each, str) and each for each in globs) or not globs:
            continue
        if matches(("INBOX",), globs) is not chosen:
            yield ("folders", key), "leaves out INBOX, the only folder that POP3 has; remove it"


def _of(tree: Mapping[str, Any], table: str) -> Mapping[str, Any]:
    found = tree.get(table)
    return found if isinstance(found, dict) else {}
