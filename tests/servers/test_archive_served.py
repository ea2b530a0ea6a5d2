"""The archive as others use it: served by a second Dovecot, and made by the bare `luigi` command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, assert_whole, command, mail, mails, report, run
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import TINY, GeneratedAccount, generate
from tests.servers.served import ServedFolder

LUIGI = ("-m", "luigi", "--module", "pipelines", "ArchiveAccount", "--local-scheduler", "--config")


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> GeneratedAccount:
    return generate(tmp_path_factory.mktemp("generated"), TINY)


def instants(folder: ServedFolder) -> dict[int, tuple[str, frozenset[str], datetime]]:
    """Digest, flags and date by UID; servers may give a date in another zone."""
    return {
        uid: (
            message.digest,
            message.flags - {"\\Recent"},
            datetime.strptime(message.internaldate.strip(), "%d-%b-%Y %H:%M:%S %z").astimezone(UTC),
        )
        for uid, message in folder.messages.items()
    }


def subscribed(server: Dovecot, user: str) -> set[bytes]:
    with server.wire(user) as wire:
        rows = wire.command('LSUB "" "*"')
        wire.logout()
    return {row.line.split(b' "', 2)[-1] for row in rows}


class TestACopyOfTheArchive:
    @pytest.fixture
    def second(self, dovecot_with: Callable[..., Dovecot]) -> Dovecot:
        """A Dovecot that serves Maildir++ with escaped names, as docs/formats.md describes."""
        return dovecot_with(
            extra="mail_location = maildir:~/Maildir\nmail_plugins = listescape\n"
            'plugin {\n  listescape_char = "\\\\"\n}\nprotocol imap {\n  mail_plugins = listescape\n}'
        )

    def test_is_served_as_the_source_serves_it(
        self, dovecot: Dovecot, mail_user: str, second: Dovecot, generated: GeneratedAccount, tmp_path: Path
    ) -> None:
        dovecot.install(mail_user, generated.home)
        dovecot.subscribe(mail_user, "Sent", "Archive/2019", "日本語", "Lists/dovecot.users")
        config = account_file(tmp_path, dovecot, mail_user)
        run(config)
        dovecot.append_many(mail_user, "Sent", mails([1, 2]))
        dovecot.expunge(mail_user, "INBOX", [min(dovecot.dump(mail_user)[b"INBOX"].messages)])
        run(config)
        shutil.copytree(archive_of(config) / "Maildir", tmp_path / "home" / "Maildir")
        second.install("u1", tmp_path / "home")
        source, copy = dovecot.dump(mail_user), second.dump("u1")
        assert source.keys() == copy.keys()
        for raw, folder in source.items():
            assert (raw, copy[raw].uidvalidity, copy[raw].uidnext) == (raw, folder.uidvalidity, folder.uidnext)
            assert instants(copy[raw]) == instants(folder), raw
        assert subscribed(second, "u1") == subscribed(dovecot, mail_user)


class TestTheLuigiCommand:
    def test_makes_the_same_archive(self, dovecot: Dovecot, mail_user: str, generated: GeneratedAccount,
                                    tmp_path: Path) -> None:  # fmt: skip
        dovecot.install(mail_user, generated.home)
        ours = account_file(tmp_path / "ours", dovecot, mail_user)
        theirs = account_file(tmp_path / "theirs", dovecot, mail_user)
        command("run", ours)
        command(theirs, program=LUIGI)
        assert report(archive_of(theirs))["status"] == "complete"
        assert report(archive_of(theirs))["totals"] == report(archive_of(ours))["totals"]
        assert assert_whole(archive_of(theirs)) == assert_whole(archive_of(ours))

    def test_with_the_same_run_id_does_nothing_more(self, dovecot: Dovecot, mail_user: str, tmp_path: Path) -> None:
        dovecot.append(mail_user, "INBOX", mail(1))
        config = account_file(tmp_path, dovecot, mail_user)
        command(config, "--run-id", "nightly", program=LUIGI)
        dovecot.append(mail_user, "INBOX", mail(2))
        logins = dovecot.logins(mail_user)
        command(config, "--run-id", "nightly", program=LUIGI)
        assert dovecot.logins(mail_user) == logins
        command(config, "--run-id", "next", program=LUIGI)
        assert report(archive_of(config))["totals"]["fetched"] == 1

    def test_writes_a_report_when_it_fails(self, dovecot: Dovecot, mail_user: str, tmp_path: Path) -> None:
        dovecot.append(mail_user, "INBOX", mail(1))
        config = account_file(tmp_path, dovecot, mail_user)
        run(config)
        before = assert_whole(archive_of(config))
        (tmp_path / f"{mail_user}.password").write_text("Xyzzy-4711\n")
        done = command(config, program=LUIGI, expect=None)
        reported = report(archive_of(config))
        assert (reported["status"], reported["exit_code"]) == ("failed", 5)
        assert "Xyzzy" not in done.output
        assert assert_whole(archive_of(config)) == before
        (tmp_path / f"{mail_user}.password").write_text("pw\n")
        assert run(config).report["status"] == "complete"
