"""A bucket that fails, at each single request and at random: a run ends well or says in one line why not, the next
one completes, and nothing is lost, doubled or altered. An archive that cannot be reached is not called damaged.

The layouts differ in how messages are written and read. So with packs it is each request for a pack that fails, and
all requests fail at random.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from archiver.account.export import ExportOptions
from archiver.config.load import load_account
from archiver.replay.send import prepare
from pipelines.cli.export import run_export
from pipelines.cli.rebuild import rebuild_account
from pipelines.cli.verify import VerifyOptions, verify_accounts
from pipelines.engine.run import Options, run_accounts
from tests.accounts import ArchiveState, account_file, archive_of, archive_state, mail, run
from tests.buckets import assert_bucket_whole, bucket_account, forget_locally
from tests.exported import held as exported
from tests.faults.attempts import Attempt
from tests.faults.replays import destination, mailbox_of, scripted_mailbox, settle_within
from tests.servers.dovecot import Dovecot
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import INTERNAL_ERROR, SLOW_DOWN, Request, Reset, Stall
from tests.servers.s3_proxy import S3Proxy
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

FAULTS = (
    INTERNAL_ERROR,
    SLOW_DOWN,
    Reset("request"),
    Reset("answer"),  # it was done, and the answer is lost
    Reset("upload", 10),
    Reset("download", 10),
)


class Ended(NamedTuple):
    """An exit code, and what was reported if it is not 0."""

    exit_code: int
    reported: str


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small groups and short pauses at the destination."""
    monkeypatch.setattr(prepare, "GROUP_MESSAGES", 10)
    settle_within(monkeypatch, 0.1)


@pytest.fixture
def s3(radosgw: RadosGateway, aws: Callable[[Endpoint], None]) -> Endpoint:
    aws(radosgw.http)
    return radosgw.http


@pytest.fixture
def through(s3: Endpoint, s3_proxy: Callable[..., S3Proxy]) -> S3Proxy:
    return s3_proxy(s3)


@pytest.fixture
def source() -> Iterator[ScriptedServer]:
    """Two folders of messages, some of them in both."""
    with ScriptedServer() as server:
        server.folders = {
            name: ScriptedFolder(100 + n, {uid: ScriptedMessage(mail(n * 3 + uid)) for uid in range(1, 6)})
            for n, name in enumerate((b"INBOX", b"Sent"))
        }
        yield server


@pytest.fixture(params=["objects", "packs"])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def account(
    directory: Path, source: ScriptedServer, endpoint: Endpoint, layout: str, bucket: str | None = None, /, *,
    attempts: int = 1, **keys: Any,
) -> Path:  # fmt: skip
    """With one attempt each failure is seen by the program, not by its first line of defence."""
    s3 = {"layout": layout, "attempts": attempts, "read_timeout": 2.0}
    return bucket_account(directory, source, "u1", endpoint, bucket, s3=s3, source__connections=1, **keys)


def to_its_end(config: Path, **options: Any) -> Ended:
    (outcome,) = run_accounts([load_account(config)], Options(**options), lambda _, __: None)
    assert outcome.exit_code is not None
    return Ended(outcome.exit_code, outcome.message or "")


def as_typed(config: Path) -> Ended:
    """A run of its own process; what was reported is the one line that names the bucket."""
    ended = Attempt(config).end()
    reported = [line for line in ended.stderr.splitlines() if "s3://" in line and "began a new archive" not in line]
    assert (len(reported), "Traceback" in ended.output) == (int(ended.exit_code > 0), False), ended.output
    return Ended(ended.exit_code, reported[0].partition("u1: ")[2] if reported else "")


def assert_clear(ended: Ended) -> None:
    """It came to its end; or one line says that the bucket failed, and what next."""
    exit_code, reported = ended
    if exit_code != 0:
        assert (exit_code, "\n" in reported) == (75 if "asks to slow down" in reported else 5, False), ended
        assert reported.startswith("s3://"), reported
        assert "; " in reported, reported


def is_struck(layout: str) -> Callable[[Request], bool]:
    """Whether a request is among those that fail one after the other."""
    return lambda request: layout == "objects" or "/packs/" in request.key + request.query.get("prefix", "")


def at_each_request(proxy: S3Proxy, layout: str, act: Callable[[], Ended]) -> Iterator[Ended]:
    """Act again and again, each time with a fault at the next request, until none is left for it."""
    chance, struck = random.Random(f"{layout} {act.__name__}"), is_struck(layout)
    for number in itertools.count():
        proxy.on(struck, chance.choice(FAULTS), skip=number)
        ended = act()
        came = sum(map(struck, proxy.requests)) > number
        proxy.clear()
        assert_clear(ended)
        yield ended
        if not came:
            assert (ended.exit_code, number > (3 if layout == "objects" else 0)) == (0, True), ended
            return


def afresh(directory: Path, source: ScriptedServer) -> ArchiveState:
    """What a new archive of the source holds, on a disk."""
    config = account_file(directory / "afresh", source, "u1")
    run(config)
    return archive_state(archive_of(config))


class TestEachRequestFails:
    def test_of_a_run(
        self, source: ScriptedServer, s3: Endpoint, through: S3Proxy, tmp_path: Path, layout: str
    ) -> None:
        """Before each run there is something new, something else read and something gone."""
        config, inbox = account(tmp_path, source, through.endpoint, layout), source.folders[b"INBOX"]
        run(config)

        def change_and_run() -> Ended:
            inbox.expunge([min(inbox.messages)])
            inbox.mark(max(inbox.messages) - 3, ["\\Flagged"])
            inbox.add(*(ScriptedMessage(mail(1000 + max(inbox.messages) + n)) for n in range(2)))
            return to_its_end(config)

        through.clear()
        for _ in at_each_request(through, layout, change_and_run):
            assert run(config).balanced
            through.clear()
        held = assert_bucket_whole(config, s3)
        assert held.present.messages == afresh(tmp_path, source).present.messages
        assert held.uids(present=False) + inbox.uids == list(range(1, max(inbox.messages) + 1))

    @pytest.mark.lasts(50)
    def test_of_a_replay(
        self, source: ScriptedServer, s3: Endpoint, through: S3Proxy, dovecot: Dovecot, tmp_path: Path, layout: str
    ) -> None:
        """Each time to another new user, to whom each message comes once."""
        bucket, expected = s3.fresh_bucket(), scripted_mailbox(source)

        def to_a_new_user() -> Path:
            keys = destination(tmp_path, dovecot, dovecot.fresh_user())
            return account(tmp_path, source, through.endpoint, layout, bucket, **keys)

        config = to_a_new_user()
        run(config, steps="archive")
        through.clear()
        asked = {"steps": "replay", "destination_is": "new"}
        for _ in at_each_request(through, layout, lambda: to_its_end(to_a_new_user(), **asked)):
            run(config, **asked)
            assert mailbox_of(dovecot, user_at_destination(config)) == expected
            through.clear()

    def test_of_a_verify_a_rebuild_and_an_export(
        self, source: ScriptedServer, through: S3Proxy, tmp_path: Path, layout: str
    ) -> None:
        """None takes silence for damage, none leaves half a catalog, and an export that ends well is whole."""
        config, paths = account(tmp_path, source, through.endpoint, layout), itertools.count()
        run(config)
        settings, state = load_account(config), archive_state(archive_of(config))

        def verify() -> Ended:
            (outcome,) = verify_accounts([settings], VerifyOptions(deep=True), report_to_no_one)
            return Ended(outcome.exit_code, outcome.message)

        def rebuild() -> Ended:
            forget_locally(config)
            outcome = rebuild_account(settings, report_to_no_one)
            return Ended(outcome.exit_code, outcome.message)

        def export() -> Ended:
            path = tmp_path / f"export-{next(paths)}"
            outcome = run_export(settings, ExportOptions("eml", path), report_to_no_one)
            if outcome.exit_code == 0:
                assert exported(path) == scripted_mailbox(source)
            assert (path / "export.json").exists() == (outcome.exit_code == 0)
            return Ended(outcome.exit_code, outcome.message)

        through.clear()
        acts = (verify, rebuild, export) if layout == "objects" else (verify, export)  # a rebuild reads no packs
        for act in acts:
            for ended in at_each_request(through, layout, act):
                if act is rebuild and ended.exit_code == 0:
                    assert archive_state(archive_of(config)) == state
        run(config)
        assert archive_state(archive_of(config)) == state


def report_to_no_one(_: str, __: object) -> None:
    pass


def user_at_destination(config: Path) -> str:
    there = load_account(config).destination
    assert there is not None
    return there.user


class TestRequestsFailAtRandom:
    """One in eight; with two attempts of each some get through and some do not."""

    @pytest.mark.parametrize("seed", range(2))
    def test_of_whole_runs(
        self, source: ScriptedServer, s3: Endpoint, through: S3Proxy, dovecot: Dovecot, mail_user: str,
        tmp_path: Path, layout: str, seed: int,
    ) -> None:  # fmt: skip
        """From the first look at the bucket on; archived, replayed and compared."""
        keys = destination(tmp_path, dovecot, mail_user)
        config = account(tmp_path, source, through.endpoint, layout, attempts=2, **keys)
        through.at_random(f"{layout} {seed}", 0.12, *FAULTS, Stall("answer"))
        ended = Ended(75, "")
        while ended.exit_code or through.faults < 10:
            assert through.faults < 200
            source.folders[b"INBOX"].add(ScriptedMessage(mail(1000 + through.faults)))
            ended = as_typed(config)
            assert_clear(ended)
        through.clear()
        run(config)
        assert assert_bucket_whole(config, s3).messages == afresh(tmp_path, source).messages
        assert mailbox_of(dovecot, mail_user) == scripted_mailbox(source)
