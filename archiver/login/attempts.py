"""One way to log in after the other, as long as no password was tried.

A server may offer a mechanism although it cannot use it for this user: SCRAM needs a hash of its own, and an old
password may have only another one. It then refuses at the first message, which says nothing about the password.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from archiver.errors import AuthenticationFailed
from archiver.login.port import Way

#: (server, mechanism) that refused an untested password while another way was accepted. It is not tried again in
#: this process: each attempt is a failed login in the server's log, and too many of them block an address.
_useless: set[tuple[str, str]] = set()


def log_in(ways: Sequence[Way], attempt: Callable[[Way], None], server: str) -> tuple[Way, list[str]]:
    """Try the ways until one is accepted, which is returned, with the mechanisms that were tried in vain. A refusal
    of a password ends it, because servers lock users out after a few.

    Raises:
        AuthenticationFailed: by the last `attempt`.
    """
    useful = [way for way in ways if (server, name_of(way)) not in _useless] or ways
    failed: list[str] = []
    for way in useful:
        try:
            attempt(way)
        except AuthenticationFailed as refusal:
            # NOTE: an error that is not the server's word is a server that does not follow the protocol, or lies.
            if not way.untested or refusal.server_reply is None or way is useful[-1]:
                raise
            failed.append(name_of(way))
        else:
            _useless.update((server, name) for name in failed)
            return way, failed
    raise AssertionError("no way to try")


def name_of(way: Way) -> str:
    """The mechanism, or "" for the protocol's own command."""
    return getattr(way, "mechanism", "")
