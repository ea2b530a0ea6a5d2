"""The lease of an archive in a bucket: one machine at a time writes, and one that was away too long stops.

Leases are numbered objects; the highest number holds the archive. A number is taken by creating its object, which
the endpoint lets one machine do, and it is never given again. Whether a lease has run out is told by the endpoint's
clock alone, and whether ours still holds by how long ago we were told so: no two clocks are ever compared.
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
from dataclasses import asdict, dataclass, replace

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


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who wants to write. `place` names the archive's lock file on this machine since it was started: who has the
    same one and holds the kernel's lock knows that nobody else with it is alive."""

    run: str
    host: str
    pid: int
    place: str
    since: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a lease's object says."""

    fence: int
    claimant: Claimant
    ttl: float
    released: bool

    def octets(self) -> bytes:
        """One line of JSON."""
        record = {"format": FORMAT, "fence": self.fence, **asdict(self.claimant)}
        return json.dumps(record | {"ttl": self.ttl, "released": self.released}).encode("ascii") + b"\n"


def written(fence: int, octets: bytes) -> Written:
    """What the object of that number says. One that cannot be read is held by who knows whom: it has to run out."""
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
    """Now: by the clock that also counts while the machine sleeps, and by the wall, for a guest that its host
    stopped counts only there. A wall clock that is set ends a lease that would have held; it cannot prolong one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)), time.time()


class Lease:
    """A lease that was taken. Threads may share it; a fork may not.

    `claim_due`: the lease before it was not given back, so its holder may only be asleep; or what a segment became
    that was written under this one is not known. The next segment of the journal has to be written under this one
    before anything else is done; `claimed` says that it was.
    """

    def __init__(
        self, bucket: Bucket, words: Written, began: Moment, clock: Callable[[], Moment], *, claim_due: bool
    ) -> None:
        self.fence = words.fence
        self.claim_due = claim_due
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
        """A segment may be on its way, for good or not."""
        self.claim_due = True

    def claimed(self) -> None:
        """The journal's head is ours."""
        self.claim_due = False

    def check(self) -> None:
        """Asks nobody: what counts is when the last renewal that came through began.

        Raises:
            Locked: it may be another machine's by now. It stays lost, even if nobody took it.
        """
        self._lose_if_away(self._clock())
        if self._lost is not None:
            raise Locked(f"{self._place}: {self._lost}", hint="run again to catch up and go on")

    def renew(self) -> None:
        """Hold it for another ttl, unless it is lost.

        NOTE: the answer has to come while it still holds by our own clock. Otherwise somebody may have seen it run
        out before it was renewed, and take it when we have looked already.

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
        """Renew it until `end` is called, and give it back then; for a thread of its own.

        NOTE: not earlier, also if it is lost. Something may still be under way that began when it held.
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
        """Nothing is written under it any more."""
        self._ended.set()

    def release(self) -> None:
        """Give it back, so that the next one need not wait until it runs out. Where the endpoint does not answer it
        is left to run out; never raises.

        NOTE: not before its claim is written: whoever comes next has to know that one is due.
        """
        if not self.claim_due:
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
    """Take the next lease; `least` tells the highest number that was ever used, and is asked where no lease is.

    One of the same place is taken over at once, another's when it was given back or has run out. An answer that was
    lost is made up for by reading what is there.

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
            return Lease(bucket, words, began, clock, claim_due=before is not None and not before.released)
    raise Locked(f"{bucket.place(LEASES)}: other machines take the lease again and again", hint="run again later")


@contextmanager
def kept(lease: Lease) -> Iterator[Lease]:
    """A lease renewed by a thread of its own while it is used, and given back then; an endpoint that does not
    answer holds nobody up for long."""
    thread = threading.Thread(target=lease.keep, name=f"lease-{lease.fence}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease.end()
        thread.join(ending.patience(_LAST_REQUEST))


def observed(bucket: Bucket, place: str) -> tuple[int, bool]:
    """The number of the newest lease, 0 for none, and whether another machine holds it; `place` is our own, as of a
    claimant. Whoever sees the same number twice, not held, knows that nobody wrote in between."""
    newest = max((each for each in bucket.list(LEASES) if _number(each)), key=_number, default=None)
    if newest is None:
        return 0, False
    try:
        _require_free(bucket, newest, _read(bucket, newest), place)
    except Locked:
        return _number(newest), True
    return _number(newest), False


def _require_free(bucket: Bucket, newest: ObjectFacts, before: Written, place: str) -> None:
    left = before.ttl - (newest.asked - newest.modified)
    if before.released or before.claimant.place == place or left < 0:
        return
    holder = before.claimant
    who = printable(f"host {holder.host}, run {holder.run}, pid {holder.pid}, since {holder.since}")
    raise Locked(
        f"{bucket.place(newest.key)}: another machine holds the archive ({who}); "
        f"unless it is renewed it runs out in {left:.0f} s",
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
    """Remove old leases. Who has no permission to delete keeps them.

    NOTE: never young ones. Somebody who looked before they were there could create their number again; by the time
    an old one goes, his look is so long ago that what he creates does not hold.
    """
    old = [each.key for each in listed if each is not newest and each.asked - each.modified > _KEPT]
    with contextlib.suppress(ArchiverError):
        for _ in bucket.delete(old) if old else ():
            pass


def _number(facts: ObjectFacts) -> int:
    """0 for what is no lease."""
    match = _KEY.fullmatch(facts.key)
    return int(match[1]) if match else 0


def _key(fence: int) -> str:
    return f"{LEASES}{fence:08d}.json"
