"""How a person names one message, and what is shown of a message that was found."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, to_builtins

from archiver.errors import ConfigError
from archiver.facts.query import Found, Query
from archiver.mail.dates import date_time
from archiver.mail.folder_names import printable
from archiver.mail.model import StoredMessage

if TYPE_CHECKING:
    from archiver.account.archive import Archive

_REFERENCE_DIGITS = 16
_PLACES = 1000
_DIGEST = re.compile(r"[0-9a-fA-F]{8,64}")
_PLACE = re.compile(r"(.+)/([0-9]{1,10})", re.DOTALL)


def reference_of(found: Found) -> str:
    """What `show` and `restore` take for a message: `FOLDER/UID`, or the beginning of its digest if the UID is from
    an ended epoch."""
    if not found.is_current:
        return digest_reference(found)
    return f"{printable(found.folder)}/{found.placement.uid}"


def digest_reference(found: Found) -> str:
    """The same by its digest, which names it in any folder."""
    return found.placement.digest[:_REFERENCE_DIGITS]


class Named(Struct, frozen=True):
    """A message that a person or a program names: by a reference, or as `search --json` shows it, with its whole
    digest and its folder, UIDVALIDITY and UID."""

    reference: str
    digest: str | None = None
    place: tuple[str, int, int] | None = None

    def places(self, archive: Archive) -> Sequence[Found]:
        """All places of the message, the one that is meant first.

        Raises:
            ConfigError: it names no message, or several.
        """
        places = resolve(archive, self.digest or self.reference)
        first = next((each for each in places if _place_of(each) == self.place), places[0])
        return [first, *(each for each in places if each != first)]


def _place_of(found: Found) -> tuple[str, int, int]:
    return printable(found.folder), found.placement.uidvalidity, found.placement.uid


def is_reference(word: str) -> bool:
    """Whether a word has the form of what names a message."""
    return bool(_DIGEST.fullmatch(word) or _PLACE.fullmatch(word))


def is_digest(word: str) -> bool:
    """Whether it is the beginning of a digest, which names the same message in any archive."""
    return bool(_DIGEST.fullmatch(word))


class NamedMessages(Struct, frozen=True):
    """The messages that a command line names: `anywhere` by references, and those of accounts, by these."""

    anywhere: Sequence[Named] = ()
    by_account: Mapping[str, Sequence[Named]] = {}

    def of(self, account: str) -> Sequence[Named]:
        """Those that may be in that account's archive."""
        return (*self.anywhere, *self.by_account.get(account, ()))


def named_in(file: Path | None, account: str) -> Sequence[Named]:
    """The messages of an account that a file names, as `read_names` reads it."""
    return read_names(file).of(account)


def read_names(file: Path | None) -> NamedMessages:
    """The messages that a file names, one reference a line, or as `search --json` printed them; "-" is stdin.

    Raises:
        ConfigError: it cannot be read, or it is neither.
    """
    if file is None:
        return NamedMessages()
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise ConfigError("--refs", [f"{file}: {reason}"]) from error
    if not text.lstrip().startswith("{"):
        lines = (line.strip() for line in text.splitlines())
        return NamedMessages([Named(line) for line in lines if line and not line.startswith("#")])
    try:
        return NamedMessages(
            by_account={
                each["account"]: [
                    Named(hit["reference"], hit["digest"], (hit["folder"], hit["uidvalidity"], hit["uid"]))
                    for hit in each.get("found") or ()
                ]
                for each in json.loads(text)["accounts"]
            }
        )
    except (ValueError, KeyError, TypeError) as error:
        problem = "is neither what `archiver search --json` prints nor one REF a line"
        raise ConfigError("--refs", [problem]) from error


def resolve(archive: Archive, reference: str) -> list[Found]:
    """All places of the one message that `reference` names, the named one first.

    Raises:
        ConfigError: it matches no message, or several, or one in quarantine.
    """
    candidates = _candidates(archive, reference)
    digests = sorted({each.placement.digest for each in candidates})
    if not digests and (reason := _why_quarantined(archive, reference)) is not None:
        hint = "`archiver retry` tries to fetch it again"
        raise ConfigError(reference, [f"is in quarantine and not in the archive: {reason}"], hint=hint)
    if not digests and (reason := _why_forgotten(archive, reference)) is not None:
        raise ConfigError(
            reference, [reason], hint="nothing of it is left; docs/data-protection.md says what that means"
        )
    if not digests:
        raise ConfigError(reference, ["no such message in the archive"], hint="`archiver search` finds messages")
    if len(digests) > 1:
        some = ", ".join(digest[:_REFERENCE_DIGITS] for digest in digests[:5])
        raise ConfigError(reference, [f"matches {len(digests)} messages: {some}"], hint="give more digits")
    first = candidates[0]
    every = archive.catalog.index.find(Query(digest=digests[0], vanished=True, limit=_PLACES))
    return [first, *sorted((each for each in every if each != first), key=lambda each: each.gone_at is not None)]


def _why_quarantined(archive: Archive, reference: str) -> str | None:
    for each in archive.catalog.account.quarantined():
        if _is_at(each.folder, each.uid, reference):
            return printable(each.reason)
    return None


def is_forgotten(archive: Archive, reference: str) -> bool:
    """Whether what it names was forgotten, and the archive has nothing else that it names."""
    is_one = is_reference(reference) and not _candidates(archive, reference)
    return is_one and _why_forgotten(archive, reference) is not None


def _forgotten_last(archive: Archive, reference: str) -> int:
    """The last epoch in which a forgotten message had this place; 0 if none had it."""
    keeping = archive.catalog.keeping
    places = (place for each in keeping.forgets() for place in keeping.forgotten_places(each.number))
    return max((each.key[0] for each in places if _is_at(each.folder, each.key[1], reference)), default=0)


def _is_at(folder: str, uid: int, reference: str) -> bool:
    """Whether a reference names this place."""
    match = _PLACE.fullmatch(reference)
    return match is not None and int(match[2]) == uid and _is_called(folder, match[1])


def _why_forgotten(archive: Archive, reference: str) -> str | None:
    """That what a reference names was forgotten; None: it was not."""
    keeping = archive.catalog.keeping
    for each in keeping.forgets():
        for place in keeping.forgotten_places(each.number):
            is_it = is_digest(reference) and place.placement.digest.startswith(reference.lower())
            if is_it or _is_at(place.folder, place.key[1], reference):
                return f"was forgotten on {each.at[:10]} (number {each.number}): {printable(each.reason)}"
    return None


def _candidates(archive: Archive, reference: str) -> list[Found]:
    """The messages that a reference may mean; those that are present come first."""
    if is_digest(reference):
        query = Query(digest=reference.lower(), vanished=True, limit=_PLACES)
    elif match := _PLACE.fullmatch(reference):
        known = archive.catalog.account.folders().values()
        numbers = {each.number for each in known if _is_called(each.folder.name, match[1])}
        query = Query(folders=numbers, uid=int(match[2]), vanished=True, limit=_PLACES)
    else:
        problem = "is neither FOLDER/UID nor 8 or more hex digits of a digest"
        raise ConfigError(reference, [problem], hint="`archiver search` shows what to give")
    found = archive.catalog.index.find(query)
    current = [each for each in found if each.is_current]
    if query.uid is not None and current:
        found = current  # UIDs of ended epochs give way to current ones
    elif (
        query.uid is not None and found and _forgotten_last(archive, reference) > max(each.key[0] for each in found)
    ):
        found = []  # it is what the folder had last under that UID that was named, not what it had before
    return sorted(found, key=lambda each: each.gone_at is not None)


def _is_called(folder: str, name: str) -> bool:
    """Whether `name` may mean this folder; names are shown escaped, so the escaped name counts as well."""
    is_inbox = folder == name.upper() == "INBOX"
    return is_inbox or name in (folder, printable(folder))


def found_to_record(found: Found) -> dict[str, Any]:
    """A message that was found, for JSON. Control characters are escaped."""
    place, headers = found.placement, found.headers
    message = place.message
    return {
        "reference": reference_of(found),
        "folder": printable(found.folder),
        "uidvalidity": place.uidvalidity,
        "uid": place.uid,
        "digest": place.digest,
        "size": place.size,
        "arrived": arrived_text(place.arrived),
        "internaldate": message.internaldate and printable(message.internaldate),
        "flags": [printable(flag) for flag in sorted(place.flags)],
        **_of_gmail(message),
        "message_id": message.message_id and printable(message.message_id),
        "present": found.gone_at is None,
        "gone_at": found.gone_at,
        "headers": headers and {name: value and printable(value) for name, value in to_builtins(headers).items()},
    }


def _of_gmail(message: StoredMessage) -> dict[str, Any]:
    """Its thread and its labels, where it has any."""
    if message.labels is None:
        return {}
    return {"thrid": message.thrid, "labels": [printable(label) for label in sorted(message.labels)]}


def arrived_text(seconds: int) -> str:
    """When a message arrived: UTC, ISO 8601; as an IMAP date-time if `datetime` has no such year."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return date_time(seconds)
