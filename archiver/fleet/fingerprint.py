"""What an account showed when there was nothing left to do for it, as a short text in the ledger of its fleet.

If everything is the same the next time, nothing is new, and nobody has to open the archive to know it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from archiver.facts.mailbox import DestinationFolders
from archiver.mail.model import Folder, Listed

_FORM = 2

#: A fingerprint is not believed for longer than 7 to 13 days; of a fleet, not all are out of date in one night.
MOST_DAYS = 13
_LEAST_DAYS = 7


class Fingerprint(Struct, frozen=True, array_like=True):
    """`run` is the run after which nothing was left to do, whose report says what the archive holds, and `at` the
    moment of its end. `here` is a digest of what has to be the same on this side, `source` of what the source
    listed before that run, and `there` of what the destination did, None if the run was not about it. `until`: the
    day (UTC, ISO 8601) on which an age makes something to do, None if none does. `ends`: where the archive ended,
    the last segment and the last lease, if it is in a bucket."""

    form: int
    run: str
    at: str
    here: str
    source: str
    there: str | None = None
    until: str | None = None
    ends: tuple[int, int] | None = None

    @classmethod
    def of(
        cls,
        run: str,
        at: str,
        here: str,
        source: str,
        there: str | None,
        until: date | None = None,
        ends: tuple[int, int] | None = None,
    ) -> Fingerprint:
        return cls(_FORM, run, at, here, source, there, None if until is None else until.isoformat(), ends)

    @classmethod
    def read(cls, text: str | None) -> Fingerprint | None:
        """The fingerprint that `text` says; None if there is none, or it is one of another version."""
        if text is None:
            return None
        try:
            found = msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeError):
            return None
        return found if found.form == _FORM else None

    def is_valid(self, now: datetime, salt: int) -> bool:
        """Whether it may be believed at that moment. Not if it is of the future, if a rule may choose otherwise
        since, or if it is time to look at everything again, which `salt` spreads over some nights."""
        try:
            age = now - datetime.fromisoformat(self.at).astimezone(UTC)
            is_in_time = self.until is None or now.astimezone(UTC).date() < date.fromisoformat(self.until)
        except ValueError:
            return False
        days = _LEAST_DAYS + salt % (MOST_DAYS + 1 - _LEAST_DAYS)
        return is_in_time and timedelta(0) <= age < timedelta(days=days)

    def text(self) -> str:
        """The fingerprint as the ledger has it."""
        return msgspec.json.encode(self).decode()


def digest_of(*parts: object) -> str:
    """A digest of values that JSON knows, and of octets."""
    return sha256(msgspec.json.encode(parts)).hexdigest()


def digest_of_listing(listed: Iterable[Listed], is_chosen: Callable[[Folder], bool] = lambda _: True) -> str:
    """A digest of folders and their status, in whatever order they were listed. Of a folder that is not chosen the
    status does not count."""
    rows = sorted(
        (
            each.folder.raw,
            each.folder.path,
            each.folder.delimiter or "",
            sorted(each.folder.attributes),
            each.folder.subscribed,
            None if each.status is None or not is_chosen(each.folder) else astuple(each.status),
        )
        for each in listed
    )
    return digest_of(rows)


def digest_of_destination(there: DestinationFolders) -> str:
    """A digest of what a destination listed. NOTE: without what it says of itself, which may be a session's."""
    return digest_of((there.prefix, there.delimiter, there.append_limit), digest_of_listing(there.listed))
