"""What the scenarios on real servers share: a Dovecot with all its extensions, and one without any."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.certificates import Certificates
from tests.servers.dovecot import Dovecot


@pytest.fixture(scope="session")
def plain_dovecot(dovecot: Dovecot, certificates: Certificates) -> Iterator[Dovecot]:
    """A Dovecot that offers IMAP4rev1 alone."""
    with Dovecot(
        certificate=certificates.good, extra="protocol imap {\n  imap_capability = IMAP4rev1\n}"
    ) as server:
        yield server


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
