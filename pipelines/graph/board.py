"""A luigid's page about the accounts of a command: a task for each, with its state and how far it is.

The page only shows. No work waits for luigid, and no outcome is read from it: when it is absent, dies or comes
back, that is one line, and work goes on. A thread tells it what has changed; what changed twice meanwhile is told
once.
"""

from __future__ import annotations

import html
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

from msgspec import Struct

from archiver.config.secrecy import redacted
from archiver.events import Linked, Planned, Sent, Stored, Verified, Working
from archiver.mail.folder_names import printable
from pipelines.events import AnyEvent, Began, Ended, Expected, Failed, Listener, Unchanged
from pipelines.fleet.ledgers import owner_of_claims
from pipelines.graph.luigid import Luigid, SchedulerUnreachable

_FAMILY = "Account"
_PAUSE_SECONDS = 1.0
_PING_SECONDS = 10.0  # luigid takes a worker for dead after 60
_AGAIN_SECONDS = 10.0  # until one that did not answer is tried again
_ALL_SECONDS = 300.0  # luigid forgets what it is not told for long, and takes failed tasks for pending ones
_LAST_SECONDS = 20.0  # for what is left to tell at the end


class _Shown(Struct):
    """What the page shows of an account."""

    status: str = "PENDING"
    step: str = ""
    folder: str = ""
    done: int = 0
    total: int = 0
    told: str = ""


class Board:
    """The page of the luigid at `url`; `say` gets lines for people.

    Raises:
        ConfigError: that is not the address of a luigid.
    """

    def __init__(self, url: str, accounts: Sequence[str], say: Callable[[str], None]) -> None:
        self._luigid, self._say = Luigid(url), say
        self._worker = f"archiver {owner_of_claims()}"
        self._accounts = {name: _Shown() for name in accounts}
        self._changed = dict.fromkeys(accounts)  # luigid gets them in this order
        self._changing = threading.Lock()
        self._over = threading.Event()
        self._is_away = False
        self._pinged = self._told_all = 0.0

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[Listener]:
        """The listener of the command, which also changes the page. A worker has one round after the other."""
        self._over.clear()
        thread = threading.Thread(target=self._keep, name="luigid", daemon=True)

        def listen(account: str, event: AnyEvent) -> None:
            listener(account, event)
            self._hear(account, event)

        self._tell(once=True)
        thread.start()
        try:
            yield listen
        finally:
            self._over.set()
            thread.join()
            if not self._is_away:
                self._tell(_LAST_SECONDS)

    def finish(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Show how all accounts ended, also those that other hosts did. Never raises."""
        with self._changing:
            for each in results:
                if (shown := self._accounts.get(each["account"])) is not None:
                    failed = bool(each["exit_code"])
                    shown.status = "FAILED" if failed else "DONE"
                    self._changed[each["account"]] = None
                    shown.told = (
                        _harmless(each.get("message") or f"exit code {each['exit_code']}") if failed else ""
                    )
        if not self._is_away:
            self._tell(_LAST_SECONDS)
        self._luigid.close()

    def _hear(self, account: str, event: AnyEvent) -> None:
        shown = self._accounts.get(account)
        if shown is None:
            return
        with self._changing:
            match event:
                case Began(step):
                    shown.status, shown.step, shown.folder = "RUNNING", step, ""
                    shown.done = shown.total = 0
                case Working(folder):
                    shown.folder = folder
                case Expected(messages) | Planned(messages):
                    shown.total = max(shown.total, messages)
                case Linked(messages):
                    shown.total = max(0, shown.total - messages)
                case Stored(messages) | Sent(messages) | Verified(messages):
                    shown.done += messages
                case Unchanged():
                    shown.status, shown.told = "DONE", ""
                case Ended(exit_code):
                    shown.status = "FAILED" if exit_code else "DONE"
                    shown.told = f"exit code {exit_code}" if exit_code else ""
                case Failed(message):
                    shown.status, shown.told = "FAILED", _harmless(message)
                case _:
                    return
            self._changed[account] = None

    def _keep(self) -> None:
        while not self._over.wait(_AGAIN_SECONDS if self._is_away else _PAUSE_SECONDS):
            self._tell()

    def _tell(self, seconds: float = 60.0, *, once: bool = False) -> None:
        """Tell luigid what has changed. `once`: only that we are there."""
        until = time.monotonic() + seconds
        try:
            now = time.monotonic()
            if self._is_away or not self._pinged or now - self._pinged > _PING_SECONDS:
                self._luigid.ask("add_worker", worker=self._worker, info=[["accounts", len(self._accounts)]])
                self._luigid.ask("ping", worker=self._worker)
                self._pinged = now
            if self._is_away or now - self._told_all > _ALL_SECONDS:
                with self._changing:
                    self._changed |= dict.fromkeys(self._accounts)
                self._told_all = now
            if self._is_away:
                self._is_away = False
                self._say(f"{self._luigid.name}: luigid answers again; its page shows the accounts")
            while not once and time.monotonic() < until and (changed := self._next()) is not None:
                self._tell_one(*changed)
        except SchedulerUnreachable as error:
            if not self._is_away:
                self._is_away = True
                self._say(f"{error.message}; the work goes on, its page does not show it")

    def _next(self) -> tuple[str, _Shown] | None:
        with self._changing:
            for name in self._changed:
                del self._changed[name]
                return name, copy(self._accounts[name])
        return None

    def _tell_one(self, name: str, shown: _Shown) -> None:
        task = f"{_FAMILY}_{_harmless(name)}"
        try:
            self._luigid.ask(
                "add_task",
                worker=self._worker,
                task_id=task,
                status=shown.status,
                family=_FAMILY,
                params={"account": _harmless(name)},
                runnable=False,  # no assistant of Luigi's may take it
                expl=json.dumps(shown.told) if shown.told else None,
            )
            if shown.status == "RUNNING":
                text = f"{shown.step}: {shown.done} of {max(shown.total, shown.done)} messages"
                if shown.folder:
                    text += f"; folder {_harmless(shown.folder)}"
                self._luigid.ask("set_task_status_message", task_id=task, status_message=text)
                if shown.total:
                    percentage = min(100, 100 * shown.done // shown.total)
                    self._luigid.ask("set_task_progress_percentage", task_id=task, progress_percentage=percentage)
        except SchedulerUnreachable:
            with self._changing:
                self._changed[name] = None
            raise


def _harmless(text: str) -> str:
    """NOTE: luigid's page takes texts for HTML, and servers and senders choose some of them."""
    return html.escape(printable(redacted(text)))
