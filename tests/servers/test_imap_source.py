"""ImapSource passes the source contract on every server: with all extensions, with none, on another program, and
behind the wrapper that reconnects, over a line that breaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.events import Event
from archiver.source.imap import ImapSource
from archiver.source.port import MailSource
from archiver.source.retry import RetryingSource
from tests.accounts import UNSTOPPED
from tests.contracts.source import INBOX, Served, SourceContract, fill
from tests.servers.dovecot import Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.logins import login_at, spool_in
from tests.servers.pymap_server import PymapServer

PLAIN = "protocol imap {\n  imap_capability = IMAP4rev1 SASL-IR LITERAL+ NAMESPACE\n}\n"


class TestDovecot(SourceContract):
    @pytest.fixture
    def served(self, dovecot: Dovecot, tmp_path: Path) -> Served:
        user = dovecot.fresh_user()
        fill(dovecot.wire(user), lambda folder, messages: dovecot.append_many(user, folder, messages))
        login = login_at(dovecot.port, user, "pw")
        return Served(lambda: ImapSource(*login, spool_in(tmp_path)), lambda: dovecot.wire(user))


class TestDovecotCautiously(SourceContract):
    @pytest.fixture
    def served(self, dovecot: Dovecot, tmp_path: Path) -> Served:
        user = dovecot.fresh_user()
        fill(dovecot.wire(user), lambda folder, messages: dovecot.append_many(user, folder, messages))
        login = login_at(dovecot.port, user, "pw")
        return Served(lambda: ImapSource(*login, spool_in(tmp_path), cautious=True), lambda: dovecot.wire(user))


class TestDovecotWithoutExtensions(SourceContract):
    @pytest.fixture
    def served(self, dovecot_with: Callable[..., Dovecot], tmp_path: Path) -> Served:
        server = dovecot_with(extra=PLAIN)
        user = server.fresh_user()
        fill(server.wire(user), lambda folder, messages: server.append_many(user, folder, messages))
        login = login_at(server.port, user, "pw")
        return Served(lambda: ImapSource(*login, spool_in(tmp_path)), lambda: server.wire(user))


class TestPymap(SourceContract):
    @pytest.fixture
    def served(self, pymap: PymapServer, tmp_path: Path) -> Served:
        fill(pymap.wire("alice"), lambda folder, messages: pymap.append_many("alice", folder, messages))
        login = login_at(pymap.port, "alice", "secret")
        return Served(lambda: ImapSource(*login, spool_in(tmp_path)), lambda: pymap.wire("alice"))


class TestOverABreakingLine(SourceContract):
    """Every connection is reset after some octets; the wrapper goes on where it was."""

    @pytest.fixture
    def served(self, dovecot: Dovecot, proxy: Callable[..., FaultProxy], tmp_path: Path) -> Served:
        user = dovecot.fresh_user()
        fill(dovecot.wire(user), lambda folder, messages: dovecot.append_many(user, folder, messages))
        line = proxy(dovecot.port, reset_after=len(INBOX[2].octets) + 3000, direction="down")
        login = login_at(line.port, user, "pw")
        reported: list[Event] = []

        def opened() -> MailSource:
            return RetryingSource(
                lambda *, fallback: ImapSource(*login, spool_in(tmp_path), cautious=fallback),
                attempts=5,
                control=replace(UNSTOPPED, progress=reported.append),
            )

        return Served(opened, lambda: dovecot.wire(user))
