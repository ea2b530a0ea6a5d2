"""Certificates for the test servers: a good one, an expired one and one whose CA is unknown.

Made by the `openssl` command at each start, so that nothing in the repository can expire.
"""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE

_CONFIG = """
[ca]
default_ca = test
[test]
database = index.txt
new_certs_dir = .
serial = serial
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
prompt = no
[name]
CN = localhost
"""


@dataclass(frozen=True)
class Certificate:
    """A server's certificate and key; `ca` is what a client has to trust for it."""

    certificate: Path
    key: Path
    ca: Path

    def server_context(self) -> ssl.SSLContext:
        """For a server that shows this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this CA alone."""
        return ssl.create_default_context(cafile=str(self.ca))


@dataclass(frozen=True)
class Certificates:
    """All for localhost and 127.0.0.1. A client is meant to trust `good.ca` and nothing else."""

    good: Certificate
    expired: Certificate
    untrusted: Certificate


def make_certificates(directory: Path) -> Certificates:
    """Write two CAs and three server certificates to `directory`; takes about 0.1 s."""
    known, unknown = _authority(directory / "known"), _authority(directory / "unknown")
    good = _issue(known, "good", "20200101000000Z", "20491231235959Z")
    expired = _issue(known, "expired", "20200101000000Z", "20200201000000Z")
    untrusted = _issue(unknown, "untrusted", "20200101000000Z", "20491231235959Z")
    return Certificates(good, expired, untrusted)


def _authority(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "openssl.cnf").write_text(_CONFIG)
    (directory / "index.txt").touch()
    (directory / "serial").write_text("01\n")
    constraints = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
    subject = ["-subj", f"/CN=Test authority {directory.name}"]
    _openssl(directory, "req", "-x509", "-days", "3650", "-keyout", "ca.key", "-out", "ca.pem", *subject,
             *constraints, *_NEW_KEY)  # fmt: skip
    return directory


def _issue(authority: Path, name: str, start: str, end: str) -> Certificate:
    extensions = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    _openssl(authority, "req", "-new", "-keyout", f"{name}.key", "-out", f"{name}.csr", *extensions, *_NEW_KEY)
    _openssl(authority, "ca", "-batch", "-notext", "-cert", "ca.pem", "-keyfile", "ca.key", "-in", f"{name}.csr",
             "-out", f"{name}.pem", "-startdate", start, "-enddate", end)  # fmt: skip
    return Certificate(authority / f"{name}.pem", authority / f"{name}.key", authority / "ca.pem")


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "openssl.cnf")


def _openssl(directory: Path, command: str, *arguments: str) -> None:
    config = () if command == "x509" or "-config" in arguments else ("-config", "openssl.cnf")
    subprocess.run(
        ["openssl", command, *config, *arguments], cwd=directory, check=True, capture_output=True, timeout=PATIENCE
    )


def client_certificate(authority: Path, directory: Path, name: str) -> Certificate:
    """A client's certificate for the user `name`, signed by the authority in that directory."""
    key, request, certificate = (directory / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
    _openssl(authority, "req", "-new", "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}", *_NEW_KEY)
    _openssl(authority, "x509", "-req", "-in", str(request), "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
             "-days", "3650", "-out", str(certificate))  # fmt: skip
    return Certificate(certificate, key, authority / "ca.pem")
