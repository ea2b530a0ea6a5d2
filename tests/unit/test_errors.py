"""Errors in words: the folder of a failure is named once in its line."""

from __future__ import annotations

import pytest

from archiver.errors import ConfigError, ServerUnavailable, Unreachable, Where


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (Where("mx", "Sent"), "mx: gone; later"),
        (Where("mx", "Sent", 7, "fetch"), "mx, uid 7, fetch: gone; later"),
        (Where(folder="Sent"), "gone; later"),
        (Where("mx", "Sent Items"), 'mx, folder "Sent Items": gone; later'),
        (Where("mx"), "mx: gone; later"),
        (Where(), "server: gone; later"),
        (None, "gone; later"),
    ],
)
def test_within_a_folder_the_error_does_not_name_it_again(where: Where | None, text: str) -> None:
    assert ServerUnavailable("gone", where=where, hint="later").within("Sent") == text


def test_a_full_stop_of_a_server_ends_no_line() -> None:
    assert str(Unreachable("login failed.", hint="look")) == "login failed; look"
    assert str(Unreachable("wait...", hint="look")) == "wait...; look"
    assert str(ConfigError("here", ["gone."])) == "here: gone."
