"""Asks for messages again that may lack NULs: whole, and part by part where the server decodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec.structs import replace

from archiver.errors import ConnectionLost, ServerUnavailable
from archiver.imap.extensions import binary
from archiver.imap.extensions.binary import SecondLook
from archiver.imap.session import BodyReader, Session
from archiver.imap.tokens import Response, uid_sets
from archiver.mail.model import Fetched

_AT_A_TIME = 16  # messages: they may all be in memory


class Rows(Protocol):
    """The rows of one FETCH of the open folder."""

    def __call__(self, uid_set: bytes, items: bytes, body_reader: BodyReader) -> Iterator[Response]: ...


class NulReader:
    """Belongs to one connection. `needed`: as far as is known, BINARY may bring other octets than BODY[]."""

    def __init__(self, session: Session, rows: Rows, *, needed: bool) -> None:
        self._session = session
        self._rows = rows
        self._needed = needed

    def may_lack(self, fetched: Fetched) -> bool:
        """Whether BINARY may bring other octets of this message. A server that sends a NUL in BODY[] (Cyrus) shows
        what it has."""
        if not self._needed or fetched.body.size == 0:
            return False
        self._needed = not binary.has_nul(fetched.body)
        return self._needed and binary.may_lack_nul(fetched.body)

    def read(self, again: SecondLook, read_body: BodyReader, *, alone: bool) -> Iterator[Fetched]:
        """The messages with their NULs, as far as the server brings them, else as BODY[] gave them.

        Raises:
            ConnectionLost: it broke at one of several of them. A message that is requested `alone` is delivered as
                BODY[] gave it, so that BINARY never costs one.
        """
        waiting = [*again.uids]
        for start in range(0, len(waiting), _AT_A_TIME):
            try:
                yield from self._answers(again, waiting[start : start + _AT_A_TIME], read_body)
            except ConnectionLost as error:
                if not alone:
                    self._blame(error, again.uids.first if again.uids else None)
                    raise
            for fetched in again.decoded():
                yield self._by_parts(fetched, alone=alone)
            if not self._needed:
                break
        yield from again.rest()

    def _answers(self, again: SecondLook, uids: Sequence[int], read_body: BodyReader) -> Iterator[Fetched]:
        """What BINARY brings of these. One of them may make the server refuse all (`NO [PARSE]` of Dovecot)."""
        try:
            for chunk in uid_sets(uids):
                for response in self._rows(chunk, binary.ITEMS, read_body):
                    yield from again.answered(response)
        except ServerUnavailable as error:
            if (error.server_reply or "").upper().startswith("BAD"):
                self._needed = False
            elif len(uids) == 1:
                again.refused(uids[0])
            else:
                for uid in [uid for uid in uids if uid in again.uids]:
                    yield from self._answers(again, [uid], read_body)

    def _by_parts(self, fetched: Fetched, *, alone: bool) -> Fetched:
        """A message whose encoded parts BINARY decodes: with the octets of the others as they are."""
        uid, parts = fetched.attributes.uid, binary.plain_parts(fetched.body.octets or b"")
        if not parts:
            return fetched
        try:
            (reply,) = self._session.flight(b"UID FETCH %d %b" % (uid, binary.items_for(parts)))
        except ConnectionLost as error:
            if alone:
                return fetched
            self._blame(error, uid)
            raise
        return binary.with_parts(fetched, parts, reply.untagged) if reply.ok else fetched

    def _blame(self, error: ConnectionLost, uid: int | None) -> None:
        error.where = replace(self._session.where, uid=uid, operation="fetch")
