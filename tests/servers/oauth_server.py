"""An OAuth 2.0 server on loopback: every flow, rotation, expiry, refusals, and introspection for mail servers.

It is strict where providers are: a refresh token or a code is used once, and a refresh token that comes back a
second time revokes all tokens of that login, as one that was stolen. It is in this process, so a test looks at and
changes it as a value.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

from tests.patience import PATIENCE
from tests.servers.certificates import Certificate

CLIENT, SECRET = "the-app", "s3cret-of-the-app"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Refused(Exception):
    """An answer with an error code (RFC 6749 section 5.2)."""

    def __init__(self, code: str, description: str = "", status: int = 400) -> None:
        self.fields = {"error": code} | ({"error_description": description} if description else {})
        self.status = status


@dataclass
class Login:
    """A person, or an app, that logged in; all of its tokens. `refresh` is the one that may be used next."""

    user: str
    scope: str
    refresh: str | None = None
    used: set[str] = field(default_factory=set)
    access: dict[str, float] = field(default_factory=dict)
    revoked: bool = False


class OAuthServer:
    """A context manager. `life` is how many seconds an access token lives, and `slack` for how many more it is
    accepted; `rotates` is whether a refresh token is replaced when it is used. `person` is who logs in with a
    browser; `secret` is the app's, None for a public one. `refuse` is raised at the next requests for a token, one
    after the other; a number there is an HTTP status, None lets one request pass. `ahead`: by how many seconds its
    clock is ahead. With a `key` tokens are JWTs that it signs (HS256), so that servers need not ask. `asked` are
    the grants, in order. A `silent` one does not answer."""

    def __init__(
        self,
        *,
        life: float = 3600,
        rotates: bool = True,
        secret: str | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        self._certificate = certificate
        self.life, self.rotates, self.secret = life, rotates, secret
        self.slack = 0.0
        self.person = "alice@example.org"
        self.roles: list[str] | None = None
        self.with_id_token = True
        self.granted: str | None = None
        self.key: bytes | None = None
        self.ahead = 0.0
        self.refuse: list[Refused | int | None] = []
        self.every: Callable[[int], Refused | int | None] = lambda number: None
        self.silent = False
        self.end_of_silence = threading.Event()
        self.asked: list[str] = []
        self.forms: list[Mapping[str, str]] = []
        self.introspected = 0
        self.logins: list[Login] = []
        self.devices: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.secrets: set[str] = set() if secret is None else {secret}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        server = self

        class Handler(_Handler):
            oauth = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]  # the client hung up
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate.certificate, self._certificate.key)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.host, self.port = "127.0.0.1", self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end_of_silence.set()
        self._http.shutdown()
        self._http.server_close()

    # -- for tests -------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}" if self._certificate is None else f"https://localhost:{self.port}"

    def table(self, token: object, /, **keys: object) -> dict[str, object]:
        """The table oauth2 of an account file, with the token's place."""
        return {
            "client_id": CLIENT, "token_url": f"{self.url}/token", "device_url": f"{self.url}/device",
            "authorization_url": f"{self.url}/authorize", "scopes": ["mail", "openid", "offline_access"],
            "token": token, **keys,
        }  # fmt: skip

    def log_in(self, user: str) -> str:
        """A login that was made elsewhere; returns its refresh token."""
        login = Login(user, "mail")
        self._given(login)
        assert login.refresh is not None
        return login.refresh

    def approve(self, user_code: str, user: str | None = None) -> None:
        """A person enters the code; None: and refuses."""
        for device in self.devices.values():
            if device["user_code"] == user_code:
                device |= {"user": user, "denied": user is None}

    def browse(self, address: str, **changes: str) -> int:
        """Do what a browser does with the address, in which the person agrees. Returns the last status."""
        with urlopen(address) as answer:  # it is redirected to us
            return int(answer.status)

    def expire(self) -> None:
        """No access token is valid any more; the clients do not know."""
        for login in self.logins:
            login.access = dict.fromkeys(login.access, 0.0)

    def revoke(self, user: str | None = None) -> None:
        """No token of the user is valid any more, refresh tokens neither."""
        for login in self.logins:
            if user in (None, login.user):
                login.revoked = True

    def active(self, token: str) -> str | None:
        """Whose valid access token it is."""
        for login in self.logins:
            if login.access.get(token, 0.0) > time.time() and not login.revoked:
                return login.user
        return None

    # -- requests --------------------------------------------------------------------------------------------

    def _secret(self) -> str:
        """A new secret that nothing may ever show."""
        text = secrets.token_urlsafe(32)
        self.secrets.add(text)
        return text

    def _given(self, login: Login) -> dict[str, Any]:
        if login not in self.logins:
            self.logins.append(login)
        access = self._secret()
        if self.roles is not None:
            access = _jwt({"roles": self.roles, "jti": access})
            self.secrets.add(access)
        if self.key is not None:
            until = int(time.time() + self.life + self.slack)
            claims = {"sub": login.user, "email": login.user, "iat": int(time.time()), "exp": until, "jti": access}
            access = _jwt(claims, self.key)
            self.secrets.add(access)
        login.access[access] = time.time() + self.life + self.slack
        answer = {"access_token": access, "token_type": "Bearer", "expires_in": self.life}
        answer["scope"] = self.granted if self.granted is not None else login.scope
        if login.user != CLIENT and (self.rotates or login.refresh is None):
            if login.refresh is not None:
                login.used.add(login.refresh)
            login.refresh = answer["refresh_token"] = self._secret()
        if login.user != CLIENT and self.with_id_token:
            answer["id_token"] = _jwt({"email": login.user})
        return answer

    def token(self, form: Mapping[str, str], basic: str | None) -> dict[str, Any]:
        """The token endpoint."""
        if self.silent:
            self.asked.append("in vain")
            self.end_of_silence.wait(PATIENCE)
        with self._lock:
            grant = form.get("grant_type", "")
            self.asked.append(grant)
            self.forms.append(form)
            refusal = self.refuse.pop(0) if self.refuse else self.every(len(self.asked))
            if refusal is not None:
                raise refusal if isinstance(refusal, Refused) else Refused("server_error", status=refusal)
            self._authenticate(form, basic)
            match grant:
                case "refresh_token":
                    return self._refreshed(form.get("refresh_token", ""))
                case "client_credentials":
                    return self._given(Login(CLIENT, form.get("scope", "")))
                case "authorization_code":
                    return self._of_code(form)
                case _ if grant == DEVICE_GRANT:
                    return self._of_device(form)
                case _ if grant == JWT_GRANT:
                    claims = _claims(form["assertion"])
                    if abs(claims["iat"] - time.time() - self.ahead) > 300:
                        text = "Invalid JWT: Token must be short-lived (60 minutes) and in a reasonable timeframe."
                        raise Refused("invalid_grant", text)
                    answer = self._given(Login(claims["sub"], claims["scope"]))
                    return {
                        name: value for name, value in answer.items() if name not in ("refresh_token", "id_token")
                    }
        raise Refused("unsupported_grant_type")

    def _authenticate(self, form: Mapping[str, str], basic: str | None) -> None:
        client, secret = form.get("client_id"), form.get("client_secret")
        if basic is not None:
            client, _, secret = base64.b64decode(basic.removeprefix("Basic ")).decode().partition(":")
        if form.get("grant_type") != JWT_GRANT and (client, secret) != (CLIENT, self.secret):
            raise Refused("invalid_client", "wrong client or secret", 401)

    def _refreshed(self, token: str) -> dict[str, Any]:
        for login in self.logins:
            if token in login.used:
                login.revoked = True
            if token == login.refresh and not login.revoked:
                return self._given(login)
        raise Refused("invalid_grant", "Token has been expired or revoked.")

    def _of_code(self, form: Mapping[str, str]) -> dict[str, Any]:
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None:
            raise Refused("invalid_grant", "the code has expired")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if asked["code_challenge"] != base64.urlsafe_b64encode(digest).decode().rstrip("="):
            raise Refused("invalid_grant", "the code verifier is wrong")
        if asked["redirect_uri"] != form.get("redirect_uri"):
            raise Refused("invalid_grant", "another redirect_uri")
        return self._given(Login(self.person, asked["scope"]))

    def _of_device(self, form: Mapping[str, str]) -> dict[str, Any]:
        device = self.devices.get(form.get("device_code", ""))
        if device is None or device.get("expired"):
            raise Refused("expired_token")
        if device["denied"]:
            raise Refused("access_denied")
        if device["user"] is None:
            raise Refused("authorization_pending")
        return self._given(Login(device["user"], device["scope"]))

    def device(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The device authorization endpoint."""
        if form.get("client_id") != CLIENT:
            raise Refused("invalid_client", status=401)
        code, user_code = self._secret(), f"WXYZ-{next(self._numbers)}"
        self.devices[code] = {"user_code": user_code, "user": None, "denied": False, "scope": form["scope"]}
        return {"device_code": code, "user_code": user_code, "verification_uri": f"{self.url}/enter",
                "expires_in": 600, "interval": 0}  # fmt: skip

    def authorize(self, query: Mapping[str, str]) -> str:
        """The authorization endpoint; returns where the browser goes next."""
        back = {"state": query["state"]}
        if query.get("code_challenge_method") != "S256" or query["client_id"] != CLIENT:
            back["error"] = "invalid_request"
        elif self.person == "":
            back |= {"error": "access_denied", "error_description": "the person said no"}
        else:
            code = self._secret()
            self.codes[code] = dict(query)
            back["code"] = code
        return query["redirect_uri"] + "?" + urlencode(back)

    def introspect(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Token introspection (RFC 7662), which Dovecot asks at each login."""
        self.introspected += 1
        user = self.active(form.get("token", ""))
        return {"active": False} if user is None else {"active": True, "email": user, "username": user}


class _Handler(BaseHTTPRequestHandler):
    oauth: OAuthServer

    def do_POST(self) -> None:
        octets = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        form = {name: values[0] for name, values in parse_qs(octets).items()}
        try:
            match urlsplit(self.path).path:
                case "/token":
                    self._say(200, self.oauth.token(form, self.headers.get("Authorization")))
                case "/device":
                    self._say(200, self.oauth.device(form))
                case "/introspect":
                    self._say(200, self.oauth.introspect(form))
                case _:
                    self._say(404, "<html>nothing here</html>")
        except Refused as error:
            self._say(error.status, error.fields)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/authorize":
            self.send_response(302)
            self.send_header("Location", self.oauth.authorize(query))
            self.end_headers()
        elif parts.path == "/moved":
            self._say(404, "")
        else:
            self._say(404, "")

    def _say(self, status: int, what: object) -> None:
        octets = what.encode() if isinstance(what, str) else json.dumps(what).encode()
        self.send_response_only(status)
        self.send_header("Date", formatdate(time.time() + self.oauth.ahead, usegmt=True))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _jwt(claims: Mapping[str, Any], key: bytes | None = None) -> str:
    """A JSON web token (RFC 7519), signed with the key; without one nobody can check it."""
    parts = ({"alg": "RS256" if key is None else "HS256", "typ": "JWT"}, claims)
    text = b".".join(_base64url(json.dumps(part).encode()) for part in parts)
    signature = b"signature" if key is None else hmac.digest(key, text, "sha256")
    return (text + b"." + _base64url(signature)).decode()


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def _claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return found
