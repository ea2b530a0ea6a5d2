"""Who is worth a notice, and why: a pure function of how an account ended and of what was known before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from archiver.config.tables.notify import Occasion
from archiver.errors import Locked
from pipelines.notify.outcomes import Outcome
from pipelines.notify.results import Result

Change = Literal["failed", "recovered"]


class News(Struct, frozen=True):
    """An account's end beside its last outcome. `is_told`: this very end of this very run was told already."""

    result: Result
    before: Outcome
    change: Change | None
    is_told: bool

    @property
    def is_failure(self) -> bool:
        """Whether the account is not complete. One that a signal stopped did not fail."""
        return 0 < self.result.exit_code < 128

    def is_for(self, occasion: Occasion) -> bool:
        """Whether it is an occasion of this kind by itself."""
        if self.is_told:
            return False
        return self.is_failure if occasion == "failure" else self.change is not None


def news_of(result: Result, before: Outcome) -> News:
    """What is new about an account. A first run that fails counts as a change, one that is complete does not."""
    change: Change | None = None
    if _is_outcome(result.exit_code):
        ok = result.exit_code == 0
        if not ok and before.ok is not False:
            change = "failed"
        elif ok and before.ok is False:
            change = "recovered"
    is_told = result.run is not None and (result.run, result.exit_code) == (before.run, before.exit_code)
    return News(result, before, change, is_told)


def next_outcome(news: News, now: str) -> Outcome:
    """What is to be known by the next run, after the notice was sent."""
    code, before = news.result.exit_code, news.before
    if _is_outcome(code) and before.ok is not (code == 0):
        before = replace(before, ok=code == 0, since=now)
    return replace(before, run=news.result.run, exit_code=code)


def told_to(on: Sequence[Occasion], news: Sequence[News]) -> tuple[list[Occasion], list[News]]:
    """For which of these occasions there is a notice, and the accounts in it; for a digest all accounts. Nothing,
    if the end of every account was told before: then the same run was only asked for once more."""
    occasions: list[Occasion] = [
        each for each in ("failure", "change") if each in on and any(one.is_for(each) for one in news)
    ]
    if "digest" in on and any(not each.is_told for each in news):
        return [*occasions, "digest"], list(news)
    return occasions, [each for each in news if any(each.is_for(occasion) for occasion in occasions)]


def _is_outcome(exit_code: int) -> bool:
    """Whether it says how the account is. Another run at work, or a signal, says nothing about that."""
    return exit_code < 128 and exit_code != Locked.exit_code
