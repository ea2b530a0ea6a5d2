"""Search and show: messages of archives found by what their headers say, without a server and without Luigi."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from archiver.account.opening import Archive, writing
from archiver.account.reading import existing_archive
from archiver.config.load import Settings
from archiver.errors import ArchiverError, ConfigError, Interrupted, Locked
from archiver.events import Noted
from archiver.facts.query import Found, Query
from archiver.mail.content import date_time
from archiver.mail.folder_names import matches, printable
from archiver.mail.model import INBOX, KnownFolder
from archiver.upkeep.index_headers import index_headers
from pipelines.events import AnyEvent, Began, Listener
from pipelines.failures import logged
from pipelines.stop import STOP

_INDEX = "index"
_REFERENCE_DIGITS = 16
_PLACES = 1000

Tell = Callable[[AnyEvent], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for in each account. `folders` are globs over decoded paths, none for all folders."""

    query: Query
    folders: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What was found in one account, newest first. `more`: there is more than the limit. `message` says why nothing
    could be looked for, `note` what was left out, and why."""

    settings: Settings
    exit_code: int
    message: str | None
    found: Sequence[Found] = ()
    more: bool = False
    unindexed: int = 0
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The document for `--json`."""
        return {
            "account": self.settings.account,
            "exit_code": self.exit_code,
            "message": self.message,
            "found": [found_to_record(each) for each in self.found],
            "more": self.more,
            "unindexed": self.unindexed,
            "note": self.note,
        }


def search_account(settings: Settings, wanted: Wanted, listener: Listener) -> SearchOutcome:
    """Look for messages; headers that are not known yet are read first. Never raises for an account's failure."""
    try:
        STOP.check()
        with existing_archive(settings) as archive:
            note = _index(archive, lambda event: listener(settings.account, event))
            index = archive.catalog.index()
            query = _in_folders(archive, wanted)
            found = [] if query is None else index.find(replace(query, limit=query.limit + 1))
            left = index.count_unindexed() if note else 0
    except Exception as raised:
        error = logged(raised)
        return SearchOutcome(settings, error.exit_code, str(error))
    limit = wanted.query.limit
    return SearchOutcome(settings, 0, None, found[:limit], len(found) > limit, left, note)


def _in_folders(archive: Archive, wanted: Wanted) -> Query | None:
    """The query with the numbers of its folders; None if there is no such folder."""
    if not wanted.folders:
        return wanted.query
    known = archive.catalog.folders().values()
    numbers = {each.number for each in known if matches(each.folder.path, wanted.folders)}
    return replace(wanted.query, folders=numbers) if numbers else None


def _index(archive: Archive, tell: Tell) -> str | None:
    """Read the headers that are not known; returns why not all of them are known now, None if they are."""
    missing = archive.catalog.index().count_unindexed()
    if not missing:
        return None
    try:
        with writing(archive.settings, _INDEX) as (ours, recorder):
            tell(Began(_INDEX))
            tell(Noted(f"{missing:,} messages are from before headers were kept: reading theirs, once"))
            done = index_headers(
                ours.catalog.index(), ours.store, recorder, progress=tell, check_stop=ours.guarded(STOP.check)
            )
    except Interrupted:
        raise
    except Locked:
        return "another run holds the account's lock; search again when it has ended"
    except ArchiverError as error:
        return str(error)
    return f"{done.unreadable:,} cannot be read; `archiver verify` says more" if done.unreadable else None


def reference_of(found: Found) -> str:
    """What `show` takes for a message: `FOLDER/UID`, or the beginning of its digest where that UID means nothing
    any more."""
    if not found.is_current:
        return found.placement.digest[:_REFERENCE_DIGITS]
    return f"{printable(found.folder)}/{found.placement.uid}"


def resolve(archive: Archive, reference: str) -> list[Found]:
    """All places of the one message that `reference` names, the named one first.

    Raises:
        ConfigError: it names none, or several.
    """
    candidates = _candidates(archive, reference)
    digests = sorted({each.placement.digest for each in candidates})
    if not digests:
        raise ConfigError(reference, ["no such message in the archive"], hint="`archiver search` finds messages")
    if len(digests) > 1:
        some = ", ".join(digest[:_REFERENCE_DIGITS] for digest in digests[:5])
        raise ConfigError(reference, [f"names {len(digests)} messages: {some}"], hint="give more of the digest")
    first = candidates[0]
    every = archive.catalog.index().find(Query(digest=digests[0], vanished=True, limit=_PLACES))
    return [first, *sorted((each for each in every if each != first), key=lambda each: each.gone_at is not None)]


def _candidates(archive: Archive, reference: str) -> list[Found]:
    """The messages that a reference may mean; those that are there first."""
    if re.fullmatch(r"[0-9a-fA-F]{8,64}", reference):
        query = Query(digest=reference.lower(), vanished=True, limit=_PLACES)
    elif match := re.fullmatch(r"(.+)/([0-9]{1,10})", reference, re.DOTALL):
        known = archive.catalog.folders().values()
        numbers = {each.number for each in known if _is_called(each, match[1])}
        query = Query(folders=numbers, uid=int(match[2]), vanished=True, limit=_PLACES)
    else:
        problem = "is neither FOLDER/UID nor 8 or more hex digits of a digest"
        raise ConfigError(reference, [problem], hint="`archiver search` shows what to give")
    found = archive.catalog.index().find(query)
    current = [each for each in found if each.is_current]
    if query.uid is not None and current:
        found = current  # an ended epoch's UIDs give way to those of now
    return sorted(found, key=lambda each: each.gone_at is not None)


def _is_called(known: KnownFolder, name: str) -> bool:
    """Whether a person who writes `name` may mean this folder: it is shown escaped."""
    is_inbox = known.folder.raw == INBOX and name.upper() == "INBOX"
    return is_inbox or name in (known.folder.name, printable(known.folder.name))


def found_to_record(found: Found) -> dict[str, Any]:
    """A message that was found, for JSON. Control characters are escaped."""
    place, headers = found.placement, found.headers
    return {
        "reference": reference_of(found),
        "folder": printable(found.folder),
        "uidvalidity": place.uidvalidity,
        "uid": place.uid,
        "digest": place.digest,
        "size": place.size,
        "arrived": arrived_text(place.arrived),
        "internaldate": found.internaldate and printable(found.internaldate),
        "flags": [printable(flag) for flag in sorted(place.flags)],
        "message_id": found.message_id and printable(found.message_id),
        "present": found.gone_at is None,
        "gone_at": found.gone_at,
        "headers": headers and {name: value and printable(value) for name, value in asdict(headers).items()},
    }


def arrived_text(seconds: int) -> str:
    """When a message arrived, UTC, ISO 8601; in the words of IMAP where the calendar has no such year."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return date_time(seconds)
