"""One outcome for each account, whatever the verb, and the loop that makes one fail without the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from archiver.errors import ArchiverError
from pipelines.events import AnyEvent, Began, Listener, failed
from pipelines.failures import foreseen, logged, with_file
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.config.settings import Settings

T = TypeVar("T")

Emit = Callable[[AnyEvent], None]


class AccountOutcome(Struct, Generic[T], frozen=True):
    """How a verb ended for one account.

    `message` is for people: why the account failed, or what was found; None if there is nothing to say. `result` is
    the verb's own, None if the verb did not get that far.
    """

    account: str
    exit_code: int
    message: str | None
    result: T | None = None

    @classmethod
    def of_error(cls, account: str, error: ArchiverError) -> AccountOutcome[T]:
        """The outcome of an account that an error ended."""
        return cls(account, error.exit_code, str(error))

    def to_json(self, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The account in a verb's JSON document; `fields` are the verb's own and come last."""
        return {"account": self.account, "exit_code": self.exit_code, "message": self.message, **(fields or {})}


def _pasteable(outcome: AccountOutcome[T], settings: Settings) -> AccountOutcome[T]:
    """The outcome with the account file in the commands of its message."""
    message = outcome.message
    return outcome if message is None else replace(outcome, message=with_file(message, settings.file))


def run_each(
    accounts: Sequence[Settings],
    step: str,
    listener: Listener,
    work: Callable[[Settings, Emit], AccountOutcome[T]],
) -> list[AccountOutcome[T]]:
    """Do a verb's work for one account after the other: a disk is read fastest by one reader.

    An error ends only its own account: the listener gets it, and it becomes the outcome. After a signal, the
    accounts that are left end with its exit code.
    """

    def outcome(settings: Settings) -> AccountOutcome[T]:
        def emit(event: AnyEvent) -> None:
            listener(settings.account, event)

        try:
            STOP.check()
            emit(Began(step))
            return _pasteable(work(settings, emit), settings)
        except Exception as raised:  # whatever it is, it ends only this account
            error = foreseen(raised)
            emit(failed(error, settings.file))
            return _pasteable(AccountOutcome.of_error(settings.account, error), settings)

    from archiver.login.reach import learning

    with learning():
        return [outcome(each) for each in accounts]


def look_up_each(
    accounts: Sequence[Settings], work: Callable[[Settings], AccountOutcome[T]]
) -> list[AccountOutcome[T]]:
    """The same for a verb that only looks things up; nothing is shared of what is learned of servers. No listener
    gets the errors: the verb must show the messages, and the traceback of a bug is logged."""

    def outcome(settings: Settings) -> AccountOutcome[T]:
        try:
            STOP.check()
            return _pasteable(work(settings), settings)
        except Exception as raised:  # whatever it is, it ends only this account
            return _pasteable(AccountOutcome.of_error(settings.account, logged(raised)), settings)

    return [outcome(each) for each in accounts]
