"""Every octet, through a bucket in both layouts and back out; nothing is fetched again if local files are lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.account.export import ExportOptions
from archiver.config.load import load_account
from pipelines.cli.export import run_export
from tests.accounts import mail, report, run
from tests.buckets import assert_bucket_whole, bucket_account, forget_locally, lease_has_run_out, objects_of
from tests.exported import held as exported
from tests.faults.memory import watched
from tests.faults.replays import Mailbox, destination, scripted_mailbox
from tests.servers.corpora import CorpusMessage, corpus_messages
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.scripted import DESTINATION, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.test_octets import ALTERED_BY_DOVECOT, ODD, digest_of, noise
from tests.servers.vast_destination import VastDestination
from tests.servers.vast_server import Mail, VastServer

MEGABYTE = 1 << 20
SIZES = (0, 1, 2, 4095, 65_536, MEGABYTE - 1, MEGABYTE, MEGABYTE + 1, 8 * MEGABYTE, 9 * MEGABYTE + 5)
MESSAGE = 200_000_000
LIMIT = 200
"""What a run may hold at its worst, all its processes together, in MB."""


@pytest.fixture(params=["objects over https", "packs over http"])
def endpoint(request: pytest.FixtureRequest, radosgw: RadosGateway, aws: Callable[[Endpoint], None]) -> Endpoint:
    s3 = radosgw.https if request.param.endswith("https") else radosgw.http
    aws(s3)
    return s3


@pytest.fixture
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["endpoint"].partition(" ")[0])


@pytest.fixture
def every_message(layout: str) -> list[bytes]:
    """Odd ones, of odd sizes, and the public corpora where a copy lies at hand: all in packs, where they are
    neighbours; as objects one in seven, since test_pack_store.py has all of them."""
    sized = [noise(size)[:size] for size in SIZES]
    corpora: list[CorpusMessage] = corpus_messages()[:: 7 if layout == "objects" else 1]
    return [*ODD.values(), *ALTERED_BY_DOVECOT.values(), *sized, *(each.octets for each in corpora)]


@pytest.mark.lasts(20)
def test_every_message_is_as_it_was_there_and_back(
    scripted: Callable[..., ScriptedServer],
    endpoint: Endpoint,
    layout: str,
    every_message: list[bytes],
    tmp_path: Path,
) -> None:
    """In between every local file is lost; what was fetched is not fetched again, but replayed and exported."""
    messages = {uid: ScriptedMessage(octets) for uid, octets in enumerate(every_message, 1)}
    source = scripted({b"INBOX": ScriptedFolder(7, messages)})
    there = scripted({b"INBOX": ScriptedFolder()}, writable=True, capabilities=DESTINATION)
    keys = destination(tmp_path, there, "u1")
    config = bucket_account(tmp_path, source, "u1", endpoint, s3={"layout": layout}, **keys)

    assert run(config, steps="archive").total("fetched", "quarantined") == (len(every_message), 0)
    held = assert_bucket_whole(config, endpoint)
    assert held.digests() == {uid: digest_of(octets) for uid, octets in enumerate(every_message, 1)}
    assert any(key.startswith("packs/") for key in objects_of(config, endpoint)) == (layout == "packs")

    forget_locally(config)
    lease_has_run_out(config, endpoint)
    before = len(source.commands)
    new = source.folders[b"INBOX"].add(*(ScriptedMessage(mail(number)) for number in range(3)))
    assert run(config, expect=3).total("fetched", "stored") == (3, len(every_message) + 3)
    fetched = [command for command in source.commands[before:] if b"BODY.PEEK[]" in command]
    assert [command.split(b" ")[2] for command in fetched] == [b"%d:*" % new[0]]
    expected = scripted_mailbox(source)
    assert export_of(config, tmp_path / "export") == expected
    empty = [each for each in expected[b"INBOX"] if each[0] == digest_of(b"")]
    assert len(empty) == 1
    del expected[b"INBOX"][empty[0]]  # no destination takes it
    assert scripted_mailbox(there) == expected


def export_of(config: Path, path: Path) -> Mailbox:
    outcome = run_export(load_account(config), ExportOptions("eml", path), lambda _, __: None)
    assert outcome.exit_code == 0, outcome.message
    return exported(path)


def test_a_message_of_two_hundred_megabytes(
    radosgw: RadosGateway, aws: Callable[[Endpoint], None], tmp_path: Path
) -> None:
    """It is never in memory: neither on its way into the bucket nor out of it."""
    aws(radosgw.http)
    with VastServer(Mail(large=MESSAGE)) as source, VastDestination() as there:
        config = bucket_account(
            tmp_path, source, "u1", radosgw.http, s3={"layout": "packs"}, **destination(tmp_path, there, "u2")
        )
        into = watched("archive", config)
        assert (into.exit_code, report(tmp_path / "archive")["totals"]["fetched"]) == (0, 1), into.output
        out = watched("replay", config)
        assert out.exit_code == 0, out.output
    assert [each.size for each in there.messages] == [MESSAGE]
    ((key, octets),) = ((k, o) for k, o in objects_of(config, radosgw.http).items() if k.startswith("messages/"))
    assert (len(octets), hashlib.sha256(octets).hexdigest()) == (MESSAGE, key[-68:-4])
    assert max(into.peak, out.peak) < LIMIT
    assert list((tmp_path / "archive" / "spool").iterdir()) == []
