"""A `search` that the server evaluates: what it leaves out is counted, never missed, never taken for vanished."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, archive_state, assert_whole, mails, run, snapshot_files
from tests.servers.dovecot import Dovecot
from tests.servers.wire import Append

TERMS = ("on_server", "stored", "excluded", "fetched", "vanished")


@pytest.fixture
def inbox(server: Dovecot, user: str) -> None:
    """UIDs 1 to 4 flagged, 5 to 7 seen, 8 to 10 neither."""
    server.append_many(
        user,
        "INBOX",
        [
            Append(each.octets, ["\\Flagged"] * (n < 4) + ["\\Seen"] * (4 <= n < 7), each.internaldate)
            for n, each in enumerate(mails(range(1, 11)))
        ],
    )


@pytest.mark.usefixtures("inbox")
class TestAFilter:
    def test_counts_what_it_leaves_out(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        config = account_file(tmp_path, server, user, messages__search="FLAGGED")
        result = run(config)
        assert (result.total(*TERMS), result.balanced) == ((10, 4, 6, 4, 0), True)
        before = snapshot_files(archive_of(config)), assert_whole(archive_of(config))
        again = run(config)
        assert (again.total(*TERMS), again.balanced) == ((10, 4, 6, 0, 0), True)
        assert (snapshot_files(archive_of(config)), archive_state(archive_of(config))) == before

    def test_by_age_takes_what_is_old_enough(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        """All of it came long ago, and one message a moment ago."""
        now = datetime.now(UTC).strftime("%d-%b-%Y %H:%M:%S +0000")
        server.append(user, "INBOX", b"Subject: new\r\n\r\nnow\r\n", internaldate=now)
        config = account_file(tmp_path, server, user, messages__older_than="30d")
        assert run(config).total(*TERMS) == (11, 10, 1, 10, 0)
        account_file(tmp_path, server, user, messages__newer_than="30d")
        result = run(config)
        assert (result.total(*TERMS), result.balanced) == ((11, 11, 0, 1, 0), True)

    def test_that_gets_wider_fetches_the_rest_alone(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        config = account_file(tmp_path, server, user, messages__search="FLAGGED")
        run(config)
        account_file(tmp_path, server, user, messages__search="OR FLAGGED SEEN")
        result = run(config)
        assert (result.total(*TERMS), result.balanced) == ((10, 7, 3, 3, 0), True)
        assert assert_whole(archive_of(config)).uids() == [*range(1, 8)]

    def test_that_is_removed_fetches_the_rest_alone(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        config = account_file(tmp_path, server, user, messages__search="FLAGGED")
        run(config)
        account_file(tmp_path, server, user)
        result = run(config)
        assert (result.total(*TERMS), result.balanced) == ((10, 10, 0, 6, 0), True)
        fresh = account_file(tmp_path / "fresh", server, user)
        run(fresh)
        assert assert_whole(archive_of(config)).present == archive_state(archive_of(fresh)).present

    def test_that_gets_narrower_keeps_what_is_there(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        config = account_file(tmp_path, server, user)
        run(config)
        before = archive_state(archive_of(config))
        account_file(tmp_path, server, user, messages__search="FLAGGED")
        server.append_many(user, "INBOX", mails([11, 12]))
        result = run(config)
        assert (result.total(*TERMS), result.balanced) == ((12, 10, 2, 0, 0), True)
        assert assert_whole(archive_of(config)).files == before.files
        assert archive_state(archive_of(config)).messages == before.messages

    def test_does_not_hide_what_vanished_or_changed(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        config = account_file(tmp_path, server, user)
        run(config)
        account_file(tmp_path, server, user, messages__search="FLAGGED")
        server.append_many(user, "INBOX", mails([11, 12]))
        run(config)
        server.expunge(user, "INBOX", [1, 9, 11])
        server.store_flags(user, "INBOX", [8], ["\\Answered"])
        result = run(config)
        assert result.balanced
        assert result.total(*TERMS, "flags_changed") == (9, 8, 1, 0, 2, 1)
        assert assert_whole(archive_of(config)).uids(present=False) == [1, 9]

    def test_a_message_that_matches_later_is_fetched_later(
        self, server: Dovecot, user: str, tmp_path: Path
    ) -> None:
        config = account_file(tmp_path, server, user, messages__search="FLAGGED")
        run(config)
        server.store_flags(user, "INBOX", [10], ["\\Flagged"])
        server.store_flags(user, "INBOX", [1], ["\\Flagged"], mode="-")
        result = run(config)
        assert (result.total(*TERMS, "flags_changed"), result.balanced) == ((10, 5, 5, 1, 0, 1), True)

    def test_that_matches_nothing(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        config = account_file(tmp_path, server, user, messages__search="SINCE 1-Jan-2030")
        result = run(config)
        assert (result.total(*TERMS), result.balanced) == ((10, 0, 10, 0, 0), True)

    def test_and_a_new_uidvalidity_at_once(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        config = account_file(tmp_path, server, user, messages__search="OR FLAGGED SEEN")
        run(config)
        server.bump_uidvalidity(user, "INBOX")
        account_file(tmp_path, server, user, messages__search="FLAGGED")
        result = run(config)
        assert (result.total(*TERMS), result.balanced) == ((10, 4, 6, 0, 0), True)
        account_file(tmp_path, server, user)
        result = run(config)
        assert (result.total("on_server", "stored", "excluded", "vanished"), result.balanced) == (
            (10, 10, 0, 0),
            True,
        )
        assert_whole(archive_of(config))

    def test_and_a_server_put_back_at_once(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        """UIDs that the filter left out prove nothing; those that it let in show that they are other mail now."""
        snapshot = server.snapshot(user)
        server.append_many(user, "INBOX", [Append(each.octets, ["\\Flagged"]) for each in mails([11, 12])])
        config = account_file(tmp_path, server, user, messages__search="FLAGGED")
        run(config)
        before = assert_whole(archive_of(config))
        server.restore(user, snapshot)
        server.append_many(user, "INBOX", [Append(each.octets, ["\\Flagged"]) for each in mails([31, 32, 33])])
        result = run(config)
        assert (result.total(*TERMS), result.balanced) == ((13, 7, 6, 3, 0), True)
        state = assert_whole(archive_of(config))
        assert {file.digest for file in before.files.values()} <= {file.digest for file in state.files.values()}

    def test_that_the_server_does_not_take_is_reported(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        config = account_file(tmp_path, server, user)
        run(config)
        before = assert_whole(archive_of(config))
        account_file(tmp_path, server, user, messages__search="NONSENSE")
        result = run(config, expect=3)
        (failure,) = result.report["failures"]
        assert "NONSENSE" in failure["reason"].upper()
        assert assert_whole(archive_of(config)).messages == before.messages
        account_file(tmp_path, server, user)
        assert run(config).total("fetched", "vanished") == (0, 0)
