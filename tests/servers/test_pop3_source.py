"""Pop3Source passes the source contract on a real server, as far as POP3 can: no folders, no flags, no searches."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from msgspec.structs import replace

from archiver.errors import AuthenticationFailed, MessageRefused
from archiver.events import Event
from archiver.mail.content import Spool
from archiver.mail.model import Fetched, Folder
from archiver.source.numbering import UnrecordedNumbers
from archiver.source.pop3.source import Pop3Source
from archiver.source.port import MailSource
from archiver.source.retry import RetryingSource
from tests.accounts import UNSTOPPED
from tests.contracts.source import INBOX, Served, SourceContract, fill
from tests.servers.dovecot import Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.logins import login_at
from tests.servers.served import dump

FOLDER = Folder(b"INBOX", ("INBOX",), "/")


def spool_in(directory: Path) -> Spool:
    numbers = itertools.count()

    def spool() -> BinaryIO:
        return open(directory / f"spool-{next(numbers)}", "xb")

    return spool


class Pop3Contract(SourceContract):
    """What POP3 does in another way."""

    def test_folders_are_listed_by_their_paths(self, source: MailSource) -> None:
        assert [each.folder.name for each in source.list_folders()] == ["INBOX"]

    def test_the_listing_gives_the_state_of_folders(self, source: MailSource) -> None:
        (listed,) = source.list_folders()
        assert listed.status is not None
        assert (listed.status.messages, listed.status.uidnext) == (4, 5)
        assert listed.status.size == sum(len(each.octets) for each in INBOX)

    def test_all_uids_or_those_of_a_search(self, source: MailSource, uids: list[int]) -> None:
        assert uids == [1, 2, 3, 4]
        with pytest.raises(MessageRefused, match="POP3 has no search"):
            source.uids("SEEN")

    def test_a_scan_gives_flags_dates_and_sizes(self, source: MailSource, uids: list[int]) -> None:
        seen = {each.uid: each for each in source.scan(None)}
        assert [seen[uid].size for uid in uids] == [len(each.octets) for each in INBOX]
        assert {(each.flags, each.internaldate) for each in seen.values()} == {(None, None)}

    def test_attributes_of_known_messages_come_with_the_folder(self, served: Served) -> None:
        """They need no question."""

    def test_flags_may_be_left_half_way(self, source: MailSource, uids: list[int]) -> None:
        assert list(source.flags()) == []

    def test_only_changes_are_scanned_where_the_server_counts_them(self, served: Served) -> None:
        """There is nothing to scan."""

    def test_messages_come_octet_for_octet_with_their_attributes(self, source: MailSource, uids: list[int]) -> None:
        fetched = {}
        for outcome in source.fetch(uids):
            assert isinstance(outcome, Fetched)
            body = outcome.body
            fetched[outcome.attributes.uid] = body.octets if body.spool is None else body.spool.read_bytes()
        assert [fetched[uid] for uid in uids] == [each.octets for each in INBOX]

    def test_an_empty_folder_holds_nothing(self, source: MailSource, inbox: Folder) -> None:
        """A maildrop that is empty is another user's: `test_an_empty_maildrop`."""

    def test_reading_changes_nothing(self, served: Served, source: MailSource, uids: list[int]) -> None:
        """Not even what IMAP shows: RETR would set \\Seen."""
        before = flags_of(served)
        for outcome in source.fetch(uids):
            if isinstance(outcome, Fetched) and outcome.body.spool:
                outcome.body.spool.unlink()
        list(source.headers(uids))
        source.close()
        assert flags_of(served) == before == [tuple(sorted(each.flags)) for each in INBOX]


def flags_of(served: Served) -> list[tuple[str, ...]]:
    """The flags of all messages as IMAP shows them."""
    with served.wire() as wire:
        return [tuple(sorted(each.flags)) for each in dump(wire)[b"INBOX"].messages.values()]


def served_by(server: Dovecot, directory: Path, port: int | None = None) -> Served:
    user = server.fresh_user()
    fill(server.wire(user), lambda folder, messages: server.append_many(user, folder, messages))
    login, numbering = login_at(port or server.pop3_port, user, "pw", protocol="pop3"), UnrecordedNumbers()
    spool = spool_in(directory)
    return Served(lambda: Pop3Source(*login, spool, numbering), lambda: server.wire(user))


class TestDovecot(Pop3Contract):
    @pytest.fixture
    def served(self, pop3_dovecot: Dovecot, tmp_path: Path) -> Served:
        return served_by(pop3_dovecot, tmp_path)


class TestOneCommandAtATime(Pop3Contract):
    """A server without CAPA and TOP is read by RETR, one message after the other."""

    @pytest.fixture
    def served(self, pop3_dovecot: Dovecot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
        monkeypatch.setattr("archiver.source.pop3.session.Session.pipelines", False)
        monkeypatch.setattr("archiver.source.pop3.retrieve._ALL", b"XTND %d")
        return served_by(pop3_dovecot, tmp_path)

    def test_reading_changes_nothing(self, served: Served, source: MailSource, uids: list[int]) -> None:
        """RETR marks as read what it reads, and nothing else changes."""
        before = flags_of(served)
        list(source.fetch(uids[:1]))
        source.close()
        assert flags_of(served) == before


class TestOverABreakingLine(Pop3Contract):
    """Every connection is reset after some octets; the wrapper goes on where it was."""

    @pytest.fixture
    def served(self, pop3_dovecot: Dovecot, proxy: Callable[..., FaultProxy], tmp_path: Path) -> Served:
        line = proxy(pop3_dovecot.pop3_port, reset_after=len(INBOX[2].octets) + 3000, direction="down")
        direct = served_by(pop3_dovecot, tmp_path, line.port)
        reported: list[Event] = []

        def opened() -> MailSource:
            return RetryingSource(
                lambda *, fallback: direct.open(),  # type: ignore[arg-type,return-value]
                attempts=5,
                control=replace(UNSTOPPED, progress=reported.append),
            )

        return Served(opened, direct.wire)


@pytest.mark.parametrize("tls", ["off", "starttls", "implicit"])
def test_an_empty_maildrop(pop3_dovecot: Dovecot, tmp_path: Path, tls: str) -> None:
    port = pop3_dovecot.pop3s_port if tls == "implicit" else pop3_dovecot.pop3_port
    settings, authenticator = login_at(port, pop3_dovecot.fresh_user(), "pw", protocol="pop3")
    settings = replace(settings, tls=tls, host="localhost", ca_file=pop3_dovecot.ca if tls != "off" else None)
    source = Pop3Source(settings, authenticator, spool_in(tmp_path), UnrecordedNumbers())
    (listed,) = source.list_folders()
    assert listed.status is not None
    assert (listed.status.messages, source.open(FOLDER).status.uidnext) == (0, 1)
    assert (source.uids(), list(source.scan(None)), list(source.fetch([]))) == (set(), [], [])
    assert (source.facts.tls is not None) == (tls != "off")
    source.close()


def test_a_refused_password_is_refused(pop3_dovecot: Dovecot, tmp_path: Path) -> None:
    login = login_at(pop3_dovecot.pop3_port, "u1", "wrong", protocol="pop3")
    with pytest.raises(
        AuthenticationFailed, match=r'login of "u1" \(source\) is refused: .*-ERR \[AUTH\]'
    ) as refused:
        Pop3Source(*login, spool_in(tmp_path), UnrecordedNumbers())
    assert "check `user` and the password reference in [source]" in str(refused.value)
