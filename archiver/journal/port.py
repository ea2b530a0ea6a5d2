"""The port of a journal: where facts are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from archiver.facts.archive import Fact, Segment
from archiver.mail.model import Digest


class Journal(Protocol):
    """The append-only record of all facts, stored with the messages."""

    def append(self, run: str, facts: Sequence[Fact], after: tuple[int, Digest]) -> Segment:
        """Write the next segment, durable on return; `after` is number and digest of the last one.

        Raises:
            IntegrityError: that number already exists.
        """

    def read(self, after: tuple[int, Digest]) -> Iterator[Segment]:
        """The segments after that one, in order, each checked against the chain.

        Raises:
            IntegrityError: a segment is missing, damaged, or does not follow from the one before.
        """

    def octets(self, number: int) -> tuple[str, bytes]:
        """A segment's place for people, and its octets as they are stored.

        Raises:
            IntegrityError: there is no such segment.
        """

    def rewrite(self, number: int, octets: bytes) -> str | None:
        """Replace the octets of a segment in which facts were blotted out; durable on return, and either all of the
        old ones or all of the new ones are there at any moment. The old ones are gone then; returns why not, if
        something keeps them.

        NOTE: a segment that says so has to be there before.
        """
