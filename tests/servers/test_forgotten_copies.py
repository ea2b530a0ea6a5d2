"""Copies of forgotten messages are removed from the destination later, too: these, and no others."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import invoke
from tests.accounts import account_file, archive_of, command, mail, run
from tests.faults.replays import Mailbox, destination, mailbox_of, scripted_mailbox
from tests.servers.courier import Courier
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import DESTINATION, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.scripted_append import Appending
from tests.servers.wire import Append

NUMBERS = range(6)
REASON = ("--reason", "request 7", "--yes")
LATER = ("--finish", "--also-at-destination")


def secret(number: int) -> bytes:
    return b"Subject: Xylophonkonzert\r\n" + mail(500 + number)


def digests(there: Mailbox) -> dict[str, int]:
    """How often each message is there."""
    found: dict[str, int] = {}
    for folder in there.values():
        for (digest, _, _), count in folder.items():
            found[digest] = found.get(digest, 0) + count
    return found


class Person:
    """A user of a Dovecot whose mail is archived, and goes to a mailbox at another server: six messages that are to
    be forgotten, and others. `there` is what that shows now."""

    def __init__(
        self,
        dovecot: Dovecot,
        server: Any,
        capsys: pytest.CaptureFixture[str],
        directory: Path,
        expect: int = 0,
        **keys: Any,
    ) -> None:
        self.dovecot, self.server, self.capsys = dovecot, server, capsys
        self.user, self.new = (
            dovecot.fresh_user(),
            "u1" if isinstance(server, ScriptedServer) else server.fresh_user(),
        )
        self.keys = {**destination(directory, server, self.new), **keys}
        self.config = account_file(directory, dovecot, self.user, **self.keys)
        dovecot.create(self.user, "Work")
        dovecot.append_many(self.user, "INBOX", [Append(mail(n)) for n in range(3)])
        dovecot.append_many(
            self.user, "Work", [Append(each) for n in NUMBERS for each in (mail(10 + n), secret(n))]
        )
        run(self.config, expect=expect)
        self.before = self.there

    @property
    def there(self) -> Mailbox:
        if isinstance(self.server, ScriptedServer):
            return scripted_mailbox(self.server)
        return mailbox_of(self.server, self.new)

    def __call__(self, verb: str, *options: str, expect: int = 0) -> dict[str, Any]:
        self.capsys.readouterr()
        code = invoke([verb, str(self.config), *options, "--json"])
        out, err = self.capsys.readouterr()
        assert code == expect, out + err
        document: dict[str, Any] = json.loads(out)
        return document.get("accounts", [document])[0]  # type: ignore[no-any-return]

    def forget(self, *numbers: int) -> None:
        for number in numbers:
            self("forget", hashlib.sha256(secret(number)).hexdigest()[:16], *REASON)

    def is_whole(self) -> None:
        """A run, and what proves an archive, end well, and nothing is there that was not, or twice."""
        for verb in ("run", "verify", "rebuild", "repair", "status"):
            self(verb)
        assert all(count == 1 for count in digests(self.there).values())

    def has_only(self, *secrets: int) -> bool:
        """Whether the destination has these secrets, and all other messages as they were."""
        gone = {hashlib.sha256(secret(n)).hexdigest() for n in NUMBERS if n not in secrets}
        expected = {digest: count for digest, count in digests(self.before).items() if digest not in gone}
        return digests(self.there) == expected

    @property
    def left(self) -> list[int]:
        return [each["copies_left"] for each in self("status")["forgotten"]]


@pytest.fixture(params=["dovecot", "cyrus", "courier"])
def person(
    request: pytest.FixtureRequest, dovecot: Dovecot, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Person:
    return Person(dovecot, request.getfixturevalue(request.param), capsys, tmp_path)


def test_copies_that_were_left_are_removed_when_somebody_asks_for_it(person: Person) -> None:
    person.forget(0, 1, 2)
    assert person.left == [1, 1, 1]
    listed = json.loads((archive_of(person.config) / "forgotten" / "1.json").read_text())
    assert [(each["folder"].removeprefix("INBOX."), "uid" in each) for each in listed["copies"]] == [("Work", True)]
    person.capsys.readouterr()
    assert invoke(["status", str(person.config)]) == 0
    shown = person.capsys.readouterr().out
    assert "3 copies are still at the destination: `archiver forget" in shown
    assert f"--finish --also-at-destination {person.config}` removes them" in shown
    dry = person("forget", "--subject", "Xylophon")
    assert (
        "3 copies would stay at the destination (--also-at-destination, also later with --finish)" in dry["message"]
    )
    assert "3 copies of what was forgotten before are still there" in dry["message"]
    assert person("forget", "--finish")["finished"] == []
    person("rebuild")
    assert (person.left, person.has_only(*NUMBERS)) == ([1, 1, 1], True)

    done = person("forget", *LATER, "--number", "2")
    assert "1 copy removed from the destination" in done["message"]
    assert (person.left, person.has_only(0, 2, 3, 4, 5)) == ([1, 0, 1], True)
    assert person("forget", *LATER)["copies_removed"] == 2
    assert (person.left, person.has_only(3, 4, 5)) == ([0, 0, 0], True)
    assert json.loads((archive_of(person.config) / "forgotten" / "1.json").read_text())["copies"] == []
    assert person("forget", *LATER)["message"] == "nothing is left"
    assert (
        "nothing was forgotten under the number 9" in person("forget", *LATER, "--number", "9", expect=2)["message"]
    )
    person.is_whole()
    assert person.left == [0, 0, 0]


def test_what_was_restored_to_the_destination_is_a_copy_there(
    dovecot: Dovecot, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    person = Person(dovecot, dovecot, capsys, tmp_path)
    dovecot.expunge(person.new, "Work", [2, 4])
    run(person.config)
    named = [hashlib.sha256(secret(n)).hexdigest()[:16] for n in (0, 1)]
    person("restore", *named, "--to", "destination", "--yes")
    assert person.has_only(*NUMBERS)
    assert person("forget", named[0], "--also-at-destination", *REASON)["copies"] == 1
    assert person.has_only(1, 2, 3, 4, 5)
    person.forget(1)
    assert person("forget", *LATER)["copies_removed"] == 1
    assert person.has_only(2, 3, 4, 5)
    person.is_whole()


def test_where_its_user_renamed_the_folder_they_are_found_or_gone(person: Person) -> None:
    """The folder has another name, another one has its name, and one of the copies was deleted by its user."""
    person.forget(0, 1)
    server, user = person.server, person.new
    prefix = "INBOX." if isinstance(server, Courier) else ""
    server.rename(user, f"{prefix}Work", f"{prefix}Done")
    if prefix:  # it gives the folder another UIDVALIDITY, so nobody knows which it is, and that is said once
        (kept,) = person("forget", *LATER, expect=3)["kept"]
        assert "the folder is not there any more: if it has another name now, look for them there" in kept["why"]
        assert (person.left, person.has_only(*NUMBERS)) == ([0, 0], True)
        assert person("forget", *LATER)["kept"] == []
        return
    server.create(user, "Work")
    server.append_many(user, "Work", [Append(secret(1))])
    server.expunge(user, "Done", [2])
    done = person("forget", *LATER)
    assert (done["copies_removed"], person.left) == (1, [0, 0])
    there = person.there
    assert set(digests({b"": there[b"Work"]})) == {hashlib.sha256(secret(1)).hexdigest()}  # its user put it there
    del there[b"Work"]
    assert len(digests(there)) == len(digests(person.before)) - 2


@pytest.mark.parametrize("renumber", [False, True])
def test_in_a_folder_that_was_made_again_the_octets_say_which_they_are(
    dovecot: Dovecot, capsys: pytest.CaptureFixture[str], tmp_path: Path, renumber: bool
) -> None:
    """Of a message that is there more often than it was sent, nobody knows which one is ours."""
    person = Person(dovecot, dovecot, capsys, tmp_path)
    person.forget(0, 1, 2)
    dovecot.expunge(person.new, "Work", [1, 4])
    dovecot.append_many(person.new, "Work", [Append(secret(2))])
    dovecot.bump_uidvalidity(person.new, "Work", renumber=renumber, by=1000)
    done = person("forget", *LATER, expect=3)
    lost, kept = sorted(done["kept"], key=lambda each: str(each["what"]))
    assert 'copy in "Work", UID 4' in lost["what"]
    assert "does not have them: they count as gone" in lost["why"]
    assert 'copy in "Work", UID 6' in kept["what"]
    assert "has more messages with these octets than were sent there" in kept["why"]
    assert (done["copies_removed"], person.left) == (1, [0, 0, 1])
    found = digests(person.there)
    assert [found.get(hashlib.sha256(secret(n)).hexdigest(), 0) for n in (0, 1, 2)] == [0, 0, 2]
    assert all(hashlib.sha256(mail(10 + n)).hexdigest() in found for n in (1, 2, 3, 4, 5))


@pytest.fixture
def odd(
    dovecot: Dovecot, capsys: pytest.CaptureFixture[str], tmp_path: Path, request: Any
) -> Callable[..., Person]:
    def make(expect: int = 0, **how: Any) -> Person:
        server = ScriptedServer(
            {b"INBOX": ScriptedFolder(5)}, writable=True, **{"capabilities": DESTINATION, **how}
        )
        server.__enter__()
        request.addfinalizer(server.stop)
        return Person(dovecot, server, capsys, tmp_path, expect, destination__attempts=2)

    return make


def test_another_message_under_the_uid_of_a_copy_stays(odd: Callable[..., Person]) -> None:
    person = odd()
    work = person.server.folders[b"Work"]
    person.forget(0, 1)
    other = secret(0).replace(b"Xylophonkonzert", b"Xylophonkonzepte")[: len(secret(0))]
    work.messages[2] = ScriptedMessage(other, work.messages[2].flags, work.messages[2].internaldate)
    done = person("forget", *LATER, expect=3)
    (kept,) = done["kept"]
    assert 'copy in "Work", UID 2' in kept["what"]
    assert "other octets" in kept["why"]
    assert (sorted(work.messages), person.left) == ([1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12], [1, 0])
    assert "\\Deleted" not in work.messages[2].flags


def test_copies_that_the_destination_shows_altered_are_known_by_their_size(odd: Callable[..., Person]) -> None:
    """Another size under that UID is another message."""
    person = odd(appending=Appending(rewrite=lambda octets: b"X-MS-Exchange-Organization: 7\r\n" + octets))
    work = person.server.folders[b"Work"]
    person.forget(0, 1)
    work.messages[4] = ScriptedMessage(
        work.messages[4].octets + b"more\r\n", internaldate=work.messages[4].internaldate
    )
    (kept,) = person("forget", *LATER, expect=3)["kept"]
    assert "has another size than the copy had" in kept["why"]
    assert (2 in work.messages, 4 in work.messages, person.left) == (False, True, [0, 1])


def test_copies_with_other_line_ends_are_known_without_them(
    dovecot: Dovecot, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Dovecot serves CRLF for a bare LF."""
    bare = b"Subject: bare\n\nline\nfeeds\n"
    with ScriptedServer(
        {b"INBOX": ScriptedFolder(5, {1: ScriptedMessage(bare), 2: ScriptedMessage(mail(2))})}
    ) as old:
        new = dovecot.fresh_user()
        config = account_file(tmp_path, old, "u1", **destination(tmp_path, dovecot, new))
        run(config)
        for options in ((hashlib.sha256(bare).hexdigest()[:16], *REASON), LATER):
            assert invoke(["forget", str(config), *options]) == 0
        assert "1 copy removed from the destination" in capsys.readouterr().out
        assert set(digests(mailbox_of(dovecot, new))) == {hashlib.sha256(mail(2)).hexdigest()}


def test_without_uidplus_copies_are_named_and_not_marked(odd: Callable[..., Person]) -> None:
    person = odd(capabilities=[each for each in DESTINATION if each != "UIDPLUS"])
    person.forget(0)
    (kept,) = person("forget", *LATER, expect=3)["kept"]
    assert "cannot remove single messages (UIDPLUS): delete them there" in kept["why"]
    assert not any("\\Deleted" in each.flags for each in person.server.folders[b"Work"].messages.values())
    assert person.left == [1]


def test_at_an_earlier_destination_they_are_named(
    dovecot: Dovecot, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    person = Person(dovecot, dovecot, capsys, tmp_path)
    person.forget(0)
    keys = destination(tmp_path, dovecot, dovecot.fresh_user())
    account_file(tmp_path, dovecot, person.user, **keys)
    run(person.config, destination_is="new")
    (kept,) = person("forget", *LATER, expect=3)["kept"]
    assert kept["what"] == f"{person.new} at {dovecot.host}: 1 copy"
    assert "names no such destination" in kept["why"]
    account_file(tmp_path, dovecot, person.user, **person.keys)
    assert person("forget", *LATER)["copies_removed"] == 1
    assert person.has_only(1, 2, 3, 4, 5)


_KILLED = """
import os, signal
from archiver.destination.imap import ImapDestination
from archiver.journal.recorder import Recorder
from pipelines.cli.main import main
left = [{count}]
def moment():
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
def between(cls, name):
    do = getattr(cls, name)
    def done(self, *some, **more):
        moment()
        result = do(self, *some, **more)
        moment()
        return result
    setattr(cls, name, done)
for cls, name in ((Recorder, "write"), (ImapDestination, "store"), (ImapDestination, "expunge")):
    between(cls, name)
main()
"""


@pytest.mark.lasts(30)
@pytest.mark.parametrize("person", ["dovecot", "cyrus"], indirect=True)
def test_killed_at_any_step_it_ends_when_it_is_given_again(person: Person) -> None:
    """Each time one step later than before."""
    person.forget(*NUMBERS)
    steps = 0
    for number in NUMBERS:
        options = (*LATER, "--number", str(number + 1))
        program = ("-c", _KILLED.format(count=1 + number))
        ended = command("forget", person.config, *options, program=program, expect=None)
        assert ended.exit_code == -signal.SIGKILL, ended.output
        steps += 1
        if number == 3:
            person.is_whole()
        assert not person("forget", *options)["kept"]
    assert steps == len(NUMBERS)
    assert (sum(person.left), person.has_only()) == (0, True)
    person.is_whole()
    assert person.has_only()


def _rewritten(octets: bytes) -> bytes:
    return b"X-Relayed: yes\r\n" + octets


def test_of_a_folder_that_has_the_uidvalidity_of_another_one_nothing_else_is_removed(
    odd: Callable[..., Person],
) -> None:
    """A server that makes folders in one second gives them one UIDVALIDITY. Where it rewrites messages, nothing but
    a size is known of a copy, and another message has that, too."""
    person = odd(expect=4, appending=Appending(rewrite=_rewritten))
    person.forget(0)
    folders = person.server.folders
    gone = folders[b"Work"]
    other = folders[b"Other"] = ScriptedFolder(gone.uidvalidity)
    octets = gone.messages[2].octets
    other.messages = {uid: ScriptedMessage(octets.replace(b"X-Relayed: yes", b"X-Relayed: nay")) for uid in (1, 2)}
    del folders[b"Work"]
    (kept,) = person("forget", *LATER, expect=3)["kept"]
    assert 'no digest says whether it is the one in "Other"' in kept["why"]
    assert sorted(other.messages) == [1, 2]
    assert [each["copies_left"] for each in person("status", expect=4)["forgotten"]] == [1]


@pytest.mark.parametrize("trouble", ["SELECT", "UID FETCH", "STATUS"])
def test_what_a_server_does_not_show_now_is_not_gone(odd: Callable[..., Person], trouble: str) -> None:
    """A copy is in a folder that was renamed, or not, and the server does not open it, or does not return it."""
    without = [each for each in DESTINATION if each != "LIST-STATUS"] if trouble == "STATUS" else DESTINATION
    person = odd(capabilities=without)
    person.forget(0)
    server = person.server
    work = server.folders[b"Work"]
    if trouble != "SELECT":
        server.folders[b"Done"] = server.folders.pop(b"Work")
    if trouble == "UID FETCH":
        work.messages[2].fetch = "nil"
    else:
        work.refuse = b"NO it is locked"
    (kept,) = person("forget", *LATER, expect=3)["kept"]
    assert "does not open" in kept["why"] or "does not return it" in kept["why"]
    assert person.left == [1]
    work.refuse, work.messages[2].fetch = None, ""
    assert person("forget", *LATER)["copies_removed"] == 1
    assert (person.left, person.has_only(*NUMBERS[1:])) == ([0], True)


def test_what_is_held_since_it_was_forgotten_stays_at_the_destination(odd: Callable[..., Person]) -> None:
    """Whom a message is from, nobody knows any more. A hold that was there before allowed to forget it."""
    person = odd()
    person("hold", "--folder", "Elsewhere", "--reason", "earlier")
    person.forget(0)
    time.sleep(1)
    person("hold", "--folder", "INBOX", "--reason", "another folder")
    person("hold", "--folder", "Work", "--address", "carol@example.org", "--reason", "lawsuit 12")
    (kept,) = person("forget", *LATER, expect=3)["kept"]
    assert kept["what"] == "1 copy of what was forgotten under the number 1"
    assert "hold 3" in kept["why"]
    assert (person.left, person.has_only(*NUMBERS)) == ([1], True)
    person("release", "3", "--reason", "settled")
    assert person("forget", *LATER)["copies_removed"] == 1
    assert person.has_only(*NUMBERS[1:])
