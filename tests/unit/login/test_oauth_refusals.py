"""An endpoint's error codes in words: what is wrong, whose consent is missing, and what to do."""

from __future__ import annotations

import pytest

from archiver.config.tables.oauth2 import Provider
from archiver.errors import AuthenticationFailed, ServerUnavailable, Throttled, Where
from archiver.login.oauth.endpoint import Answer
from archiver.login.oauth.refusals import refused

WHERE = Where(server="login.example.org")
TRACE = " Trace ID: 0000 Correlation ID: 1111 Timestamp: 2026-11-29 17:00:00Z"


def line(error: str, description: str, provider: Provider | None) -> str:
    failure = refused(Answer(400, {"error": error, "error_description": description}), "it", provider, WHERE)
    assert isinstance(failure, AuthenticationFailed)
    return str(failure).removeprefix("login.example.org: the token endpoint refuses it: ")


@pytest.mark.parametrize(
    ("error", "number", "words"),
    [
        ("invalid_grant", 50034, "there is no such user in this tenant; check the user and the tenant"),
        ("invalid_grant", 50076, "multi-factor authentication is required"),
        (
            "invalid_grant",
            65001,
            "nobody has consented to this app's access to mail; an administrator",
        ),
        ("invalid_grant", 70000, "not valid, or not for these permissions; log in again"),
        ("invalid_grant", 70008, "has expired or was revoked; log in again"),
        ("invalid_grant", 700082, "since it was not used for a long time; log in again"),
        ("unauthorized_client", 700016, "there is no such app in this tenant; check client_id and tenant"),
        ("invalid_client", 7000215, "the client secret is wrong; use the secret's value, not its ID"),
        ("invalid_client", 7000218, 'set "Allow public client flows" to Yes'),
        ("invalid_client", 7000222, "the client secret has expired; create a new client secret"),
        ("invalid_request", 90002, "there is no such tenant; check tenant"),
        ("invalid_request", 900971, "the app has no redirect address; add the platform"),
        ("invalid_grant", 53003, "a conditional access policy forbids it; ask an administrator"),
    ],
)
def test_microsofts_numbers(error: str, number: int, words: str) -> None:
    said = line(error, f"AADSTS{number}: Whatever it says today.{TRACE}", "microsoft")
    assert said.startswith(f"AADSTS{number}: ")
    assert words in said
    assert "Trace" not in said


def test_a_number_of_microsofts_that_nobody_knows() -> None:
    assert line("invalid_grant", f"AADSTS99999: News.{TRACE}", "microsoft") == (
        "AADSTS99999: News; https://login.microsoftonline.com/error?code=99999 explains it"
    )


@pytest.mark.parametrize(
    ("error", "description", "words"),
    [
        ("invalid_grant", "Token has been expired or revoked.", "it lives seven days; log in again"),
        ("invalid_grant", "Invalid email or User ID", "there is no such user in the domain"),
        ("invalid_grant", "in a reasonable timeframe", "has a wrong time; set this machine's clock"),
        ("unauthorized_client", "Client is unauthorized to retrieve access tokens", "domain-wide delegation: add"),
        ("admin_policy_enforced", "", "the organisation does not let this app read mail; an administrator"),
        ("org_internal", "", "for users of its own organisation only"),
        ("deleted_client", "The OAuth client was deleted.", "the app was deleted; create another one"),
        ("invalid_client", "The OAuth client was not found.", "the client ID or the client secret is wrong"),
        ("access_denied", "", "did not consent, or is no test user"),
    ],
)  # fmt: skip
def test_googles_codes(error: str, description: str, words: str) -> None:
    said = line(error, description, "google")
    assert said.startswith(f"{error}: ")
    assert words in said


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error"])
def test_what_passes_is_tried_again(error: str) -> None:
    assert isinstance(refused(Answer(400, {"error": error}), "it", None, WHERE), ServerUnavailable)


def test_a_loop_that_microsoft_stops_is_a_limit() -> None:
    answer = Answer(400, {"error": "invalid_grant", "error_description": "AADSTS50196: loop"})
    assert isinstance(refused(answer, "it", "microsoft", WHERE), Throttled)


@pytest.mark.parametrize("error", [None, 7, "", {"code": 1}, "invalid_grant\r\n* OK", "x" * 9999])
def test_an_error_may_be_anything(error: object) -> None:
    failure = str(refused(Answer(418, {"error": error}), "it", None, WHERE))
    assert len(failure) < 600
    assert "\n" not in failure
