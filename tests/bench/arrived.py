"""What a user has, to see that a tool brought all of it: no tool wins by doing less."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

from tests.servers.dovecot import Dovecot
from tests.servers.wire import quoted

_TUID = re.compile(rb"^X-TUID: [^\r\n]{12}\r\n", re.MULTILINE)  # mbsync leaves one in every message
_LISTED = re.compile(rb'\* LIST \((.*?)\) (?:NIL|".") "?(.*?)"?\Z')

Mail = Counter[tuple[bytes, str]]
"""How many messages there are of each folder and digest."""


def mail_of(server: Dovecot, user: str) -> Mail:
    """All messages of a user, by folder and digest."""
    found: Mail = Counter()
    with server.wire(user) as wire:
        for row in wire.command('LIST "" "*"'):
            listed = _LISTED.match(row.line)
            assert listed, row
            if b"\\noselect" in listed[1].lower():
                continue
            folder = row.literals[0] if row.literals else re.sub(rb"\\(.)", rb"\1", listed[2])
            wire.command(b"EXAMINE " + quoted(folder))
            for response in wire.command("UID FETCH 1:* (UID BODY.PEEK[])"):
                for octets in response.literals:
                    found[folder, hashlib.sha256(_TUID.sub(b"", octets, count=1)).hexdigest()] += 1
        wire.logout()
    return found


def difference(there: Mail, source: Mail, before: Mail) -> str | None:
    """What is wrong with what a user has, if `source` must be there and `before`, the earlier source, may be."""
    missing, strange = source - there, there - (source | before)
    if not missing and not strange:
        return None
    return f"{missing.total()} messages missing, {strange.total()} too many"
