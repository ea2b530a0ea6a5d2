"""A destination as its server shows it: its folders, one of them selected, and the answers to what is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from archiver.errors import BackendError
from archiver.mail.model import Attributes, Flags, Listed


class DestinationFolders(Struct, frozen=True):
    """What a destination listed, and how it names folders. Paths are without the personal namespace's prefix, which
    is `prefix` on the wire (`INBOX.` at Courier). `delimiter` is None if names are flat. `said` is what the server
    says of itself, or the provider that the account file names. `append_limit` is the largest message in octets
    that it accepts (RFC 7889), None if it does not report one."""

    listed: Sequence[Listed]
    prefix: bytes = b""
    delimiter: str | None = "/"
    said: str = ""
    append_limit: int | None = None


class SelectedFolder(Struct, frozen=True):
    """A destination's folder after SELECT or EXAMINE. `permanent` are the flags that it keeps, None if it does not
    report them; `any_keyword`: it accepts new keywords, too."""

    uidvalidity: int
    uidnext: int
    messages: int
    permanent: Flags | None = None
    any_keyword: bool = True

    def kept(self, flags: Flags) -> Flags:
        """Those of `flags` that the folder keeps (PERMANENTFLAGS, RFC 3501 section 7.1)."""
        if self.permanent is None:
            return flags
        known = {flag.lower() for flag in self.permanent}
        return frozenset(
            flag for flag in flags if flag.lower() in known or (self.any_keyword and not flag.startswith("\\"))
        )


class FolderStat(Struct, frozen=True):
    """A destination's folder, how many messages it has, and the attributes that it shows for those that were
    requested."""

    uidvalidity: int
    messages: int
    seen: Sequence[Attributes]


class AppendMessage(Struct, frozen=True):
    """A message as it is sent. `internaldate` is the 26 characters of RFC 3501's date-time; each call of `octets`
    returns them from the start, in pieces that add up to `size`. `is_binary`: there are NULs among
    them, and a literal8 brings them as they are; `has_8bit_header`: octets beyond ASCII are in its header."""

    flags: Flags
    internaldate: str
    size: int
    octets: Callable[[], Iterable[bytes]]
    is_binary: bool = False
    has_8bit_header: bool = False


class Appended(Struct, frozen=True):
    """The answer to one command with `count` messages: all were accepted, or none. `uids` is (uidvalidity, uids)
    from APPENDUID, unchecked, None if there was none. `reply` is the server's text, and `error` what a refusal
    means if it is about more than the message."""

    count: int
    uids: tuple[int, tuple[int, ...]] | None
    reply: bytes
    error: BackendError | None = None

    @property
    def ok(self) -> bool:
        return self.error is None
