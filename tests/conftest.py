"""Fixtures of all tests: real servers where they can run, and the places a test may write to.

A server that cannot run is reported by its name: as a failure in CI (the variable `CI` is set), where nothing
may go untested unseen, and as a skip elsewhere.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from archiver.config import secrecy
from tests.servers import moto_server, s3_endpoint
from tests.servers import radosgw as ceph
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.corpora import CorpusMessage, corpus_messages
from tests.servers.courier import Courier
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.postgresql import Postgresql
from tests.servers.pymap_server import PymapServer
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_proxy import S3Proxy
from tests.servers.scripted import ScriptedFolder, ScriptedServer

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("without a deadline", deadline=None)
hypothesis.settings.load_profile("without a deadline")

# An assertion that fails in one of these shows its values, as it does in a test's own module.
pytest.register_assert_rewrite(
    "tests.accounts", "tests.buckets", "tests.contracts", "tests.exported", "tests.faults", "tests.pipelines"
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the tests that last longest, so that none of them is still running when all others have ended.

    Each worker begins with an equal share of the list and takes from the end of another's when its own is done. So
    the long ones stand at the beginnings of the shares, the longest alone at the first.
    """
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    lasting = {item: mark.args[0] for item in items if (mark := item.get_closest_marker("lasts"))}
    long = sorted(lasting, key=lambda item: -lasting[item])
    others = [item for item in items if item not in lasting]
    shares = [long[:1], *(long[1 + n :: workers - 1] for n in range(workers - 1))] if workers > 1 else [long]
    left = len(items)
    items.clear()
    for number, share in enumerate(shares):
        size = left // (workers - number)
        more = max(0, size - len(share))
        items += [*share, *others[:more]]
        del others[:more]
        left -= size
    items += others


def _require(missing: str | None) -> None:
    if missing is None:
        return
    if os.environ.get("CI"):
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A good, an expired and an untrusted certificate for localhost; trust `certificates.good.ca` alone."""
    _require(None if shutil.which("openssl") else "openssl: not installed (.ci/install-servers installs it)")
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def dovecot(certificates: Certificates) -> Iterator[Dovecot]:
    """One Dovecot for the whole session; take a `mail_user` of your own."""
    _require(Dovecot.missing())
    with Dovecot(certificate=certificates.good) as server:
        yield server


@pytest.fixture(scope="session")
def plain_dovecot(dovecot: Dovecot, certificates: Certificates) -> Iterator[Dovecot]:
    """A Dovecot that offers IMAP4rev1 alone."""
    extra = "protocol imap {\n  imap_capability = IMAP4rev1\n}"
    with Dovecot(certificate=certificates.good, extra=extra) as server:
        yield server


@pytest.fixture
def dovecot_with(certificates: Certificates) -> Iterator[Callable[..., Dovecot]]:
    """Start a Dovecot of this test's own: `dovecot_with(process_limit=3, extra=...)`."""
    _require(Dovecot.missing())
    with ExitStack() as stack:

        def start(**options: Any) -> Dovecot:
            return stack.enter_context(Dovecot(**{"certificate": certificates.good, **options}))

        yield start


@pytest.fixture(scope="session")
def pop3_dovecot(certificates: Certificates) -> Iterator[Dovecot]:
    """A Dovecot that speaks POP3, too; take a `pop3_dovecot.fresh_user()`."""
    _require(Dovecot.missing())
    with Dovecot(certificate=certificates.good, pop3=True) as server:
        yield server


@pytest.fixture
def mail_user(dovecot: Dovecot) -> str:
    """The name of a user on `dovecot` that no test has used, with an empty INBOX and the password "pw"."""
    return dovecot.fresh_user()


@pytest.fixture(scope="session")
def cyrus(certificates: Certificates) -> Iterator[Cyrus]:
    """One Cyrus for the whole session, with folders like `a/b`; take a `cyrus.fresh_user()`."""
    _require(Cyrus.missing())
    with Cyrus(certificate=certificates.good) as server:
        yield server


@pytest.fixture
def cyrus_with(certificates: Certificates) -> Iterator[Callable[..., Cyrus]]:
    """Start a Cyrus of this test's own: `cyrus_with(altnamespace=False, unixhierarchysep=False)`."""
    _require(Cyrus.missing())
    with ExitStack() as stack:

        def start(**options: Any) -> Cyrus:
            return stack.enter_context(Cyrus(**{"certificate": certificates.good, **options}))

        yield start


@pytest.fixture(scope="session")
def courier(certificates: Certificates) -> Iterator[Courier]:
    """One Courier for the whole session, with folders like `INBOX.a.b`; take a `courier.fresh_user()`."""
    _require(Courier.missing())
    with Courier(certificates.good) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """One PostgreSQL for the whole session; take a `postgresql.fresh_database()`."""
    _require(Postgresql.missing())
    with Postgresql() as server:
        yield server


@pytest.fixture
def own_postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL of this test's own, which it may kill."""
    _require(Postgresql.missing())
    with Postgresql() as server:
        yield server


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedServer]]:
    """Start scripted servers: `scripted({b"INBOX": ScriptedFolder(...)}, capabilities=MINIMAL)`."""
    with ExitStack() as stack:

        def start(folders: Mapping[bytes, ScriptedFolder] | None = None, **options: Any) -> ScriptedServer:
            return stack.enter_context(ScriptedServer(folders, **options))

        yield start


@pytest.fixture
def pymap() -> Iterator[PymapServer]:
    """A pymap of this test's own, with the users alice, bob and carol, password "secret"."""
    _require(PymapServer.missing())
    with PymapServer() as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[Callable[..., FaultProxy]]:
    """Start fault proxies: `proxy(dovecot.port, stall_after=1000)`."""
    with ExitStack() as stack:

        def start(port: int, **settings: Any) -> FaultProxy:
            return stack.enter_context(FaultProxy(("127.0.0.1", port), **settings))

        yield start


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[RadosGateway]:
    """One radosgw for the whole run, all its workers; take a `radosgw.http.fresh_bucket()`."""
    _require(ceph.missing())
    own = tmp_path_factory.getbasetemp()
    with ceph.shared(own if worker_id == "master" else own.parent) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def moto() -> Iterator[Endpoint]:
    """An in-process S3 server that checks neither signatures nor checksums; take a `moto.fresh_bucket()`."""
    with moto_server.serving() as endpoint:
        yield endpoint


@pytest.fixture(params=["radosgw", "moto"])
def s3(request: pytest.FixtureRequest) -> Endpoint:
    """One after the other: what must hold has to hold on each. What https changes is tested where it is named."""
    endpoint: Endpoint
    if request.param == "moto":
        endpoint = request.getfixturevalue("moto")
    else:
        gateway: RadosGateway = request.getfixturevalue("radosgw")
        endpoint = gateway.http
    return endpoint


@pytest.fixture
def s3_proxy() -> Iterator[Callable[..., S3Proxy]]:
    """Start proxies that count and break requests: `s3_proxy(radosgw.http, latency=0.02)`."""
    with ExitStack() as stack:

        def start(behind: Endpoint, **settings: Any) -> S3Proxy:
            return stack.enter_context(S3Proxy(behind, **settings))

        yield start


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Callable[[Endpoint], None]:
    """Let what runs from now on, in this process and in those it starts, find a user's credentials: `aws(s3)`."""

    def give(endpoint: Endpoint) -> None:
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)

    return give


@pytest.fixture
def gateway(radosgw: RadosGateway, aws: Callable[[Endpoint], None]) -> Endpoint:
    """The radosgw over http, with its owner's credentials, for whole archives: what differs between endpoints is
    tried where buckets and stores are."""
    aws(radosgw.http)
    return radosgw.http


@pytest.fixture
def aws_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """The same by a file with a profile of that name: `aws_profile(archive=s3)`; returns the file."""

    def give(**endpoints: Endpoint) -> Path:
        credentials = tmp_path / "aws-credentials"
        credentials.write_text("\n".join(endpoint.profile(name) for name, endpoint in endpoints.items()))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
        return credentials

    return give


@pytest.fixture(scope="session")
def corpora() -> list[CorpusMessage]:
    """The messages of the public corpora. They are not part of the project: where they are absent the tests that
    ask for them are reported as not run, in CI too."""
    messages = corpus_messages()
    if not messages:
        pytest.skip("mail corpora: not at hand (MAIL_CORPORA names their directory)")
    return messages


@pytest.fixture(autouse=True)
def _secrets_of_this_test_alone() -> Iterator[None]:
    """What one test keeps as a secret, such as "plain", is a word in the output of the next one."""
    kept = secrecy._kept.copy()
    yield
    for key in secrecy._kept.keys() - kept.keys():
        secrecy._index.remove(secrecy._kept[key])
    for key in kept.keys() - secrecy._kept.keys():
        secrecy._index.add(kept[key])
    secrecy._kept.clear()
    secrecy._kept.update(kept)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing may find the configuration of the person who runs the tests."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, s3_endpoint.no_credentials(home / "aws"):
        patch.setenv("HOME", str(home))
        for name in ("LUIGI_CONFIG_PATH", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
            patch.delenv(name, raising=False)
        yield
