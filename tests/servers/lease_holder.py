"""A machine that holds the lease of a bucket's archive and writes its journal, with one command per line.

`python -m tests.servers.lease_holder URL CA_FILE BUCKET PLACE TTL` answers each line of its input with one of its
output: `take` with the fence or "locked"; `append` with the segment's number; `release` with "released". `write`
appends again and again, and ends with the exit code of what stopped it.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

from archiver.config.tables.s3 import S3Settings
from archiver.errors import ArchiverError, Locked
from archiver.facts.archive import FenceFact
from archiver.journal.bucket import BucketJournal
from archiver.mail.model import Digest
from archiver.storage.bucket.lease import Claimant, Lease, kept, take
from archiver.storage.s3.bucket import BotoBucket

AT = "2026-11-24T07:00:00Z"


class Holder:
    """One machine, only its `place` distinguishes it from others."""

    def __init__(self, bucket: BotoBucket, place: str, ttl: float) -> None:
        self._bucket, self._ttl = bucket, ttl
        self._claimant = Claimant("run", place, os.getpid(), place, AT)
        self._held = ExitStack()

    def take(self) -> str:
        """Take the lease, and catch up."""
        try:
            lease = take(self._bucket, self._claimant, BucketJournal(self._bucket).last_fence, ttl=self._ttl)
        except Locked:
            return "locked"
        self._lease: Lease = self._held.enter_context(kept(lease))
        self._journal = BucketJournal(self._bucket, lease)
        self._after = (0, Digest(""))
        for segment in self._journal.read(self._after):
            self._after = segment.number, segment.digest
        if lease.fence_pending:
            self.append()
        return str(lease.fence)

    def append(self) -> str:
        """Write a segment."""
        fact = FenceFact(self._lease.fence, self._claimant.host, "run", AT)
        segment = self._journal.append(self._claimant.place, [fact], self._after)
        self._after = segment.number, segment.digest
        return str(segment.number)

    def release(self) -> str:
        """Give the lease back."""
        self._held.close()
        return "released"


def main(url: str, ca_file: str, name: str, place: str, ttl: str) -> int:
    """Do what is asked until the input ends."""
    settings = S3Settings(bucket=name, endpoint_url=url, ca_file=Path(ca_file) if ca_file else None)
    holder = Holder(BotoBucket(settings, "alice", None), place, float(ttl))
    try:
        for line in sys.stdin:
            word = line.strip()
            print(getattr(holder, "append" if word == "write" else word)(), flush=True)
            while word == "write":
                holder.append()
    except ArchiverError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
