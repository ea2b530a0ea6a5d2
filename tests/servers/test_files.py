"""Mail that lies in files as an account's source: into an archive, and from there to real servers."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import invoke
from tests.accounts import account_file, archive_of, archive_state, assert_whole, run
from tests.faults.replays import destination
from tests.mail_files import MBOXES, maildir, on_the_wire, single_files, tarred, zipped
from tests.servers.corpora import CorpusMessage
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import MailServer


def files_account(directory: Path, path: Path, **keys: Any) -> Path:
    """An account file whose source are the files at `path`."""
    none = dict.fromkeys(
        ("source__host", "source__port", "source__tls", "source__user", "source__password", "source__attempts")
    )
    server: Any = type("Nobody", (), {"host": "", "port": 0})
    values = {**none, "source__protocol": "files", "source__path": str(path), **keys}
    return account_file(directory, server, "alice", **values)


def digests(messages: Sequence[bytes]) -> Counter[str]:
    return Counter(hashlib.sha256(each).hexdigest() for each in messages)


def held(config: Path, folder: bytes = b"INBOX") -> Counter[str]:
    return Counter(archive_state(archive_of(config)).digests(folder).values())


def served(server: MailServer, user: str, folder: bytes = b"INBOX") -> Counter[str]:
    return Counter(each.digest for each in server.dump(user)[folder].messages.values())


def unaltered(corpora: Sequence[CorpusMessage]) -> list[bytes]:
    """The messages that a server gives back as it got them: not those with NUL or a CR that ends no line, nor an
    empty one, which it refuses."""
    odd = re.compile(rb"\0|\r(?!\n)")
    return [each.octets for each in corpora if each.octets and not odd.search(each.octets)]


FORMS: dict[str, Callable[[Path, Sequence[bytes]], Path]] = {
    "maildir": maildir,
    "eml": single_files,
    "zip": lambda path, them: zipped(path.with_suffix(".zip"), {f"m/{n}.eml": each for n, each in enumerate(them)}),
    "tar": lambda path, them: tarred(path.with_suffix(".tgz"), {f"{n}.eml": each for n, each in enumerate(them)}),
    **{
        dialect: lambda path, them, write=write: (
            path.with_suffix(".spool").write_bytes(write(them)),
            path.with_suffix(".spool"),
        )[1]  # type: ignore[misc]
        for dialect, write in MBOXES.items()
    },
}


class TestTheCorpora:
    @pytest.mark.parametrize("form", FORMS)
    def test_arrive_at_dovecot(
        self, corpora: list[CorpusMessage], dovecot: Dovecot, mail_user: str, tmp_path: Path, form: str
    ) -> None:
        messages = unaltered(corpora)
        place = FORMS[form](tmp_path / "mail", messages)
        config = files_account(tmp_path, place, **destination(tmp_path, dovecot, mail_user))
        result = run(config)
        folder = b"m" if form == "zip" else b"INBOX"
        assert sum(held(config, folder).values()) == len(messages)
        assert served(dovecot, mail_user, folder) == held(config, folder)
        if form not in MBOXES:
            assert held(config, folder) == digests([on_the_wire(each) for each in messages])
        assert result.balanced
        assert_whole(archive_of(config))
        assert invoke(["verify", str(config), "--deep", "--quiet"]) == 0
        again = run(config)
        assert again.total("fetched", "vanished", "flags_changed") == (0, 0, 0)
        assert again.report["totals"]["destination"]["replayed"] == 0
