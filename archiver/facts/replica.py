"""The values of a replay: what a destination holds from the archive, and what is still to be sent.

A *replica folder* is a folder of a destination under one UIDVALIDITY, as an epoch is one of the source; in the
journal it is a `target`. A *replica* is a message of the archive in such a folder, identified by its UID there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from archiver.errors import BackendError
from archiver.facts.destination import CopiedFact
from archiver.mail.model import Attributes, Digest, Flags, FolderStatus, Labels, Listed, Placement, StoredMessage

MessageKey = tuple[int, int]
"""A message of the archive: its epoch's number and its UID there."""


def by_epoch(keys: Iterable[MessageKey]) -> dict[int, set[int]]:
    """The UIDs of these messages, by the number of their epoch."""
    found: dict[int, set[int]] = {}
    for epoch, uid in keys:
        found.setdefault(epoch, set()).add(uid)
    return found


VanishedPolicy = Literal["keep", "mark", "expunge"]


class ReplicaFolderState(Struct, frozen=True):
    """The state of a replica folder after its last complete pass."""

    uidnext: int
    messages: int


class ReplicaFolder(Struct, frozen=True):
    """A replica folder as the catalog knows it. `state` is None until a pass over it was complete. `renaming` is
    the new name if a rename was begun and its outcome is not recorded. `compared` is its status before its replicas
    were last compared and found as recorded; it has a HIGHESTMODSEQ. None if that is not known."""

    number: int
    raw: bytes
    uidvalidity: int
    state: ReplicaFolderState | None = None
    renaming: bytes | None = None
    compared: FolderStatus | None = None


class MappedPlace(NamedTuple):
    """The folder of a destination that a folder of the archive is mapped to, as in `MappedFact`."""

    raw: bytes
    path: tuple[str, ...]
    rules: str
    subscribed: bool | None


class Moved(Struct, frozen=True):
    """A replica folder whose mail has left its folder at the source, or whose folder is mapped elsewhere now,
    together with a folder of the archive that has `equal` of these `left` messages, octet for octet. That folder
    holds `held` messages; `complete`: the archive has seen all of it."""

    target: int
    folder: int
    equal: int
    left: int
    held: int
    complete: bool

    @property
    def is_same(self) -> bool:
        """Whether it is the same folder under another name."""
        return 2 * self.equal > self.left or (not self.complete and 2 * self.equal > self.held)


class Address(Struct, frozen=True):
    """The address of a destination, the host in lower case. `port` is None if it was not recorded."""

    host: str
    user: str
    port: int | None

    def __str__(self) -> str:
        return f"{self.user} at {self.host}" + (f":{self.port}" if self.port is not None else "")


class KnownDestination(Struct, frozen=True):
    """A destination that the catalog knows, by its number and one of its addresses."""

    number: int
    address: Address


class Claim(Struct, frozen=True):
    """A replica of another account in the folder that we know as `target`, existing as far as that account knows:
    of a message with this digest, at a destination that was reached at this host and user, as written at that time.
    A destination with several addresses results in one claim for each."""

    target: ReplicaFolder
    host: str
    user: str
    uid: int
    digest: Digest


class UnknownMessage(Struct, frozen=True):
    """A message at a destination about which nothing is recorded. `size` is RFC822.SIZE, `arrived` the INTERNALDATE
    in seconds since 1970."""

    message_id: str | None
    size: int | None
    arrived: int | None


class Outgoing(Struct, frozen=True):
    """A message of the archive that is missing in a replica folder. If the placement has flags of a past moment,
    `followed` are its present flags, and only later changes are replayed. `restored`: somebody asked for it, so its
    replica stays when its message vanishes."""

    epoch: int
    placement: Placement
    followed: Flags | None = None
    restored: bool = False

    @property
    def key(self) -> MessageKey:
        return self.epoch, self.placement.uid

    @property
    def message(self) -> StoredMessage:
        return self.placement.message

    @property
    def present(self) -> bool:
        """False for a message that vanished at the source."""
        return self.placement.present

    @property
    def comes_back(self) -> bool:
        """Whether its replica is one that the user asked for, whatever the source has."""
        return self.restored or not self.present


class Replica(Struct, frozen=True):
    """A message in a replica folder, as recorded. `message` is its present state in the archive, in the epoch
    `epoch`. `source_flags` are its flags that were replayed, `flags` those that the destination showed afterwards,
    `lost` those that it does not keep. `size` is the destination's RFC822.SIZE then; `sent_digest` is None if its
    octets were sent unaltered. `folder` is the number of the archive's folder. `accepted`: the user accepted it as
    it is shown. `source_labels`, `labels` and `lost_labels` are the same for Gmail's labels; None if these were
    never replayed."""

    uid: int
    epoch: int
    message: StoredMessage
    how: str
    sent_digest: Digest | None
    size: int | None
    dated: bool
    source_flags: Flags
    flags: Flags
    lost: Flags
    likeness: str | None
    repaired: tuple[str, ...]
    removed: bool = False
    marked: bool = False
    folder: int = 0
    accepted: bool = False
    source_labels: Labels | None = None
    labels: Labels | None = None
    lost_labels: Labels = frozenset()

    @property
    def key(self) -> MessageKey:
        return self.epoch, self.message.uid

    def copied_fact(self, target: int, key: MessageKey, how: str, at: str) -> CopiedFact:
        """The fact that it is now the replica of the message `key`, in the replica folder with that number."""
        epoch, uid = key
        return CopiedFact(
            target=target,
            target_uid=self.uid,
            epoch=epoch,
            uid=uid,
            how=how,
            source_flags=self.source_flags,
            flags=self.flags,
            lost=self.lost,
            size=self.size,
            repaired=self.repaired,
            sent_digest=self.sent_digest,
            dated=self.dated,
            likeness=self.likeness,
            at=at,
        )


class Intent(Struct, frozen=True):
    """A message that was about to be appended and whose outcome is not recorded. Its replica, if there is one, has
    at least the UID `uidnext`."""

    outgoing: Outgoing
    uidnext: int
    at: str


class Watch(Struct, frozen=True):
    """Since when a folder is watched for what a run before that one was sending: `began` on that `clock`."""

    clock: str
    began: float


class Attempt(Struct, frozen=True):
    """A message that was taken for unsent `times` times and has a replica now. If another one of it comes late,
    that has at least the UID `uidnext`, one of `sizes`, and, if the destination keeps dates (`dated`), the
    message's INTERNALDATE. `flags` are those that the replica showed. `at` is when it was last taken for unsent;
    `silent`: the server did not answer at that time."""

    outgoing: Outgoing
    uidnext: int
    times: int
    sizes: frozenset[int]
    dated: bool
    flags: Flags
    at: str
    silent: bool


class LateTwin(Struct, frozen=True):
    """A message of ours that came late, next to the replica with the UID `copy`, None if that is gone. `certain`:
    only we can have stored it."""

    uid: int
    key: MessageKey
    copy: int | None
    flags: Flags
    certain: bool


class Refused(Struct, frozen=True):
    """A message that a destination refused, for the report and for another try."""

    folder: str
    target: int
    key: MessageKey
    refusal: str
    reason: str
    server_reply: str | None
    date: str | None
    subject: str | None
    tries: int
    accepted: bool


class ReplicaTally(Struct, frozen=True):
    """A folder's present messages by their outcome in the destination folder `name`: `replayed` in this run,
    `already_there` before, `refused`, `removed` by the destination's user, `pending` not yet sent. `restored` are,
    in addition, messages gone from the source that this run sent. Of those that are there, the destination altered
    `altered` or shows them cut off, and the user `accepted` such replicas. `left_out` are the messages of a folder
    that is not replayed by itself (`[replay] labels`)."""

    folder: str
    name: str
    replayed: int
    already_there: int
    refused: int
    removed: int
    pending: int
    altered: int = 0
    accepted: int = 0
    restored: int = 0
    left_out: int = 0


class ReplicaCount(Struct, frozen=True):
    """How many existing replicas of present and of restored messages of one folder a replica folder has: `there` in
    all, of which the user `accepted` some as they are, and the destination has `rewritten` some. `uncompared` were
    not compared since they were recorded, or have flags that were not replayed."""

    there: int
    accepted: int
    rewritten: int
    uncompared: int


class Loss(Struct, frozen=True):
    """What a destination altered or does not keep of a folder's messages: `kind` is "flags", "internaldate",
    "repaired", "rewritten" or "cut", `detail` names it, `uids` are the archive's. The kind "twin" is for messages
    that it stored twice; `detail` has the UIDs of the second ones there."""

    folder: str
    kind: str
    detail: str
    uids: tuple[int, ...]


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


def gone_words(name: str, copies: int) -> str:
    """The notice about a folder that the source no longer has."""
    some = f"{copies:,} of our copies stay" if copies != 1 else "1 of our copies stays"
    return f"folder {name} is gone from the source; {some}"


class Restored(Struct, frozen=True):
    """What became of a message that was restored to a place: the folder `raw` there has it as `uid`, or had it
    until its user removed it. `lost` are flags that the folder does not keep; `dated`: it has its date. `repaired`
    names what was altered before it was sent, and `likeness` is as in `CopiedFact`."""

    place: int
    raw: bytes
    uid: int
    removed: bool
    lost: Flags
    dated: bool
    at: str
    repaired: tuple[str, ...] = ()
    likeness: str | None = None


class RestorePlace(Struct, frozen=True):
    """A place to which messages were restored, by its number: a mailbox, and a folder there (None: the folders that
    they were in)."""

    number: int
    address: Address
    into: str | None


class RestoreTally(Struct, frozen=True):
    """What was restored to a place, last `at` that time and by that user: of the `asked` messages, so many are
    there as far as known, were removed there since, were refused, or are still `waiting`."""

    place: RestorePlace
    asked: int
    restored: int
    removed: int
    refused: int
    waiting: int
    at: str
    by: str
