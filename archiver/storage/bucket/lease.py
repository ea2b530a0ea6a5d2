"""The lease of an archive in a bucket: only one machine at a time writes, and one that was away too long stops.

Leases are numbered objects; the highest number holds the archive. A number is taken by creating its object, which
the endpoint allows only once, and it is never reused. Whether a lease has expired is decided by the endpoint's
clock alone, and whether ours is still valid by the time since its last renewal: no two clocks are ever compared.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from archiver.errors import ArchiverError, IntegrityError, Locked
from archiver.facts.records import from_record
from archiver.facts.segment import digest_of
from archiver.mail.folder_names import printable
from archiver.storage import ending
from archiver.storage.bucket.port import Bucket, ObjectFacts

FORMAT = "archiver-lease/1"
LEASES = "lease/"

#: How long a lease lasts after it was last renewed, by the endpoint's clock, in seconds.
TTL = 120.0

_MARGIN = 1 / 6  # of the ttl: for what is under way when it is looked at, and for clocks that tell whole seconds
_KEPT = 3600.0  # seconds: far longer than a lease lasts that nobody renews
_TRIES = 3
_LAST_REQUEST = 10.0
_KEY = re.compile(r"lease/(\d{8,})\.json")

Moment = tuple[float, ...]
"""One moment by several clocks of this machine, in seconds."""


class Claimant(Struct, frozen=True):
    """The process that wants to write. `place` identifies the archive's lock file on this machine since its boot: a
    process with the same `place` that holds the kernel's lock knows that no other such process is alive."""

    run: str
    host: str
    pid: int
    place: str
    since: str


class Written(Struct, frozen=True):
    """The contents of a lease's object."""

    fence: int
    claimant: Claimant
    ttl: float
    released: bool

    def octets(self) -> bytes:
        """One line of JSON."""
        record = {"format": FORMAT, "fence": self.fence, **to_builtins(self.claimant)}
        return json.dumps(record | {"ttl": self.ttl, "released": self.released}).encode("ascii") + b"\n"


def written(fence: int, octets: bytes) -> Written:
    """The contents of the object with that number. The holder of an unreadable one is unknown, so it must
    expire."""
    try:
        record = json.loads(octets)
        if record["format"] != FORMAT:
            raise ValueError
        ttl = float(record["ttl"])
        if not (math.isfinite(ttl) and ttl > 0):
            raise ValueError
        return Written(fence, from_record(Claimant, record), ttl, record["released"] is True)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return Written(fence, Claimant("?", "?", 0, "", "?"), TTL, False)


def moment() -> Moment:
    """Now: by the clock that also counts while the machine sleeps, and by the wall clock, the only one that counts
    while a virtual machine is suspended. Setting the wall clock can end a valid lease, but not prolong one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)), time.time()


class Lease:
    """A lease that was taken. Threads may share it; a fork may not.

    `fence_pending`: the previous lease was not released, so its holder may only be asleep; or the outcome of a
    segment that was written under this one is unknown. Then the next segment of the journal must be written under
    this lease before anything else is done, which `claimed` reports.
    """

    def __init__(
        self, bucket: Bucket, words: Written, began: Moment, clock: Callable[[], Moment], *, fence_pending: bool
    ) -> None:
        self.fence = words.fence
        self.fence_pending = fence_pending
        self._bucket = bucket
        self._words = words
        self._clock = clock
        self._told = began
        self._lost: str | None = None
        self._trouble = ""
        self._ended = threading.Event()

    @property
    def _place(self) -> str:
        return self._bucket.place(_key(self.fence))

    def doubt(self) -> None:
        """The outcome of writing a segment is unknown."""
        self.fence_pending = True

    def claimed(self) -> None:
        """The newest segment of the journal was written under this lease."""
        self.fence_pending = False

    def check(self) -> None:
        """Check the lease without a request: what counts is when the last successful renewal began.

        Raises:
            Locked: it may have passed to another machine. It stays lost, even if no machine took it.
        """
        self._lose_if_away(self._clock())
        if self._lost is not None:
            raise Locked(f"{self._place}: {self._lost}", hint="run again to catch up and continue")

    def renew(self) -> None:
        """Renew it for another ttl, unless it is lost.

        NOTE: the answer must arrive while the lease is still valid by our own clock. Otherwise another machine may
        have seen it expire before it was renewed, and may take it after our check.

        Raises:
            ArchiverError: the endpoint did not answer; nothing changed, try again.
        """
        began = self._clock()
        self._lose_if_away(began)
        if self._lost is not None:
            return
        self._write(self._words)
        later = next((each for each in self._bucket.list(LEASES, after=_key(self.fence)) if _number(each)), None)
        self._lose_if_away(self._clock())
        if later is not None:
            self._lost = f"another machine took it over with {self._bucket.place(later.key)}"
        elif self._lost is None:
            self._told, self._trouble = began, ""

    def keep(self) -> None:
        """Renew it until `end` is called, then release it; runs in a separate thread.

        NOTE: not released earlier, even if it is lost. Requests that began while it was valid may still be under
        way.
        """
        pause = self._words.ttl / 4
        while not self._ended.wait(pause):
            try:
                self.renew()
                pause = self._words.ttl / 4
            except ArchiverError as error:
                self._trouble = f" (the last try: {error.message})"
                pause = self._words.ttl / 24
        self.release()

    def end(self) -> None:
        """Nothing more will be written under this lease."""
        self._ended.set()

    def release(self) -> None:
        """Release it, so that the next holder need not wait until it expires. If the endpoint does not answer, it
        is left to expire. Never raises.

        NOTE: not while a claim is due: the next holder has to know about it.
        """
        if not self.fence_pending:
            with contextlib.suppress(ArchiverError), ending.last_words():
                self._write(replace(self._words, released=True))

    def _write(self, words: Written) -> None:
        octets = words.octets()
        self._bucket.replace(_key(self.fence), octets, digest_of(octets), "control")

    def _lose_if_away(self, now: Moment) -> None:
        away = max(here - there for here, there in zip(now, self._told, strict=True))
        if self._lost is None and away >= self._words.ttl * (1 - _MARGIN):
            self._lost = f"not renewed for {away:.0f} s, this machine was away too long{self._trouble}"


def take(
    bucket: Bucket,
    claimant: Claimant,
    least: Callable[[], int],
    *,
    ttl: float = TTL,
    clock: Callable[[], Moment] = moment,
) -> Lease:
    """Take the next lease. `least` returns the highest number that was ever used; it is called if no lease exists.

    A lease of the same place is taken over immediately, another one if it was released or has expired. If an answer
    was lost, the object is read to find out the result.

    Raises:
        Locked: another machine holds the archive.
    """
    for _ in range(_TRIES):
        began = clock()
        listed = [each for each in bucket.list(LEASES) if _number(each)]
        newest = max(listed, key=_number, default=None)
        before = None if newest is None else _read(bucket, newest)
        if newest is not None and before is not None:
            _require_free(bucket, newest, before, claimant.place)
        fence = 1 + (least() if newest is None else _number(newest))
        words = Written(fence, claimant, ttl, released=False)
        if _create(bucket, words):
            _forget(bucket, listed, newest)
            return Lease(bucket, words, began, clock, fence_pending=before is not None and not before.released)
    raise Locked(f"{bucket.place(LEASES)}: other machines keep taking the lease", hint="run again later")


@contextmanager
def kept(lease: Lease) -> Iterator[Lease]:
    """A lease that a separate thread renews while it is used, and that is released then; an endpoint that does not
    answer causes no long delay."""
    thread = threading.Thread(target=lease.keep, name=f"lease-{lease.fence}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease.end()
        thread.join(ending.patience(_LAST_REQUEST))


def observed(bucket: Bucket, place: str) -> tuple[int, bool]:
    """The number of the newest lease, 0 for none, and whether another machine holds it; `place` is our own, as in
    Claimant. If the same number is observed twice and is not held, nothing was written in between."""
    newest = max((each for each in bucket.list(LEASES) if _number(each)), key=_number, default=None)
    if newest is None:
        return 0, False
    try:
        _require_free(bucket, newest, _read(bucket, newest), place)
    except Locked:
        return _number(newest), True
    return _number(newest), False


def is_taken_since(bucket: Bucket, fence: int) -> bool:
    """Whether a lease was taken after the one of that number, 0 for none. One request."""
    return any(_number(each) for each in bucket.list(LEASES, after=_key(fence)))


def _require_free(bucket: Bucket, newest: ObjectFacts, before: Written, place: str) -> None:
    left = before.ttl - (newest.asked - newest.modified)
    if before.released or before.claimant.place == place or left < 0:
        return
    holder = before.claimant
    who = printable(f"host {holder.host}, run {holder.run}, pid {holder.pid}, since {holder.since}")
    raise Locked(
        f"{bucket.place(newest.key)}: another machine holds the archive ({who}); "
        f"it expires in {left:.0f} s unless renewed",
        hint="wait for it to end, or stop it there",
    )


def _read(bucket: Bucket, facts: ObjectFacts) -> Written:
    try:
        with bucket.read(facts.key) as file:
            return written(_number(facts), file.read())
    except IntegrityError:  # removed meanwhile, for others came later; creating its successor will fail
        return written(_number(facts), b"")


def _create(bucket: Bucket, words: Written) -> bool:
    octets, key = words.octets(), _key(words.fence)
    if bucket.create(key, octets, digest_of(octets), "control"):
        return True
    with bucket.read(key) as file:
        return file.read() == octets


def _forget(bucket: Bucket, listed: Sequence[ObjectFacts], newest: ObjectFacts | None) -> None:
    """Remove old leases; without the permission to delete they stay.

    NOTE: never young ones. A machine that listed the leases before they existed could create their number again; by
    the time an old one is removed, that listing is so old that the new lease would not be valid.
    """
    old = [each.key for each in listed if each is not newest and each.asked - each.modified > _KEPT]
    with contextlib.suppress(ArchiverError):
        for _ in bucket.delete(old) if old else ():
            pass


def _number(facts: ObjectFacts) -> int:
    """The number of a lease; 0 for any other object."""
    match = _KEY.fullmatch(facts.key)
    return int(match[1]) if match else 0


def _key(fence: int) -> str:
    return f"{LEASES}{fence:08d}.json"
