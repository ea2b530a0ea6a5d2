"""The rule by which messages are forgotten: `[retention] vanished` of the account file, at the end of a run.

A message is due when every place of it has been gone from the source for so long. What is held stays. More than the
deletion limit is not forgotten before somebody confirms it: a source that lost its mail half a year ago looks like
this, too.
"""

from __future__ import annotations

from datetime import date, timedelta

from msgspec import Struct

from archiver.account.archive import Archive
from archiver.account.upkeep.forgetting import doom, forget
from archiver.config.age import day_of
from archiver.control.run import RunControl, utc_today
from archiver.events import Noted
from archiver.facts.keeping import BY_RULE
from archiver.journal.recorder import Recorder
from archiver.mail.counts import counted
from archiver.replay.flag_merge import exceeds_deletion_limit


class Retained(Struct, frozen=True):
    """What the rule did: how many messages it forgot, under which number, and how many are held although they are
    due. `blocked` is why it forgot none, `kept` what could not be removed, each with the reason."""

    forgotten: int = 0
    held: int = 0
    number: int | None = None
    blocked: str | None = None
    kept: tuple[tuple[str, str], ...] = ()


def next_day(archive: Archive, days: int) -> date | None:
    """The day on which the rule has something to forget: today, if something is left of what is due, or one of so
    many days that come; None if none of them is one, or there is no rule."""
    age, today = archive.settings.retention.vanished, utc_today()
    if age is None:
        return None
    keeping, now = archive.catalog.keeping, _due_from(age, today)
    if (due := keeping.gone_before(now)) and doom(archive, due).messages:
        return today
    if (gone := keeping.next_gone(now)) is None:
        return None
    coming = (today + timedelta(number + 1) for number in range(days))
    return next((day for day in coming if gone < _due_from(age, day)), None)


def _due_from(age: str, today: date) -> str:
    """What is gone since before that moment is due."""
    return f"{day_of(age, today).isoformat()}T00:00:00Z"


def retain(archive: Archive, recorder: Recorder, control: RunControl, *, confirmed: bool) -> Retained | None:
    """Forget what is due by the rule; None if there is no rule. `confirmed`: also beyond the deletion limit.

    Raises:
        ArchiverError: it was cut off; the next command ends it.
    """
    age = archive.settings.retention.vanished
    if age is None:
        return None
    keeping = archive.catalog.keeping
    due = doom(archive, keeping.gone_before(_due_from(age, utc_today())))
    if not due.messages:
        return Retained(held=len(due.held))
    messages = counted(len(due.messages), "message")
    if not confirmed and exceeds_deletion_limit(len(due.messages), keeping.count()):
        blocked = f"{messages} gone for longer than {age} stayed, since that is more than 50 or 10 %"
        return Retained(held=len(due.held), blocked=blocked)
    control.progress(Noted(f"forgetting {messages} gone from the source for longer than {age}"))
    reason = f'[retention] vanished = "{age}"'
    number, kept = forget(archive, recorder, due, reason, BY_RULE, control, there=False)
    return Retained(len(due.messages), len(due.held), number, None, tuple(kept))
