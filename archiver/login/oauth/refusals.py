"""What an OAuth endpoint's error means: which side refused what, and what to do about it.

Codes are those of RFC 6749 section 5.2, RFC 8628 section 3.5, Microsoft (AADSTS and a number) and Google. Microsoft
changes the words of its messages, not the numbers. A code that is not known here is shown with the endpoint's own
words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from archiver.config.tables.oauth2 import Provider
from archiver.errors import AuthenticationFailed, BackendError, ServerUnavailable, Throttled, Where

if TYPE_CHECKING:
    from archiver.login.oauth.endpoint import Answer

AGAIN = "log in again: `archiver login`"
_SECRET = "create a new client secret and put its value where client_secret says"
_APP = "check client_id and tenant in the table oauth2"
_CONSENT = (
    "an administrator of the tenant has to consent: Entra admin center, the app, API permissions, Grant admin "
    "consent"
)
_POLICY = "ask an administrator to exempt this app or this place, or log in from an allowed one: `archiver login`"
_USER = "check the user and the tenant in the account file"
_CLOCK = "set this machine's clock"
_CLIENT = "check client_id and client_secret in the table oauth2"
_CONSOLE = "Google Cloud console, Google Auth Platform"
_ADMIN = "Google Admin console, Security, Access and data control, API controls"
_REVOKED = (
    "the refresh token was revoked or has expired: the password was changed, the person withdrew the consent, it "
    "was not used for six months, or the app is in testing, where it lives seven days"
)

#: Microsoft's numbers: what is wrong, and what to do.
_AADSTS: Mapping[str, tuple[str, str]] = {
    "50011": (
        "the app has no such redirect address",
        'add the platform "Mobile and desktop applications" with http://localhost to the app',
    ),
    "50020": ("the user is of another tenant", _USER),
    "50034": ("there is no such user in this tenant", _USER),
    "50053": ("the user is locked out after too many wrong passwords", f"wait, then {AGAIN}"),
    "50055": ("the user's password has expired", f"change it, then {AGAIN}"),
    "50057": ("the user is disabled", "an administrator has to enable the user"),
    "50058": ("the user is not logged in there any more", AGAIN),
    "50059": ("the tenant is not known", "write tenant in the table oauth2"),
    "50072": ("the user has to register for multi-factor authentication", AGAIN),
    "50074": ("multi-factor authentication is required", AGAIN),
    "50076": ("multi-factor authentication is required since a change or at this place", AGAIN),
    "50078": ("the multi-factor authentication has expired", AGAIN),
    "50079": ("the user has to register for multi-factor authentication", AGAIN),
    "50105": ("the user is not assigned to the app", "an administrator has to assign the user to the app"),
    "50126": ("the user name or password is wrong", AGAIN),
    "50128": ("there is no such tenant", _APP),
    "50131": ("a conditional access policy forbids it", _POLICY),
    "50132": ("the login is no longer valid: the password was changed or the session revoked", AGAIN),
    "50133": ("the login is no longer valid: the password was changed", AGAIN),
    "50158": ("a further check of the user is required", AGAIN),
    "50173": ("the login is no longer valid: the password was changed or the session revoked", AGAIN),
    "50194": ("the app belongs to one tenant, and /common is not for it", "write tenant in the table oauth2"),
    "53000": ("a conditional access policy wants a compliant device", _POLICY),
    "53001": ("a conditional access policy wants a device of the domain", _POLICY),
    "53003": ("a conditional access policy forbids it", _POLICY),
    "53004": ("the user has to register for multi-factor authentication", AGAIN),
    "65001": ("nobody has consented to this app's access to mail", f"{_CONSENT}; or {AGAIN}"),
    "65004": ("the person did not consent", AGAIN),
    "65005": ("the app asks for a permission that is not among its API permissions", _CONSENT),
    "70000": ("the code or refresh token is not valid, or not for these permissions", AGAIN),
    "70001": ("there is no such app in this tenant", _APP),
    "70003": ("the app may not use this flow", "choose another flow, or allow public client flows for the app"),
    "70008": ("the code or refresh token has expired or was revoked", AGAIN),
    "70011": ("the scope is not valid", "check scopes in the table oauth2, or leave them out"),
    "70019": ("the code has expired", AGAIN),
    "70020": ("the code has expired", AGAIN),
    "70043": ("the refresh token has expired, since a policy limits how long a login lasts", AGAIN),
    "80014": ("the login took too long", AGAIN),
    "90002": ("there is no such tenant", "check tenant in the table oauth2"),
    "90019": ("the tenant is not known", "write tenant in the table oauth2"),
    "90072": ("the user is not in this tenant", _USER),
    "90093": ("the app's permissions need an administrator's consent", _CONSENT),
    "90094": ("the app's permissions need an administrator's consent", _CONSENT),
    "130501": ("a policy wants the login on another device", _POLICY),
    "500011": ("the tenant has no Exchange Online", "check that the tenant has mailboxes, and tenant and scopes"),
    "500113": ("the app has no redirect address", "add the platform for desktop applications to the app"),
    "500133": ("the token is not valid yet or any more", _CLOCK),
    "530003": ("a conditional access policy wants a managed device", _POLICY),
    "650052": ("the tenant has not enabled Exchange Online for this app", _CONSENT),
    "650056": ("the app is misconfigured, or nobody consented to it", _CONSENT),
    "650057": ("access to mail is not among the app's API permissions", _CONSENT),
    "700003": ("the device was deleted or disabled", AGAIN),
    "700016": ("there is no such app in this tenant", _APP),
    "700024": ("the app's assertion is not valid at this time", _CLOCK),
    "700027": ("the app's certificate is not known", "check the app's certificates"),
    "700038": ("the client ID is not a valid one", _APP),
    "700082": ("the refresh token has expired, since it was not used for a long time", AGAIN),
    "700084": ("the refresh token of a web page has expired after a day", AGAIN),
    "900144": ("the request lacks something", "check the table oauth2 in the account file"),
    "900971": ("the app has no redirect address", "add the platform for desktop applications to the app"),
    "7000112": ("the app is disabled", "an administrator has to enable it"),
    "7000215": ("the client secret is wrong", "use the secret's value, not its ID; or " + _SECRET),
    "7000216": ("the client secret is missing", "write client_secret in the table oauth2"),
    "7000218": (
        "the app wants a client secret",
        'set "Allow public client flows" to Yes in the app, or write client_secret in the table oauth2',
    ),
    "7000222": ("the client secret has expired", _SECRET),
    "7000229": ("the app has no service principal in this tenant", _CONSENT),
}

#: Google's codes, some with a part of the description.
_GOOGLE: tuple[tuple[str, str, str, str], ...] = (
    (
        "invalid_grant",
        "expired or revoked",
        _REVOKED,
        f"{AGAIN}; publish the app if it is in testing ({_CONSOLE}, Audience)",
    ),
    ("invalid_grant", "invalid_rapt", "the organisation's session control wants a new login", AGAIN),
    ("invalid_grant", "reauth", "the organisation's session control wants a new login", AGAIN),
    ("invalid_grant", "timeframe", "the service account's request has a wrong time", _CLOCK),
    ("invalid_grant", "email or user", "there is no such user in the domain", "check `user` in the account file"),
    ("invalid_grant", "account not found", "the service account was deleted", "create a new key, or a new account"),
    ("invalid_grant", "signature", "the service account's key is not valid any more", "create a new key"),
    ("invalid_grant", "malformed auth code", "the code is not a valid one", AGAIN),
    (
        "unauthorized_client",
        "",
        "the app may not act for this user",
        f"{_ADMIN}, Manage domain-wide delegation: add its client ID with the scope https://mail.google.com/",
    ),
    (
        "admin_policy_enforced",
        "",
        "the organisation does not let this app read mail",
        f"an administrator has to trust it: {_ADMIN}, App access control",
    ),
    (
        "org_internal",
        "",
        "the app is for users of its own organisation only",
        f'log in as one of them, or set the user type to "External" ({_CONSOLE}, Audience)',
    ),
    ("deleted_client", "", "the app was deleted", f"create another one and write its client_id ({_CONSOLE})"),
    ("disabled_client", "", "the app is disabled", f"enable it, or create another one ({_CONSOLE})"),
    ("invalid_client", "", "the client ID or the client secret is wrong", f"{_CLIENT} ({_CONSOLE}, Clients)"),
    (
        "redirect_uri_mismatch",
        "",
        "the app is no desktop app",
        f'create a client of type "Desktop app" ({_CONSOLE})',
    ),
    ("access_denied", "", "the person did not consent, or is no test user of the app", AGAIN),
    ("rate_limit_exceeded", "", "the app has had too many logins", "try again tomorrow"),
)

#: The codes that every provider uses.
_ANY: Mapping[str, tuple[str, str]] = {
    "invalid_request": ("the endpoint does not understand the request", "check the table oauth2"),
    "invalid_client": ("the client ID or the client secret is wrong", _CLIENT),
    "invalid_grant": ("the code or refresh token has expired, was revoked, or is another app's", AGAIN),
    "unauthorized_client": ("the app may not use this flow", "allow this flow for the app, or choose another one"),
    "unsupported_grant_type": ("the provider does not have this flow", "choose another flow"),
    "unsupported_response_type": ("the provider does not have this flow", "choose another flow"),
    "invalid_scope": ("the scope is not valid", "check scopes in the table oauth2"),
    "access_denied": ("the person, or a policy, did not allow it", AGAIN),
    "authorization_declined": ("the person did not allow it", AGAIN),
    "expired_token": ("the code has expired before anybody entered it", AGAIN),
    "bad_verification_code": ("the code is not a valid one", AGAIN),
    "interaction_required": ("the person has to log in again", AGAIN),
    "login_required": ("the person has to log in again", AGAIN),
    "consent_required": ("nobody has consented to this app's access to mail", AGAIN),
}

_PASSING = ("temporarily_unavailable", "server_error")
_PASSING_NUMBERS = ("90024", "90033")
_LOOP = "50196"  # Microsoft: the same request too often

_NUMBER = re.compile(r"AADSTS(\d+)")
_CLOCK_DIFFERS = 300.0


def refused(answer: Answer, what: str, provider: Provider | None, where: Where) -> BackendError:
    """The error for an endpoint's refusal. `what` was refused, as in "the token of alice@example.org (source)"."""
    code = answer.error or ""
    found = _NUMBER.search(answer.description)
    number = found[1] if found else ""
    if code in _PASSING or number in _PASSING_NUMBERS:
        return ServerUnavailable(f"{what}: the token endpoint says: {_said(code, answer)}", where=where)
    if number == _LOOP:
        return Throttled(f"{what}: the token endpoint says: {_said(code, answer)}", where=where)
    meaning, hint = _meaning(code, number, answer.description, provider)
    shown = f"AADSTS{number}" if number else code
    problem = f"the token endpoint refuses {what}: {shown}: "
    problem += meaning or _own_words(answer) or "it gives no reason"
    if answer.ahead is not None and abs(answer.ahead) > _CLOCK_DIFFERS:
        problem += f", and this machine's clock is {_difference(answer.ahead)}"
        hint = f"{_CLOCK}, then try again" if hint != _CLOCK else hint
    return AuthenticationFailed(problem, where=where, server_reply=_said(code, answer), hint=hint)


def _meaning(code: str, number: str, description: str, provider: Provider | None) -> tuple[str, str]:
    if number in _AADSTS:
        return _AADSTS[number]
    if provider == "google":
        for known, words, meaning, hint in _GOOGLE:
            if code == known and words in description.lower():
                return meaning, hint
    if number:
        return "", f"https://login.microsoftonline.com/error?code={number} explains it"
    meaning, hint = _ANY.get(code, ("", "check the table oauth2 in the account file"))
    if meaning and description and provider != "microsoft":
        meaning += f' ("{description}")'
    return meaning, hint


def _own_words(answer: Answer) -> str:
    """What the endpoint says, without the number that begins it and the identifiers that end it."""
    words = re.sub(r"\AAADSTS\d+: ", "", answer.description)
    return re.sub(r" (Trace ID|Correlation ID|Timestamp): .*", "", words)


def _said(code: str, answer: Answer) -> str:
    return f"{code}: {answer.description}" if answer.description else code


def _difference(ahead: float) -> str:
    hours, minutes = divmod(round(abs(ahead) / 60), 60)
    words = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes)
    return f"{' '.join(words)} {'behind' if ahead > 0 else 'ahead'}"
