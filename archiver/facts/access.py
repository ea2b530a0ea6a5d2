"""Who may do what in a folder (RFC 4314), and what is noted about it (RFC 5464): the values, and their facts.

A server's words are kept as it gives them: identifiers and names of entries decoded as UTF-8, rights as their
letters, values of annotations with each octet as a Latin-1 character, since they may be anything.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

Entries = tuple[tuple[str, str], ...]
"""(identifier, rights) or (entry, value), sorted."""


class Rights(Struct, frozen=True):
    """The access rights of a folder. `entries` are (identifier, rights), None if this user may not read them;
    `mine` are this user's own, known only then."""

    entries: Entries | None
    mine: str | None = None


class Annotations(Struct, frozen=True):
    """The annotations of a folder, or of the server, as (entry, value). `left_out`: there are longer ones that were
    left out, and this is how many octets the longest has."""

    entries: Entries
    left_out: int | None = None

    @property
    def is_some(self) -> bool:
        """Whether there are any."""
        return bool(self.entries) or self.left_out is not None


class FolderAccess(Struct, frozen=True):
    """What a server says of a folder; None: it offers no such thing, or refused it."""

    rights: Rights | None = None
    annotations: Annotations | None = None


class Granted(Struct, frozen=True):
    """The rights of a folder that were given at a destination, in the folder `raw` there, and what that refused, as
    (identifier, reason)."""

    raw: bytes
    entries: Entries = ()
    refused: Entries = ()


class RightsFact(Struct, frozen=True):
    """A folder's access rights, seen for the first time or changed: as in `Rights`."""

    kind: ClassVar[str] = "rights"
    folder: int
    entries: tuple[tuple[str, str], ...] | None
    mine: str | None
    at: str


class AnnotationsFact(Struct, frozen=True):
    """The annotations of a folder, or of the server if `folder` is 0, seen for the first time or changed: as in
    `Annotations`."""

    kind: ClassVar[str] = "annotations"
    folder: int
    entries: tuple[tuple[str, str], ...]
    left_out: int | None
    at: str


class GrantedFact(Struct, frozen=True):
    """In the folder `raw` of a destination, these identifiers have the rights that they have at the source: all
    that were given so far and not taken away again, as (identifier, rights). What its user changes there is not in
    it.
    `refused` are those that it does not give, with its words, as (identifier, reason)."""

    kind: ClassVar[str] = "granted"
    destination: int
    folder: int
    raw: bytes
    entries: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, str], ...]
    at: str
