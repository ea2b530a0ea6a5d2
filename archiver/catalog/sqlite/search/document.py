"""What a message says, as a search compares it."""

from __future__ import annotations

from msgspec import Struct

from archiver.mail.headers import folded
from archiver.mail.model import Digest

#: Characters that become ASCII letters in lower case, in UTF-8: a dotted capital I and the Kelvin sign.
_LOWERED_TO_ASCII = ("\u0130".encode(), "\u212a".encode())


class Document(Struct, frozen=True):
    """The contents of a message, as they are in the index: `octets` is the text in UTF-8. `lowered`: the text in
    lower case is the `folded` one, which takes ten times as long to make."""

    id: int
    digest: Digest
    attached: bool
    lowered: bool
    names: str
    octets: bytes

    @property
    def text(self) -> str:
        """The text as people read it."""
        return self.octets.decode("utf-8", "replace")

    @property
    def folded(self) -> str:
        """The text as it is compared."""
        return self.text.lower() if self.lowered else folded(self.text)

    def may_hold(self, text: bytes) -> bool:
        """False if the folded text does not have this one, which is in ASCII: takes a tenth of the time."""
        octets = self.octets.lower()
        return not self.lowered or text in octets or any(each in octets for each in _LOWERED_TO_ASCII)
