"""An IMAP server as a source: what it offers is used, what it lacks is done the plain way.

The source is never changed: folders are opened by EXAMINE, messages read by BODY.PEEK[].
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count, islice

from archiver import names
from archiver.errors import (
    BackendError,
    ConnectionLost,
    FolderNotFound,
    MessageRefused,
    ServerUnavailable,
    Where,
)
from archiver.imap.fetch import FetchStream, read_header
from archiver.imap.introduction import ServerFacts, server_facts
from archiver.imap.listing import Abilities, list_everything
from archiver.imap.login import ServerAddress, connect
from archiver.imap.replies import error_of, printable
from archiver.imap.session import BodyReader, Reply
from archiver.imap.tokens import Response, is_fetch, number, parse_fetch, parse_search, parse_vanished
from archiver.model import (
    Attributes,
    Fetched,
    Folder,
    FolderStatus,
    Listed,
    Opened,
    Resume,
    Undelivered,
)
from archiver.ports import Spool
from archiver.uidset import format_uid_set

_ITEM = re.compile(rb"\[(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ) (\d+)\]", re.IGNORECASE)
_FLAGS = re.compile(rb"\A\* FLAGS \(([^)]*)\)", re.IGNORECASE)
_CLOSED = re.compile(rb"\A\* OK \[CLOSED\]", re.IGNORECASE)
_LINE_OCTETS = 900  # UW and Yahoo take about 1,000 octets a line
_MOST_UIDS = 10_000_000  # a folder of more is not believed, and would not fit into the memory
_SPARE = 1000  # arrived since the server told how many there are


class ImapSource:
    """A logged-in connection; implements `ports.MailSource`. Belongs to one thread.

    `cautious` leaves out what some servers hang up on: ID, NAMESPACE, ENABLE, extended LIST. `accept` takes a
    server's placeholder for the message it stands for.
    """

    def __init__(
        self, address: ServerAddress, spool: Spool, *, cautious: bool = False, accept: bool = False
    ) -> None:
        self._session, capabilities = connect(address)
        self._abilities = Abilities(frozenset() if cautious else capabilities)
        self._cautious = cautious
        self._spool = spool
        self._accept = accept
        self._enabled: bool | None = None
        self.capabilities = capabilities
        self._identity_refused = False

    @property
    def facts(self) -> ServerFacts:
        """What the server said of itself so far."""
        return server_facts(self._session, self.capabilities)

    def list_folders(self) -> Sequence[Listed]:
        prologue = list_everything(self._session, self._abilities, cautious=self._cautious)
        self._enabled = prologue.enabled
        return prologue.folders

    def open(self, folder: Folder, resume: Resume | None = None) -> Opened:
        self._enable()
        self._session.where = Where(self._session.where.server, names.printable(folder.name))
        how = b""
        if resume and self._enabled and "QRESYNC" in self._abilities:
            how = b" (QRESYNC (%d %d))" % (resume.uidvalidity, resume.highestmodseq)
        elif self._abilities.condstore:
            how = b" (CONDSTORE)"
        self._session.exists = 0
        reply = self._session.command_with_name(b"EXAMINE", folder.raw, how)
        if reply.status == b"BAD" and how:
            how = b""
            reply = self._session.command_with_name(b"EXAMINE", folder.raw)
        untagged = self._session.required(reply, FolderNotFound)
        closed = max((i for i, each in enumerate(untagged) if _CLOSED.match(each.text)), default=-1)
        # Up to there it speaks of the folder that was open before (RFC 7162 section 3.2.11).
        return self._opened(reply, untagged[closed + 1 :], asked="QRESYNC" in how.decode())

    def _enable(self) -> None:
        """ENABLE, when this connection did not list the folders and so did not do it on the way."""
        if self._enabled is None:
            command = self._abilities.enable
            self._enabled = command is not None and self._session.flight(command)[0].ok

    def _opened(self, reply: Reply, untagged: Sequence[Response], *, asked: bool) -> Opened:
        items: dict[bytes, int] = {}
        keywords: tuple[str, ...] = ()
        vanished: set[int] = set()
        changed: list[Attributes] = []
        for response in untagged:
            for name, digits in _ITEM.findall(response.text[:200]):
                if (value := number(digits)) is not None:
                    items[name.upper()] = value
            if flags := _FLAGS.match(response.text):
                words = flags[1].decode("utf-8", "backslashreplace").split()
                keywords = tuple(word for word in words if not word.startswith("\\"))
            elif gone := parse_vanished(response):
                vanished |= gone[1]
            elif is_fetch(response.text) and (row := parse_fetch(response)).attributes:
                changed.append(row.attributes)
        status = FolderStatus(
            # NOTE: a server that gives no UIDVALIDITY does not keep UIDs (RFC 3501 section 2.3.1.1), yet some
            # do and forget to say so. 0 stands for it and is a UIDVALIDITY like any other.
            uidvalidity=items.get(b"UIDVALIDITY", 0),
            uidnext=items.get(b"UIDNEXT"),
            messages=self._session.exists,
            highestmodseq=items.get(b"HIGHESTMODSEQ") or None,
        )
        told = asked and reply.ok and status.highestmodseq is not None
        return Opened(
            status=status,
            keywords=keywords,
            vanished=frozenset(vanished) if told else None,
            changed=tuple(changed) if told else None,
        )

    def uids(self, criteria: str | None = None) -> set[int]:
        if criteria is not None:
            return self._believed(self._search(criteria.encode("ascii"), MessageRefused))
        found = self._believed(self._search(b"ALL", ServerUnavailable))
        if len(found) == self._session.exists:
            return found
        # NOTE: a SEARCH cut short must not look like "these are all": mail would seem to have vanished.
        if self._session.exists:
            found = self._believed(each.uid for each in self._rows("1:*", b"(UID)"))
        if len(found) != self._session.exists:
            raise ServerUnavailable(
                f"the folder holds {self._session.exists} messages, but the server names {len(found)} UIDs",
                where=self._session.where,
                hint="nothing is taken for vanished; the next run looks again",
            )
        return found

    def _search(self, criteria: bytes, otherwise: type[MessageRefused | ServerUnavailable]) -> Iterator[int]:
        how = b"UID SEARCH RETURN (ALL) " if "ESEARCH" in self._abilities else b"UID SEARCH "
        (reply,) = self._session.flight(how + criteria)
        if not reply.ok and otherwise is ServerUnavailable:
            return (each.uid for each in self._rows("1:*", b"(UID)"))  # Yahoo: SEARCH fails, FETCH works
        untagged = self._session.required(reply, otherwise)
        return (uid for response in untagged for uid in parse_search(response))

    def _believed(self, uids: Iterable[int]) -> set[int]:
        """What a server names, which may be four thousand million UIDs in one short line."""
        found = set()
        most = min(2 * self._session.exists + _SPARE, _MOST_UIDS)
        for number_said, uid in enumerate(uids):
            found.add(uid)
            if len(found) > most or number_said > 2 * most:
                raise ServerUnavailable(
                    f"the folder holds {self._session.exists} messages, but the server names {len(found)} UIDs",
                    where=self._session.where,
                    hint="nothing is taken for vanished; the next run looks again",
                )
        return found

    def scan(self, uids: Collection[int] | None, *, changed_since: int | None = None) -> Iterator[Attributes]:
        items = b"(UID FLAGS INTERNALDATE RFC822.SIZE%s)" % self._identity_item()
        if changed_since is not None:
            items += b" (CHANGEDSINCE %d)" % changed_since
        if uids is None:
            if self._session.exists:
                yield from self._rows("1:*", items)
            return
        for chunk in format_uid_set(uids, _LINE_OCTETS):
            yield from self._rows(chunk, items)

    def headers(self, uids: Collection[int]) -> Iterator[tuple[Attributes, bytes]]:
        items = b"(UID INTERNALDATE RFC822.SIZE%s BODY.PEEK[HEADER])" % self._identity_item()
        for chunk in format_uid_set(uids, _LINE_OCTETS):
            for response in self._fetch(chunk, items, read_header):
                row = parse_fetch(response)
                if row.has_body and not row.clean:
                    why = "this is not IMAP: a header's length does not fit what follows it"
                    raise ConnectionLost(why, where=self._session.where)
                if row.attributes and row.has_body and row.section == b"HEADER":
                    body = self._session.bodies[row.body].header if isinstance(row.body, int) else row.body
                    yield row.attributes, body or b""

    def _rows(self, uid_set: str, items: bytes) -> Iterator[Attributes]:
        for response in self._fetch(uid_set, items):
            attributes = parse_fetch(response).attributes
            if attributes:
                yield attributes

    def _fetch(self, uid_set: str, items: bytes, body_reader: BodyReader | None = None) -> Iterator[Response]:
        """The rows of one FETCH as they arrive. A caller that stops half-way gets the rest read and dropped."""
        (tag,) = self._session.send(b"UID FETCH %s %s" % (uid_set.encode(), items))
        finished = False
        try:
            for answers in count():
                if answers > self._session.patience:
                    raise ConnectionLost("an answer that does not come to an end", where=self._session.where)
                response = self._session.read_response(body_reader)
                if is_fetch(response.text):
                    yield response
                elif not response.text.startswith((tag + b" ", b"* ")):
                    said = printable(response.text[:80])
                    raise ConnectionLost(f"this is not IMAP: {said}", where=self._session.where)
                elif response.text.startswith(tag + b" "):
                    finished = True
                    text = response.text[len(tag) + 1 :]
                    if text[:3].upper() == b"BAD" and (item := self._identity_item()) and item in items:
                        self._identity_refused = True
                        yield from self._fetch(uid_set, items.replace(item, b""), body_reader)
                    elif text[:2].upper() != b"OK":
                        raise error_of(text, self._session.where, ServerUnavailable)
                    return
        except GeneratorExit:
            with suppress(BackendError):  # the connection may be gone already
                while not finished:
                    finished = self._session.read_response(body_reader).text.startswith(tag + b" ")
            raise

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        items = b"(UID FLAGS INTERNALDATE RFC822.SIZE%s BODY.PEEK[])" % self._identity_item()
        stream = FetchStream(self._session, items, self._spool, self._accept)
        doubtful: list[Undelivered] = []
        for outcome in stream.messages(uids):
            if isinstance(outcome, Undelivered):
                doubtful.append(outcome)
            else:
                yield outcome
        bad = {each.uid for each in doubtful if (each.server_reply or "").upper().startswith("BAD")}
        if bad and self._identity_item():
            self._identity_refused = True
            yield from self.fetch(sorted(bad))
            doubtful = [each for each in doubtful if each.uid not in bad]
        yield from self._told_apart(doubtful)

    def _told_apart(self, doubtful: Sequence[Undelivered]) -> Iterator[Undelivered]:
        """Which of these the folder still has: a message expunged meanwhile is no failure."""
        if not doubtful:
            return
        wanted = {each.uid for each in doubtful}
        there: set[int] = set()
        for chunk in format_uid_set(wanted, _LINE_OCTETS):
            (reply,) = self._session.flight(b"UID SEARCH UID " + chunk.encode())
            if not reply.ok:
                there |= wanted
                break
            found = (uid for response in reply.untagged for uid in parse_search(response))
            there.update(islice(found, len(wanted) + _SPARE))
            if there >= wanted:
                break
            # NOTE: some servers search in an index that does not know all messages.
            try:
                there.update(each.uid for each in self._rows(chunk, b"(UID)"))
            except ServerUnavailable:
                there |= wanted
        for each in doubtful:
            if each.uid in there:
                yield each
            else:
                yield Undelivered(each.uid, "expunged meanwhile", each.server_reply, gone=True)

    def _identity_item(self) -> bytes:
        """The message's identity across folders, where the server has one: RFC 8474, or Gmail's. One that
        advertises it and answers BAD is not asked again."""
        if self._identity_refused:
            return b""
        if "X-GM-EXT-1" in self._abilities:
            return b" X-GM-MSGID"
        return b" EMAILID" if "OBJECTID" in self._abilities else b""

    def close(self) -> None:
        self._session.say_goodbye()

    def hang_up(self) -> None:
        """Close at once, in the middle of whatever the server is saying."""
        self._session.hang_up()
