"""What mail programs write about a message into its header where they have no other place: flags and labels. Pure.

| field | by |
|---|---|
| `Status`, `X-Status`, `X-Keywords` | mutt, Pine, Dovecot and others, in an mbox |
| `X-Mozilla-Status`, `X-Mozilla-Status2`, `X-Mozilla-Keys` | Thunderbird, in an mbox |
| `X-Gmail-Labels` | Google Takeout, in an mbox |

They are part of the octets and stay there. But programs change them in place, so that they do not count for which
message it is: that is the digest of the octets without these lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from archiver.mail.flags import is_keyword, parse_flags
from archiver.mail.headers import readable
from archiver.mail.model import Flags

_MARKS = (
    rb"Status|X-Status|X-Keywords|X-UID|X-IMAP|X-IMAPbase|X-Mozilla-Status2?|X-Mozilla-Keys|X-Gmail-Labels"
    rb"|X-GM-THRID|X-Evolution|Content-Length|Lines"
)
_FIELDS = re.compile(rb"(?im)^(?:" + _MARKS + rb")[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*")
_VALUES = re.compile(rb"(?im)^(" + _MARKS + rb")[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)")
#: Found much faster than the fields themselves; nearly no other header has one of these.
_MAY_HAVE = re.compile(rb"(?i)\n(?:X-(?:[SKUIMGE])|Status|Content-Length|Lines)")

_LETTERS = {"R": "\\Seen", "A": "\\Answered", "F": "\\Flagged", "T": "\\Draft", "D": "\\Deleted"}
#: Bits of X-Mozilla-Status (nsMsgMessageFlags.h). 8: deleted in Thunderbird, and still in the file.
_MOZILLA = {1: "\\Seen", 2: "\\Answered", 4: "\\Flagged", 8: "\\Deleted", 0x1000: "$Forwarded"}

#: Labels of Gmail that say something about a message, not where it is.
_LABELS = {"unread": "", "opened": "", "starred": "\\Flagged", "important": "$Important"}
#: Labels of Gmail that are folders of every account, and what they are here: the name, and the use (RFC 6154).
GMAIL_FOLDERS = {
    "inbox": ("INBOX", None),
    "sent": ("Sent", "\\sent"),
    "draft": ("Drafts", "\\drafts"),
    "drafts": ("Drafts", "\\drafts"),
    "spam": ("Spam", "\\junk"),
    "trash": ("Trash", "\\trash"),
    "archived": ("Archive", "\\archive"),
    "chat": ("Chats", None),
}
ARCHIVE = "archived"


def unmarked(header: bytes) -> bytes:
    """The header block without these fields."""
    return _FIELDS.sub(b"", header) if has_marks(header) else header


def has_marks(header: bytes) -> bool:
    """Whether the header block may have one of these fields."""
    return _MAY_HAVE.search(header) is not None or _FIELDS.match(header) is not None


def marks_of(header: bytes) -> Mapping[str, str]:
    """The first of each of these fields by its name in lower case."""
    if not has_marks(header):
        return {}
    found: dict[str, str] = {}
    for name, value in _VALUES.findall(header):
        found.setdefault(
            name.decode().lower(), value.replace(b"\r", b"").replace(b"\n", b"").strip().decode("utf-8", "replace")
        )
    return found


def flags_of(marks: Mapping[str, str]) -> Flags:
    """The flags that these fields say. A message without any is as it came: unseen."""
    if not marks:
        return frozenset()
    words = [_LETTERS[each] for name in ("status", "x-status") for each in marks.get(name, "") if each in _LETTERS]
    words += marks.get("x-keywords", "").split() + marks.get("x-mozilla-keys", "").split()
    bits = marks.get("x-mozilla-status", "")
    if re.fullmatch("[0-9A-Fa-f]{1,8}", bits):
        words += [flag for bit, flag in _MOZILLA.items() if int(bits, 16) & bit]
    if (labels := labels_of(marks)) is not None:
        lower = {each.lower() for each in labels}
        words += [flag for label, flag in _LABELS.items() if flag and label in lower]
        words += [] if "unread" in lower else ["\\Seen"]
        words += ["\\Draft"] if lower & {"draft", "drafts"} else []
    return parse_flags(sorted({each for each in words if each.startswith("\\") or is_keyword(each)}))


def labels_of(marks: Mapping[str, str]) -> tuple[str, ...] | None:
    """The labels that Gmail gave a message; None if the field is absent."""
    value = marks.get("x-gmail-labels")
    if value is None:
        return None
    return tuple(filter(None, (each.strip().strip('"') for each in readable(value).split(","))))


def folders_of(labels: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], str | None], ...]:
    """The folders that a message with these labels is in, as levels with their special use; at least one."""
    found: dict[tuple[str, ...], str | None] = {}
    for label in labels:
        lower = label.lower()
        if lower in _LABELS or lower == ARCHIVE or lower.startswith("category "):
            continue
        name, use = GMAIL_FOLDERS.get(lower, (label, None))
        found.setdefault(tuple(filter(None, name.split("/"))) or (label,), use)
    if not found:
        name, use = GMAIL_FOLDERS[ARCHIVE]
        found[(name,)] = use
    return tuple(found.items())


def label_keywords(labels: tuple[str, ...]) -> Flags:
    """The labels as keywords: what an atom cannot hold is a "_"."""
    words = (re.sub(r"[^!#$&'+-\[\]-z|}~]+", "_", each) for each in labels if each.lower() not in _LABELS)
    return frozenset(each for each in words if is_keyword(each))
