"""What the scenarios on real servers share: a Dovecot with all its extensions, and one without any, in turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from archiver import control
from tests.servers.dovecot import Dovecot


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
