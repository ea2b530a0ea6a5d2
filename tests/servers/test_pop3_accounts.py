"""Accounts over POP3 on a real server: from the account file to the archive and to another server."""

from __future__ import annotations

import hashlib
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import account_file, archive_of, archive_state, assert_whole, command, mails, run
from tests.faults.attempts import KILLED_BEFORE_THE_FACTS, SMALL_BATCHES, is_killed, to_the_end
from tests.servers.corpora import CorpusMessage
from tests.servers.dovecot import Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.wire import Append


class Maildrop:
    """A user's mail, and an account file that reads it over POP3."""

    def __init__(self, server: Dovecot, directory: Path) -> None:
        self.server, self.directory, self.user = server, directory, server.fresh_user()
        self.there = server.fresh_user()
        self.host, self.port = server.host, server.pop3_port

    def file(self, **keys: Any) -> Path:
        """The account file; `source__protocol="imap"` for its past."""
        if keys.setdefault("source__protocol", "pop3") == "imap":
            return account_file(self.directory, self.server, self.user, **keys)
        return account_file(self.directory, self, self.user, **keys)

    def to_there(self, **keys: Any) -> Path:
        """The same, replayed to another user."""
        address = {"host": self.server.host, "port": self.server.port, "tls": "off", "user": self.there}
        address["password"] = {"file": str(self.directory / f"{self.user}.password")}
        return self.file(**{f"destination__{key}": value for key, value in address.items()}, **keys)

    def add(self, *numbers: int) -> None:
        self.server.append_many(self.user, "INBOX", mails(numbers))

    def flags(self) -> dict[int, frozenset[str]]:
        self.server.wait_idle(self.user)
        served = self.server.dump(self.user)[b"INBOX"].messages
        return {uid: each.flags - {"\\Recent"} for uid, each in served.items()}


@pytest.fixture
def maildrop(pop3_dovecot: Dovecot, tmp_path: Path) -> Maildrop:
    return Maildrop(pop3_dovecot, tmp_path)


def test_what_is_new_is_fetched_once_and_nothing_changes_at_the_server(maildrop: Maildrop) -> None:
    maildrop.add(*range(1, 11))
    before = maildrop.flags()
    config = maildrop.file()
    first = run(config)
    assert first.total("on_server", "stored", "fetched") == (10, 10, 10)
    assert [each["kind"] for each in first.report["notices"]] == ["received"]

    maildrop.server.record(maildrop.user)
    quiet = command("run", "--json", config)
    assert quiet.report["accounts"][0]["exit_code"] == 0
    asked = {each.split()[0] for each in maildrop.server.pop3_commands(maildrop.user)}
    assert asked == {b"CAPA", b"STAT", b"LIST", b"UIDL", b"QUIT"}

    maildrop.add(11, 12)
    assert run(config).total("on_server", "stored", "fetched") == (12, 12, 2)
    assert maildrop.flags() == before | {11: frozenset(), 12: frozenset()}
    held = assert_whole(archive_of(config))
    assert held.uids() == list(range(1, 13))
    served = maildrop.server.dump(maildrop.user)[b"INBOX"].messages
    assert held.digests() == {uid: each.digest for uid, each in served.items()}


def test_a_message_that_is_gone_stays_and_one_that_is_back_is_not_read_again(maildrop: Maildrop) -> None:
    maildrop.add(*range(1, 8))
    config = maildrop.file()
    run(config)
    home = maildrop.server.snapshot(maildrop.user)
    maildrop.server.expunge(maildrop.user, "INBOX", [2, 3])
    maildrop.add(8)
    assert run(config).total("on_server", "stored", "fetched", "vanished") == (6, 6, 1, 2)
    held = assert_whole(archive_of(config))
    assert (held.uids(), held.uids(present=False)) == ([1, 4, 5, 6, 7, 8], [2, 3])

    maildrop.server.restore(maildrop.user, home)
    again = run(config)
    assert again.total("on_server", "stored", "fetched", "vanished") == (7, 7, 0, 1)
    assert assert_whole(archive_of(config)).uids() == [1, 2, 3, 4, 5, 6, 7]


def test_the_dates_are_those_of_the_topmost_received_field(maildrop: Maildrop) -> None:
    received = b"Received: from a by b; Thu, 2 Jan 2020 03:04:05 +0100\r\n"
    received += b"Received: x; Wed, 1 Jan 2020 00:00:00 +0000\r\n"
    dated = b"Date: Fri, 3 Jan 2020 00:00:00 +0000\r\nSubject: 1\r\n\r\nmail\r\n"
    messages = [received + dated, dated, b"Subject: 3\r\n\r\n"]
    maildrop.server.append_many(maildrop.user, "INBOX", map(Append, messages))
    config = maildrop.file()
    run(config)
    files = sorted(archive_state(archive_of(config)).files)
    assert [int(Path(each).name.partition(".")[0]) for each in files] == [0, 1577930645, 1578009600]


class TestAnAccountThatWasArchivedOverImap:
    """Its past and its present are one archive."""

    @pytest.fixture
    def config(self, maildrop: Maildrop) -> Path:
        maildrop.server.create(maildrop.user, "Sent")
        maildrop.add(*range(1, 6))
        maildrop.add(5)  # the same octets once more
        maildrop.server.append_many(maildrop.user, "Sent", mails([20]))
        maildrop.server.store_flags(maildrop.user, "INBOX", [2, 3], ["\\Flagged", "Work"])
        assert run(maildrop.to_there(source__protocol="imap")).total("stored", "fetched") == (7, 7)
        maildrop.add(7)
        return maildrop.to_there()

    def test_the_other_source_has_to_be_confirmed(self, config: Path) -> None:
        assert "give --new-source if it is the same mail on a new server" in run(config, expect=2).output

    def test_what_the_archive_has_keeps_its_date_and_its_flags_and_is_not_sent_again(
        self, maildrop: Maildrop, config: Path
    ) -> None:
        before = archive_state(archive_of(config))
        known = {(m.digest, m.internaldate, m.flags) for m in before.messages.values()}
        there = maildrop.server.dump(maildrop.there)
        now = run(config, steps="run", new_source=True)
        found = now.folder()["destination"]
        assert (found["replayed"], found["already_there"], found["differences"]) == (1, 6, 0)
        held = assert_whole(archive_of(config))
        assert len(held.uids()) == 7
        newest = max(epoch.uidvalidity for epoch in held.epochs)
        present = [m for (epoch, _), m in held.messages.items() if epoch.uidvalidity == newest]
        assert sum((m.digest, m.internaldate, m.flags) in known for m in present) == 6
        after = maildrop.server.dump(maildrop.there)
        assert after[b"INBOX"].messages.items() > there[b"INBOX"].messages.items()
        assert len(after[b"INBOX"].messages) == 7
        assert after[b"Sent"] == there[b"Sent"]

    def test_the_way_back_is_the_same(self, maildrop: Maildrop, config: Path) -> None:
        run(config, steps="run", new_source=True)
        there = maildrop.server.dump(maildrop.there)
        back = run(maildrop.to_there(source__protocol="imap"), new_source=True)
        assert back.total("on_server", "stored") == (8, 8)
        assert len(assert_whole(archive_of(config)).uids()) == 7
        after = maildrop.server.dump(maildrop.there)
        assert {f: len(each.messages) for f, each in after.items()} == {
            f: len(each.messages) for f, each in there.items()
        }


def test_uidls_that_change_for_ever_cost_one_reading_and_double_nothing(
    dovecot_with: Callable[..., Dovecot], tmp_path: Path
) -> None:
    server = dovecot_with(pop3=True)
    maildrop = Maildrop(server, tmp_path)
    maildrop.add(*range(1, 31))
    config = maildrop.to_there()
    run(config)
    server._extra = "protocol pop3 {\n  pop3_uidl_format = %08Xu%08Xv\n}"
    server.restart()
    server.expunge(maildrop.user, "INBOX", [4])
    maildrop.add(31)
    there = server.dump(maildrop.there)
    now = run(config)
    assert now.total("on_server", "stored", "fetched", "vanished") == (30, 30, 1, 1)
    assert len(server.dump(maildrop.there)[b"INBOX"].messages) == len(there[b"INBOX"].messages) + 1 == 31
    held = assert_whole(archive_of(config))
    assert held.uids() == [*range(1, 4), *range(5, 32)]

    server.record(maildrop.user)
    assert run(config).total("fetched", "vanished") == (0, 0)
    assert not any(each.startswith((b"TOP", b"RETR")) for each in server.pop3_commands(maildrop.user))


def test_killed_before_the_facts_nothing_is_read_twice(maildrop: Maildrop) -> None:
    """Though another message is gone and another one has come in the meantime."""
    maildrop.add(*range(1, 11))
    config = maildrop.file()
    killed = to_the_end(config, program=KILLED_BEFORE_THE_FACTS)
    assert killed.exit_code == -signal.SIGKILL, killed.output
    assert len(archive_state(archive_of(config)).files) == 10
    maildrop.server.expunge(maildrop.user, "INBOX", [1])
    maildrop.add(11)
    maildrop.server.record(maildrop.user)
    assert run(config).total("on_server", "stored") == (10, 10)
    read = [each for each in maildrop.server.pop3_commands(maildrop.user) if each.startswith((b"TOP", b"RETR"))]
    assert read == [b"TOP 10 99999999"]
    held = assert_whole(archive_of(config))
    assert (held.uids(), held.uids(present=False)) == (list(range(2, 12)), [1])


def test_killed_again_and_again_while_mail_comes_and_goes(maildrop: Maildrop) -> None:
    """Nothing is lost, and nothing is there twice, neither in the archive nor at the destination."""
    maildrop.add(*range(1, 61))
    config = maildrop.to_there()
    chance = random.Random(1939)
    for number in range(1, 8):
        is_killed(config, chance=chance, program=SMALL_BATCHES)
        maildrop.server.expunge(maildrop.user, "INBOX", [5 * number])
        maildrop.add(60 + number)
    done = run(config)
    assert done.total("on_server", "stored") == (60, 60)
    served, held = maildrop.server.dump(maildrop.user)[b"INBOX"].messages, assert_whole(archive_of(config))
    assert sorted(held.digests().values()) == sorted(each.digest for each in served.values())
    every = sorted(m.digest for m in held.messages.values())
    assert every == sorted(set(every))
    there = maildrop.server.dump(maildrop.there)[b"INBOX"].messages
    assert len({each.digest for each in there.values()}) == len(there) >= 60


def test_a_line_that_breaks_again_and_again(
    maildrop: Maildrop, proxy: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    maildrop.server.append_many(
        maildrop.user, "INBOX", [Append(b"Subject: %d\r\n\r\n" % n + b"x" * 70 * 300 + b"\r\n") for n in range(40)]
    )
    line = proxy(maildrop.port, reset_after=200_000, direction="down")
    config = account_file(tmp_path, line, maildrop.user, source__protocol="pop3", source__attempts=5)
    assert run(config).total("on_server", "stored") == (40, 40)
    assert assert_whole(archive_of(config)).uids() == list(range(1, 41))


@pytest.mark.lasts(20)
def test_the_corpora_come_as_over_imap(pop3_dovecot: Dovecot, tmp_path: Path, corpora: list[CorpusMessage]) -> None:
    """Octet for octet; a message whose last line has no end gets one. NOTE: those with NULs are left out, which
    Dovecot gives over POP3 as they are, and over IMAP as 0x80."""
    maildrop = Maildrop(pop3_dovecot, tmp_path)
    some = [each.octets for each in corpora if each.octets.strip() and b"\0" not in each.octets]
    maildrop.server.append_many(maildrop.user, "INBOX", [Append(octets) for octets in some])
    before = maildrop.flags()
    config = maildrop.file()
    done = run(config)
    assert done.total("on_server", "stored", "quarantined") == (len(some), len(some), 0)
    held = assert_whole(archive_of(config)).digests()
    with maildrop.server.wire(maildrop.user) as wire:
        wire.command("EXAMINE INBOX")
        rows = wire.command("UID FETCH 1:* (UID BODY.PEEK[])")
        wire.logout()
    shown = {row.number("UID"): row.literals[0] for row in rows if row.literals}
    ended = {uid: octets if octets.endswith(b"\r\n") else octets + b"\r\n" for uid, octets in shown.items()}
    assert {uid: hashlib.sha256(octets).hexdigest() for uid, octets in ended.items()} == held
    changed = [uid for uid, flags in maildrop.flags().items() if flags != before[uid]]
    assert changed == []
