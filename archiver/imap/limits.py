"""Whether a reply is about a limit on rate, bandwidth or connections, whichever command it answers.

Providers say so in many ways: in response codes of their own, as a quota that is not about storage (Gmail's
bandwidth), in prose. Why a destination refuses a message is read in `archiver.mail.refusal`.
"""

from __future__ import annotations

import re

_CODE = re.compile(rb"\[(?:LIMIT|THROTTLED|OVERBANDWIDTH)\b", re.IGNORECASE)
_STORAGE_ELSEWHERE = re.compile(rb"\[OVERQUOTA\b", re.IGNORECASE)
_WORDS = re.compile(
    rb"\btoo many\b|maximum (?:number of )?(?:connections|sessions|logins)|throttl(?:ed|ing)|"
    rb"\b(?:connection|session|login|rate|command|request)s? (?:limit|quota)|\bexcessive (?:usage|use|requests)\b|"
    rb"temporarily (?:blocked|suspended)|\btoo busy\b|"
    rb"\bback-?off\b|\bbandwidth\b|\brate limit|\bslow down\b",
    re.IGNORECASE,
)
_LATER = re.compile(rb"\btry (?:again )?later\b", re.IGNORECASE)
_WAIT = re.compile(
    rb"(?:backoff time:?|retry after|try again (?:in|after)|wait)\s+(\d{1,9})\s*"
    rb"(milliseconds?|ms|seconds?|s|minutes?|hours?)\b",
    re.IGNORECASE,
)
_OF_A_DAY = re.compile(rb"\[OVERQUOTA\b|\[OVERBANDWIDTH\b|\bbandwidth\b", re.IGNORECASE)
_CREDENTIALS = re.compile(
    rb"credential|password|passwd|authenticat|\buser ?name\b|login (?:failed|failure)", re.IGNORECASE
)
_QUOTED = re.compile(rb'"[^"]*"|(?<!\w)\'[^\']*\'(?!\w)')
_STATUS = re.compile(rb"\s*(?:(?:NO|BAD|BYE)\b)?\s*(?:\[[^]]*\])?", re.IGNORECASE)
_LONG_SECONDS = 3600.0
_LONGEST_SECONDS = 7 * 86400.0  # a longer wait means never, and could not be added to a date
_SECONDS = {b"minute": 60.0, b"hour": 3600.0, b"s": 1.0, b"m": 0.001}  # by the beginning of the unit; first match


def says_limit(text: bytes) -> bool:
    """Whether a reply says that a limit was exceeded, other than one on storage."""
    return _CODE.search(text) is not None or _WORDS.search(text) is not None


def limits_reading(text: bytes) -> bool:
    """The same for a reply to a command that stores nothing, so that an exceeded quota cannot be one on storage."""
    return says_limit(text) or _STORAGE_ELSEWHERE.search(text) is not None or _LATER.search(text) is not None


def certainly_limits(text: bytes) -> bool:
    """Whether a response code says so, or words together with a time to wait. Other words may be about one message,
    one folder or a wrong password."""
    if _CODE.search(text) or _STORAGE_ELSEWHERE.search(text):
        return True
    return _WORDS.search(text) is not None and asked_to_wait(text) is not None


def is_about_credentials(text: bytes) -> bool:
    """Whether a refused login was about the credentials: trying again could lock the user out."""
    return _CREDENTIALS.search(text) is not None


def without_names(text: bytes, name: bytes = b"") -> bytes:
    """A reply without quoted text and without `name`: a folder's name that it repeats may be any words."""
    found = _STATUS.match(text)
    begin = found.end() if found else 0
    words = _QUOTED.sub(b"", text[begin:])
    if name:
        words = re.sub(rb"(?<!\w)" + re.escape(name) + rb"(?!\w)", b"", words, flags=re.IGNORECASE)
    return text[:begin] + words


def wait_for(text: bytes) -> float | None:
    """The seconds to wait before the server is asked again: as it says, or an hour where it counts bytes per hour
    or day. None if it is not known."""
    asked = asked_to_wait(text)
    return _LONG_SECONDS if asked is None and _OF_A_DAY.search(text) else asked


def asked_to_wait(text: bytes) -> float | None:
    """The seconds that the server asks us to wait, if it does."""
    found = _WAIT.search(text)
    if found is None:
        return None
    unit = found[2].lower()
    seconds = int(found[1]) * next(each for name, each in _SECONDS.items() if unit.startswith(name))
    return min(seconds, _LONGEST_SECONDS)
