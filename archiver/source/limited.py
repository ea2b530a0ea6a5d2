"""Messages fetched within the limits of an account: a pure decision about which of them fit into the day, and the
stream that counts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archiver.control.limits.limiter import Limiter
from archiver.control.run import RunControl
from archiver.mail.model import Fetched, Undelivered
from archiver.source.port import SourceConnection

TOO_LARGE = "it is larger than [source.limits] octets_per_day allows for a whole day"


def fetch_within(
    source: SourceConnection, uids: Sequence[int], limits: Limiter, control: RunControl
) -> Iterator[Fetched | Undelivered]:
    """As `fetch` of the source. With a budget for the day, the sizes are asked for first, and only what fits is
    asked for; what would never fit is set aside.

    Raises:
        BudgetUsedUp: the others do not fit into this day any more.
    """
    if limits.most is None:
        yield from _counted(source.fetch(uids), limits, control)
        return
    sizes = {each.uid: each.size or 0 for each in source.scan(uids)}
    too_large = [uid for uid in uids if sizes.get(uid, 0) > limits.most]
    for uid in too_large:
        yield Undelivered(uid, TOO_LARGE)
    room = {uid: sizes.get(uid, 0) for uid in uids if uid not in set(too_large)}
    left = len(room)
    fitting = {uid: size for uid, size in room.items() if limits.reserve([size])}
    try:
        for outcome in _counted(source.fetch(list(fitting)), limits, control) if fitting else ():
            uid = outcome.attributes.uid if isinstance(outcome, Fetched) else outcome.uid
            if (size := fitting.pop(uid, None)) is not None:
                left -= 1
                limits.release([size])
            yield outcome
    finally:
        limits.release(list(fitting.values()))
    if left:
        raise limits.used_up()


def _counted(
    outcomes: Iterator[Fetched | Undelivered], limits: Limiter, control: RunControl
) -> Iterator[Fetched | Undelivered]:
    for outcome in outcomes:
        if isinstance(outcome, Fetched):
            limits.pass_messages(1, control)
        yield outcome
