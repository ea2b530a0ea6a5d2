"""Host names, as people write them and as DNS and certificates use them."""

from __future__ import annotations

import ipaddress
import re

_LABEL = 63  # octets, RFC 1035 section 2.3.4


def host_on_the_wire(host: str) -> str:
    """The ASCII form of a host name (IDNA 2008, RFC 5891); an address or an ASCII name stays unchanged.

    NOTE: Python's own codec is IDNA 2003, which makes "ss" of "\u00df": that is somebody else's domain.

    Raises:
        ValueError: it is not a valid host name.
    """
    if host.isascii():
        *labels, last = host.split(".")
        if not all(0 < len(each) <= _LABEL for each in labels) or len(last) > _LABEL:
            raise ValueError(f"{host!r}: a label is empty or too long")
        return host
    import idna  # takes some milliseconds, as does Python's own codec

    return idna.encode(host, uts46=True).decode("ascii")


def checked_host(host: str) -> str:
    """A host as a person writes it: a name or an address, unchanged.

    Raises:
        ValueError: it is neither.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not (re.fullmatch(r"[\w.-]+", host) and _is_name(host)):
            raise ValueError('must be the server\'s name alone, as in "imap.example.org"') from None
    return host


def _is_name(host: str) -> bool:
    try:
        host_on_the_wire(host)
    except ValueError:
        return False
    return True
