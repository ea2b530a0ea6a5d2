"""A signal ends whatever works on a bucket that says nothing, within ten seconds, and gives the lease back."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from archiver.errors import TIME_IS_OVER, Interrupted, stopped_code
from pipelines import stop
from tests.accounts import archive_of, mails, run
from tests.buckets import bucket_account, root_of, s3_of
from tests.faults.attempts import ARCHIVER, Attempt, is_locked, to_the_end, wait_for
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import SLOW_DOWN, Fault, Request, Stall
from tests.servers.s3_proxy import S3Proxy, Which
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

SOON = ("-c", "from pipelines import stop; stop._BUCKET_SECONDS = 0.5; from pipelines.cli.main import main; main()")
"""The program, with less time for the batch that is under way."""

Proxied = Callable[..., S3Proxy]


@pytest.fixture
def server(scripted: Callable[..., ScriptedServer]) -> ScriptedServer:
    folder = ScriptedFolder()
    for each in mails(range(5)):
        folder.add(ScriptedMessage(each.octets))
    return scripted({b"INBOX": folder})


def of_messages(request: Request) -> bool:
    return "/messages/" in request.key or "/packs/" in request.key


def but_the_lease(request: Request) -> bool:
    return "/lease/" not in request.key and request.query.get("prefix", "").find("/lease/") < 0


def is_given_back(config: Path, gateway: Endpoint) -> bool:
    """Whether the newest lease says so."""
    bucket = s3_of(config).bucket
    newest = max(gateway.keys(bucket, f"{root_of(config)}lease/"))
    return json.loads(gateway.get(bucket, newest))["released"] is True


def ended(
    config: Path, proxy: S3Proxy, which: Which, fault: Fault, *, program: Sequence[str] = SOON,
    verb: str = "run", options: Sequence[str] = (), skip: int = 0, into: Sequence[Path] = (),
    number: int = signal.SIGTERM,
) -> None:  # fmt: skip
    """Signal the program when it waits for that; it must end in time."""
    proxy.on(which, fault, skip=skip, times=None)
    attempt = Attempt(config, *into, program=program, verb=verb, options=options)
    wait_for(lambda: proxy.faults > 0, "the fault")
    began = time.monotonic()
    attempt.signal(number)
    how = attempt.end()
    seconds = time.monotonic() - began
    assert (how.exit_code, seconds < 10) == (stopped_code(number), True), how.output
    assert "Traceback" not in how.output
    assert how.output.count(Interrupted(number).message) >= 1, how.output
    assert not is_locked(archive_of(config))
    proxy.clear()


@pytest.mark.parametrize(
    ("client", "fault", "number"),
    [
        ("boto3", Stall("answer"), signal.SIGTERM),
        ("boto3", SLOW_DOWN, TIME_IS_OVER),
        ("auto", Stall("request"), signal.SIGTERM),
    ],
)
def test_a_run_whose_messages_are_not_taken(
    server: ScriptedServer, gateway: Endpoint, s3_proxy: Proxied, tmp_path: Path,
    client: str, fault: Fault, number: int,
) -> None:  # fmt: skip
    proxy = s3_proxy(gateway)
    config = bucket_account(tmp_path, server, "u1", proxy.endpoint, s3={"client": client, "attempts": 20})

    ended(config, proxy, of_messages, fault, number=number)

    assert is_given_back(config, gateway)
    assert to_the_end(config).exit_code == 0


def test_a_run_at_an_endpoint_that_never_answers(
    server: ScriptedServer, gateway: Endpoint, s3_proxy: Proxied, tmp_path: Path
) -> None:
    """With the times that people have."""
    proxy = s3_proxy(gateway)
    config = bucket_account(tmp_path, server, "u1", proxy.endpoint)

    ended(config, proxy, None, Stall("request"), program=ARCHIVER, skip=6)

    proxy.clear()
    assert to_the_end(config, options=()).exit_code == 0


@pytest.mark.parametrize(
    ("verb", "options", "which", "leased"),
    [
        ("verify", ["--offline"], "ListObjectsV2", False),
        ("repair", ["--deep"], of_messages, True),
        ("gc", ["--delete"], but_the_lease, True),
        ("export", ["--to", "mbox"], of_messages, False),
    ],
)
def test_other_verbs(
    server: ScriptedServer, gateway: Endpoint, s3_proxy: Proxied, tmp_path: Path,
    verb: str, options: list[str], which: Which, leased: bool,
) -> None:  # fmt: skip
    proxy = s3_proxy(gateway)
    config = bucket_account(tmp_path, server, "u1", proxy.endpoint)
    run(config)
    proxy.clear()

    into = [tmp_path / "exported"] if verb == "export" else []
    ended(config, proxy, which, Stall("request"), verb=verb, options=options, into=into)

    assert is_given_back(config, gateway) or not leased


def test_the_times_leave_less_than_ten_seconds() -> None:
    assert stop._BUCKET_SECONDS < stop._END_SECONDS < 10
