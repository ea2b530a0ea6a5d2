"""moto's S3 in this process: quick, everywhere, and more obliging than any real server.

It checks neither signatures nor Content-MD5 nor a wrong checksum, hands out SSE-C objects without their key and
lets a COMPLIANCE lock be shortened. It keeps checksums, tags, storage classes and the locks of single puts, and has
conditional writes, of which two simultaneous ones may both succeed. Its own: a put with a lock must bring
Content-MD5 or x-amz-sdk-checksum-algorithm.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.s3_endpoint import Endpoint


@contextmanager
def serving() -> Iterator[Endpoint]:
    """A server of one's own; buckets are shared by all servers in the process."""
    from moto.server import ThreadedMotoServer  # here, as all tests load this module

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it logs each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield Endpoint(f"http://127.0.0.1:{port}", "moto", "secret of moto", atomic=False)
    finally:
        server.stop()
