"""The claims of this command on accounts that several hosts share.

A thread renews them. Each process that works on an account looks, before it changes something, when its claim was
renewed last, by the clocks of this machine alone, as with the lease of a bucket: one that slept for too long stops.
"""

from __future__ import annotations

import logging
import mmap
import secrets
import threading
from collections.abc import Callable, Collection, Sequence
from types import TracebackType

from archiver.errors import LedgerUnavailable, Locked
from archiver.fleet.port import FleetLedger
from archiver.storage.bucket.lease import Moment, moment
from pipelines.fleet.ledgers import owner_of_claims

#: How long a claim lasts after it was last renewed, in seconds: longer than the lease of a bucket, so that an
#: archive is free when its account is.
TTL = 150.0

_MARGIN = 1 / 6  # of the ttl: for what is under way when it is looked at
_RENEWED = 5  # times in a ttl
_SOON = 2.0  # seconds until the next try, if the ledger does not answer

log = logging.getLogger("archiver")


class Claims:
    """The claims on some of these accounts, by their names in the fleet. A context manager: it renews them, and
    gives them back at the end. Make it before the processes are forked that check them."""

    def __init__(self, ledger: FleetLedger, names: Sequence[str], *, clock: Callable[[], Moment] = moment) -> None:
        self.owner = (
            f"{owner_of_claims()}:{secrets.token_hex(3)}"  # containers may share a name, and all begin at 1
        )
        self._ledger, self._ttl, self._clock = ledger, TTL, clock
        self._numbers = {name: number for number, name in enumerate(names)}
        self._clocks = len(clock())
        # What the processes share: by account, when its claim was renewed last by each clock, and if it is lost.
        self._shared = memoryview(mmap.mmap(-1, 8 * (self._clocks + 1) * max(1, len(names)))).cast("d")
        self._held: set[str] = set()
        self._changing = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="claims", daemon=True)

    def __enter__(self) -> Claims:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with self._changing:
            left, self._held = self._held, set()
        if left:
            self._give_back(left, None)

    def take(
        self, names: Sequence[str], *, limit: int, only_due: bool, not_since: str | None = None
    ) -> Sequence[str]:
        """Claim up to `limit` of these accounts. With `only_due` without those that are to wait, or that any host
        has done since that moment, and those first that waited longest; otherwise of the first `limit` those that
        are free.

        Raises:
            LedgerUnavailable: nothing is claimed, as far as one can know.
        """
        began, claims = self._clock(), self._ledger.claims
        if only_due:
            taken = claims.take_due(self.owner, names, limit, self._ttl, not_since=not_since)
        else:
            got = claims.take(self.owner, names[:limit], self._ttl)
            taken = [name for name in names[:limit] if name in got]
        with self._changing:
            for name in taken:
                self._write(name, began, lost=False)
                self._held.add(name)
        return taken

    def give_back(self, names: Collection[str], due: float | None = None) -> None:
        """Nothing more is done for these accounts. Never raises: what cannot be given back runs out."""
        if not names:
            return
        with self._changing:
            self._held.difference_update(names)
        self._give_back(names, due)

    def check(self, name: str) -> None:
        """Check a claim without asking the ledger; called in any process.

        Raises:
            Locked: another host may have the account.
        """
        at = self._numbers[name] * (self._clocks + 1)
        told = self._shared[at : at + self._clocks]
        away = max(now - then for now, then in zip(self._clock(), told, strict=True))
        if self._shared[at + self._clocks]:
            why = "another host has claimed this account meanwhile"
        elif away >= self._ttl * (1 - _MARGIN):
            why = f"the claim on this account was not renewed for {away:.0f} s; another host may have it"
        else:
            return
        raise Locked(f"{self._ledger.place}: {why}", hint="run again to catch up and continue")

    def _write(self, name: str, began: Moment, *, lost: bool) -> None:
        at = self._numbers[name] * (self._clocks + 1)
        for number, value in enumerate((*began, float(lost))):
            self._shared[at + number] = value

    def _keep(self) -> None:
        pause = self._ttl / _RENEWED
        while not self._ended.wait(pause):
            try:
                self._renew()
                pause = self._ttl / _RENEWED
            except Exception as error:  # whatever it is, the claims run out if it stays
                log.debug("claims: %s", error)
                pause = _SOON

    def _renew(self) -> None:
        """NOTE: what counts is when the request began; one that waited for the database renews from then on."""
        with self._changing:
            held = set(self._held)
        if not held:
            return
        began = self._clock()
        kept = self._ledger.claims.renew(self.owner, held, self._ttl)
        with self._changing:
            for name in held & self._held:
                if name in kept:
                    if not self.is_lost(name):
                        self._write(name, began, lost=False)
                else:
                    self._write(name, began, lost=True)

    def is_lost(self, name: str) -> bool:
        """Whether what works on it has to stop, or has stopped."""
        try:
            self.check(name)
        except Locked:
            return True
        return False

    def _give_back(self, names: Collection[str], due: float | None) -> None:
        try:
            self._ledger.claims.give_back(self.owner, names, due)
        except LedgerUnavailable as error:
            log.debug("claims: %s", error)
