"""A provider's endpoints and scopes: those that the account file gives, else those that are known."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from msgspec import Struct, field

from archiver.config.tables.oauth2 import OAuth2Settings

_MICROSOFT = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/"
_MICROSOFT_SCOPES = {
    "imap": ("https://outlook.office.com/IMAP.AccessAsUser.All",),
    "pop3": ("https://outlook.office.com/POP.AccessAsUser.All",),
}
_APP_ROLES = {"imap": "IMAP.AccessAsApp", "pop3": "POP.AccessAsApp"}
_GOOGLE_MAIL = "https://mail.google.com/"


class Endpoints(Struct, frozen=True):
    """Where tokens come from. `mail` are the scopes that access to mail needs, `identity` those that tell who
    logged in. A browser is sent back to `redirect_host`, with `parameters` in the address that it opens."""

    token_url: str
    device_url: str | None
    authorization_url: str | None
    mail: tuple[str, ...]
    identity: tuple[str, ...] = ()
    role: str | None = None
    redirect_host: str = "127.0.0.1"  # RFC 8252 section 7.3
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def scope(self) -> str:
        """For a person's consent."""
        return " ".join((*self.mail, *self.identity))

    @property
    def name(self) -> str:
        """The host that gives tokens, for messages."""
        return host_of(self.token_url)


def host_of(url: str) -> str:
    """The host of an endpoint, with the port if it is not the usual one."""
    return urlsplit(url).netloc


def endpoints_of(settings: OAuth2Settings, protocol: str) -> Endpoints:
    """The endpoints for mail over this protocol ("imap" or "pop3")."""
    match settings.provider:
        case "microsoft":
            known = _microsoft(settings, protocol)
        case "google":
            known = _google(settings)
        case None:
            known = Endpoints("", None, None, ())
    return Endpoints(
        token_url=settings.token_url or known.token_url,
        device_url=settings.device_url or known.device_url,
        authorization_url=settings.authorization_url or known.authorization_url,
        mail=settings.scopes or known.mail,
        identity=() if settings.scopes else known.identity,
        role=known.role,
        redirect_host=known.redirect_host,
        parameters=known.parameters,
    )


def _microsoft(settings: OAuth2Settings, protocol: str) -> Endpoints:
    base = _MICROSOFT.format(tenant=settings.tenant or "common")
    if settings.flow == "client_credentials":
        mail: tuple[str, ...] = ("https://outlook.office365.com/.default",)
    else:
        mail = _MICROSOFT_SCOPES[protocol]
    # NOTE: an app is registered with http://localhost, and the portal takes no 127.0.0.1. The port is ignored.
    return Endpoints(
        f"{base}token",
        f"{base}devicecode",
        f"{base}authorize",
        mail,
        ("offline_access", "openid", "profile", "email"),
        _APP_ROLES[protocol] if settings.flow == "client_credentials" else None,
        redirect_host="localhost",
        parameters={"prompt": "select_account"},
    )


def _google(settings: OAuth2Settings) -> Endpoints:
    # NOTE: without "consent" Google gives a refresh token only the first time that a person agrees.
    return Endpoints(
        "https://oauth2.googleapis.com/token",
        None,
        "https://accounts.google.com/o/oauth2/v2/auth",
        (_GOOGLE_MAIL,),
        ("openid", "email"),
        parameters={"access_type": "offline", "prompt": "consent"},
    )
