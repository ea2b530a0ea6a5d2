"""What binds a login to a TLS connection (RFC 5929, RFC 9266), so that nobody in between can pass it on.

NOTE: Python knows `tls-unique` alone, which TLS 1.3 no longer defines; `tls-exporter` took its place. So a login
over TLS 1.3 is bound as soon as Python can do it. `tls-server-end-point` is no way out: Cyrus refuses it after the
proof, as if the password were wrong.
"""

from __future__ import annotations

import ssl

from archiver.login.port import Channel

_UNIQUE = ("TLSv1", "TLSv1.1", "TLSv1.2")


def channel_of(sock: ssl.SSLSocket) -> Channel | None:
    """What to bind a login on this connection to; None if there is nothing."""
    kind = "tls-unique" if sock.version() in _UNIQUE else "tls-exporter"
    if kind not in ssl.CHANNEL_BINDING_TYPES:
        return None
    data = sock.get_channel_binding(kind)
    return Channel(kind, data) if data else None
