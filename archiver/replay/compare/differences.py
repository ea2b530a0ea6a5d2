"""One copy as it is recorded and as the destination shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from archiver.facts.replica import Replica
from archiver.mail.dates import internaldate_seconds, same_moment
from archiver.mail.flags import respelled
from archiver.mail.model import Attributes
from archiver.replay.flag_merge import labels_to_replay

_REWRITTEN = ("line-ends", "headers")
_ALTERED = ("cut", "other")
_ACCEPT = (
    "`archiver retry --accept` accepts messages as the server shows them; they stay listed and are not sent again"
)


def by_uid(rows: Iterable[Attributes]) -> dict[int, Attributes]:
    """Merge several rows about one message."""
    seen: dict[int, Attributes] = {}
    for each in rows:
        seen[each.uid] = seen[each.uid].updated(each) if each.uid in seen else each
    return seen


def differences(
    replica: Replica, seen: Attributes, *, labels: bool = False, follows: bool = True
) -> Iterator[tuple[str, str, str]]:
    """(what, expected, found) for all that can be compared without the octets; `labels`: Gmail's were replayed;
    `follows`: changes of flags and labels at the source were, too."""
    sizes: set[int | None] = {replica.message.size, replica.message.crlf_size}
    is_cut = replica.likeness == "cut" and seen.size not in sizes  # it may be shown whole by now
    if replica.repaired or replica.likeness in _REWRITTEN:
        sizes = {replica.size}
    elif replica.likeness == "exact" or replica.accepted:
        sizes.add(replica.size)  # if exact, its octets are right, however the server counts them
    if (is_cut or replica.likeness == "other") and not replica.accepted:
        yield from octets_differ(replica, seen, replica.likeness or "")
    elif seen.size is not None and seen.size not in sizes:
        yield "size", " or ".join(map(str, sorted(size for size in sizes if size is not None))), str(seen.size)
    if replica.dated and not same_moment(internaldate_seconds(seen.internaldate), replica.message.arrived):
        yield "INTERNALDATE", f"{replica.message.arrived} seconds since 1970", str(seen.internaldate)
    if follows and seen.flags is not None and replica.message.flags != replica.source_flags:
        wanted = replica.message.flags - replica.lost
        shown = respelled(seen.flags, wanted)
        if shown != wanted:
            yield "flags", " ".join(sorted(wanted)), " ".join(sorted(shown))
    if (
        labels
        and follows
        and replica.message.labels is not None
        and replica.message.labels != replica.source_labels
    ):
        wanted = labels_to_replay(replica.message.labels) - replica.lost_labels
        shown = respelled(seen.labels or frozenset(), wanted)
        if shown != wanted:
            yield "labels", ", ".join(sorted(wanted)), ", ".join(sorted(shown))


def octets_differ(replica: Replica, seen: Attributes, how: str) -> Iterator[tuple[str, str, str]]:
    """The difference if the octets that the destination returns match only this closely."""
    sent = f"{replica.message.size:,} bytes, and these were sent"
    shown = "other bytes" if seen.size is None else f"{seen.size:,} bytes"
    if how == "cut" and not seen.size:
        yield "octets", sent, "0 bytes: the server shows the message empty"
    elif how == "cut":
        yield "octets", sent, f"{shown}: the server shows only the beginning of the message"
    elif how == "other":
        yield "octets", sent, f"{shown}: the server shows the message altered"
    elif how.startswith("not delivered"):
        yield "octets", sent, how


def advice(replica: Replica, what: str) -> str:
    """How to end a difference that remains, because it began with the APPEND."""
    sizes = (None, replica.message.size, replica.message.crlf_size)
    lasts = replica.likeness in _ALTERED or (replica.likeness is None and replica.size not in sizes)
    return _ACCEPT if what in ("octets", "size") and lasts else ""


def changed_there(replica: Replica, seen: Attributes) -> bool:
    """Whether the destination's user changed its flags, or its labels since they were replayed."""
    pairs = ((seen.flags, replica.flags), (seen.labels, replica.labels))
    return any(now is not None and then is not None and respelled(now, then) != then for now, then in pairs)


def was_rewritten(replica: Replica, how: str | None) -> bool:
    """Whether the server rewrote it in a known way, as recorded or as it was read now."""
    return replica.likeness in _REWRITTEN or how in _REWRITTEN
