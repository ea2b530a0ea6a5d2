"""Converts a segment of the journal to octets and back, for files and objects alike.

One compressed file of lines. Its header names the digest of the segment before it, so a segment that is lost,
damaged or foreign is noticed when it is read, wherever it is stored.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_args

from archiver.errors import ConfigError, IntegrityError
from archiver.facts.archive import Fact, FactOfFormat2, Segment
from archiver.facts.codec import fact_from_json, fact_to_json
from archiver.facts.keeping import BlottedFact
from archiver.mail.model import Digest

FORMAT = "archiver-journal/2"
_FIRST_FORMAT = "archiver-journal/1"
_OF_FORMAT_2 = get_args(FactOfFormat2)
RESTORE = "restore the journal from a backup"

_MOST_OCTETS = 256 << 20  # unpacked; a thousand messages with the longest headers take less than 10 MB
_RUN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,99}")


def segment_of(
    run: str, facts: Sequence[Fact], after: tuple[int, Digest], fence: int | None = None
) -> tuple[Segment, bytes]:
    """The segment that follows `after`, and its octets, which are always the same for the same facts.

    Raises:
        ConfigError: the run id cannot be part of a file name.
    """
    if not _RUN.fullmatch(run):
        raise ConfigError("run id", [f"{run!r}: use letters, digits and . _ : + - only, at most 100"])
    number, previous = after[0] + 1, after[1]
    form = FORMAT if any(isinstance(fact, _OF_FORMAT_2) for fact in facts) else _FIRST_FORMAT
    header: dict[str, object] = {"format": form, "number": number, "run": run, "previous": previous}
    if fence is not None:
        header["fence"] = fence
    lines = "\n".join([json.dumps(header), *map(fact_to_json, facts), ""])
    if len(lines) > _MOST_OCTETS:
        raise ValueError(f"{len(facts)} facts are too many for one segment")
    octets = _packed(lines)
    return Segment(number, run, previous, digest_of(octets), tuple(facts), fence), octets


def _packed(lines: str) -> bytes:
    # zlib writes 0 as the time in a gzip header (RFC 1952 section 2.3).
    return zlib.compress(lines.encode("ascii"), level=2, wbits=31)


class Blotted(NamedTuple):
    """The octets of a segment without some facts: `was` is the digest by which the next segment names it, `now`
    that of the octets."""

    octets: bytes
    was: Digest
    now: Digest


def blot(where: str, octets: bytes, number: int, instead: Callable[[Fact, str], Fact | None]) -> Blotted | None:
    """A segment in which other facts stand in the place of some: `instead` gets each fact and its line,
    and returns what stands there from now on, None if it stays. None: all stay.

    Raises:
        IntegrityError, ConfigError: as `parsed`.
    """
    segment = parsed(where, octets, number)
    first, *lines = _unpacked(octets).decode("ascii").removesuffix("\n").split("\n")
    others = [instead(fact, line) for fact, line in zip(segment.facts, lines, strict=True)]
    if not any(others):
        return None
    header = json.loads(first) | {"format": FORMAT, "was": segment.digest}
    kept = (fact_to_json(other) if other is not None else line for other, line in zip(others, lines, strict=True))
    other = _packed("\n".join([json.dumps(header), *kept, ""]))
    return Blotted(other, segment.digest, digest_of(other))


class Blots:
    """What a reader of a whole journal has to compare: each segment that is not as it was written has to be as a
    later one says."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[str, Digest, Digest]] = {}
        self._told: set[tuple[int, Digest, Digest]] = set()

    def saw(self, where: str, segment: Segment) -> None:
        """A segment was read."""
        if segment.blotted is not None:
            self._found[segment.number] = (where, segment.digest, segment.blotted)
        for fact in segment.facts:
            if isinstance(fact, BlottedFact):
                self._told.update(fact.segments)

    def check(self) -> None:
        """All segments were read.

        Raises:
            IntegrityError: one of them was changed by somebody else.
        """
        for number, (where, was, now) in self._found.items():
            if (number, was, now) not in self._told:
                raise IntegrityError(
                    f"{where}: no later segment says that facts in it were blotted out", hint=RESTORE
                )


def digest_of(octets: bytes) -> Digest:
    """The digest that the next segment contains."""
    return Digest(hashlib.sha256(octets).hexdigest())


def parsed(where: str, octets: bytes, number: int) -> Segment:
    """The segment in the octets at `where`, stored there under `number`.

    Raises:
        IntegrityError: they are damaged, or another segment's.
        ConfigError: a newer archiver wrote them.
    """
    try:
        first, *lines = _unpacked(octets).decode("ascii").removesuffix("\n").split("\n")
        header = json.loads(first)
        run, previous, fence, was = _of_header(where, header, number)
        facts = tuple(map(fact_from_json, lines))
    except (ValueError, KeyError, TypeError, OSError, EOFError, RecursionError, zlib.error) as error:
        raise IntegrityError(f"{where}: {_reason(error)}", hint=RESTORE) from error
    now = digest_of(octets)
    return Segment(number, run, previous, was or now, facts, fence, now if was else None)


def require_next(where: str, segment: Segment, previous: Digest, fence: int | None) -> None:
    """Check that a segment follows the one with the digest `previous`, which was written under `fence`.

    Raises:
        IntegrityError: it does not.
    """
    problem = None
    if segment.previous != previous:
        problem = "it does not follow from the segment before it"
    elif segment.fence is not None and fence is not None and segment.fence < fence:
        problem = f"it was written under lease {segment.fence}, the segment before it under {fence}"
    if problem:
        raise IntegrityError(f"{where}: {problem}", hint=RESTORE)


def require_known(where: str, digest: Digest, known: Digest) -> None:
    """Check that a segment has the digest `known`: a catalog is never continued from another archive's journal, or
    from an older state of the journal.

    Raises:
        IntegrityError: it is not.
    """
    if digest != known:
        raise IntegrityError(
            f"{where}: is not the segment that the catalog knows",
            hint="the catalog is of another journal, or the file was changed: restore it, or use archiver rebuild",
        )


def missing(journal: str, number: int) -> IntegrityError:
    """The error for a segment that is missing."""
    return IntegrityError(f"{journal}: segment {number} is missing", hint=RESTORE)


def _unpacked(octets: bytes) -> bytes:
    """NOTE: two megabytes unpack to two gigabytes, if somebody wants them to."""
    unpacking = zlib.decompressobj(wbits=31)
    text = unpacking.decompress(octets, _MOST_OCTETS)
    if unpacking.unconsumed_tail:
        raise ValueError(f"it unpacks to more than {_MOST_OCTETS >> 20} MB")
    if not unpacking.eof or unpacking.unused_data:
        raise EOFError("it does not end where it should")
    return text


# By hand: an unknown format must be named before anything else is looked at, and a number that is written as text
# or as a truth value is damage. The codec of facts does not check types, and the reader of records converts them.
def _of_header(where: str, header: dict[str, Any], number: int) -> tuple[str, Digest, int | None, Digest | None]:
    form, run, fence, was = header["format"], header["run"], header.get("fence"), header.get("was")
    if form not in (FORMAT, _FIRST_FORMAT):
        raise _other_format(where, form)
    if header["number"] != number or not isinstance(run, str) or not _RUN.fullmatch(run):
        raise ValueError("its header does not agree with its name")
    if fence is not None and type(fence) is not int:
        raise TypeError
    if was is not None and (type(was) is not str or len(was) != 64):
        raise TypeError
    return run, header["previous"], fence, None if was is None else Digest(was)


def _other_format(where: str, form: object) -> ConfigError | ValueError:
    """A segment that a newer archiver wrote is not damaged."""
    if isinstance(form, str) and re.fullmatch(r"archiver-journal/\d{1,6}", form):
        return ConfigError(
            where,
            [f"the journal has the format {form}, this archiver knows {FORMAT}"],
            hint=f"install a mail-archiver that knows {form}",
        )
    return ValueError(f"format {form!r}, expected {FORMAT!r}")


def _reason(error: Exception) -> str:
    if isinstance(error, (OSError, EOFError, zlib.error)):
        return f"not a complete gzip file ({error})"
    if isinstance(error, (KeyError, TypeError)):
        return "not a segment of a journal"
    return str(error)
