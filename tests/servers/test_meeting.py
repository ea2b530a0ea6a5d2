"""A destination is known by what it shows; nothing is sent into a mailbox whose owner is unknown."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from archiver.config.load import load_account
from archiver.replay.contents import MailboxContents
from pipelines.show.preview.look import preview_accounts
from pipelines.show.preview.result import Preview
from tests.accounts import archive_of, archive_state, command, mail, mails, run
from tests.faults.replays import migration
from tests.servers.dovecot import Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.mail_server import MailServer
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer


@pytest.fixture(params=["dovecot", "cyrus", "courier"])
def there(request: pytest.FixtureRequest) -> MailServer:
    """One server after the other."""
    server: MailServer = request.getfixturevalue(request.param)
    return server


def held(server: MailServer, user: str) -> Counter[str]:
    """How many messages a user has, by folder."""
    return Counter({raw.decode(): len(folder.messages) for raw, folder in server.dump(user).items()})


def counts(result: Any, *names: str) -> tuple[int, ...]:
    return tuple(result.report["totals"]["destination"][name] for name in names)


def checked(config: Path, *, new_archive: bool = False) -> Preview:
    """What `archiver check` finds, or a dry run."""
    (preview,) = preview_accounts([load_account(config)], new_archive=new_archive)
    return preview


def refused(config: Path, *words: str, **options: Any) -> None:
    """A run that a person has to answer; `check` says the same with the same exit code."""
    preview = checked(config, new_archive=options.get("new_archive", False))
    result = run(config, expect=2, **options)
    assert preview.exit_code == 2
    for word in words:
        assert word in result.output
        assert word in str(preview.message)


def made_earlier(server: Dovecot, user: str, *folders: str) -> None:
    """Not in the same second as another mailbox of the test, which would have the same UIDVALIDITY then."""
    for folder in folders:
        server.bump_uidvalidity(user, folder, by=-10_000)


class TestADestinationUnderAnotherAddress:
    @pytest.fixture
    def account(self, dovecot: Dovecot, mail_user: str, there: MailServer, tmp_path: Path) -> Callable[..., Path]:
        """An account of 26 messages that was replayed; its user deleted ten there and moved one since."""
        self.source, self.new_user = mail_user, there.fresh_user()
        dovecot.append_many(mail_user, "INBOX", mails(range(26)))

        def config(**keys: Any) -> Path:
            return migration(tmp_path, dovecot, mail_user, there, self.new_user, **keys)

        run(config())
        there.expunge(self.new_user, "INBOX", range(1, 11))
        return config

    def test_is_the_mailbox_that_it_was(
        self, account: Callable[..., Path], dovecot: Dovecot, there: MailServer
    ) -> None:
        config = account(destination__host="localhost")
        assert "26 copies known" in command("check", config).output
        result = run(config)
        assert "the same mailbox as" in result.output
        assert counts(result, "replayed", "already_there", "removed") == (0, 16, 10)
        assert "nothing to send" in command("check", config).output
        assert held(there, self.new_user)["INBOX"] == 16

        assert "the same mailbox as" not in run(config).output
        assert "the same mailbox as" not in run(account()).output
        shutil.rmtree(archive_of(config).joinpath("runs"))
        archive_of(config).joinpath("catalog.sqlite").unlink()
        command("rebuild", config)
        dovecot.append(self.source, "INBOX", mail(90))
        assert counts(run(config), "replayed", "already_there", "removed") == (1, 16, 10)

    @pytest.mark.parametrize("there", ["dovecot"], indirect=True)
    def test_is_not_taken_for_somebody_elses(self, account: Callable[..., Path], there: MailServer) -> None:
        other = there.fresh_user()
        config = account(destination__user=other)
        refused(config, "--same-destination", "--new-destination", "does not show what was sent")
        assert held(there, other).total() == 0
        assert counts(run(config, destination_is="new"), "replayed") == (26,)
        assert counts(run(config), "replayed", "already_there") == (0, 26)
        # The first one is known as ever.
        assert counts(run(account()), "replayed", "removed") == (0, 10)

    @pytest.mark.parametrize("there", ["dovecot"], indirect=True)
    def test_stays_what_it_was_on_a_persons_word(self, account: Callable[..., Path], there: MailServer) -> None:
        """All our copies are gone, so that nothing can be proven."""
        there.expunge(self.new_user, "INBOX", range(11, 27))
        config = account(destination__host="localhost")
        refused(config, "--same-destination")
        assert counts(run(config, destination_is="same"), "replayed", "removed") == (0, 26)
        assert counts(run(config), "replayed", "removed") == (0, 26)


def test_another_port_is_the_same_mailbox_or_a_question(
    dovecot: Dovecot, mail_user: str, proxy: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    new_user, line = dovecot.fresh_user(), proxy(dovecot.port)
    dovecot.append_many(mail_user, "INBOX", mails(range(3)))
    run(migration(tmp_path, dovecot, mail_user, dovecot, new_user))
    dovecot.expunge(new_user, "INBOX", [1])
    config = migration(tmp_path, dovecot, mail_user, dovecot, new_user, destination__port=line.port)
    assert counts(run(config), "replayed", "removed") == (0, 1)

    other = proxy(dovecot.port)
    dovecot.expunge(new_user, "INBOX", [2, 3])
    config = migration(tmp_path, dovecot, mail_user, dovecot, new_user, destination__port=other.port)
    refused(config, f":{line.port} before", f":{other.port} does not show")


class TestAMailboxInUse:
    @pytest.fixture
    def config(self, dovecot: Dovecot, mail_user: str, there: MailServer, tmp_path: Path) -> Path:
        self.source, self.new_user = mail_user, there.fresh_user()
        dovecot.append_many(mail_user, "INBOX", mails(range(30)))
        made_earlier(dovecot, mail_user, "INBOX")
        return migration(tmp_path, dovecot, mail_user, there, self.new_user)

    def test_is_left_alone_until_confirmed(self, config: Path, there: MailServer) -> None:
        there.append_many(self.new_user, "INBOX", mails(range(100, 121)))
        refused(config, "holds 21 messages", "somebody else's mailbox", "--new-destination")
        assert held(there, self.new_user)["INBOX"] == 21
        assert archive_state(archive_of(config)).uids() == list(range(1, 31))

        assert counts(run(config, destination_is="new"), "replayed") == (30,)
        assert counts(run(config), "replayed", "already_there") == (0, 30)

    @pytest.mark.parametrize("there", ["dovecot"], indirect=True)
    def test_a_few_words_of_welcome_are_no_use(self, config: Path, there: MailServer) -> None:
        there.append_many(self.new_user, "INBOX", mails(range(100, 103)))
        assert checked(config).exit_code == 0
        assert counts(run(config), "replayed") == (30,)

    @pytest.mark.parametrize("there", ["dovecot"], indirect=True)
    def test_a_missing_archive_does_not_bring_back_what_was_deleted(self, config: Path, there: MailServer) -> None:
        run(config)
        there.expunge(self.new_user, "INBOX", range(1, 29))
        run(config)
        archive_of(config).rename(archive_of(config).with_name("not mounted"))
        assert "2 messages that are all in this archive" in run(config, expect=2, new_archive=True).output
        refused(config, "holds 2 messages", "the archive that did is missing")
        assert held(there, self.new_user)["INBOX"] == 2

        assert counts(run(config, destination_is="new"), "replayed", "already_there") == (28, 2)


def test_a_prefix_does_not_make_somebody_elses_mailbox_ones_own(
    dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    new_user = dovecot.fresh_user()
    dovecot.append(mail_user, "INBOX", mail(1))
    dovecot.append_many(new_user, "INBOX", mails(range(100, 121)))
    refused(migration(tmp_path, dovecot, mail_user, dovecot, new_user, destination__prefix="Old"), "21 messages")
    assert held(dovecot, new_user) == {"INBOX": 21}


def fresh_on_both(one: Dovecot, other: Dovecot) -> str:
    """A user of two servers that no test has used on either."""
    here, there = one.fresh_user(), other.fresh_user()
    while here != there:
        if int(here[1:]) < int(there[1:]):
            here = one.fresh_user()
        else:
            there = other.fresh_user()
    return here


def test_a_name_that_leads_to_another_mailbox_now_is_a_question(
    dovecot: Dovecot, plain_dovecot: Dovecot, proxy: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    line, user = proxy(dovecot.port), fresh_on_both(dovecot, plain_dovecot)
    source = dovecot.fresh_user()
    dovecot.append_many(source, "INBOX", mails(range(3)))
    config = migration(tmp_path, dovecot, source, line, user)
    run(config)
    line.target = ("127.0.0.1", plain_dovecot.port)
    plain_dovecot.append_many(user, "INBOX", mails(range(100, 121)))
    made_earlier(plain_dovecot, user, "INBOX")
    dovecot.append(source, "INBOX", mail(3))
    refused(config, "shows nothing of what was sent there", "--same-destination", "--new-destination")
    assert held(plain_dovecot, user) == {"INBOX": 21}
    assert counts(run(config, destination_is="new"), "replayed") == (4,)
    assert counts(run(config), "replayed", "already_there") == (0, 4)


class TestNothingOfOursStandsAsItWasLeft:
    """The address leads elsewhere, or the mailbox was made again."""

    @pytest.fixture
    def config(self, scripted: Callable[..., ScriptedServer], tmp_path: Path) -> Path:
        """An account whose mail, 25 messages, was all sent to Work."""
        self.source = scripted({b"INBOX": ScriptedFolder(5), b"Work": filled(6, range(40, 65))})
        self.there = scripted({b"INBOX": ScriptedFolder(7)}, writable=True)
        config = migration(tmp_path, self.source, "u1", self.there, "u1")
        run(config)
        return config

    @property
    def holds(self) -> dict[bytes, int]:
        return {raw: len(folder.messages) for raw, folder in self.there.folders.items()}

    @pytest.mark.parametrize(
        ("uidvalidity", "count", "words"),
        [(7, 0, "it is empty"), (777, 1, "1 message that this"), (7, 60, "60 messages that this")],
    )
    def test_is_a_question_whatever_is_there(self, config: Path, uidvalidity: int, count: int, words: str) -> None:
        self.there.folders = {b"INBOX": filled(uidvalidity, range(100, 100 + count))}
        refused(config, "shows nothing of what was sent there", words, "--new-destination")
        assert self.holds == {b"INBOX": count}
        assert counts(run(config, destination_is="new"), "replayed", "removed") == (25, 0)
        self.source.folders[b"Work"].add(message(70))
        assert counts(run(config), "replayed", "already_there", "removed") == (1, 25, 0)
        assert self.holds == {b"INBOX": count, b"Work": 26}

    def test_mail_that_colleagues_got_too_proves_nothing(self, config: Path) -> None:
        self.there.folders = {b"INBOX": filled(777, [40, 41, *range(100, 125)])}
        refused(config, "27 messages, of which 2 are in this archive, too")

    def test_a_user_who_deletes_the_only_folder_is_asked_about_once(self, config: Path) -> None:
        del self.there.folders[b"Work"]
        refused(config, "it is empty")
        assert counts(run(config, destination_is="same"), "replayed", "removed") == (0, 25)
        self.source.folders[b"Work"].add(message(70))
        assert checked(config).exit_code == 0
        assert counts(run(config), "replayed", "removed") == (1, 25)

    def test_what_the_user_deleted_is_sent_to_another_mailbox_on_a_persons_word(self, config: Path) -> None:
        """Also where all of it counts as removed since a run that took the mailbox for the same."""
        self.there.folders = {b"INBOX": ScriptedFolder(777)}
        run(config, destination_is="same")
        self.there.folders = {b"INBOX": ScriptedFolder(778)}
        assert counts(run(config, destination_is="new"), "replayed", "removed") == (25, 0)

    @pytest.mark.parametrize("raw", [b"Job", b"Work"])
    def test_a_folder_that_was_renamed_or_rebuilt_shows_our_mail(self, config: Path, raw: bytes) -> None:
        work = self.there.folders.pop(b"Work")
        self.there.folders[raw] = ScriptedFolder(99, work.messages)
        assert checked(config).exit_code == 0
        assert counts(run(config), "replayed") == (0,)
        assert self.holds == {b"INBOX": 0, raw: 25}


class TestMailOfOursInAMailboxThatThisArchiveNeverFilled:
    @pytest.fixture
    def begin(self, scripted: Callable[..., ScriptedServer], tmp_path: Path) -> Callable[..., Path]:
        def begin(there: ScriptedFolder, name: str = "a", numbers: range = range(1, 31), **keys: Any) -> Path:
            self.there = scripted({b"INBOX": there}, writable=True)
            return self.next_to(scripted, tmp_path, name, numbers, **keys)

        self.scripted, self.folder = scripted, tmp_path
        return begin

    def next_to(
        self, scripted: Callable[..., ScriptedServer], folder: Path, name: str, numbers: range, **keys: Any
    ) -> Path:
        source = scripted({b"INBOX": filled(5, numbers)})
        keys = {"name": name, "archive__path": str(folder / "archives" / name), **keys}
        return migration(folder, source, "u1", self.there, "u1", **keys)

    @pytest.mark.parametrize("there", [[30, 99], [26, 27, 28, 29, 30]])
    def test_a_handful_is_delivered_to_both_or_was_a_try(
        self, begin: Callable[..., Path], there: list[int]
    ) -> None:
        config, ours = begin(filled(7, there)), sum(number <= 30 for number in there)
        text = f"{len(there)} messages there are not from this archive; "
        text += "without an archive it is not known whether they are"
        assert text in " ".join(command("check", config).output.split())
        assert counts(run(config), "replayed", "already_there") == (30 - ours, ours)

    def test_more_than_that_is_a_question(self, begin: Callable[..., Path]) -> None:
        config = begin(filled(7, range(25, 31)))
        words = "holds 6 messages that are all in this archive, too", "new mail goes to both servers"
        assert all(word in run(config, expect=2).output for word in words)

    def test_little_is_left_of_what_a_missing_archive_brought(self, begin: Callable[..., Path]) -> None:
        there = filled(7, range(1, 31))
        there.expunge(range(1, 30))
        there.add(*(message(number) for number in range(100, 103)))
        assert "4 messages, of which 1 is in this archive, too" in run(begin(there), expect=2).output
        assert len(self.there.folders[b"INBOX"].messages) == 4

    @pytest.mark.parametrize("shared", [True, False])
    def test_another_account_may_have_brought_it(self, begin: Callable[..., Path], shared: bool) -> None:
        keys = {"destination__shared": True} if shared else {}
        run(begin(ScriptedFolder(7), "a", destination__prefix="" if shared else "Old", **keys))
        prefix = {} if shared else {"destination__prefix": "Old/INBOX"}
        other = self.next_to(self.scripted, self.folder, "b", range(11, 31), **prefix, **keys)
        if shared:
            assert counts(run(other), "replayed", "already_there") == (0, 20)
            assert len(self.there.folders[b"INBOX"].messages) == 30
            archives = self.folder / "archives"
            archives.rename(archives.with_name("not mounted"))
            assert "the archive that did is missing" in run(other, expect=2, new_archive=True).output
        else:
            output = run(other, expect=2).output
            assert f"probably {self.folder / 'a.toml'} did, which fills the same mailbox" in output


@pytest.mark.parametrize(
    ("inside", "is_in_use", "words"),
    [
        (MailboxContents(20, 20, 0), False, "20 messages that this archive does not know"),
        (MailboxContents(21, 21, None), True, "21 messages"),
        (MailboxContents(1, 1, 1), False, "1 message that is in this archive, too"),
        (MailboxContents(1, 1, 1, gone=5), False, "1 message that is in this archive, too"),
        (MailboxContents(1, 1, 1, gone=6), True, "1 message that is in this archive, too"),
        (MailboxContents(5, 5, 2, gone=15), False, "5 messages, of which 2 are in this archive, too"),
        (MailboxContents(5, 5, 2, gone=16), True, "5 messages, of which 2 are in this archive, too"),
        (MailboxContents(12, 12, 6), False, "12 messages, of which 6 are in this archive, too"),
        (MailboxContents(6, 6, 6), True, "6 messages that are all in this archive, too"),
        (MailboxContents(900, 200, 1), True, "900 messages (1 of the newest 200 is in this archive, too)"),
    ],
)
def test_what_is_inside_decides_whether_a_person_is_asked(
    inside: MailboxContents, is_in_use: bool, words: str
) -> None:
    assert (inside.is_in_use, str(inside)) == (is_in_use, words)


def test_verify_says_why_it_compares_nothing(scripted: Callable[..., ScriptedServer], tmp_path: Path) -> None:
    source = scripted({b"INBOX": filled(5, [1])})
    there = scripted({b"INBOX": ScriptedFolder(7)}, writable=True)
    config = migration(tmp_path, source, "u1", there, "u1")
    run(config, steps="archive")
    at = f"u1 at 127.0.0.1:{there.port}"
    assert f"nothing was replayed to {at} yet, so nothing was compared" in " ".join(
        command("verify", config).output.split()
    )
    run(config)
    elsewhere = migration(tmp_path, source, "u1", there, "u1", destination__host="localhost")
    output = " ".join(command("verify", elsewhere).output.split())
    assert f"u1 at localhost:{there.port}, is not known to this archive, so nothing was compared" in output


def filled(uidvalidity: int, numbers: Iterable[int]) -> ScriptedFolder:
    return ScriptedFolder(uidvalidity, {uid: message(number) for uid, number in enumerate(numbers, 1)})


class TestSourceAndDestinationAreOneMailbox:
    @pytest.mark.parametrize(
        ("there", "prefix"),
        [("dovecot", ""), ("dovecot", "Old.one/alice"), ("cyrus", "Old.one/alice"), ("courier", "")],
        indirect=["there"],
    )
    def test_under_two_names(self, there: MailServer, tmp_path: Path, prefix: str) -> None:
        user = there.fresh_user()
        there.append_many(user, "INBOX", mails(range(10)))
        before = there.dump(user)
        config = migration(
            tmp_path, there, user, there, user, destination__host="localhost", destination__prefix=prefix
        )
        refused(config, "10 messages", "have the same UIDs, sizes and dates at both")
        assert archive_state(archive_of(config)).messages == {}
        run(config, steps="archive")
        run(config, steps="replay", expect=2)
        assert there.dump(user) == before

    @pytest.mark.parametrize("prefix", ["", "Old.one/alice"])
    def test_because_the_sources_name_leads_there_now(
        self,
        dovecot: Dovecot,
        plain_dovecot: Dovecot,
        proxy: Callable[..., FaultProxy],
        tmp_path: Path,
        prefix: str,
    ) -> None:
        line, user = proxy(dovecot.port), f"u{32 + bool(prefix)}"
        dovecot.create(user, "Work")
        for folder in ("INBOX", "Work"):
            dovecot.append_many(user, folder, mails(range(7)))
        made_earlier(dovecot, user, "INBOX", "Work")
        config = migration(tmp_path, line, user, plain_dovecot, user, destination__prefix=prefix)
        run(config)
        line.target = ("127.0.0.1", plain_dovecot.port)
        before, known = plain_dovecot.dump(user), archive_state(archive_of(config))
        refused(config, "14 messages", "is the mailbox of the destination")
        run(config, steps="archive", expect=2)
        assert plain_dovecot.dump(user) == before
        assert archive_state(archive_of(config)) == known
        line.target = ("127.0.0.1", dovecot.port)
        assert counts(run(config), "replayed", "already_there") == (0, 14)


def test_the_destinations_name_leads_to_the_source_now(
    dovecot: Dovecot, plain_dovecot: Dovecot, proxy: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    line, user = proxy(plain_dovecot.port), fresh_on_both(dovecot, plain_dovecot)
    dovecot.append_many(user, "INBOX", mails(range(7)))
    made_earlier(dovecot, user, "INBOX")
    config = migration(tmp_path, dovecot, user, line, user)
    run(config)
    line.target = ("127.0.0.1", dovecot.port)
    before = dovecot.dump(user)
    refused(config, "7 messages", "is the source's own mailbox")
    assert dovecot.dump(user) == before


def test_two_mailboxes_that_were_made_equal_are_distinguished_by_a_person(
    dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    """A copied disk: UIDVALIDITY, UIDs and identities of all messages are the same."""
    new_user = dovecot.fresh_user()
    dovecot.append_many(mail_user, "INBOX", mails(range(5)))
    dovecot.dump(mail_user)
    dovecot.install(new_user, dovecot.snapshot(mail_user))
    config = migration(tmp_path, dovecot, mail_user, dovecot, new_user)
    refused(config, "dsync", "--new-destination")
    assert counts(run(config, destination_is="new"), "replayed", "already_there") == (0, 5)
    dovecot.append(mail_user, "INBOX", mail(5))
    for _ in range(2):
        assert checked(config).exit_code == 0
        run(config)
    assert held(dovecot, new_user) == {"INBOX": 6}


def test_mailboxes_of_one_uidvalidity_are_not_suspected(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    """Made in the same second, or by a server that gives every folder the same: the copies get the UIDs of their
    messages."""
    source = scripted({b"INBOX": ScriptedFolder(7, {1: message(1), 2: message(2)})})
    there = scripted({b"INBOX": ScriptedFolder(7)}, writable=True)
    config = migration(tmp_path, source, "u1", there, "u1")
    assert counts(run(config), "replayed") == (2,)
    source.folders[b"INBOX"].messages[3] = message(3)
    assert counts(run(config), "replayed", "already_there") == (1, 2)
    assert counts(run(config), "replayed", "already_there") == (0, 3)


def test_all_folders_with_a_new_uidvalidity_are_worth_a_line(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    names = (b"INBOX", b"Work")
    source = scripted({name: ScriptedFolder(7, {1: message(1)}) for name in names})
    there = scripted({b"INBOX": ScriptedFolder(9)}, writable=True)
    config = migration(tmp_path, source, "u1", there, "u1")
    assert run(config).report["notices"] == []
    source.folders |= {name: ScriptedFolder(8, {1: message(1)}) for name in names}
    why = "the source was rebuilt, or its host name points to another server now"
    line = f"all 2 folders have a new UIDVALIDITY: {why}"
    assert [each.text for each in checked(config).notices] == [line]
    result = run(config)
    assert result.report["notices"] == [{"folder": "", "kind": "renewed", "count": 2, "text": line}]
    assert counts(result, "replayed") == (0,)
    assert run(config).report["notices"] == []


def message(number: int) -> ScriptedMessage:
    return ScriptedMessage(mail(number))


def test_an_archive_of_a_version_that_recorded_no_port_continues(
    dovecot: Dovecot, mail_user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But one that took its own source for a destination is refused now."""
    user, new_user = mail_user, dovecot.fresh_user()
    dovecot.append_many(user, "INBOX", mails(range(5)))
    made_earlier(dovecot, user, "INBOX")
    for name, there, host in (("two", new_user, "127.0.0.1"), ("one", user, "localhost")):
        config = migration(tmp_path / name, dovecot, user, dovecot, there, destination__host=host)
        with monkeypatch.context() as before:
            before.setattr("archiver.source.same_mailbox.Resemblance.proven", False)
            before.setattr("archiver.replay.identify.require_unused", lambda *_: None)
            before.setattr("archiver.account.meeting.DestinationFact", without_port)
            run(config)
        if there == user:
            refused(config, "is the source's own mailbox")
        else:
            dovecot.expunge(new_user, "INBOX", [1])
            assert counts(run(config), "replayed", "removed") == (0, 1)


def without_port(number: int, host: str, user: str, at: str, _port: int) -> Any:
    from archiver.facts.destination import DestinationFact

    return DestinationFact(number, host, user, at)
