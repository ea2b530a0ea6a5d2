"""What the scenarios on real servers share: a Dovecot with all its extensions, and one without any, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archiver.control import run as control
from archiver.source.imap import ImapSource
from tests.servers.dovecot import Dovecot
from tests.servers.logins import login_at, spool_in
from tests.servers.scripted import ScriptedServer


@pytest.fixture(params=["all extensions", "no extensions"])
def server(request: pytest.FixtureRequest, dovecot: Dovecot) -> Dovecot:
    """One after the other: what must hold has to hold on both."""
    if request.param == "all extensions":
        return dovecot
    plain: Dovecot = request.getfixturevalue("plain_dovecot")
    return plain


@pytest.fixture
def user(server: Dovecot) -> str:
    """A user of `server` that no test has used."""
    return server.fresh_user()


FIRST_DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    """Sets the archiver's clock to noon of a day, and returns the end of that day."""
    utc = control._utc.__wrapped__

    def set_to(number: int) -> str:
        noon = int(FIRST_DAY.timestamp()) + 86400 * (number - 1)
        monkeypatch.setattr(control, "_utc", lambda _: utc(noon))
        return utc(noon + 12 * 3600 - 1)

    return set_to


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., ImapSource]]:
    """A source on a server; hung up at the end."""
    opened: list[ImapSource] = []

    def source(server: ScriptedServer, **how: bool) -> ImapSource:
        opened.append(ImapSource(*login_at(server.port, "u1", "pw"), spool_in(tmp_path), **how))
        return opened[-1]

    yield source
    for each in opened:
        each.hang_up()
