"""How files are added to an archive that is not theirs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from archiver.source.port import SourceConnection


class Import(Struct, frozen=True):
    """Everything goes below the folder `below`. What `is_held` (digests → those that the archive holds) says is
    left out, and the same message comes only once. `delimiter` is that of the archive's folders."""

    below: tuple[str, ...]
    is_held: Callable[[Sequence[str]], Collection[str]]
    delimiter: str | None = "/"


class ImportSource(SourceConnection, Protocol):
    """Files to add."""

    @property
    def already_held(self) -> Mapping[bytes, int]:
        """How many messages of each folder the archive holds already, by its raw name, as it was last looked at."""
