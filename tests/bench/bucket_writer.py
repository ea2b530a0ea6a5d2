"""`python -m tests.bench.bucket_writer WAY MESSAGES OCTETS`: put messages into a bucket, in a process of its own.

The endpoint comes by BENCH_URL and BENCH_BUCKET, the credentials by boto3's own variables. Prints one line of JSON:
seconds, requests that were sent, and the most memory that was in use, in octets.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from archiver.config.settings import S3Settings
from archiver.journal.recorder import BATCH_MESSAGES
from archiver.mail.content import body_of
from archiver.mail.model import Body, Placement, StoredMessage
from archiver.storage.bucket.prefetch import SMALL_OCTETS
from archiver.storage.s3.open import open_bucket
from tests.recorded_packs import RecordedPacks

THREADS = 16
CONNECTIONS = 2  # of the server that the mail comes from

Messages = Callable[[int, int], Iterator[bytes]]
"""Gives the messages from a number on, up to another."""


def messages_of(octets: int) -> Messages:
    """Messages of so many octets that compress to about half, as text does; each is another one."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(4000)]
    text = " ".join(chance.choices(words, k=200_000)).encode()

    def messages(first: int, last: int) -> Iterator[bytes]:
        for number in range(first, last):
            header = b"Subject: message %d\r\nMessage-ID: <%d@example.org>\r\n\r\n" % (number, number)
            at = number * 7919 % (len(text) - octets)
            yield header + text[at : at + octets - len(header)]

    return messages


def _placement(uid: int, body: Body) -> Placement:
    return Placement("", 7, 1, StoredMessage.bare(uid, body.digest, body.size, body.crlf_size, 0))


def bare_loop(messages: Messages, count: int, threads: int) -> None:
    """boto3's put_object and nothing else."""
    import boto3
    from botocore.config import Config

    config = Config(
        s3={"addressing_style": "path"}, request_checksum_calculation="when_required", max_pool_connections=threads
    )
    client = boto3.client("s3", endpoint_url=os.environ["BENCH_URL"], region_name="us-east-1", config=config)

    def put(first: int) -> None:
        for number, octets in enumerate(messages(first, first + count // threads)):
            client.put_object(Bucket=os.environ["BENCH_BUCKET"], Key=f"bare/{first + number}", Body=octets)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(put, range(0, count, count // threads)))


def store(messages: Messages, count: int, below: int, client: Literal["auto", "boto3"] = "boto3") -> None:
    """The archive's store with journal and catalog, in batches, as the connections of a run write it."""
    settings = S3Settings(bucket=os.environ["BENCH_BUCKET"], endpoint_url=os.environ["BENCH_URL"], client=client)
    bucket = open_bucket(settings, "alice", None)
    with tempfile.TemporaryDirectory(prefix="archiver-bench-") as directory:
        archive = RecordedPacks(bucket, Path(directory))
        opened = archive.open(below, connections=THREADS)
        starts, taking = iter(range(0, count, BATCH_MESSAGES)), threading.Lock()

        def work(_: int) -> None:
            batch = opened.batch()
            while True:
                with taking:
                    first = next(starts, None)
                if first is None:
                    return
                for uid, octets in enumerate(messages(first, min(count, first + BATCH_MESSAGES)), first + 1):
                    body = body_of(octets)
                    batch.put(_placement(uid, body), body)
                batch.commit()

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(work, range(CONNECTIONS)))
        archive.catalog.close()
    bucket.close()


WAYS: Mapping[str, Callable[[Messages, int], None]] = {
    "put_object": lambda messages, count: bare_loop(messages, count, 1),
    f"put_object, {THREADS} threads": lambda messages, count: bare_loop(messages, count, THREADS),
    "objects": lambda messages, count: store(messages, count, 0),
    "objects, fast-s3": lambda messages, count: store(messages, count, 0, "auto"),
    "packs": lambda messages, count: store(messages, count, SMALL_OCTETS),
}


def counted() -> Sequence[object]:
    """Grows by one with each request that boto3 sends, and with each that obstore is asked for."""
    import obstore
    from botocore.httpsession import URLLib3Session

    sent: list[object] = []
    send: Any = URLLib3Session.send

    def count(self: Any, request: Any) -> Any:
        sent.append(None)
        return send(self, request)

    put: Any = obstore.put

    def count_put(*arguments: Any, **keys: Any) -> Any:
        sent.append(None)
        return put(*arguments, **keys)

    URLLib3Session.send = count
    obstore.put = count_put
    return sent


def main(way: str, count: str, octets: str) -> None:
    """Measure one way."""
    messages = messages_of(int(octets))
    sent = counted()
    began = time.perf_counter()
    WAYS[way](messages, int(count))
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "requests": len(sent), "memory": memory}))


if __name__ == "__main__":
    main(*sys.argv[1:])
