"""What a look at an account found, as a value, in words, and as JSON."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, to_builtins

from archiver.account.account import Account
from archiver.account.sharing import Sharing
from archiver.account.store import Medium
from archiver.config.settings import Settings
from archiver.errors import ArchiverError, ConfigError, worst
from archiver.imap.capabilities import ServerFacts
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.document import Notice
from archiver.report.units import size
from pipelines.show.preview.bucket import BucketPreview
from pipelines.show.preview.destination import DestinationPreview, server_to_json
from pipelines.show.preview.pace import Sample, Work
from pipelines.show.preview.place import ArchivePlace
from pipelines.show.preview.provider import provider_to_json
from pipelines.show.preview.token import TokenPreview

#: Notices that are worth a line in a table of many accounts.
_KINDS = {"window": "only a part is shown", "empty": "no message is shown", "admin": "an admin sees no folder"}


class FolderPreview(Struct, frozen=True):
    """A folder that is archived. `reason` is why a run opens it, None if it need not. Numbers that the server does
    not report are None. `to_fetch` messages of about `octets` octets would be fetched."""

    name: str
    directory: str
    messages: int | None
    size: int | None
    reason: str | None
    to_fetch: int
    octets: int


class Beginning(Struct, frozen=True):
    """There is no archive yet at `place`; `problem` is why a run will not begin one."""

    place: str
    problem: ArchiverError | None


class Preview(Struct, frozen=True):
    """The preview of an account; `error` is what ended it early."""

    account: Account
    place: ArchivePlace
    server: ServerFacts | None = None
    folders: tuple[FolderPreview, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    error: ArchiverError | None = None
    destination: DestinationPreview | None = None
    bucket: BucketPreview | None = None
    notices: tuple[Notice, ...] = ()
    sharing: Sharing | None = None
    beginning: Beginning | None = None
    token: TokenPreview | None = None
    samples: tuple[Sample, ...] = ()

    @property
    def settings(self) -> Settings:
        """The account file."""
        return self.account.settings

    @property
    def medium(self) -> Medium:
        """Where the archive lies."""
        return self.account.medium

    @property
    def refusal(self) -> ConfigError | None:
        """Why a run would refuse this account together with the others."""
        return self.sharing.refusal if self.sharing and self.destination else None

    @property
    def exit_code(self) -> int:
        if self.refusal is not None:
            return worst((self.refusal.exit_code, self._found))
        return self._found

    @property
    def _found(self) -> int:
        if self.error is not None:
            return self.error.exit_code
        if self.place.problem or (self.beginning and self.beginning.problem):
            return 8
        if self.bucket is not None and self.bucket.error is not None:
            return self.bucket.error.exit_code
        return self.destination.exit_code if self.destination else 0

    @property
    def message(self) -> str | None:
        """What is wrong, as text for people."""
        there = self.destination.error if self.destination else None
        bucket = self.bucket.error if self.bucket else None
        begin = self.beginning.problem if self.beginning else None
        found = str(self.error or begin or self.place.problem or bucket or there or "")
        return "\n".join(filter(None, [str(self.refusal or ""), found])) or None

    @property
    def totals(self) -> dict[str, int]:
        """The sums over all folders."""
        return {
            "folders": len(self.folders),
            "messages": sum(each.messages or 0 for each in self.folders),
            "size": sum(each.size or 0 for each in self.folders),
            "to_visit": sum(each.reason is not None for each in self.folders),
            "to_fetch": sum(each.to_fetch for each in self.folders),
            "octets": sum(each.octets for each in self.folders),
        }

    @property
    def to_send(self) -> tuple[int, int] | None:
        """About how many messages and octets a run will send to the destination; None if that is not known."""
        there = self.destination
        if there is None or there.error is not None or self.error is not None:
            return None
        placed = {each.name for each in there.folders}
        sent = [each for each in self.folders if printable(each.name) in placed]
        every, octets = sum(each.messages or 0 for each in sent), sum(each.size or 0 for each in sent)
        messages = max(0, every - there.held - there.removed)
        return messages, octets * messages // every if every else 0

    @property
    def work(self) -> Work | None:
        """What a run has to do; None if that is not known."""
        if self.error is not None or (self.destination is not None and self.to_send is None):
            return None
        return Work(self.totals["to_fetch"], self.to_send[0] if self.to_send is not None else 0)

    @property
    def attention(self) -> tuple[str, ...]:
        """What a person should look at before the first run, in a few words each, although nothing failed."""
        found, there, to_send = [], self.destination, self.to_send
        free = there.free_octets if there is not None else None
        if to_send is not None and free is not None and to_send[1] > free:
            found.append(f"no room: {size(to_send[1])} to send, {size(free)} free there")
        needed, here = self.totals["octets"], self.place.free_octets
        if needed > here and not self.medium.is_remote and self.error is None:
            found.append(f"no room: {size(needed)} to fetch, {size(here)} free at {self.place.path}")
        if there is not None and there.too_large and there.append_limit is not None:
            large = counted(there.too_large, "message is", "messages are")
            found.append(f"{large} larger than the {size(there.append_limit)} that are taken there")
        if there is not None and self.sharing is not None and self.sharing.problems:
            found.append("others fill or empty the same mailbox")
        for each in self.notices:
            if each.kind in _KINDS:
                found.append(f"{each.folder or 'all folders'}: {_KINDS[each.kind]}")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """One account in the documents of `check` and of a dry run."""
        server = self.server
        return {
            "account": self.settings.account,
            "exit_code": self.exit_code,
            "message": self.message,
            "warnings": list(self.settings.warnings),
            "attention": list(self.attention),
            "shares": self.sharing and self.sharing.to_json(),
            "server": server
            and {
                "address": self.settings.source.address,
                **server_to_json(server),
                "provider": provider_to_json(self.settings.source, server),
            },
            "token": self.token and to_builtins(self.token),
            "archive": {
                "path": str(self.place.path),
                "exists": self.place.exists,
                "begun": self.beginning is None,
                "free": self.place.free_octets,
                "problem": self.place.problem,
                "bucket": self.bucket and self.bucket.to_json(),
            },
            "folders": [to_builtins(each) for each in self.folders],
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
            "notices": [to_builtins(each) for each in self.notices],
            "totals": self.totals,
            "destination": self.destination and self.destination.to_json(),
        }
