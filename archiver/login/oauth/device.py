"""A person logs in on any device, with a code that we show (RFC 8628)."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from archiver.config.secrecy import keep_secret
from archiver.errors import ConnectionRefused, ServerUnavailable, Throttled, Where
from archiver.login.oauth.endpoint import Answer, text_of
from archiver.login.oauth.grants import Client
from archiver.login.oauth.keeping import Pause
from archiver.login.oauth.provider import host_of
from archiver.login.oauth.tokens import Token

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_INTERVAL, _SLOWER = 5.0, 5.0  # seconds, RFC 8628 sections 3.2 and 3.5
_LEAST_INTERVAL, _MOST_INTERVAL = 0.1, 60.0
_LIFE, _LONGEST_LIFE = 900.0, 3600.0


class Prompt(Struct, frozen=True):
    """What a person has to do within the given seconds: open `address`, and enter `code` there if there is one. A
    browser comes back to the port `back_to` of this machine."""

    address: str
    code: str | None
    seconds: float
    back_to: int | None = None


Show = Callable[[Prompt], None]


def log_in(client: Client, show: Show, pause: Pause) -> Token:
    """Show a code, and wait until somebody has logged in with it. `pause` waits, and raises if the run has to end.

    Raises:
        AuthenticationFailed: the person did not allow it, or the code expired.
        ServerUnavailable, Throttled, ConnectionRefused: the endpoint cannot be asked.
    """
    url = client.endpoints.device_url or ""
    answer = client.ask(url, {"scope": client.endpoints.scope})
    if answer.error is not None:
        raise client.refusal(answer)
    device_code, prompt = _prompt(answer, url)
    keep_secret(device_code)
    show(prompt)
    interval, end = _seconds(answer.fields.get("interval"), _INTERVAL), time.monotonic() + prompt.seconds
    form = {"grant_type": _GRANT, "device_code": device_code}
    while True:
        pause(min(max(interval, _LEAST_INTERVAL), _MOST_INTERVAL))
        now = time.time()
        try:
            answer = client.ask(client.endpoints.token_url, form)
        except (ServerUnavailable, Throttled):  # the person is still busy, and the next time it may answer
            interval += _SLOWER
            if time.monotonic() > end:
                raise
            continue
        if answer.error is None:
            return client.given(answer, now)
        if answer.error == "slow_down":
            interval += _SLOWER
        elif answer.error != "authorization_pending":
            raise client.refusal(answer)
        if time.monotonic() > end:
            raise client.refusal(Answer(400, {"error": "expired_token"}))


def _prompt(answer: Answer, url: str) -> tuple[str, Prompt]:
    """The device code, and what to show.

    NOTE: Google and older servers call the address verification_url.
    """
    fields = answer.fields
    address = text_of(fields.get("verification_uri") or fields.get("verification_url"))
    device_code, code = fields.get("device_code"), text_of(fields.get("user_code"))
    if not isinstance(device_code, str) or not device_code or not code or not address.startswith("http"):
        hint = "check device_url in the table oauth2 of the account file"
        raise ConnectionRefused("it answers without a code", where=Where(server=host_of(url)), hint=hint)
    life = min(_seconds(fields.get("expires_in"), _LIFE), _LONGEST_LIFE)
    return device_code, Prompt(address, code, life)


def _seconds(value: object, otherwise: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    return float(value) if is_number else otherwise  # type: ignore[arg-type]  # it is a number
