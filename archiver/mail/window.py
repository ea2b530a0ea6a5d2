"""Folders of which a server shows only a part: pure decisions.

Yahoo shows the newest 10,000 messages of a folder over IMAP, Gmail as many as its user chose (1,000, 2,000, 5,000
or 10,000). When mail arrives, as much old mail is no longer shown, and it has not been deleted. So a folder that
shows exactly such a number is taken for a window until a person says that it is whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

#: How many messages a provider shows of a larger folder.
WINDOWS = (1_000, 2_000, 5_000, 10_000)

_NEARLY = 0.9
_ADVICE = (
    'At Yahoo use export.imap.mail.yahoo.com, at Gmail set "Do not limit the number of messages"; '
    "if it is whole, name it in [folders] whole"
)


def is_window(counts: Iterable[int | None]) -> bool:
    """Whether one of the numbers that a server told of a folder is one at which providers cut."""
    return any(count in WINDOWS for count in counts)


def may_be_part(shown: int, hidden_before: int) -> bool:
    """Whether a folder that shows `shown` messages may have more, where `hidden_before` were hidden before."""
    if not hidden_before:
        return shown in WINDOWS
    return any(_NEARLY * window <= shown <= window for window in WINDOWS)


def hidden_among(
    absent: Collection[int], present: Collection[int], *, at_window: bool, hidden_before: int
) -> set[int]:
    """Those of the `absent` UIDs of which nobody can say that they are gone: the server may just not show them.

    `at_window`: the folder shows a number at which providers cut. `hidden_before` messages were hidden by its last
    complete pass. A folder that shows slightly less than the number since may not have been filled up again: what
    is older than all that it shows stays hidden then, and what is missing in between was deleted.
    """
    if at_window:
        return set(absent)
    if not may_be_part(len(present), hidden_before):
        return set()
    oldest = min(present)
    return {uid for uid in absent if uid < oldest}


def window_words(name: str, shown: int, hidden: int) -> str:
    """What a person should know of a folder that shows `shown` messages, and no longer `hidden` that we hold."""
    if shown in WINDOWS:
        text = f'folder "{name}" shows exactly {shown:,} messages: the server probably shows a part of it'
        text += ", so nothing that it does not show is taken for deleted"
    else:
        text = f'folder "{name}" shows {shown:,} messages and was cut off before'
        text += ", so nothing older that it does not show is taken for deleted"
    kept = f"; {hidden:,} that it no longer shows stay" if hidden else ""
    return f"{text}{kept}. {_ADVICE}"
