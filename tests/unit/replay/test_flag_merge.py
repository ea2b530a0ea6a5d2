"""Flags followed three-way: what the archive asks for, and what a destination's user did since."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from archiver.facts.mailbox import SelectedFolder
from archiver.facts.replica import Replica
from archiver.mail.model import Digest, Flags, StoredMessage
from archiver.replay.flag_merge import (
    DELETED,
    NO_FLAGS,
    FlagChange,
    change_of,
    exceeds_deletion_limit,
    grouped,
    label_change_of,
)

ALL = SelectedFolder(7, 100, 50)
FLAGS = ("\\Seen", "\\Deleted", "\\Flagged", "$a", "b")


def copy(before: Flags, now: Flags, said: Flags, *, marked: bool = False, how: str = "appended") -> Replica:
    """A copy whose message had the flags `before` when they were replayed, and has those of `now`. The destination
    `said` afterwards which it shows."""
    return Replica(
        uid=1,
        epoch=1,
        message=StoredMessage.bare(1, Digest(""), 1, 1, 0, now),
        how=how,
        sent_digest=None,
        size=1,
        dated=True,
        source_flags=before,
        flags=said,
        lost=NO_FLAGS,
        likeness=None,
        repaired=(),
        marked=marked,
    )


def flags(there: bool, flag: str = "\\Seen") -> Flags:
    return frozenset({flag}) if there else NO_FLAGS


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize(
    ("before", "now", "said", "shown", "expected"),
    [
        # it appeared in the archive
        (False, True, False, False, "added"),
        (False, True, False, True, None),  # its user set it, too
        (False, True, True, True, None),  # it was there when we last looked
        (False, True, True, False, None),  # its user took it away since
        # it disappeared from the archive
        (True, False, True, True, "removed"),
        (True, False, True, False, None),  # its user took it away, too
        (True, False, False, False, None),  # it never was kept
        (True, False, False, True, None),  # its user set it himself
        # nothing happened in the archive: whatever its user does is his business
        *((same, same, said, shown, None) for same, said, shown in product((False, True), repeat=3)),
    ],
)
def test_a_flag(flag: str, before: bool, now: bool, said: bool, shown: bool, expected: str | None) -> None:
    change = change_of(copy(flags(before, flag), flags(now, flag), flags(said, flag)), flags(shown, flag), ALL)

    assert change == FlagChange(flags(expected == "added", flag), flags(expected == "removed", flag), NO_FLAGS)
    assert change.needed == (expected is not None)


SETS = st.frozensets(st.sampled_from(FLAGS))
PERMANENT = st.none() | SETS


@given(SETS, SETS, SETS, SETS, PERMANENT, st.booleans(), st.booleans())
def test_flags_do_not_depend_on_one_another(
    before: Flags, now: Flags, said: Flags, shown: Flags, permanent: Flags | None, any_keyword: bool, marked: bool
) -> None:
    opened = SelectedFolder(7, 100, 50, permanent, any_keyword)

    together = change_of(copy(before, now, said, marked=marked), shown, opened)

    apart = [
        change_of(copy(before & one, now & one, said & one, marked=marked), shown & one, opened)
        for one in (frozenset({flag}) for flag in FLAGS)
    ]
    assert together.added == frozenset().union(*(change.added for change in apart))
    assert together.removed == frozenset().union(*(change.removed for change in apart))
    assert together.lost == frozenset().union(*(change.lost for change in apart))


@given(SETS, SETS, SETS, SETS, PERMANENT, st.booleans(), st.booleans())
def test_only_what_has_to_be_changed_is_changed(
    before: Flags, now: Flags, said: Flags, shown: Flags, permanent: Flags | None, any_keyword: bool, marked: bool
) -> None:
    opened = SelectedFolder(7, 100, 50, permanent, any_keyword)

    change = change_of(copy(before, now, said, marked=marked), shown, opened)

    assert not change.added & shown
    assert change.added <= opened.kept(now)
    assert change.removed <= shown - now
    assert change.lost == now - opened.kept(now)


def test_adopted_mail_gets_the_archives_flags_and_keeps_its_own() -> None:
    """None of the archive's flags was replayed onto it yet."""
    shown = frozenset({"\\Flagged", "own"})
    adopted = copy(NO_FLAGS, frozenset({"\\Seen", "$a", "own"}), shown, how="adopted")

    assert change_of(adopted, shown, ALL) == FlagChange(frozenset({"\\Seen", "$a"}), NO_FLAGS, NO_FLAGS)
    assert change_of(adopted, NO_FLAGS, ALL) == FlagChange(frozenset({"\\Seen", "$a"}), NO_FLAGS, NO_FLAGS)


@pytest.mark.parametrize(
    ("now", "shown", "removed"),
    [
        (NO_FLAGS, DELETED, DELETED),
        (NO_FLAGS, DELETED | {"\\Seen"}, DELETED),
        (NO_FLAGS, NO_FLAGS, NO_FLAGS),  # its user took the mark away
        (DELETED, DELETED, NO_FLAGS),  # the source has it now itself
    ],
)
def test_our_own_mark_is_taken_away_when_the_message_is_back(now: Flags, shown: Flags, removed: Flags) -> None:
    change = change_of(copy(now, now, now, marked=True), shown, ALL)

    assert change == FlagChange(NO_FLAGS, removed, NO_FLAGS)


def test_a_mark_of_its_user_stays() -> None:
    assert change_of(copy(NO_FLAGS, NO_FLAGS, NO_FLAGS), DELETED, ALL) == FlagChange(NO_FLAGS, NO_FLAGS, NO_FLAGS)


SEEN_ALONE = frozenset({"\\Seen"})


@pytest.mark.parametrize(
    ("permanent", "any_keyword", "kept"),
    [
        (None, True, {"\\Seen", "\\Flagged", "$A", "b"}),
        (SEEN_ALONE, True, {"\\Seen", "$A", "b"}),
        (frozenset({"\\SEEN", "$a"}), False, {"\\Seen", "$A"}),
        (frozenset({"$a", "B"}), False, {"$A", "b"}),
        (NO_FLAGS, True, {"$A", "b"}),
        (NO_FLAGS, False, set()),
    ],
)
def test_only_flags_that_the_folder_keeps_are_added(
    permanent: Flags | None, any_keyword: bool, kept: set[str]
) -> None:
    opened = SelectedFolder(7, 100, 50, permanent, any_keyword)
    wanted = frozenset({"\\Seen", "\\Flagged", "$A", "b"})

    assert opened.kept(wanted) == kept
    assert change_of(copy(NO_FLAGS, wanted, NO_FLAGS), NO_FLAGS, opened) == FlagChange(
        frozenset(kept), NO_FLAGS, wanted - kept
    )


def test_flags_are_removed_whatever_the_folder_says_of_them() -> None:
    opened = SelectedFolder(7, 100, 50, NO_FLAGS, any_keyword=False)
    change = change_of(copy(SEEN_ALONE, NO_FLAGS, SEEN_ALONE), SEEN_ALONE, opened)

    assert change == FlagChange(NO_FLAGS, SEEN_ALONE, NO_FLAGS)


def test_what_cannot_be_written_into_a_command_is_left_alone() -> None:
    """It would keep out the other flags."""
    odd = frozenset({"a]b", 'quo"te', "ü", "{3}", "(", ""})
    wanted = odd | {"\\Seen", "$a"}

    assert change_of(copy(NO_FLAGS, wanted, NO_FLAGS), NO_FLAGS, ALL) == FlagChange(
        frozenset({"\\Seen", "$a"}), NO_FLAGS, odd
    )
    assert change_of(copy(wanted, NO_FLAGS, wanted), wanted, ALL) == FlagChange(
        NO_FLAGS, frozenset({"\\Seen", "$a"}), NO_FLAGS
    )


def test_equal_changes_are_made_together() -> None:
    seen, flagged = SEEN_ALONE, frozenset({"\\Flagged"})
    changes = {
        1: FlagChange(seen, NO_FLAGS, NO_FLAGS),
        2: FlagChange(seen, flagged, NO_FLAGS),
        3: FlagChange(seen, NO_FLAGS, frozenset({"lost"})),
        4: FlagChange(NO_FLAGS, NO_FLAGS, flagged),
        5: FlagChange(NO_FLAGS, flagged, NO_FLAGS),
    }

    assert grouped(changes) == {(seen, NO_FLAGS): {1, 3}, (seen, flagged): {2}, (NO_FLAGS, flagged): {5}}
    assert grouped({}) == {}


@pytest.mark.parametrize(
    ("withdrawn", "held", "braked"),
    [
        (0, 0, False),
        (1, 0, True),
        (1, 9, True),
        (1, 10, False),
        (10, 100, False),
        (11, 100, True),
        (50, 500, False),
        (50, 100_000, False),
        (51, 100_000, True),
    ],
)
def test_more_than_fifty_or_a_tenth_need_a_persons_word(withdrawn: int, held: int, braked: bool) -> None:
    assert exceeds_deletion_limit(withdrawn, held) == braked


@pytest.mark.parametrize(
    ("replayed", "said", "wanted", "now", "added", "removed"),
    [
        pytest.param(None, None, "ab", "", "ab", "", id="never replayed"),
        pytest.param(None, None, "ab", "bc", "a", "", id="adopted, with labels of its own"),
        pytest.param("ab", "ab", "abc", "ab", "c", "", id="added in the archive"),
        pytest.param("ab", "ab", "a", "ab", "", "b", id="removed in the archive"),
        pytest.param("ab", "ab", "abc", "b", "c", "", id="the user removed another one"),
        pytest.param("a", "a", "ab", "abc", "", "", id="the user added it, too"),
        pytest.param("ab", "a", "a", "ab", "", "", id="the user set what we could not, and the archive lost it"),
        pytest.param("ab", "ab", "ab", "", "", "", id="the user removed all"),
    ],
)
def test_labels_are_merged_like_flags(
    replayed: str | None, said: str | None, wanted: str, now: str, added: str, removed: str
) -> None:
    before = copy(NO_FLAGS, NO_FLAGS, NO_FLAGS)
    replica = replace(
        before,
        message=replace(before.message, labels=frozenset(wanted)),
        source_labels=None if replayed is None else frozenset(replayed),
        labels=None if said is None else frozenset(said),
    )
    change = label_change_of(replica, frozenset(now))
    assert (change.added, change.removed) == (frozenset(added), frozenset(removed))


def test_labels_that_would_move_a_copy_are_not_stored() -> None:
    before = copy(NO_FLAGS, NO_FLAGS, NO_FLAGS)
    replica = replace(before, message=replace(before.message, labels=frozenset({"\\Trash", "\\Spam", "a"})))
    assert label_change_of(replica, frozenset()).added == {"a"}
