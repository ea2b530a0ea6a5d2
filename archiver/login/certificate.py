"""A user who shows a client certificate during the TLS handshake, and needs no password."""

from __future__ import annotations

from collections.abc import Sequence

from archiver.config.secrets import Secret
from archiver.errors import AuthenticationFailed, Where
from archiver.login.mechanisms import External
from archiver.login.port import Offer, Way


class CertificateAuthenticator:
    """EXTERNAL, which asks for the mailbox of `user`, so that another person's certificate opens no other one."""

    def __init__(self, user: str) -> None:
        self._user = user

    def secret(self, refused: Secret | None = None) -> Secret:
        return Secret("")

    def ways(self, secret: Secret, offer: Offer, where: Where) -> Sequence[Way]:
        if "EXTERNAL" not in offer.mechanisms:
            raise AuthenticationFailed(
                "the server does not log in by client certificate (it offers no EXTERNAL)",
                where=where,
                hint="enable it at the server, or set `password` as well",
            )
        return [External(self._user)]
