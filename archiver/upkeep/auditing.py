"""Walks a store for a step; reports progress and can be stopped at any message."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing

from archiver.control.run import RunControl
from archiver.events import Planned, Verified
from archiver.mail.model import Placement
from archiver.storage.audit import Audited, Looked
from archiver.storage.port import MessageStore, Rows

_REPORT_MESSAGES, _REPORT_OCTETS = 500, 64 << 20


def look_through(
    store: MessageStore,
    rows: Rows,
    reads: Callable[[Placement], bool],
    control: RunControl,
) -> Generator[Audited, None, None]:
    """The store's audit of `rows`. Reports the planned work first; octets count as far as `reads` selects them."""
    messages = octets = 0
    for placement in rows.placements():
        messages += 1
        octets += placement.size if reads(placement) else 0
    control.progress(Planned(messages, octets))
    messages = octets = 0
    with closing(store.audit(rows, reads)) as audit:
        for each in audit:
            control.check_stop()
            yield each
            if isinstance(each, Looked):
                messages += 1
                octets += each.placement.size if each.read else 0
            if messages >= _REPORT_MESSAGES or octets >= _REPORT_OCTETS:
                control.progress(Verified(messages, octets))
                messages = octets = 0
    control.progress(Verified(messages, octets))
