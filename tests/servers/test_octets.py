"""Every octet: what the server gives is what is in the archive, whatever it is.

Dovecot keeps mail with LF, so what it gives is compared with what an independent reader gets of it, and with what
was appended where its line ends were CRLF. What Dovecot alters on its own (NUL, bare LF) is tried on servers that
keep it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, assert_whole, run
from tests.servers.corpora import CorpusMessage, corpus_messages
from tests.servers.dovecot import Dovecot
from tests.servers.pymap_server import PymapServer
from tests.servers.scripted import MINIMAL, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.wire import Append

MEGABYTE = 1 << 20
_NOISE = random.Random(7).randbytes(57 * 1000)


def digest_of(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def noise(size: int) -> bytes:
    """CRLF lines of any octets but NUL, CR and LF."""
    line = bytes(octet for octet in _NOISE if octet not in b"\0\r\n")[:998] + b"\r\n"
    return (line * (size // len(line) + 1))[: size - 2] + b"\r\n"


ODD = {
    "a bare CR": b"Subject: a\rb\r\n\r\none\rtwo\r\rthree\r\n",
    "a header line of 200 kB": b"Subject: x\r\nX-Long: " + b"y" * 200_000 + b"\r\n\r\nbody\r\n",
    "a body line of 300 kB": b"Subject: x\r\n\r\n" + b"z" * 300_000 + b"\r\n",
    "8-bit headers": "Subject: Grüße\r\nFrom: é@x\r\n\r\n".encode("latin-1") + "Ærø 日本語\r\n".encode(),
    "every octet but NUL": b"Subject: x\r\n\r\n" + bytes(n for n in range(1, 256) if n not in b"\r\n") + b"\r\n",
    "no final newline": b"Subject: x\r\n\r\nno end",
    "no body": b"Subject: x\r\n\r\n",
    "no blank line": b"Subject: x\r\n",
    "no header": b"\r\nonly a body\r\n",
    "one octet": b"x",
    "nothing but line ends": b"\r\n" * 500,
    "what looks like the protocol": b"* 1 FETCH (BODY[] {5}\r\nhello)\r\nA1 OK done\r\n)\r\n{3}\r\nabc)\r\n",
    "dots and From": b"From x Mon Jan  1 00:00:00 2018\r\nSubject: x\r\n\r\n.\r\n..\r\nFrom y\r\n>From z\r\n",
    "blanks at the ends of lines": b"Subject: x  \r\n \t\r\nbody \t \r\n  \r\n",
}
ALTERED_BY_DOVECOT = {
    "a bare CR at the end": b"Subject: x\r\n\r\nend\r",
    "CR before CRLF": b"Subject: x\r\n\r\none\r\r\ntwo\r\n",
    "NUL": b"Subject: a\0b\r\n\r\n\0\0\r\n\0",
    "bare LF": b"Subject: x\n\nunix\nlines\n",
    "LF, CR and CRLF": b"Subject: x\r\n\nmixed\rlines\r\n\n\r\r\n",
    "LF CR": b"\n\r\n\r\n\r",
}
ALTERED_BY_PYMAP = {"no blank line", "what looks like the protocol"}  # it drops the last octet of a mere header


def unaltered(octets: bytes) -> bool:
    """Whether Dovecot gives back a message with CRLF line ends as it took it."""
    return b"\0" not in octets and b"\r\r\n" not in octets and not octets.endswith(b"\r")


def same_octets(config: Path, served: Mapping[int, str], folder: bytes = b"INBOX") -> None:
    """The archive's files, its catalog and the server have the same digests under the same UIDs."""
    state = assert_whole(archive_of(config))
    assert state.digests(folder) == served
    assert sorted(file.digest for file in state.files.values()) == sorted(served.values())


@pytest.fixture
def corpora_if_any() -> list[CorpusMessage]:
    """The public corpora, where a copy lies at hand; they only add to what is tried."""
    return corpus_messages()


class TestDovecot:
    def test_gives_odd_messages_and_they_are_kept(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        server.append_many(user, "INBOX", [Append(octets) for octets in ODD.values()])
        config = account_file(tmp_path, server, user)
        assert run(config).total("fetched", "stored") == (len(ODD), len(ODD))
        served = {uid: message.digest for uid, message in server.dump(user)[b"INBOX"].messages.items()}
        assert served == {uid: digest_of(octets) for uid, octets in enumerate(ODD.values(), 1)}
        same_octets(config, served)

    def test_gives_what_it_makes_of_others_and_that_is_kept(
        self, server: Dovecot, user: str, tmp_path: Path
    ) -> None:
        altered = [octets for octets in ALTERED_BY_DOVECOT.values() if b"\0" not in octets]  # test_nul_octets.py
        server.append_many(user, "INBOX", [Append(octets) for octets in altered])
        config = account_file(tmp_path, server, user)
        run(config)
        same_octets(config, {n: each.digest for n, each in server.dump(user)[b"INBOX"].messages.items()})

    def test_gives_a_message_of_60_mb(self, dovecot: Dovecot, mail_user: str, tmp_path: Path) -> None:
        large, small = b"Subject: large\r\n\r\n" + noise(60 * MEGABYTE), ODD["8-bit headers"]
        for octets in (small, large, small):
            dovecot.append(mail_user, "INBOX", octets)
        config = account_file(tmp_path, dovecot, mail_user)
        assert run(config).total("fetched_bytes") == (len(large) + 2 * len(small),)
        same_octets(config, {1: digest_of(small), 2: digest_of(large), 3: digest_of(small)})
        assert list((archive_of(config) / "spool").glob("*")) == []

    @pytest.mark.parametrize("line_ends", ["as they are", "CRLF"])
    def test_gives_the_corpora(self, dovecot: Dovecot, mail_user: str, corpora: list[CorpusMessage], tmp_path: Path,
                               line_ends: str) -> None:  # fmt: skip
        originals = [each.octets for each in corpora if each.octets]
        if line_ends == "CRLF":
            originals = [octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for octets in originals]
        dovecot.append_many(mail_user, "INBOX", [Append(octets) for octets in originals])
        config = account_file(tmp_path, dovecot, mail_user)
        run(config)
        served = {uid: message.digest for uid, message in dovecot.dump(mail_user)[b"INBOX"].messages.items()}
        assert len(served) == len(originals)
        held = assert_whole(archive_of(config)).digests()
        with_nul = {uid: octets for uid, octets in enumerate(originals, 1) if b"\0" in octets}
        assert {uid: digest for uid, digest in held.items() if uid not in with_nul} == {
            uid: digest for uid, digest in served.items() if uid not in with_nul
        }
        true = {
            uid: digest_of(each.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")) for uid, each in with_nul.items()
        }
        assert all(held[uid] in (true[uid], served[uid]) for uid in with_nul)
        assert not with_nul or any(held[uid] == true[uid] for uid in with_nul)  # test_nul_octets.py says which
        if line_ends == "CRLF":
            whole = {uid: digest_of(octets) for uid, octets in enumerate(originals, 1) if unaltered(octets)}
            assert {uid: served[uid] for uid in whole} == whole


class TestServersThatAlterNothing:
    @pytest.mark.parametrize("capabilities", [None, MINIMAL], ids=["all extensions", "no extensions"])
    def test_a_scripted_one(
        self,
        scripted: Callable[..., ScriptedServer],
        corpora_if_any: list[CorpusMessage],
        capabilities: tuple[str, ...] | None,
        tmp_path: Path,
    ) -> None:
        octets = [*ODD.values(), *ALTERED_BY_DOVECOT.values(), b"", *(each.octets for each in corpora_if_any)]
        messages = {uid: ScriptedMessage(each) for uid, each in enumerate(octets, 1)}
        source = scripted(
            {b"INBOX": ScriptedFolder(7, messages)}, **({"capabilities": capabilities} if capabilities else {})
        )
        config = account_file(tmp_path, source, "u1")
        assert run(config).total("fetched", "quarantined") == (len(octets), 0)
        same_octets(config, {uid: digest_of(each) for uid, each in enumerate(octets, 1)})

    def test_pymap(self, pymap: PymapServer, tmp_path: Path) -> None:
        messages = {**ODD, **ALTERED_BY_DOVECOT}
        octets = [each for name, each in messages.items() if name not in ALTERED_BY_PYMAP]
        pymap.append_many("alice", "INBOX", [Append(each) for each in octets])
        served = {uid: message.digest for uid, message in pymap.dump("alice")[b"INBOX"].messages.items()}
        assert list(served.values()) == [digest_of(each) for each in octets]
        config = account_file(tmp_path, pymap, "alice")
        assert run(config).total("fetched", "quarantined") == (len(octets), 0)
        same_octets(config, served)
