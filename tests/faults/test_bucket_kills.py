"""kill -9 while an archive in a bucket is written, then one run to the end: the same archive as if nothing had
happened.

The moments are requests to the bucket, not seconds: the process ends between two of them, with the request lost, or
done and never answered. After some of the kills every local file is lost too, so that another machine goes on.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.accounts import ArchiveState, account_file, archive_of, archive_state, mail, run
from tests.buckets import (
    assert_bucket_whole,
    assert_nothing_altered,
    bucket_account,
    facts_of,
    forget_locally,
    lease_has_run_out,
)
from tests.faults.attempts import SMALLER_BATCHES, Attempt, is_locked, wait_for
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import During, Request
from tests.servers.s3_proxy import S3Proxy
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer, Session
from tests.servers.scripted_mail import uids_in

Aws = Callable[[Endpoint], None]
Layout = Literal["objects", "packs"]
Uid = tuple[bytes, int, int]
"""A message's folder, uidvalidity and uid."""

KILLS_IN_A_STATE = 4
MACHINES_LOST = 0.3


def messages(first: int, count: int, *, message_id: bool = True) -> list[ScriptedMessage]:
    return [
        ScriptedMessage(mail(number, message_id=message_id), ("\\Seen",) if number % 3 else ())
        for number in range(first, first + count)
    ]


def new_account(server: ScriptedServer) -> None:
    """Four folders; some messages are in two of them."""
    large = [ScriptedMessage(mail(90, body=f"{n:70}\r\n" * 20_000)) for n in range(2)]
    contents = {
        b"INBOX": messages(0, 30),
        b"Sent": [*messages(100, 18), *messages(0, 5), *large],
        b"R&-D/deeper": messages(200, 12),
        b"Archive": messages(300, 10, message_id=False),
    }
    server.folders = {
        name: ScriptedFolder(100 + number, dict(enumerate(each, 1)))
        for number, (name, each) in enumerate(contents.items())
    }


def increment(server: ScriptedServer) -> None:
    """News, other flags, gaps, a folder more, and one less."""
    for uid in range(1, 13):
        server.folders[b"INBOX"].mark(uid, ["\\Flagged", "$again"])
    server.folders[b"INBOX"].add(*messages(400, 15))
    server.folders[b"Sent"].expunge(range(1, 8))
    server.folders[b"Later"] = ScriptedFolder(200, dict(enumerate([*messages(500, 10), *messages(0, 3)], 1)))
    del server.folders[b"R&-D/deeper"]


def new_uidvalidity(server: ScriptedServer) -> None:
    """Most is known again by its headers; what has no Message-ID is fetched again."""
    for name, uidvalidity in ((b"INBOX", 300), (b"Archive", 301)):
        old = server.folders[name].messages.values()
        again = dict(enumerate((replace(each, modseq=1) for each in old), 11))
        server.folders[name] = ScriptedFolder(uidvalidity, again)
    server.folders[b"INBOX"].add(*messages(600, 5))


STATES = (new_account, increment, new_uidvalidity)


@dataclass
class Source:
    """A scripted server that notes which messages' octets it was asked for."""

    server: ScriptedServer
    fetched: set[Uid] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.server.on(b"UID FETCH", self._note)

    def _note(self, line: bytes, _: bytes, session: Session) -> None:
        if (folder := session.folder) is not None and b"BODY.PEEK[]" in line:
            (name,) = (name for name, each in self.server.folders.items() if each is folder)
            uids = uids_in(line.split(b" ")[3], folder.uids)
            self.fetched |= {(name, folder.uidvalidity, uid) for uid in uids}

    def taken(self) -> set[Uid]:
        """What was asked for since this was called last."""
        fetched, self.fetched = self.fetched, set()
        return fetched


def recorded(config: Path, endpoint: Endpoint) -> set[Uid]:
    """The messages that the journal in the bucket has."""
    names, epochs, stored = dict[int, bytes](), dict[int, tuple[bytes, int]](), set[Uid]()
    for fact in facts_of(config, endpoint):
        match fact["fact"]:
            case "folder":
                names[fact["number"]] = fact["raw"].encode("latin-1")
            case "epoch":
                epochs[fact["number"]] = (names[fact["folder"]], fact["uidvalidity"])
            case "stored":
                stored.add((*epochs[fact["epoch"]], fact["uid"]))
    return stored


def is_of(*places: str) -> Callable[[Request], bool]:
    return lambda request: any(f"/{place}/" in request.key + request.query.get("prefix", "") for place in places)


MOMENTS = {
    "anything": lambda request: True,
    "the journal": is_of("journal"),
    "a segment": lambda request: request.method == "PUT" and is_of("journal")(request),
    "octets": is_of("messages", "packs"),
    "the lease": is_of("lease"),
}


@dataclass(frozen=True)
class Undisturbed:
    """What an archive holds in each state when nothing happens, what was fetched for it, and how often each kind of
    moment came."""

    states: tuple[ArchiveState, ...]
    fetched: tuple[set[Uid], ...]
    moments: tuple[dict[str, int], ...]


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    with ScriptedServer() as server:
        yield Source(server)


@pytest.fixture(scope="module")
def undisturbed(
    radosgw: RadosGateway, source: Source, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Layout], Undisturbed]:
    """Of a layout; found out once."""
    found: dict[Layout, Undisturbed] = {}

    def find(layout: Layout) -> Undisturbed:
        if layout not in found:
            found[layout] = find_out(radosgw.http, source, tmp_path_factory.mktemp(layout), layout)
        return found[layout]

    return find


def find_out(endpoint: Endpoint, source: Source, directory: Path, layout: Layout) -> Undisturbed:
    states, fetched, moments = [], [], []
    on_disk = account_file(directory / "disk", source.server, "u1", source__connections=1)
    with S3Proxy(endpoint) as proxy:
        config = account(directory, source, proxy.endpoint, layout)
        for change in STATES:
            change(source.server)
            run(on_disk)
            source.taken()
            proxy.clear()
            assert Attempt(config, program=SMALLER_BATCHES).end().exit_code == 0
            fetched.append(source.taken())
            states.append(assert_bucket_whole(config, endpoint))
            assert states[-1].messages == archive_state(archive_of(on_disk)).messages
            moments.append({name: sum(map(which, proxy.requests)) for name, which in MOMENTS.items()})
    return Undisturbed(tuple(states), tuple(fetched), tuple(moments))


def account(
    directory: Path, source: Source, endpoint: Endpoint, layout: Layout, *, versioned: bool = False, **keys: Any
) -> Path:
    bucket = endpoint.fresh_bucket(versioned=versioned)
    keys.setdefault("source__connections", 1)
    return bucket_account(directory, source.server, "u1", endpoint, bucket, s3={"layout": layout}, **keys)


@dataclass
class Kill:
    """Ends an attempt immediately; with `lost` the request that was under way is lost, too."""

    group: bool
    lost: bool = False
    attempt: Attempt | None = None

    def __call__(self) -> None:
        assert self.attempt is not None
        (os.killpg if self.group else os.kill)(self.attempt.pid, signal.SIGKILL)
        if self.lost:
            raise ConnectionResetError


def was_killed(config: Path, proxy: S3Proxy, chance: random.Random, moments: dict[str, int]) -> bool:
    """One attempt to kill at a random moment; whether it was killed, or ended before that."""
    name = chance.choice([name for name, times in moments.items() if times])
    kill = Kill(group=chance.random() < 0.5, lost=chance.random() < 0.3)
    # What earlier attempts have done is not done again, so that late moments may never come.
    skip = int(moments[name] * chance.random() ** 3) if chance.random() < 0.5 else chance.randrange(6)
    proxy.on(MOMENTS[name], During(kill, at=chance.choice(["request", "answer"])), skip=skip)
    kill.attempt = Attempt(config, program=SMALLER_BATCHES)
    ended = kill.attempt.end()
    proxy.clear()
    assert ended.exit_code in (0, -signal.SIGKILL), ended.output
    return ended.exit_code != 0


@pytest.mark.lasts(20)
@pytest.mark.parametrize("versioned", [False, True], ids=["plain", "versioned"])
@pytest.mark.parametrize("layout", ["objects", "packs"])
def test_killed_at_requests(
    radosgw: RadosGateway, aws: Aws, source: Source, undisturbed: Callable[[Layout], Undisturbed],
    s3_proxy: Callable[..., S3Proxy], tmp_path: Path, layout: Layout, versioned: bool,
) -> None:  # fmt: skip
    """Four of these make some forty kills. What the journal has by then is never fetched again."""
    aws(s3 := radosgw.http)
    expected, proxy = undisturbed(layout), s3_proxy(s3)
    chance, kills = random.Random(f"{layout} {versioned}"), 0
    config = account(tmp_path, source, proxy.endpoint, layout, versioned=versioned)
    for number, change in enumerate(STATES):
        change(source.server)
        source.taken()
        fetched, before = set[Uid](), recorded(config, s3)
        killed, attempts = True, 0
        while killed:
            attempts += 1
            if attempts <= KILLS_IN_A_STATE:
                killed = was_killed(config, proxy, chance, expected.moments[number])
            else:
                killed = run(config).exit_code != 0
            kills += killed
            taken = source.taken()
            assert taken & before == set()
            fetched, before = fetched | taken, recorded(config, s3)
            if killed and chance.random() < MACHINES_LOST:
                forget_locally(config)
                lease_has_run_out(config, s3)
        assert fetched == expected.fetched[number]
        assert assert_bucket_whole(config, s3) == expected.states[number]
    assert kills >= 6
    if versioned:
        assert_nothing_altered(config, s3)


@pytest.mark.parametrize("group", [False, True], ids=["the parent alone", "the whole group"])
def test_killed_with_two_accounts_side_by_side(
    radosgw: RadosGateway, aws: Aws, source: Source, undisturbed: Callable[[Layout], Undisturbed],
    s3_proxy: Callable[..., S3Proxy], tmp_path: Path, group: bool,
) -> None:  # fmt: skip
    """Each account is a forked worker. An orphan ends itself and gives the lock back."""
    aws(radosgw.http)
    expected, proxy, chance = undisturbed("objects"), s3_proxy(radosgw.http), random.Random(f"{group}")
    new_account(source.server)
    configs = [account(tmp_path / name, source, proxy.endpoint, "objects", name=name) for name in ("one", "two")]
    archives = [archive_of(config) for config in configs]
    for _ in range(5):
        kill = Kill(group=group)
        proxy.on(MOMENTS["a segment"], During(kill, at="answer"), skip=chance.randrange(3))
        kill.attempt = Attempt(*configs, program=SMALLER_BATCHES, options=["--workers", "2"])
        assert kill.attempt.end().exit_code == -signal.SIGKILL
        proxy.clear()
        wait_for(lambda: not any(map(is_locked, archives)), "the orphans to end")
    ended = Attempt(*configs, program=SMALLER_BATCHES, options=["--workers", "2"]).end()
    assert ended.exit_code == 0, ended.output
    assert [assert_bucket_whole(config, radosgw.http) for config in configs] == 2 * [expected.states[0]]
