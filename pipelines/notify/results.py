"""How each account of a command ended, as notices and metrics need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from archiver.config.settings import Settings
from archiver.config.tables.notify import MetricsSettings, NotifySettings, written_watch


class Watched(Struct, frozen=True):
    """An account, and who wants to know how it ends. `settings` is None if its file has mistakes."""

    account: str
    file: Path
    notify: NotifySettings
    metrics: MetricsSettings
    settings: Settings | None = None


class Result(Struct, frozen=True):
    """How one account ended; `document` is its report, empty if there is none."""

    watched: Watched
    exit_code: int
    run: str | None = None
    status: str = "failed"
    message: str | None = None
    report: str | None = None
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def account(self) -> str:
        return self.watched.account

    @property
    def server(self) -> str:
        """The source's host; "" if it is not known."""
        settings = self.watched.settings
        return settings.source.host if settings is not None else ""


def watched_accounts(settings: Iterable[Settings], wrong: Iterable[tuple[str, Path]]) -> Sequence[Watched]:
    """The accounts of a command, those whose files are `wrong` last, with their names. For these the file counts as
    far as it can be read, or else the defaults of its folder."""
    good = [Watched(each.account, each.file, each.notify, each.metrics, each) for each in settings]
    return [*good, *(Watched(name, file.absolute(), *written_watch(file)) for name, file in wrong)]
