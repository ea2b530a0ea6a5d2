"""Archives that version 0.3.0 made, one of each store: opened, run, verified, rebuilt, replayed; reports are read.

`tests/archives_of_0_3_0/make.py` says what is in them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from archiver.config.load import load_account
from archiver.facts.codec import fact_from_json, fact_to_json
from pipelines.cli.main import invoke
from pipelines.cli.rebuild import rebuild_account
from pipelines.cli.verify import VerifyOptions, verify_accounts
from tests.accounts import account_file, archive_of, archive_state, mail, run
from tests.archives_of_0_3_0.make import (
    HERE,
    KEYS,
    STORES,
    mailbox,
    next_day,
    read,
    there,
    written,
)
from tests.buckets import bucket_account, forget_locally
from tests.faults.replays import destination, scripted_mailbox
from tests.servers.s3_endpoint import Endpoint
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

QUARANTINED = 6
REFUSED = 11
LATER_FIELDS = {"destination": ',"port":null', "mapped": ',"subscribed":null', "pass": ',"shown":null'}
"""What the lines of a later version add to those of 0.3.0, at their end."""


@dataclass
class Old:
    """An archive of 0.3.0 at its source, which is where 0.3.0 left it, and at its destination."""

    config: Path
    source: ScriptedServer
    there: ScriptedServer
    in_bucket: bool
    configured: Callable[[ScriptedServer], Path]
    """The account file for another destination."""

    @property
    def digests(self) -> dict[bytes, dict[int, str]]:
        """What the archive must hold of each folder: uid → digest."""
        return {
            raw: {
                uid: hashlib.sha256(message.octets).hexdigest()
                for uid, message in folder.messages.items()
                if (raw, uid) != (b"INBOX", QUARANTINED)
            }
            for raw, folder in self.source.folders.items()
        }

    def assert_whole(self) -> None:
        """All octets are read: in the archive, and of every copy at the destination."""
        (outcome,) = verify_accounts([load_account(self.config)], VerifyOptions(deep=True), lambda *_: None)
        assert outcome.exit_code == 3, outcome.message  # the destination refused one
        assert outcome.result is not None
        assert outcome.result.archive.checked == outcome.result.archive.messages
        found = outcome.result.archive
        assert not [*found.missing, *found.damaged, *found.strays]
        assert (outcome.result.archive.journal, outcome.result.archive.catalog) == (None, None)
        assert outcome.result.destination is not None
        assert not outcome.result.destination.differences
        state = archive_state(archive_of(self.config))
        assert {raw: state.digests(raw) for raw in self.source.folders} == self.digests


@pytest.fixture(params=STORES)
def old(request: pytest.FixtureRequest, tmp_path: Path, aws: Callable[[Endpoint], None]) -> Iterator[Old]:
    layout = STORES[request.param]
    with tarfile.open(HERE / f"{request.param}.tar.xz") as tar:
        tar.extractall(tmp_path, filter="tar")
    held = read(json.loads((tmp_path / "destination.json").read_text()))
    folders = mailbox()
    next_day(folders)
    with ExitStack() as stack:
        source, server = stack.enter_context(ScriptedServer(folders)), stack.enter_context(there(held))
        bucket = endpoint = None
        if layout is not None:
            endpoint = request.getfixturevalue("moto")
            aws(endpoint)
            bucket = endpoint.fresh_bucket()
            for path in sorted((tmp_path / "bucket").rglob("*")):
                if path.is_file():
                    key = path.relative_to(tmp_path / "bucket").as_posix()
                    endpoint.put(bucket, f"u1/{key}", path.read_bytes())

        def configured(to: ScriptedServer) -> Path:
            keys = {**destination(tmp_path, to, "u1"), **KEYS}
            if endpoint is None:
                return account_file(tmp_path, source, "u1", **keys)
            return bucket_account(tmp_path, source, "u1", endpoint, bucket, s3={"layout": layout}, **keys)

        yield Old(configured(server), source, server, layout is not None, configured)


def test_its_report_is_read(old: Old, capsys: pytest.CaptureFixture[str]) -> None:
    kept = json.loads((archive_of(old.config) / "runs" / "second" / "report.json").read_text())
    assert invoke(["report", str(old.config), "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)["accounts"]
    assert shown["document"] == kept
    assert invoke(["report", str(old.config), "--run", "first"]) == 0
    assert "run first" in capsys.readouterr().out


def test_a_run_brings_what_is_new_and_nothing_else(old: Old) -> None:
    old.assert_whole()
    before = written(old.there.folders)
    new = ScriptedMessage(mail(13), ("\\Seen", "new-word"), "04-Jan-2020 00:00:00 +0000")
    old.source.folders[b"INBOX"].add(new)

    result = run(old.config, expect=3)

    assert result.total("on_server", "stored", "fetched", "quarantined") == (16, 15, 1, 1)
    there = result.report["totals"]["destination"]
    assert [there[name] for name in ("replayed", "already_there", "refused", "removed", "pending")] == [
        1,
        12,
        1,
        1,
        0,
    ]
    assert (there["verified"], there["differences"]) == (13, 0)
    assert result.balanced
    before[0]["messages"].append([before[0]["uidnext"], new.octets.decode(), new.flags, new.internaldate])
    before[0]["uidnext"] += 1
    assert _plain(written(old.there.folders)) == _plain(before)
    old.assert_whole()

    assert run(old.config, expect=3).total("fetched", "flags_changed", "vanished") == (0, 0, 0)
    assert _plain(written(old.there.folders)) == _plain(before)


def _plain(folders: list[dict[str, object]]) -> object:
    """Without the difference of a tuple and a list, and flags in any order."""
    for folder in folders:
        for message in folder["messages"]:  # type: ignore[attr-defined]
            message[2] = sorted(message[2])
    return json.loads(json.dumps(folders))


def test_is_rebuilt_from_store_and_journal(old: Old) -> None:
    before = archive_state(archive_of(old.config))
    if old.in_bucket:
        forget_locally(old.config)
    else:
        (archive_of(old.config) / "catalog.sqlite").unlink()
    outcome = rebuild_account(load_account(old.config), lambda *_: None)
    assert outcome.exit_code == 0, outcome.message
    assert archive_state(archive_of(old.config)) == before
    old.assert_whole()
    assert run(old.config, expect=3).total("fetched", "stored") == (0, 14)


def test_is_replayed_to_another_destination(old: Old) -> None:
    with there({b"INBOX": ScriptedFolder(9)}) as another:
        result = run(old.configured(another), expect=3, destination_is="new")
        replayed = scripted_mailbox(another)

    expected = scripted_mailbox(old.source, lambda octets: octets.replace(b"\0", b""))
    for number in (QUARANTINED, REFUSED):
        octets = old.source.folders[b"INBOX"].messages[number].octets
        digest = hashlib.sha256(octets).hexdigest()
        expected[b"INBOX"] = Counter({each: n for each, n in expected[b"INBOX"].items() if each[0] != digest})
    assert replayed == expected
    assert result.report["totals"]["destination"]["replayed"] == 13
    assert [each["uid"] for each in result.report["failures"] if each["step"] == "replay"] == [REFUSED]


@pytest.mark.parametrize("store", STORES)
def test_every_line_of_its_journal_is_written_again_octet_for_octet(store: str) -> None:
    lines = []
    with tarfile.open(HERE / f"{store}.tar.xz") as tar:
        for member in tar:
            if member.name.endswith(".jsonl.gz"):
                file = tar.extractfile(member)
                assert file is not None
                lines += gzip.decompress(file.read()).decode("ascii").splitlines()[1:]
    kinds = {json.loads(line)["fact"] for line in lines}
    assert len(lines) > 70
    assert len(kinds) >= 18
    for line in lines:
        later = LATER_FIELDS.get(json.loads(line)["fact"], "")
        assert fact_to_json(fact_from_json(line)) == line.removesuffix("}") + later + "}"
