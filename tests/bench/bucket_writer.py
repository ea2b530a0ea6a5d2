"""`python -m tests.bench.bucket_writer MESSAGES OCTETS THREADS`: boto3's put_object in a bare loop.

The endpoint comes by BENCH_URL and BENCH_BUCKET, the credentials by boto3's own variables.
"""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor


def main(count: int, octets: int, threads: int) -> None:
    """Put so many objects, each of the same size and another content."""
    import boto3
    from botocore.config import Config

    config = Config(
        s3={"addressing_style": "path"}, request_checksum_calculation="when_required", max_pool_connections=threads
    )
    client = boto3.client("s3", endpoint_url=os.environ["BENCH_URL"], region_name="us-east-1", config=config)
    noise = random.Random(1).randbytes(octets)

    def put(number: int) -> None:
        body = number.to_bytes(8) + noise[8:]
        client.put_object(Bucket=os.environ["BENCH_BUCKET"], Key=f"bare/{number}", Body=body)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(put, range(count)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
