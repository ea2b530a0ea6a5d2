"""Which access rights are given and taken away."""

from __future__ import annotations

import pytest

from archiver.destination.rights import RightsChange, RightsRules, after, changes, in_old_letters, is_due, wanted
from archiver.facts.access import Granted, Rights

RULES = RightsRules({"old": "new", "gone": "", "boss": "bob"}, "alice@example.org", "bob@example.net")


def of(**entries: str) -> Rights:
    return Rights(tuple(entries.items()))


@pytest.mark.parametrize(
    ("entries", "want"),
    [
        ((), {}),
        ((("u2", "lrs"), ("u2", "w")), {"u2": "lrsw"}),
        ((("u2", "acdilrsw"),), {"u2": "lrswikxtea"}),
        ((("u2", "n0"), ("u3", "")), {}),
        ((("old", "lr"), ("-old", "w"), ("gone", "lr"), ("-gone", "l")), {"new": "lr", "-new": "w"}),
        # The users of both mailboxes, however a server calls them, also by `acl_users`.
        ((("alice", "lr"), ("ALICE@example.org", "lr"), ("owner", "lr"), ("Administrators", "lr")), {}),
        ((("bob", "lr"), ("-bob", "w"), ("bob@example.net", "l"), ("boss", "lr"), ("-boss", "w")), {}),
        ((("bob@elsewhere.example", "lr"),), {"bob@elsewhere.example": "lr"}),
        ((("anyone", "l"), ("-anyone", "w"), ("-authenticated", "w"), ("-$staff", "w"), ("-group:x", "w")),
         {"anyone": "l"}),
    ],
)  # fmt: skip
def test_what_is_wanted(entries: tuple[tuple[str, str], ...], want: dict[str, str]) -> None:
    assert wanted(Rights(entries), RULES) == want


def test_rights_that_nobody_could_read_are_none() -> None:
    assert wanted(None, RULES) == wanted(Rights(None, "lr"), RULES) == {}


@pytest.mark.parametrize(
    ("want", "granted", "present", "found"),
    [
        ("lr", "", "", [("+", "lr")]),
        ("lr", "", "ls", [("+", "r")]),
        ("lr", "lr", "l", []),  # its user took it away
        ("lr", "lrs", "lrsw", [("-", "s")]),
        ("lrs", "lr", "l", [("+", "s")]),
        ("", "lr", "lrw", [("-", "lr")]),
        ("", "lr", "", []),
        ("", "", "lr", []),
        ("kxte", "", "cd", []),
    ],
)
def test_what_is_changed(want: str, granted: str, present: str, found: list[tuple[str, str]]) -> None:
    before = Granted(b"x", (("u2", granted),) if granted else ())
    wish = {"u2": want} if want else {}
    assert changes(wish, before, of(u2=present), again=False) == [RightsChange("u2", *each) for each in found]
    assert is_due(wish, before, again=False) == (want != granted)


def test_what_is_refused_is_tried_again_only_if_that_is_asked_for() -> None:
    want = {"u2": "lr", "anyone": "l"}
    nothing = Granted(b"x")
    first = after(want, nothing, {"anyone": "BAD no"}, again=False)
    assert first == Granted(b"x", (("u2", "lr"),), (("anyone", "BAD no"),))
    assert not is_due(want, first, again=False)
    assert is_due(want, first, again=True)
    assert changes(want, first, of(u2="lr"), again=False) == []
    assert changes(want, first, of(u2="lr"), again=True) == [RightsChange("anyone", "+", "l")]
    more = {**want, "u3": "r"}
    assert after(more, first, {}, again=False).refused == first.refused
    assert after(want, first, {}, again=True) == Granted(b"x", (("anyone", "l"), ("u2", "lr")))
    # The source no longer gives it: nothing is refused any more.
    assert is_due({"u2": "lr"}, first, again=False)
    assert after({"u2": "lr"}, first, {}, again=False) == Granted(b"x", (("u2", "lr"),))


def test_what_cannot_be_taken_away_stays_known() -> None:
    before = Granted(b"x", (("u2", "lr"),))
    result = after({}, before, {"u2": "NO no"}, again=False)
    assert result == Granted(b"x", (("u2", "lr"),), (("u2", "NO no"),))
    assert is_due({}, result, again=False)


def test_letters_for_an_old_server() -> None:
    assert in_old_letters("lrswkxtea") == "lrswcda"
