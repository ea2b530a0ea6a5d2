"""From the archive onto another server: all of it, once, and proved; Dovecot to Dovecot, to Cyrus, to Courier.

What a destination holds is read by a connection that shares nothing with the archiver.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from archiver.destination.imap import ImapDestination
from archiver.facts.mailbox import Appended
from tests.accounts import RunResult, mail, mails, run
from tests.faults.replays import Message, mailbox, migration
from tests.servers.corpora import CorpusMessage
from tests.servers.courier import Courier
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import MailServer
from tests.servers.mailbox_generator import SMALL, generate
from tests.servers.served import ServedFolder
from tests.servers.wire import Append, WireError


def held(folders: Mapping[bytes, ServedFolder]) -> dict[str, Counter[Message]]:
    """What a server serves, by the folders' names with "/" between levels and without a namespace's prefix."""
    messages = mailbox(folders)
    names = {raw: raw.removeprefix(b"INBOX.").replace(b".", b"/") if b"/" not in raw else raw for raw in folders}
    return {names[raw].decode(): messages.get(raw, Counter()) for raw in folders}


def subscriptions(server: MailServer, user: str) -> set[bytes]:
    with server.wire(user) as wire:
        return {response.line.rsplit(b" ", 1)[1].strip(b'"') for response in wire.command('LSUB "" "*"')}


def dates(numbers: Iterable[int]) -> list[str]:
    return [f"{number % 28 + 1:02}-Mar-2021 {number % 24:02}:15:00 +0530" for number in numbers]


def counts(result: RunResult, *names: str) -> tuple[int, ...]:
    """These numbers of the destination, summed."""
    return tuple(result.report["totals"]["destination"][name] for name in names)


def balanced_there(result: RunResult) -> bool:
    """Whether every stored message has its place in the destination's equation."""
    terms = ("replayed", "already_there", "refused", "removed", "pending")
    return all(
        each["stored"] == sum(each["destination"][name] for name in terms) for each in result.report["folders"]
    )


class TestAWholeAccount:
    """2,000 generated messages in twelve folders, from one Dovecot to another user of it."""

    @pytest.fixture
    def config(self, dovecot: Dovecot, mail_user: str, tmp_path: Path) -> Path:
        tmp_path.chmod(0o755)
        self.user, self.new_user = mail_user, dovecot.fresh_user()
        dovecot.install(mail_user, generate(tmp_path / "home", SMALL).home)
        dovecot.create(mail_user, "Lists/one", "Lists/one/two", 'He said "hi"', "x\\y", "R&D/AT&T", "&")
        dovecot.append(mail_user, "Lists/one/two", mail(1), ["\\Seen", "$a-keyword"])
        dovecot.subscribe(mail_user, "Sent", "Lists/one", "日本語", "Work/Project Ünïcode")
        return migration(tmp_path, dovecot, mail_user, dovecot, self.new_user, destination__connections=2)

    def test_arrives_and_a_second_run_does_nothing(self, config: Path, dovecot: Dovecot) -> None:
        first = run(config)
        source, there = dovecot.dump(self.user), dovecot.dump(self.new_user)
        assert held(there) == held(source)
        assert there.keys() == source.keys()
        assert subscriptions(dovecot, self.new_user) >= subscriptions(dovecot, self.user)
        assert counts(first, "replayed", "already_there", "verified", "differences") == (2001, 0, 2001, 0)
        assert balanced_there(first)

        dovecot.record(self.new_user)
        second = run(config)
        assert counts(second, "replayed", "already_there", "verified", "differences") == (0, 2001, 2001, 0)
        words = [command.split()[0].upper() for command in dovecot.commands(self.new_user)]
        said = Counter(word for word in words if word in (b"APPEND", b"SELECT", b"CREATE", b"SUBSCRIBE"))
        assert said == {}
        assert not any(b"STORE" in command for command in dovecot.commands(self.new_user))
        assert dovecot.dump(self.new_user) == there

    def test_uids_follow_the_order_of_the_source(self, config: Path, dovecot: Dovecot) -> None:
        run(config)
        source, there = dovecot.dump(self.user), dovecot.dump(self.new_user)
        for raw, folder in source.items():
            order = [folder.messages[uid].digest for uid in sorted(folder.messages)]
            assert [there[raw].messages[uid].digest for uid in sorted(there[raw].messages)] == order


@pytest.fixture(params=["dovecot", "cyrus", "courier"])
def there(request: pytest.FixtureRequest) -> MailServer:
    """One destination after the other."""
    server: MailServer = request.getfixturevalue(request.param)
    return server


@pytest.mark.lasts(15)
def test_the_corpora_arrive_as_far_as_they_are_taken(
    corpora: list[CorpusMessage], dovecot: Dovecot, mail_user: str, there: MailServer, tmp_path: Path
) -> None:
    """Every message that the destination takes is there, every other one is listed with its reason."""
    octets = [each.octets for each in corpora if each.octets]  # Dovecot itself takes no message without an octet
    if not isinstance(there, Dovecot):  # only Dovecot shows a NUL as Dovecot does: test_nul_octets.py
        octets = [each for each in octets if b"\0" not in each]
    dovecot.create(mail_user, "Corpora")
    messages = [
        Append(each, ("\\Seen", "$Forwarded"), date) for each, date in zip(octets, dates(range(2000)), strict=False)
    ]
    dovecot.append_many(mail_user, "Corpora", messages)
    new_user = there.fresh_user()
    config = migration(tmp_path, dovecot, mail_user, there, new_user)
    refusing = isinstance(there, Cyrus)
    result = run(config, expect=3 if refusing else 0)
    replayed, refused, pending, differences = counts(result, "replayed", "refused", "pending", "differences")
    assert (replayed + refused, pending, differences) == (len(octets), 0, 0)
    assert balanced_there(result)
    served, source = held(there.dump(new_user))["Corpora"], held(dovecot.dump(mail_user))["Corpora"]
    assert served.total() == replayed
    if isinstance(there, Courier):  # ends the last line, drops bare CRs
        (rewritten,) = [each for each in result.report["losses"] if each["kind"] == "rewritten"]
        assert rewritten["detail"] == "line ends"
        assert (source - served).total() == rewritten["count"]
    else:  # Cyrus takes a header that ends without a line end if it gets one
        repaired = [each for each in result.report["losses"] if each["kind"] == "repaired"]
        assert {each["detail"] for each in repaired} <= {"last-line"}
        assert (served - source).total() == sum(each["count"] for each in repaired) <= 1
    failures = result.report["failures"]
    assert len(failures) == refused
    assert {(each["step"], each["server_reply"]) for each in failures} <= {
        ("replay", "NO Message contains invalid header")
    }
    assert all(each["uid"] and each["next"] for each in failures)

    again = run(config, expect=3 if refusing else 0)
    assert counts(again, "replayed", "already_there", "refused") == (0, replayed, refused)
    assert held(there.dump(new_user))["Corpora"] == served


class TestMailThatIsThereAlready:
    """Another program brought half of it, with other flags and without dates."""

    def messages(self) -> list[Append]:
        """Some stand twice, some have one Message-ID and different bodies, some have none."""
        return [
            *(Append(mail(n), ("\\Seen", "$a"), date) for n, date in enumerate(dates(range(60)))),
            *(Append(mail(7), (), date) for date in dates((100, 101))),
            *(Append(mail(8, body=f"other body {n}"), (), date) for n, date in enumerate(dates(range(5)))),
            *(Append(mail(n, message_id=False), (), date) for n, date in enumerate(dates(range(20)), 200)),
            Append(mail(300, body="no final line end").removesuffix(b"\r\n"), (), dates([3])[0]),
        ]

    def test_is_adopted_and_the_rest_arrives(
        self, dovecot: Dovecot, mail_user: str, there: MailServer, tmp_path: Path
    ) -> None:
        messages, new_user = self.messages(), there.fresh_user()
        dovecot.append_many(mail_user, "INBOX", messages)
        half = [Append(each.octets, ("\\Flagged",), each.internaldate) for each in messages[::2]]
        others = [Append(mail(n), (), dates([n])[0]) for n in range(900, 910)]
        there.append_many(new_user, "INBOX", [*half, *others])
        config = migration(tmp_path, dovecot, mail_user, there, new_user)
        result = run(config, destination_is="new")
        assert counts(result, "replayed", "already_there") == (len(messages) - len(half), len(half))
        served = there.dump(new_user)[b"INBOX"].messages
        assert len(served) == len(messages) + len(others)
        if not isinstance(there, Courier):  # which ends last lines
            expected = Counter(sha256(each.octets).hexdigest() for each in (*messages, *others))
            assert Counter(each.digest for each in served.values()) == expected
        again = run(config)
        assert counts(again, "replayed", "differences") == (0, 0)
        assert there.dump(new_user)[b"INBOX"].messages.keys() == served.keys()

    def test_gets_the_sources_flags_and_keeps_its_own(
        self, dovecot: Dovecot, mail_user: str, there: MailServer, tmp_path: Path
    ) -> None:
        new_user = there.fresh_user()
        dovecot.append_many(
            mail_user, "INBOX", [Append(mail(1), ("\\Seen", "$a")), Append(mail(2), ("\\Answered",))]
        )
        there.append_many(new_user, "INBOX", [Append(mail(1), ("\\Flagged",)), Append(mail(2), ("\\Seen",))])
        run(migration(tmp_path, dovecot, mail_user, there, new_user), destination_is="new")
        flags = [each.flags - {"\\Recent"} for each in there.dump(new_user)[b"INBOX"].messages.values()]
        assert flags == [{"\\Seen", "\\Flagged", "$a"}, {"\\Answered", "\\Seen"}]


class TestFolders:
    """Find their places at the destination."""

    def test_a_special_use_is_met_by_a_special_use(
        self, dovecot_with: Callable[..., Dovecot], cyrus_with: Callable[..., Cyrus], tmp_path: Path
    ) -> None:
        uses = ("Gesendet:\\Sent", "Entwürfe:\\Drafts")
        boxes = "".join(
            f'mailbox "{name}" {{\n auto = create\n special_use = {use}\n}}\n'
            for name, use in (each.split(":") for each in uses)
        )
        source = dovecot_with(extra=f"namespace inbox {{\n{boxes}}}")
        there = cyrus_with(
            **{"autocreate_inbox_folders": "Sent | Drafts", "xlist-sent": "Sent", "xlist-drafts": "Drafts"}
        )
        user, new_user = source.fresh_user(), there.fresh_user()
        source.create(user, "Gesendet/2019")
        for number, folder in enumerate(("Gesendet", "Gesendet/2019", "Entwürfe")):
            source.append(user, folder, mail(number))
        result = run(migration(tmp_path, source, user, there, new_user))
        assert {each["name"]: each["destination"]["name"] for each in result.report["folders"]} == {
            "INBOX": "INBOX", "Gesendet": "Sent", "Gesendet/2019": "Sent/2019", "Entwürfe": "Drafts",
        }  # fmt: skip
        served = {name: messages.total() for name, messages in held(there.dump(new_user)).items()}
        assert served == {"INBOX": 0, "Sent": 1, "Sent/2019": 1, "Drafts": 1}

    @pytest.mark.parametrize("options", [{}, {"altnamespace": False, "unixhierarchysep": False}])
    def test_prefix_and_delimiter_are_the_destinations(
        self,
        dovecot: Dovecot,
        mail_user: str,
        cyrus_with: Callable[..., Cyrus],
        tmp_path: Path,
        options: dict[str, Any],
    ) -> None:
        there = cyrus_with(**options)
        new_user = there.fresh_user()
        dovecot.create(mail_user, "A/B", "dots.in.it", "a;b")
        run(migration(tmp_path, dovecot, mail_user, there, new_user))
        expected = {b"INBOX", b"A/B", b"dots.in.it", b"a=3Bb"}
        if options:
            expected = {b"INBOX", b"INBOX.A.B", b"INBOX.dots=2Ein=2Eit", b"INBOX.a=3Bb"}
        assert expected <= there.dump(new_user).keys()

    def test_are_renamed_and_put_below_a_prefix(self, dovecot: Dovecot, mail_user: str, tmp_path: Path) -> None:
        new_user = dovecot.fresh_user()
        dovecot.create(mail_user, "Sent Items", "Sent Items/2019", "Other")
        dovecot.append(mail_user, "Sent Items/2019", mail(1))
        rules = {"destination__prefix": "Old/alice", "folders__rename": {"Sent Items": "Sent"}}
        run(migration(tmp_path, dovecot, mail_user, dovecot, new_user, **rules))
        served = {name: messages.total() for name, messages in held(dovecot.dump(new_user)).items()}
        assert served == {
            "INBOX": 0, "Old/alice/INBOX": 0, "Old/alice/Sent": 0, "Old/alice/Sent/2019": 1, "Old/alice/Other": 0,
        }  # fmt: skip

    def test_two_onto_one_are_refused_before_anything_is_made(
        self, dovecot: Dovecot, mail_user: str, tmp_path: Path
    ) -> None:
        new_user = dovecot.fresh_user()
        dovecot.create(mail_user, "Sent", "Sent Items", "Other")
        config = migration(tmp_path, dovecot, mail_user, dovecot, new_user, folders__rename={"Sent Items": "Sent"})
        merged = run(config)  # asked for in so many words
        assert {each["destination"]["name"] for each in merged.report["folders"]} == {"INBOX", "Other", "Sent"}


class TestARestore:
    """From the archive alone, with the source gone."""

    def test_does_not_contact_the_source(self, dovecot: Dovecot, mail_user: str, tmp_path: Path) -> None:
        dovecot.append_many(mail_user, "INBOX", [Append(mail(n)) for n in range(10)])
        new_user = dovecot.fresh_user()
        run(migration(tmp_path, dovecot, mail_user, dovecot, new_user), steps="archive")
        assert dovecot.dump(new_user)[b"INBOX"].messages == {}
        before = dovecot.logins(mail_user)
        config = migration(tmp_path, dovecot, mail_user, dovecot, new_user, source__port=1)
        result = run(config, steps="replay")
        assert counts(result, "replayed", "verified") == (10, 10)
        assert dovecot.logins(mail_user) == before

    def test_brings_back_a_wiped_mailbox(self, dovecot: Dovecot, mail_user: str, tmp_path: Path) -> None:
        dovecot.create(mail_user, "Work", "Old")
        dovecot.append_many(mail_user, "Work", [Append(mail(n), ("\\Seen",)) for n in (1, 2, 2, 3)])
        dovecot.append_many(mail_user, "Old", [Append(mail(n)) for n in (4, 5)])
        config = migration(tmp_path, dovecot, mail_user, dovecot, dovecot.fresh_user())
        run(config, steps="archive")
        before = held(dovecot.dump(mail_user))
        dovecot.expunge(mail_user, "Work", range(1, 5))
        dovecot.delete(mail_user, "Old")
        run(config, steps="archive")
        new_user = dovecot.fresh_user()
        config = migration(tmp_path, dovecot, mail_user, dovecot, new_user)
        assert counts(run(config, steps="replay"), "replayed") == (0,)
        assert counts(run(config, steps="replay", include_vanished=True), "restored", "replayed") == (6, 0)
        assert held(dovecot.dump(new_user)) == before
        assert counts(run(config, steps="replay", include_vanished=True), "restored", "replayed") == (0, 0)
        run(config)
        assert held(dovecot.dump(new_user)) == before


class TestWhatTheDestinationsUserRemoved:
    """Is not sent again, also a whole folder; unless a person asks for it."""

    @pytest.fixture
    def config(self, dovecot: Dovecot, mail_user: str, tmp_path: Path) -> Path:
        self.user, self.new_user = mail_user, dovecot.fresh_user()
        dovecot.create(mail_user, "Work")
        dovecot.append_many(mail_user, "Work", [Append(mail(n)) for n in range(5)])
        dovecot.append_many(mail_user, "INBOX", [Append(mail(n)) for n in range(5, 8)])
        config = migration(tmp_path, dovecot, mail_user, dovecot, self.new_user)
        run(config)
        return config

    def served(self, dovecot: Dovecot) -> dict[str, int]:
        return {name: messages.total() for name, messages in held(dovecot.dump(self.new_user)).items()}

    def test_a_renamed_folder_does_not_come_back_full(self, config: Path, dovecot: Dovecot) -> None:
        dovecot.rename(self.new_user, "Work", "Projects")
        result = run(config)
        assert self.served(dovecot) == {"INBOX": 3, "Projects": 5}
        assert counts(result, "replayed", "removed", "pending") == (0, 5, 0)
        assert balanced_there(result)
        dovecot.append(self.user, "Work", mail(9))
        result = run(config)
        assert self.served(dovecot) == {"INBOX": 3, "Projects": 5, "Work": 1}
        assert counts(result, "replayed", "already_there", "removed") == (1, 3, 5)
        assert counts(run(config), "replayed", "removed") == (0, 5)

    def test_is_sent_again_when_a_person_asks(self, config: Path, dovecot: Dovecot) -> None:
        dovecot.delete(self.new_user, "Work")
        dovecot.expunge(self.new_user, "INBOX", (1, 2))
        run(config)
        assert self.served(dovecot) == {"INBOX": 1}
        run(config, steps="replay", include_removed=True)
        assert held(dovecot.dump(self.new_user)) == held(dovecot.dump(self.user))
        assert counts(run(config), "replayed", "already_there", "removed") == (0, 8, 0)


def test_a_folder_that_is_deleted_in_mid_run_is_made_and_filled_by_the_next_one(
    dovecot: Dovecot, mail_user: str, there: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another connection, after the first group. The next run does not wait for what was on its way."""
    new_user, name = there.fresh_user(), "INBOX.Work" if isinstance(there, Courier) else "Work"
    dovecot.create(mail_user, "Work")
    dovecot.append_many(mail_user, "INBOX", mails(range(5)))
    dovecot.append_many(mail_user, "Work", mails(range(100, 220)))
    config = migration(tmp_path, dovecot, mail_user, there, new_user)
    end_append, answered = ImapDestination.end_append, []

    def delete() -> None:
        try:
            there.delete(new_user, name)
        except WireError:  # Dovecot: New mails were added to mailbox during deletion
            delete()

    def then_delete(destination: ImapDestination) -> Sequence[Appended]:
        appended = end_append(destination)
        if not answered and there.dump(new_user)[name.encode()].messages:
            answered.append(name)
            delete()
        return appended

    monkeypatch.setattr(ImapDestination, "end_append", then_delete)
    result = run(config, expect=3)
    (failure,) = result.report["failures"]
    assert (failure["folder"], failure["uid"]) == ("Work", None)
    assert "the folder was deleted during the run" in failure["reason"]
    assert "refused" not in result.output
    assert counts(result, "replayed", "pending", "refused") == (5, 120, 0)

    result = run(config)
    assert "may still arrive" not in result.output
    assert counts(result, "replayed", "already_there", "verified", "differences") == (120, 5, 125, 0)
    assert held(there.dump(new_user)) == held(dovecot.dump(mail_user))
