"""Reads the open folder: its UIDs, attributes, headers and messages, for a source as for a destination.

Extensions are used where the server offers them; plain IMAP does the rest. Nothing is changed: messages are read by
BODY.PEEK[].
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import reduce
from operator import or_

from archiver.errors import (
    BackendError,
    ConnectionLost,
    CountsDisagree,
    MessageRefused,
    ServerUnavailable,
    Throttled,
)
from archiver.imap.answers import MessageRows
from archiver.imap.coming import Coming, discard
from archiver.imap.extensions.binary import SecondLook
from archiver.imap.extensions.nuls import NulReader
from archiver.imap.fetch import FetchStream, body_reader, read_header
from archiver.imap.fetch_row import is_fetch, leading_attribute_rows, leading_flag_rows, parse_fetch
from archiver.imap.listing import Abilities
from archiver.imap.replies import Reply, error_of, is_of_session, not_imap
from archiver.imap.session import BodyReader, Session
from archiver.imap.tokens import Response, parse_search, status_of, tagged, uid_sets
from archiver.mail.content import Spool
from archiver.mail.model import Attributes, Body, Fetched, Marks, Undelivered
from archiver.mail.uidset import UidSet

#: What is fetched of messages without their octets.
ATTRIBUTES = b"(UID FLAGS INTERNALDATE RFC822.SIZE)"

_MOST_UIDS = 10_000_000  # a larger folder is not believed
_SPARE = 1000  # messages that may have arrived since the server said how many there are


class FolderReader:
    """Implements `MailReader` on a session. `accept` stores a server's placeholder as the message.

    `prefetched` is a search that was sent before it was requested, and its reply; `coming` are messages that were.
    `behind` is that of `FetchStream`.
    """

    def __init__(self, session: Session, abilities: Abilities, spool: Spool, *, accept: bool = False) -> None:
        self._session = session
        self._abilities = abilities
        self.spool = spool
        self._accept = accept
        self._identity_refused = False
        self._delivered = False
        self._nuls = NulReader(session, self._fetch, needed="BINARY" in abilities)
        self.prefetched: tuple[bytes, Reply] | None = None
        self.coming: Coming | None = None
        self.behind: Callable[[], None] | None = None

    def uids(self, criteria: str | None = None) -> UidSet:
        if criteria is not None:
            return self._believed(self._search(criteria, MessageRefused))
        found = self._believed(self._search("ALL", ServerUnavailable))
        if len(found) == self._session.exists:
            return found
        # NOTE: a truncated SEARCH must not be taken for the whole folder: mail would seem to have vanished.
        shown = self._believed(self._shown()) if self._session.exists else found
        if len(shown) != self._session.exists:
            raise CountsDisagree(self._session.exists, shown | found, where=self._session.where)
        return shown

    def _shown(self) -> UidSet:
        """The UIDs of the rows that a FETCH of the whole folder gives."""
        return UidSet(each.uid for each in self._rows(b"1:*", b"(UID)"))

    def quoted(self, raw: bytes) -> bytes | None:
        """A folder's name in quotes, as this connection spells it; None if it needs a literal."""
        return self._session.quoted(raw)

    def search_command(self, criteria: str) -> bytes:
        """The command that searches for `criteria`."""
        how = b"UID SEARCH RETURN (ALL) " if "ESEARCH" in self._abilities else b"UID SEARCH "
        return how + criteria.encode("ascii")

    def _search(self, criteria: str, otherwise: type[MessageRefused | ServerUnavailable]) -> UidSet:
        command = self.search_command(criteria)
        prefetched, self.prefetched = self.prefetched, None
        reply = prefetched[1] if prefetched and prefetched[0] == command else self._session.flight(command)[0]
        useless = is_of_session(self._session.refusal(reply))
        if not reply.ok and otherwise is ServerUnavailable and not useless:
            return self._shown()  # Yahoo: SEARCH fails, FETCH works
        untagged = self._session.required(reply, otherwise)
        return _found(untagged)

    def _believed(self, uids: UidSet) -> UidSet:
        """The UIDs, if there can be that many. A server may name four billion of them in one short line."""
        if len(uids) > min(2 * self._session.exists + _SPARE, _MOST_UIDS):
            raise ServerUnavailable(
                f"the folder holds {self._session.exists} messages, but the server names {len(uids)} UIDs",
                where=self._session.where,
                hint="no message is counted as vanished; the next run checks again",
            )
        return uids

    def flags(self, *, changed_since: int | None = None) -> Iterator[Sequence[Marks]]:
        """The flags of all messages, and at Gmail their labels, or with CHANGEDSINCE (RFC 7162 section 3.1.4) of
        those for which they changed after that HIGHESTMODSEQ. Nothing else is asked for: some servers have to
        convert a message to know its size."""
        if not self._session.exists:
            return
        since = b"" if changed_since is None else b" (CHANGEDSINCE %d)" % changed_since
        news = MessageRows()
        for response in self._fetch(b"1:*", b"(UID FLAGS%s)%s" % (self._gmail_items(), since), news=news):
            seen = parse_fetch(response).attributes
            if seen is not None and seen.flags is not None:
                yield [Marks(seen.uid, seen.flags, seen.labels, seen.thrid)]
            # A folder may have a million messages.
            if some := self._arrived_flags(news):
                yield some

    def _arrived_flags(self, news: MessageRows) -> Sequence[Marks]:
        """The flags by UID of rows that have arrived already, are the next to be read, and have nothing else. None
        if any of them brings nothing new: the session counts those when it reads them."""
        rows = leading_flag_rows(self._session.line.arrived())
        if not rows.numbers or not news.are_news(rows.numbers, self._session.exists):
            return ()
        self._session.take(rows.octets)
        return rows.marks

    def scan(self, uids: Collection[int] | None) -> Iterator[Attributes]:
        items = self._attribute_items()
        if uids is None:
            if self._session.exists:
                yield from self._rows(b"1:*", items)
            return
        for chunk in uid_sets(uids):
            yield from self._rows(chunk, items)

    @property
    def identifies(self) -> bool:
        """Whether the server has identities of messages across folders, and gives them."""
        return self._identity_item() != b""

    @property
    def labels(self) -> bool:
        """Whether messages have labels, as at Gmail."""
        return self._gmail_items() != b""

    def attributes_command(self, uids: bytes) -> bytes:
        """The command for the attributes of a set of UIDs, with their identities."""
        return b"UID FETCH %s %s" % (uids, self._attribute_items())

    def attributes_of(self, replies: Sequence[Reply]) -> tuple[Attributes, ...]:
        """What the replies of a flight say whose last command is an `attributes_command`. A refusal says nothing.

        NOTE: Dovecot works on a search and on what is behind it at the same time, so that rows may come before the
        search has ended.
        """
        if replies[-1].status == b"BAD":
            self._identity_refused = True
        untagged = (each for reply in replies for each in reply.untagged)
        rows = (parse_fetch(each).attributes for each in untagged if is_fetch(each.text))
        return tuple(each for each in rows if each is not None)

    def messages_command(self, first: int) -> bytes:
        """The command for all messages from the UID `first` on; also for the last one, whatever its UID."""
        return b"UID FETCH %d:* %s" % (first, self._message_items())

    def read_coming(self, *, keep: bool) -> None:
        """Read what was sent along to its end; without `keep` nobody wants it any more."""
        coming = self.coming
        if coming is not None and not coming.ended:
            self._session.expect([self.messages_command(coming.first)])
            coming.read(self._session, body_reader(self.spool) if keep else discard, keep=keep)
        if coming is not None and not keep:
            coming.discard()
            self.coming = None

    def _message_items(self) -> bytes:
        return b"(UID FLAGS INTERNALDATE RFC822.SIZE%s BODY.PEEK[])" % self._identity_item()

    def _attribute_items(self) -> bytes:
        return b"(UID FLAGS INTERNALDATE RFC822.SIZE%s)" % self._identity_item()

    @property
    def compared_items(self) -> bytes:
        """What is compared of a copy: its attributes, and its labels at Gmail."""
        return b"(UID FLAGS INTERNALDATE RFC822.SIZE%s)" % self._gmail_items()

    def rows_from(self, uid: int) -> Iterator[Attributes]:
        """FLAGS, INTERNALDATE and RFC822.SIZE from a UID on, and always of the last message, whatever its UID."""
        return self._rows(b"%d:*" % uid, ATTRIBUTES)

    def headers(self, uids: Collection[int], field: str | None = None) -> Iterator[tuple[Attributes, bytes]]:
        section = b"HEADER" if field is None else b"HEADER.FIELDS (%s)" % field.encode("ascii")
        items = b"(UID FLAGS INTERNALDATE RFC822.SIZE%s BODY.PEEK[%s])" % (self._identity_item(), section)
        for chunk in uid_sets(uids):
            for response in self._fetch(chunk, items, read_header):
                row = parse_fetch(response)
                if row.has_body and not row.clean:
                    why = "this is not IMAP: a header's length does not match what follows it"
                    raise ConnectionLost(why, where=self._session.where)
                if row.attributes and row.has_body and row.section.startswith(b"HEADER"):
                    header = row.body.header if isinstance(row.body, Body) else row.body
                    yield row.attributes, header or b""

    def _rows(self, uid_set: bytes, items: bytes) -> Iterator[Attributes]:
        news = MessageRows()
        for response in self._fetch(uid_set, items, news=news):
            attributes = parse_fetch(response).attributes
            if attributes:
                yield attributes
            yield from self._arrived_rows(news)

    def _arrived_rows(self, news: MessageRows) -> Sequence[Attributes]:
        """Rows that have arrived already and are the next to be read, as `_arrived_flags`."""
        rows, octets = leading_attribute_rows(self._session.line.arrived())
        if not rows or not news.are_news([row.number for row in rows], self._session.exists):
            return ()
        self._session.take(octets)
        return [row.attributes for row in rows]

    def _fetch(
        self, uid_set: bytes, items: bytes, body_reader: BodyReader | None = None, news: MessageRows | None = None
    ) -> Iterator[Response]:
        """The rows of one FETCH as they arrive. If the caller stops half-way, the rest is read and dropped."""
        (tag,) = self._session.send(b"UID FETCH %s %s" % (uid_set, items))
        news, exists = news or MessageRows(), self._session.exists
        finished = False
        try:
            while True:
                response = self._session.read_response(body_reader)
                if is_fetch(response.text):
                    if news.is_news(response.text, exists):
                        self._session.progressed()
                    yield response
                elif not response.text.startswith((tag + b" ", b"* ")):
                    raise not_imap(response.text, self._session.where)
                elif response.text.startswith(tag + b" "):
                    finished = True
                    status, _ = status_of(text := tagged(response.text)[1])
                    if status == b"BAD" and (item := self._extension_in(items)):
                        self._identity_refused = True
                        yield from self._fetch(uid_set, items.replace(item, b""), body_reader)
                    elif status != b"OK":
                        raise error_of(text, self._session.where, ServerUnavailable)
                    return
        except GeneratorExit:
            try:
                while not finished:
                    finished = self._session.read_response(body_reader).text.startswith(tag + b" ")
            except BackendError:
                self._session.hang_up()  # it is gone already, or would be out of step
            raise

    def gives(self, uid: int) -> bool:
        """Whether the server delivers an octet of this message."""
        (reply,) = self._session.flight(b"UID FETCH %d (UID BODY.PEEK[]<0.1>)" % uid)
        if not reply.ok:
            error = error_of(reply.status + b" " + reply.text, self._session.where)
            if isinstance(error, Throttled) and error.certain:
                raise error
        return any(is_fetch(each.text) and b"BODY[" in each.text.upper() for each in reply.untagged)

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        coming, self.coming = self.coming, None
        stream = FetchStream(
            self._session, self._message_items(), self.spool, self._accept, self._delivered, behind=self.behind
        )
        doubtful: list[Undelivered] = []
        again = SecondLook(self.spool)
        try:
            for outcome in stream.messages(uids, coming):
                if isinstance(outcome, Undelivered):
                    doubtful.append(outcome)
                    continue
                self._delivered = True
                if self._nuls.may_lack(outcome):
                    again.hold(outcome)
                else:
                    yield outcome
            yield from self._nuls.read(again, body_reader(self.spool), alone=len(uids) == 1)
        finally:
            again.discard()
            if coming is not None:
                coming.discard()
        bad = {each.uid for each in doubtful if (each.server_reply or "").upper().startswith("BAD")}
        if bad and self._identity_item():
            self._identity_refused = True
            yield from self.fetch(sorted(bad))
            doubtful = [each for each in doubtful if each.uid not in bad]
        yield from self._without_expunged(doubtful)

    def _without_expunged(self, doubtful: Sequence[Undelivered]) -> Iterator[Undelivered]:
        """The same outcomes, with `gone` set where the folder no longer has the message, which is no failure."""
        if not doubtful:
            return
        wanted = UidSet(each.uid for each in doubtful)
        there = UidSet()
        for chunk in uid_sets(wanted):
            (reply,) = self._session.flight(b"UID SEARCH UID " + chunk)
            if not reply.ok:
                there = wanted
                break
            there |= _found(reply.untagged)
            if wanted <= there:
                break
            # NOTE: some servers search an index that lacks some messages.
            try:
                there |= UidSet(each.uid for each in self._rows(chunk, b"(UID)"))
            except ServerUnavailable:
                there = wanted
        for each in doubtful:
            if each.uid in there:
                yield each
            else:
                yield Undelivered(each.uid, "expunged meanwhile", each.server_reply, gone=True)

    def _identity_item(self) -> bytes:
        """The FETCH item for a message's identity across folders (RFC 8474, or Gmail's), if the server has one, and
        Gmail's others. A server that advertises it and answers BAD is not asked again."""
        if self._identity_refused:
            return b""
        if "X-GM-EXT-1" in self._abilities:
            return b" X-GM-MSGID" + self._gmail_items()
        return b" EMAILID" if "OBJECTID" in self._abilities else b""

    def _gmail_items(self) -> bytes:
        """The FETCH items for what else may change about a message at Gmail."""
        has_them = "X-GM-EXT-1" in self._abilities and not self._identity_refused
        return b" X-GM-THRID X-GM-LABELS" if has_them else b""

    def _extension_in(self, items: bytes) -> bytes:
        """Those of `items` that a server with extensions should know; b"" if there are none."""
        return next((each for each in (self._identity_item(), self._gmail_items()) if each and each in items), b"")


def _found(untagged: Iterable[Response]) -> UidSet:
    """All UIDs that the responses to a search name: some servers split them into several."""
    return reduce(or_, map(parse_search, untagged), UidSet())
