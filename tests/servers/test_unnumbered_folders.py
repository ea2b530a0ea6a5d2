"""Servers that give no UIDVALIDITY, or 0: their UIDs may name other messages in the next session.

So the messages are compared. Nothing is lost, there twice, or taken for deleted, whatever the UIDs are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, assert_whole, mail, run
from tests.faults.replays import migration
from tests.servers.scripted import DESTINATION, FULL, ScriptedFolder, ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]


def messages(numbers: Iterable[int]) -> list[ScriptedMessage]:
    """Every third arrived at the same moment, with the same size; every fifth has no Message-ID."""
    return [
        ScriptedMessage(
            mail(100 + number, message_id=number % 5 != 0, body="." * (10 if number % 3 == 0 else number)),
            internaldate="02-Jan-2020 00:00:00 +0000"
            if number % 3 == 0
            else f"03-Jan-2020 00:{number:02}:00 +0000",
        )
        for number in numbers
    ]


@pytest.fixture(params=[0, None], ids=["0", "none"])
def server(request: pytest.FixtureRequest, scripted: Scripted) -> ScriptedServer:
    folder = ScriptedFolder(request.param, dict(enumerate(messages(range(1, 21)), 1)))
    return scripted({b"INBOX": folder, b"Empty": ScriptedFolder(request.param)}, capabilities=FULL)


class TestASource:
    """Its folder is INBOX, `held` are its messages by their UIDs."""

    @pytest.fixture
    def held(self, server: ScriptedServer) -> dict[int, ScriptedMessage]:
        return server.folders[b"INBOX"].messages

    @pytest.fixture
    def config(self, server: ScriptedServer, tmp_path: Path) -> Path:
        config = account_file(tmp_path, server, "u1")
        run(config)
        return config

    def check(
        self,
        config: Path,
        held: dict[int, ScriptedMessage],
        *,
        fetched: int,
        vanished: Iterable[ScriptedMessage] = (),
    ) -> None:
        """After another run, and one more, the archive holds what the server shows, and saw these vanish; so many
        messages were fetched at most."""
        first, second = run(config), run(config)
        state = assert_whole(archive_of(config))
        assert state.digests() == {uid: digest(message) for uid, message in held.items()}
        assert [state.present.messages[key].flags for key in sorted(state.present.messages)] == [
            frozenset(held[uid].flags) for uid in sorted(held)
        ]
        current = [epoch for epoch, row in state.epochs.items() if row[0]]
        gone = [m.digest for (epoch, _), m in state.messages.items() if epoch in current and not m.present]
        assert Counter(gone) == Counter(map(digest, vanished))
        assert first.balanced
        assert second.balanced
        assert first.total("fetched")[0] <= fetched
        assert second.total("fetched", "vanished") == (0, 0)

    def test_is_left_alone_as_long_as_its_uids_name_the_same_messages(
        self, config: Path, held: dict[int, ScriptedMessage]
    ) -> None:
        held[3].flags = ("\\Seen",)
        self.check(config, held, fetched=0)
        assert [each["kind"] for each in run(config).report["notices"]] == ["unnumbered"]

    def test_mail_comes_and_goes(self, config: Path, held: dict[int, ScriptedMessage]) -> None:
        gone = [held.pop(20), held.pop(1)]
        held.update(enumerate(messages([21, 22]), 30))
        self.check(config, held, fetched=2, vanished=gone)

    def test_uids_move_up(self, config: Path, held: dict[int, ScriptedMessage]) -> None:
        """As where they are the messages' places in the folder. What is alike in everything is fetched again."""
        del held[2]
        left = [*held.values(), *messages([21])]
        held.clear()
        held.update(enumerate(left, 1))
        self.check(config, held, fetched=5)

    def test_all_uids_are_new(self, config: Path, held: dict[int, ScriptedMessage]) -> None:
        left = list(held.values())
        held.clear()
        held.update(enumerate(left, 1001))
        self.check(config, held, fetched=4)

    @pytest.mark.parametrize("pair", [(3, 6), (10, 11), (15, 9)])
    def test_two_messages_change_places(
        self, config: Path, held: dict[int, ScriptedMessage], pair: tuple[int, int]
    ) -> None:
        """3 and 6 have one size and moment, and so have 15 and 9, of which only one has a Message-ID."""
        one, other = pair
        held[one], held[other] = held[other], held[one]
        self.check(config, held, fetched=4)

    def test_another_message_takes_the_uid_of_one_that_is_gone(
        self, config: Path, held: dict[int, ScriptedMessage]
    ) -> None:
        gone = held.pop(20)
        self.check(config, held, fetched=0, vanished=[gone])
        (held[20],) = messages([21])
        self.check(config, held, fetched=5)

    @pytest.mark.parametrize(("moved_by", "code"), [(0, 0), (1, 3), (1000, 3)])
    def test_the_connection_breaks_and_uids_may_be_others_afterwards(
        self, server: ScriptedServer, held: dict[int, ScriptedMessage], tmp_path: Path, moved_by: int, code: int
    ) -> None:
        """Then the run does not say that it has all. Mail that comes and goes in between is no reason."""
        held[15].fetch = "bye"
        opened: list[bytes] = []

        def examine(line: bytes, _: bytes, __: object) -> None:
            opened.append(line)
            if sum(b"INBOX" in each for each in opened) == 2:
                moved = {uid + moved_by: message for uid, message in held.items() if uid != 20}
                held.clear()
                held.update(moved)
                held[max(held) + 10] = messages([40])[0]
                for message in held.values():
                    message.fetch = ""

        server.on(b"EXAMINE", examine)
        config = account_file(tmp_path, server, "u1")
        run(config, expect=code)
        run(config)
        assert assert_whole(archive_of(config)).digests() == {uid: digest(each) for uid, each in held.items()}

    def test_a_server_that_forgets_the_number_at_times(
        self, config: Path, held: dict[int, ScriptedMessage], server: ScriptedServer
    ) -> None:
        folder = server.folders[b"INBOX"]
        without = folder.uidvalidity
        folder.uidvalidity = 7
        self.check(config, held, fetched=4)
        epochs = assert_whole(archive_of(config)).epochs.keys()
        for uidvalidity in (without, 7):
            folder.uidvalidity = uidvalidity
            held[max(held) + 1] = messages([max(held) + 1])[0]
            self.check(config, held, fetched=1)
        assert assert_whole(archive_of(config)).epochs.keys() == epochs


class TestADestination:
    """Its folder is INBOX, and stays so."""

    @pytest.fixture
    def source(self, scripted: Scripted) -> ScriptedServer:
        return scripted({b"INBOX": ScriptedFolder(5, dict(enumerate(messages(range(1, 21)), 1)))})

    @pytest.fixture
    def there(self, scripted: Scripted, server: ScriptedServer) -> ScriptedServer:
        folder = ScriptedFolder(server.folders[b"INBOX"].uidvalidity)
        return scripted({b"INBOX": folder}, capabilities=DESTINATION, writable=True)

    @pytest.fixture
    def config(self, source: ScriptedServer, there: ScriptedServer, tmp_path: Path) -> Path:
        config = migration(tmp_path, source, "u1", there, "u1")
        run(config)
        return config

    def check(self, config: Path, source: ScriptedServer, there: ScriptedServer, *, removed: int = 0) -> None:
        """After two more runs each message is there once, with its own flags."""
        for result in (run(config), run(config)):
            (notice,) = result.report["notices"]
            assert notice["kind"] == "unnumbered"
            assert "INBOX" in notice["text"]
            assert result.report["totals"]["destination"]["removed"] == removed
        held = list(there.folders[b"INBOX"].messages.values())
        wanted = {digest(each): set(each.flags) for each in source.folders[b"INBOX"].messages.values()}
        assert len(held) == len(wanted) - removed
        assert all(set(each.flags) - {"\\Recent"} == wanted[digest(each)] for each in held)

    def test_is_left_alone_as_long_as_its_uids_name_the_same_messages(
        self, config: Path, source: ScriptedServer, there: ScriptedServer
    ) -> None:
        source.folders[b"INBOX"].mark(3, ["\\Seen"])
        self.check(config, source, there)
        assert len(there.appended) == 20

    def test_what_its_user_removed_stays_removed(
        self, config: Path, source: ScriptedServer, there: ScriptedServer
    ) -> None:
        del there.folders[b"INBOX"].messages[20]
        self.check(config, source, there, removed=1)
        source.folders[b"INBOX"].add(*messages([21]))
        self.check(config, source, there, removed=1)
        assert len(there.appended) == 21

    @pytest.mark.parametrize("first", [2, 1001])
    def test_its_uids_move(self, config: Path, source: ScriptedServer, there: ScriptedServer, first: int) -> None:
        """Flags go to the messages that they belong to, not to those that have their UIDs now."""
        held = there.folders[b"INBOX"].messages
        moved = dict(enumerate(held.values(), first))
        held.clear()
        held.update(moved)
        source.folders[b"INBOX"].mark(3, ["\\Flagged"])
        source.folders[b"INBOX"].add(*messages([21]))
        there.folders[b"INBOX"].uidnext = None
        self.check(config, source, there)
        assert len(there.appended) == 21

    def test_nothing_is_deleted_there(
        self, config: Path, source: ScriptedServer, there: ScriptedServer, tmp_path: Path
    ) -> None:
        config = migration(tmp_path, source, "u1", there, "u1", replay__vanished="expunge")
        source.folders[b"INBOX"].expunge([4])
        run(config)
        result = run(config, expect=3)
        assert "gives no UIDVALIDITY" in result.report["failures"][0]["reason"]
        assert len(there.folders[b"INBOX"].messages) == 20

    def test_a_server_that_forgets_the_number_at_times(
        self, config: Path, source: ScriptedServer, there: ScriptedServer
    ) -> None:
        folder = there.folders[b"INBOX"]
        without, folder.uidvalidity = folder.uidvalidity, 7
        for uidvalidity in (7, without, 7):
            folder.uidvalidity = uidvalidity
            source.folders[b"INBOX"].add(*messages([source.folders[b"INBOX"].uids[-1] + 1]))
            run(config)
        assert len(there.appended) == len(folder.messages) == 23


def digest(message: ScriptedMessage) -> str:
    return sha256(message.octets).hexdigest()
