"""A private Ceph on free ports, a monitor, one OSD in memory and the radosgw, for tests that need a real S3 server.

Version 16 neither keeps nor checks x-amz-checksum-*, but it does check Content-MD5 and the signed payload. An ETag
in quotes, as it gives it itself, does not match in If-Match. The lock headers of a multipart upload are lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.patience import PATIENCE
from tests.servers.certificates import make_certificates
from tests.servers.mail_server import free_port, temporary_root, wait
from tests.servers.s3_endpoint import Endpoint

_PROGRAMS = (
    "ceph",
    "ceph-authtool",
    "ceph-mon",
    "ceph-osd",
    "monmaptool",
    "openssl",
    "radosgw",
    "radosgw-admin",
    "setpriv",
)
_USERS = ("owner", "stranger", "guest")
_STARTS = 3
_POOLS = (
    ".rgw.root", "default.rgw.log", "default.rgw.control", "default.rgw.meta", "default.rgw.buckets.index",
    "default.rgw.buckets.data", "default.rgw.buckets.non-ec",
)  # fmt: skip

_CONFIG = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{monitor}
ms bind msgr1 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = {root}/keyring
paxos propose interval = 0.05
paxos min wait = 0.01
mon osd min up ratio = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 0
mon data avail warn = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 8G
osd max object name len = 1024
osd class load list = *
osd class default list = *
run dir = {root}
crash dir = {root}
admin socket = {root}/$name.asok
log file = {root}/$name.log
log to stderr = false
err to stderr = true
[mon.a]
mon data = {root}/mon
[osd.0]
osd data = {root}/osd
[client.rgw.a]
rgw data = {root}/rgw
rgw frontends = beast tcp_nodelay=1 endpoint=127.0.0.1:{port} ssl_endpoint=127.0.0.1:{tls_port} {tls}
rgw thread pool size = 64
rgw num rados handles = 1
rgw crypt require ssl = false
rgw enable apis = s3, admin
rgw override bucket index max shards = 1
rgw dynamic resharding = false
rgw enable usage log = false
rgw lc debug interval = -1
"""


@dataclass(frozen=True)
class RadosGateway:
    """A radosgw that runs. All buckets belong to the user of `http` and `https`; `stranger` may do nothing in them,
    `guest` what a bucket's policy lets it."""

    http: Endpoint
    https: Endpoint
    stranger: Endpoint
    guest: Endpoint

    def admit(self, bucket: str, *denied: str, under: str = "") -> Endpoint:
        """Let the guest do all in the bucket except the `denied` actions ("s3:PutObject", "s3:ListBucket"), and
        these only to keys that begin with `under` if they are about objects; returns the guest."""
        arn = f"arn:aws:s3:::{bucket}"
        everywhere = {"Principal": {"AWS": ["arn:aws:iam:::user/guest"]}, "Resource": [arn, f"{arn}/*"]}
        statements = [{"Effect": "Allow", "Action": ["s3:*"], **everywhere}]
        if denied:
            refused = {**everywhere, "Resource": [arn, f"{arn}/{under}*"]}
            statements.append({"Effect": "Deny", "Action": list(denied), **refused})
        policy = {"Version": "2012-10-17", "Statement": statements}
        self.http.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        return self.guest


def missing() -> str | None:
    """Why radosgw cannot run here, or None."""
    names = [name for name in _PROGRAMS if shutil.which(name) is None]
    return f"radosgw: not installed: {', '.join(names)} (.ci/install-servers installs it)" if names else None


@contextmanager
def shared(directory: Path) -> Iterator[RadosGateway]:
    """The radosgw of all processes that name this directory: the first starts it, and when the last has ended,
    however it ended, it ends too.

    A process of its own keeps it, and waits for a lock that each user holds a share of. The kernel gives a dead
    user's share back.
    """
    found, users = directory / "radosgw.json", directory / "radosgw.users"
    with (directory / "radosgw.start").open("w") as start, users.open("w") as share:
        fcntl.flock(start, fcntl.LOCK_EX)
        fcntl.flock(share, fcntl.LOCK_SH)  # waits for the end of one that is no longer used
        if not found.exists():
            _keep(directory)
        gateway = _read(found)
        fcntl.flock(start, fcntl.LOCK_UN)
        yield gateway


def _keep(directory: Path) -> None:
    """Start the keeper and wait until it has written what there is to know."""
    printed = directory / "radosgw.printed"
    with printed.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.radosgw", str(directory)], cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    found = directory / "radosgw.json"
    wait(lambda: found.exists() or keeper.poll() is not None, "radosgw to start", 120)
    if not found.exists():
        raise RuntimeError(f"radosgw did not start:\n{printed.read_text(errors='replace')}")
    keeper.returncode = 0  # it outlives this process; nothing waits for it


def _read(found: Path) -> RadosGateway:
    known = json.loads(found.read_text())
    ca = Path(known["ca"])
    owner, stranger, guest = (Endpoint(known["http"], user, secret(user)) for user in _USERS)
    return RadosGateway(owner, Endpoint(known["https"], owner.access_key, owner.secret_key, ca), stranger, guest)


def secret(user: str) -> str:
    """A user's secret key; the access key is the user's name."""
    return f"secret of {user}"


class Ceph:
    """The processes; a context manager. They are ended by the kernel when this process dies, however it dies."""

    def __enter__(self) -> Self:
        for attempt in range(1, _STARTS + 1):
            self.root, self._processes = temporary_root("rg"), list[subprocess.Popen[bytes]]()
            try:
                self._start()
                return self
            except BaseException:
                self.stop()
                if attempt == _STARTS:
                    raise
        raise AssertionError

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill all of it and remove its files; nothing in it is worth a clean end."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def _start(self) -> None:
        self.port, self.tls_port, monitor = free_port(), free_port(), free_port()
        certificate = make_certificates(self.root / "tls").good
        self.ca, fsid, osd = certificate.ca, str(uuid.uuid4()), str(uuid.uuid4())
        for name in ("mon", "osd", "rgw"):
            (self.root / name).mkdir()
        (self.root / "ceph.conf").write_text(_CONFIG.format(
            root=self.root, fsid=fsid, monitor=monitor, port=self.port, tls_port=self.tls_port,
            tls=f"ssl_certificate={certificate.certificate} ssl_private_key={certificate.key}",
        ))  # fmt: skip
        self._keyring()
        monmap = str(self.root / "monmap")
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{monitor}]", monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", f"{self.root}/keyring")
        self._launch("ceph-mon", "-i", "a")
        pools = [f"osd pool create {pool} 4 4\nosd pool application enable {pool} rgw" for pool in _POOLS]
        self._run("ceph", "--connect-timeout", "20", "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._launch("ceph-osd", "-i", "0")
        # NOTE: with pools made before there is an OSD, the radosgw waits for 5 s.
        self._run("ceph", reported="\n".join([*pools, ""]))
        self._launch("radosgw", "-n", "client.rgw.a")
        wait(self._answers, "radosgw to answer", 60)
        for user in _USERS:
            keys = (f"--access-key={user}", f"--secret-key={secret(user)}")
            create = ("user", "create", f"--uid={user}", f"--display-name={user}", *keys)
            self._run("radosgw-admin", "-n", "client.rgw.a", *create)

    def _keyring(self) -> None:
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
        for name in ("mon.", "client.admin", "client.rgw.a", "osd.0"):
            create = () if name != "mon." else ("--create-keyring",)
            self._run("ceph-authtool", f"{self.root}/keyring", *create, "--gen-key", "-n", name, *everything)

    def _run(self, *command: str, reported: str | None = None) -> None:
        config = ["-c", f"{self.root}/ceph.conf"] if command[0] not in ("ceph-authtool", "monmaptool") else []
        ended = subprocess.run(
            [command[0], *config, *command[1:]], input=reported, capture_output=True, text=True, timeout=PATIENCE
        )
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)}: {ended.stdout}{ended.stderr}")

    def _launch(self, program: str, *arguments: str) -> None:
        command = ["setpriv", "--pdeathsig", "KILL", program, "-c", f"{self.root}/ceph.conf", "-f", *arguments]
        self._processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))

    def _answers(self) -> bool:
        if any(process.poll() is not None for process in self._processes):
            raise RuntimeError("a process of Ceph has ended")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5):
            return True
        return False


def _main(directory: Path) -> None:
    """Run a Ceph as long as anyone holds a share of the lock."""
    found, new = directory / "radosgw.json", directory / "radosgw.new"
    with (directory / "radosgw.users").open() as users, Ceph() as ceph:
        known = {
            "http": f"http://127.0.0.1:{ceph.port}",
            "https": f"https://localhost:{ceph.tls_port}",
            "ca": str(ceph.ca),
            "keeper": os.getpid(),
        }
        new.write_text(json.dumps(known))
        new.rename(found)
        fcntl.flock(users, fcntl.LOCK_EX)
        found.unlink(missing_ok=True)


if __name__ == "__main__":
    _main(Path(os.fsdecode(sys.argv[1])))
