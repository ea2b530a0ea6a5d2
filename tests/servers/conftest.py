"""What the scenarios on real servers share: a Dovecot with all its extensions, and one without any, in turn."""

from __future__ import annotations

import pytest

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
    """A user of `server` whom nobody has used."""
    return server.fresh_user()
