"""Destinations that answer in odd ways: one message, folder or flag that they do not take stops nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pytest

from tests.accounts import RunResult, command, mail, run
from tests.faults.replays import migration
from tests.servers.courier import Courier
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import (
    DESTINATION,
    DROP,
    MINIMAL,
    Appended,
    Appending,
    End,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
)
from tests.servers.wire import Append

Scripted = Callable[..., ScriptedServer]


def held(numbers: range, *flags: str) -> ScriptedFolder:
    dated = {number: f"02-Jan-2020 00:{number % 60:02}:00 +0000" for number in numbers}
    return ScriptedFolder(5, {n: ScriptedMessage(mail(n), flags, date) for n, date in dated.items()})


def destination(
    scripted: Scripted, capabilities: tuple[str, ...] = DESTINATION, *folders: bytes, **how: object
) -> ScriptedServer:
    made = {name: ScriptedFolder(7 + number) for number, name in enumerate((b"INBOX", *folders))}
    return scripted(made, capabilities=capabilities, writable=True, appending=Appending(**how))  # type: ignore[arg-type]


def is_message(message: Appended, number: int) -> bool:
    return b"Subject: message %d\r\n" % number in message.octets


@pytest.mark.parametrize("capabilities", [DESTINATION, MINIMAL])
@pytest.mark.parametrize(
    "reply", [b"NO [UNAVAILABLE] try again later", b"NO [INUSE] locked", b"NO Access denied by our filter"]
)
def test_one_message_that_is_never_taken_is_listed_and_stops_no_other(
    scripted: Scripted, tmp_path: Path, capabilities: tuple[str, ...], reply: bytes
) -> None:
    """Though the reply sounds as if it were about the server or the folder."""
    source = scripted({b"INBOX": held(range(1, 31)), b"Work": held(range(40, 45))})
    there = destination(
        scripted, capabilities, b"Work", refuse=lambda message: reply if is_message(message, 7) else None
    )
    config = migration(tmp_path, source, "u1", there, "u1", destination__attempts=2)
    for _ in range(2):
        result = run(config, expect=3)
        (failure,) = result.report["failures"]
        assert (failure["folder"], failure["uid"], failure["server_reply"]) == ("INBOX", 7, reply.decode())
        source.folders[b"INBOX"].add(ScriptedMessage(mail(50)))
    assert len(there.folders[b"INBOX"].messages) == 30
    assert len(there.folders[b"Work"].messages) == 5


@pytest.mark.parametrize(
    ("reply", "code"), [(b"NO [UNAVAILABLE] try again later", 5), (b"NO [OVERQUOTA] the mailbox is full", 3)]
)
def test_a_server_that_takes_nothing_now_is_asked_later(
    scripted: Scripted, tmp_path: Path, reply: bytes, code: int
) -> None:
    """Nothing that it refused can still arrive, so the next run does not wait for that."""
    source = scripted({b"INBOX": held(range(1, 31))})
    there = destination(scripted, refuse=lambda _: reply)
    config = migration(tmp_path, source, "u1", there, "u1", destination__attempts=2)
    result = run(config, expect=code)
    assert [(each["uid"], each["step"]) for each in result.report["failures"]] == [(None, "replay")]
    there.appending.refuse = None
    result = run(config)
    assert result.report["totals"]["destination"]["replayed"] == 30
    assert "may still arrive" not in result.output


class TestAFolderThatCannotBeFilled:
    """Stops no other; the run is incomplete, and nothing that was compared differs."""

    @pytest.mark.parametrize("how", ["read-only", "no right to insert", "no right to create"])
    def test_and_its_reason(self, scripted: Scripted, tmp_path: Path, how: str) -> None:
        source = scripted({b"INBOX": held(range(1, 4)), b"Work": held(range(40, 43))})
        names = () if how == "no right to create" else (b"Work",)
        there = destination(scripted, DESTINATION, *names)
        match how:
            case "read-only":
                there.on(
                    b"SELECT", lambda line, tag, _: tag + b" OK [READ-ONLY] opened\r\n" if b"Work" in line else None
                )
            case "no right to insert":
                there.appending.refuse = lambda message: b"NO [NOPERM] no" if message.folder == b"Work" else None
            case _:
                there.on(b"CREATE", b"NO [NOPERM] no")
        result = run(migration(tmp_path, source, "u1", there, "u1"), expect=3)
        (failure,) = result.report["failures"]
        assert (failure["folder"], failure["uid"], failure["step"]) == ("Work", None, "replay")
        counts = {each["name"]: each["destination"] for each in result.report["folders"]}
        assert (counts["INBOX"]["replayed"], counts["INBOX"]["verified"], counts["Work"]["pending"]) == (3, 3, 3)


def test_flags_that_are_taken_from_a_store_alone_survive_a_lost_connection(
    scripted: Scripted, tmp_path: Path
) -> None:
    """As Exchange does with \\Flagged. Half of the messages are there when the connection breaks."""
    asked: list[int] = []

    def refuse(message: Appended) -> bytes | End | None:
        asked.append(message.number)
        if len(asked) == 16:
            return DROP
        return b"NO Message contains NUL characters" if is_message(message, 7) else None

    source = scripted({b"INBOX": held(range(1, 11), "\\Seen", "\\Flagged")})
    there = destination(scripted, drop_flags=("\\Flagged",), refuse=refuse)
    result = run(migration(tmp_path, source, "u1", there, "u1"), expect=3)
    assert len(asked) > 16
    assert [set(each.flags) for each in there.folders[b"INBOX"].messages.values()] == [{"\\Seen", "\\Flagged"}] * 9
    assert result.report["losses"] == []


class TestARunThatCannotReplay:
    """What was archived is kept and reported, and why nothing arrived."""

    @pytest.fixture
    def source(self, scripted: Scripted) -> ScriptedServer:
        return scripted({b"INBOX": held(range(1, 4)), b"All": held(range(40, 42))})

    @pytest.mark.parametrize("steps", ["run", "replay"])
    @pytest.mark.parametrize("how", ["login", "down"])
    def test_is_reported(
        self, scripted: Scripted, source: ScriptedServer, tmp_path: Path, how: str, steps: Literal["run", "replay"]
    ) -> None:
        there = destination(scripted)
        config = migration(tmp_path, source, "u1", there, "u1", destination__attempts=1)
        run(config, steps="archive")
        there.login_reply = b"NO [AUTHENTICATIONFAILED] no"
        if how == "down":
            there.stop()
        result = run(config, expect=5, steps=steps)
        (failure,) = result.report["failures"]
        assert (failure["folder"], failure["step"]) == (None, "replay")
        assert failure["reason"] in result.output
        assert result.total("stored") == (5,)
        assert result.report["totals"]["destination"]["pending"] == 5

    def test_as_its_folders_have_no_place(self, scripted: Scripted, source: ScriptedServer, tmp_path: Path) -> None:
        there = destination(scripted)
        there.folders = {**there.folders, b"All": ScriptedFolder(9, attributes=("\\All",))}
        config = migration(tmp_path, source, "u1", there, "u1")
        result = run(config, expect=2)
        (failure,) = result.report["failures"]
        assert "add it to [folders] exclude, or give it another name in [folders.rename]" in failure["reason"]
        assert (result.report["status"], result.total("stored")) == ("failed", (5,))
        assert not any(each.startswith((b"CREATE", b"APPEND", b"SUBSCRIBE")) for each in there.commands)

    def test_is_no_reason_to_take_a_name_for_done(
        self, scripted: Scripted, source: ScriptedServer, tmp_path: Path
    ) -> None:
        config = migration(tmp_path, source, "u1", destination(scripted), "u1")
        run(config, steps="archive", run_id="night")
        assert run(config, run_id="night").report["totals"]["destination"]["replayed"] == 5


def test_a_keyword_that_was_refused_stays_listed_when_other_flags_change(
    scripted: Scripted, tmp_path: Path
) -> None:
    def refuse(message: Appended) -> bytes | None:
        return b"NO APPEND Invalid flag list" if "NonJunk" in message.flags else None

    source = scripted({b"INBOX": held(range(1, 4), "NonJunk")})
    there = destination(scripted, refuse=refuse)
    config = migration(tmp_path, source, "u1", there, "u1")
    loss = {"folder": "INBOX", "kind": "flags", "detail": "NonJunk", "count": 3, "uids": "1:3"}
    assert run(config).report["losses"] == [loss]
    source.folders[b"INBOX"].mark(2, ["NonJunk", "\\Seen"])
    assert run(config).report["losses"] == [loss]
    assert [each.flags for each in there.folders[b"INBOX"].messages.values()] == [(), ("\\Seen",), ()]


def test_an_answer_to_append_that_does_not_end_is_noticed(scripted: Scripted, tmp_path: Path) -> None:
    source = scripted({b"INBOX": held(range(1, 4))})
    there = destination(scripted)
    there.on(b"APPEND", lambda _, tag, __: b"* OK still here\r\n" * 20_000 + tag + b" OK done\r\n")
    config = migration(tmp_path, source, "u1", there, "u1", destination__attempts=1)
    assert "the server's answer does not end" in run(config, expect=5).output


REWRITES: Mapping[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda octets: octets[:60], "cut"),
    "empty": (lambda _: b"", "cut"),
    "relayed": (lambda octets: b"Received: from a by b\r\n" + octets, "rewritten"),
    "without 8-bit octets": (lambda octets: octets.decode().encode("ascii", "replace") + b"?", "rewritten"),
    "replaced": (lambda _: b"Subject: removed\r\n\r\nA virus was removed.\r\n", "rewritten"),
    "with another Message-ID": (lambda octets: octets.replace(b"<", b"<x"), "rewritten"),
    "without Status": (lambda octets: octets.replace(b"Status: RO\r\n", b""), "rewritten"),
}
"""What a server does to a message that it stores, and the loss that is then listed."""


def multipart(parts: int) -> bytes:
    """A message with so many parts."""
    header = b"Message-ID: <parts-%d@example.com>\r\nMIME-Version: 1.0\r\n"
    header += b"Content-Type: multipart/mixed; boundary=b\r\n"
    body = b"".join(b"--b\r\nContent-Type: text/plain\r\n\r\npart %d\r\n" % part for part in range(parts))
    return header % parts + b"\r\n" + body + b"--b--\r\n"


class TestMessagesThatAreShownOtherwise:
    """They are there once and stay so; nothing is hidden, and a person can end it."""

    def test_courier_shows_one_with_many_parts_cut_off(
        self, dovecot: Dovecot, mail_user: str, courier: Courier, tmp_path: Path
    ) -> None:
        user, sent = courier.fresh_user(), [multipart(parts) for parts in (299, 300, 1000)]
        dovecot.append_many(mail_user, "INBOX", [Append(each, (), "02-Jan-2020 00:00:00 +0000") for each in sent])
        config = migration(tmp_path, dovecot, mail_user, courier, user)
        for result in (run(config, expect=4), run(config, expect=4)):
            cut = [(each["uid"], each["expected"], each["found"]) for each in result.report["differences"]]
            assert [uid for uid, *_ in cut] == [2, 3]
            for (_, expected, found), size in zip(cut, (len(sent[1]), len(sent[2])), strict=True):
                assert expected == f"{size:,} bytes, and these were sent"
                assert re.fullmatch(r"[\d,]+ bytes: the server shows only the beginning of the message", found)
            assert f"`archiver retry --accept {config}`" in result.report["differences"][0]["next"]

        result = run(config, retry="accept")
        assert counts(result, "already_there", "verified", "accepted", "differences") == (3, 1, 2, 0)
        for name in ("status", "report"):
            assert "2 accepted" in command(name, config).output
        assert "2 more accepted" in command("verify", config, "--deep").output
        command("rebuild", config)
        renumber(courier, user)
        result = run(config)
        assert counts(result, "replayed", "already_there", "accepted") == (0, 3, 2)
        assert len(courier.dump(user)[b"INBOX"].messages) == 3

    @pytest.mark.parametrize("how", REWRITES)
    def test_are_not_sent_again_when_the_folder_gets_other_uids(
        self, scripted: Scripted, tmp_path: Path, how: str
    ) -> None:
        """Messages 1 to 6 are altered; 5 and 6 have no Message-ID, and 6 equals 5."""
        rewrite, kind = REWRITES[how]
        folder = held(range(1, 13))
        for number in range(1, 7):
            octets = b"Status: RO\r\n" + mail(min(number, 5), body="é", message_id=number < 5)
            folder.messages[number].octets = octets
        altered = {each.octets for uid, each in folder.messages.items() if uid <= 6}
        source = scripted({b"INBOX": folder})
        there = destination(scripted, rewrite=lambda octets: rewrite(octets) if octets in altered else octets)
        config = migration(tmp_path, source, "u1", there, "u1")
        run(config, expect=None)
        for _ in range(2):
            run(config, retry="accept")
            there.folders[b"INBOX"].uidvalidity += 1
            run(config, expect=None)
        result = run(config, retry="accept")
        assert len(there.appended) == 12
        assert {each["kind"] for each in result.report["losses"]} == {kind}
        assert counts(result, "already_there", "differences") == (12, 0)

    @pytest.mark.parametrize("retry", ["due", "accept"])
    def test_one_that_is_shown_whole_later_is_no_difference(
        self, scripted: Scripted, tmp_path: Path, retry: str
    ) -> None:
        source = scripted({b"INBOX": held(range(1, 4))})
        there = destination(scripted, rewrite=lambda octets: octets[:60])
        config = migration(tmp_path, source, "u1", there, "u1")
        run(config, expect=4)
        run(config, expect=None, retry=retry)
        for uid, message in there.folders[b"INBOX"].messages.items():
            message.octets = mail(uid)
        assert counts(run(config), "already_there", "differences") == (3, 0)

    @pytest.mark.parametrize("size", [0, 7_777_777, b"NIL"])
    def test_a_wrong_size_of_right_bytes_is_no_difference(
        self, scripted: Scripted, tmp_path: Path, size: int | bytes
    ) -> None:
        def lie(folder: ScriptedFolder, _: object) -> None:
            for message in folder.messages.values():
                message.size = size

        source = scripted({b"INBOX": held(range(1, 4))})
        source.folders[b"INBOX"].messages[2].octets = mail(2, message_id=False)
        there = destination(scripted, after=lie)
        config = migration(tmp_path, source, "u1", there, "u1")
        for _ in range(2):
            result = run(config)
            assert counts(result, "verified", "differences") == (3, 0)
            there.folders[b"INBOX"].uidvalidity += 1
        assert len(there.appended) == 3


def counts(result: RunResult, *names: str) -> tuple[int, ...]:
    """These numbers of the destination, summed."""
    return tuple(result.report["totals"]["destination"][name] for name in names)


def renumber(server: Courier, user: str) -> None:
    """Make Courier give the messages of INBOX other UIDs, with another UIDVALIDITY."""
    (server.root / "home" / user / "Maildir" / "courierimapuiddb").unlink()
