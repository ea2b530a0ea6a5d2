"""Folders of which a server shows only a part: pure decisions.

Yahoo shows the newest 10,000 messages of a folder over IMAP, Gmail as many as its user chose (1,000, 2,000, 5,000
or 10,000). When new mail arrives, the same number of old messages is no longer shown, although they were not
deleted. So a folder that shows exactly such a number counts as a window until the user says that it is complete.
"""

from __future__ import annotations

from collections.abc import Iterable

from archiver.mail.uidset import UidSet

#: How many messages a provider shows of a larger folder.
WINDOWS = (1_000, 2_000, 5_000, 10_000)

_NEARLY = 0.9
_ADVICE = (
    'At Yahoo use export.imap.mail.yahoo.com, at Gmail set "Do not limit the number of messages"; '
    "if the folder is complete, name it in [folders] whole"
)


def is_window(counts: Iterable[int | None]) -> bool:
    """Whether one of the server's counts for a folder is one at which providers cut off."""
    return any(count in WINDOWS for count in counts)


def may_be_part(shown: int, hidden_before: int) -> bool:
    """Whether a folder that shows `shown` messages may have more, if `hidden_before` were hidden before."""
    if not hidden_before:
        return shown in WINDOWS
    return any(_NEARLY * window <= shown <= window for window in WINDOWS)


def hidden_among(absent: UidSet, present: UidSet, *, at_window: bool, hidden_before: int) -> UidSet:
    """Those of the `absent` UIDs that may not be gone, because the server may only hide them.

    `at_window`: the folder shows a number at which providers cut off. `hidden_before` messages were hidden at its
    last complete pass. A folder that now shows slightly fewer may not have been filled up again: then messages
    older than all that it shows stay hidden, and those missing in between were deleted.
    """
    if at_window:
        return absent
    if not may_be_part(len(present), hidden_before):
        return UidSet()
    return absent & range(present.first)


def window_words(name: str, shown: int, hidden: int) -> str:
    """The notice about a folder that shows `shown` messages, and hides `hidden` messages that the archive has."""
    if shown in WINDOWS:
        text = f'folder "{name}" shows exactly {shown:,} messages: the server probably shows only a part of it'
        text += ", so messages that it does not show do not count as deleted"
    else:
        text = f'folder "{name}" shows {shown:,} messages and was cut off before'
        text += ", so older messages that it does not show do not count as deleted"
    kept = f"; {hidden:,} that it no longer shows stay in the archive" if hidden else ""
    return f"{text}{kept}. {_ADVICE}"
