"""The ledger of a fleet as those who use it see it.

Every call is a transaction: it happened completely or not at all, and may be given again. Any thread may call.

Raises (every method): LedgerUnavailable if the ledger cannot be reached or written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from archiver.fleet.model import Account, Enrolled, Run, RunBegun, RunEnded, State


class Accounts(Protocol):
    """What is known of each account."""

    def enrol(self, accounts: Collection[Enrolled]) -> None:
        """Make accounts known, or record that their files say something else. All else that is known stays.

        Raises:
            ConfigError: an account of this name is another person's at another server.
        """

    def known(self, names: Collection[str] | None = None) -> Mapping[str, Account]:
        """What is known of these accounts, or of all, in order of their names; those that are not known are left
        out."""

    def begun(self, runs: Collection[RunBegun]) -> None:
        """Record that runs begin. One of this name that ended begins again."""

    def ended(self, runs: Collection[RunEnded]) -> None:
        """Record how runs ended. Claims stay as they are."""

    def set_state(self, names: Collection[str], state: State, at: str, by: str) -> None:
        """Record how far these accounts are; `by` says who or what decided that."""

    def forget(self, names: Collection[str]) -> None:
        """Forget accounts, with their runs: what is enrolled under these names afterwards may be anybody's."""

    def runs(self, account: str, limit: int) -> Sequence[Run]:
        """The newest runs of an account, newest first."""

    def forget_runs(self, before: str) -> int:
        """Forget runs that began before that moment, but not the last one of an account; returns how many."""


class Claims(Protocol):
    """Who works on which account. A claim ends by itself unless it is renewed. The ledger's own clock counts, so
    hosts need not agree on the time. The lock and the lease of an archive stay the last word."""

    def take(self, owner: str, names: Collection[str], seconds: float) -> Collection[str]:
        """Claim these accounts for so many seconds; returns those that are now this owner's. The others are
        another's, or are not known."""

    def take_due(
        self, owner: str, names: Collection[str], limit: int, seconds: float, *, not_since: str | None = None
    ) -> Sequence[str]:
        """Claim up to `limit` of these accounts that nobody works on and that are due, most urgent first: first
        those that have waited longest for their time, then those that take longest. `not_since`: without those
        whose last run has ended since that moment."""

    def renew(self, owner: str, names: Collection[str], seconds: float) -> Collection[str]:
        """Extend claims; returns those that are still this owner's. A claim that ran out meanwhile is renewed if
        nobody else has taken it."""

    def give_back(self, owner: str, names: Collection[str], due: float | None = None) -> None:
        """Give up claims; those of others stay. `due`: the accounts are not due before."""

    def first(self, what: str, owner: str, seconds: float) -> bool:
        """Whether nobody but this owner has done `what` in the last so many seconds, as it said here; then it is
        this owner's to do."""


class Servers(Protocol):
    """What all accounts of a fleet share at a server. The ledger's own clock counts."""

    def take_seat(self, server: str, seats: int, owner: str, seconds: float) -> int | None:
        """One of so many seats at a server, for so many seconds; its number, or None if all are taken."""

    def keep_seats(self, owner: str, seconds: float) -> None:
        """Extend all seats of this owner. One that ran out meanwhile may be somebody else's now."""

    def leave_seat(self, server: str, seat: int, owner: str) -> None:
        """Give up a seat; nothing is done if it is not this owner's any more."""

    def pass_octets(self, server: str, octets: int, rate: float) -> float:
        """So many octets passed, where so many a second may; in how many seconds the next ones may pass."""


class FleetLedger(Protocol):
    """The ledger of one fleet."""

    @property
    def place(self) -> str:
        """Where it is, for messages; without a password."""

    @property
    def accounts(self) -> Accounts:
        """What is known of each account."""

    @property
    def claims(self) -> Claims:
        """Who works on which account."""

    @property
    def servers(self) -> Servers:
        """What accounts share at a server."""

    def now(self) -> float:
        """The ledger's own clock, in seconds of the Unix epoch."""

    def close(self) -> None:
        """Close connections; may be called twice. Another call opens them again."""
