"""The append stream: uploads messages, as many in one flight as the server accepts.

With MULTIAPPEND (RFC 3502) a group of messages is one command, which succeeds or fails as a whole. Without it a
group is one command per message. They are sent without waiting where literals need no go-ahead (LITERAL+, RFC
7888).

imaplib's and imapclient's own `append` are not used: they rewrite bare CR and LF, and wait after every message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import NoReturn

from msgspec import Struct, field

from archiver.errors import BackendError, ConnectionLost, IntegrityError
from archiver.facts.mailbox import Appended, AppendMessage
from archiver.imap.fetch_row import is_fetch, leading_attribute_rows, parse_fetch
from archiver.imap.folder import ATTRIBUTES
from archiver.imap.listing import Abilities
from archiver.imap.replies import error_of, not_imap
from archiver.imap.session import Session
from archiver.imap.tokens import Response, is_ok, parse_appenduid, tagged, uid_sets
from archiver.mail.model import Attributes, Flags

#: A larger message waits for the server's go-ahead, so that it is not sent if the server refuses it.
LARGE_OCTETS = 4 << 20

_MOST_IN_FLIGHT = 8
_BUFFER_OCTETS = 256 << 10
_LITERAL_MINUS = 4096  # RFC 7888 section 5


class _Command(Struct):
    """A command in flight and the messages in it; or a look, with the rows of the `wanted` messages by UID."""

    tag: bytes
    messages: Sequence[AppendMessage] = ()
    reply: bytes | None = None
    wanted: frozenset[int] = frozenset()
    rows: dict[int, Attributes] = field(default_factory=dict)


class AppendStream(Struct):
    """Appends to one open folder. Belongs to its connection's thread."""

    session: Session
    abilities: Abilities
    raw: bytes
    _groups: deque[list[_Command]] = field(default_factory=deque)
    _buffer: list[bytes] = field(default_factory=list)
    _buffered: int = 0

    @property
    def most_in_flight(self) -> int:
        """How many groups may be in flight: one where each literal has to wait for the server."""
        return _MOST_IN_FLIGHT if "LITERAL+" in self.abilities else 1

    @property
    def unanswered(self) -> list[AppendMessage]:
        """The messages that were sent, at least in part, and have no answer yet."""
        commands = (command for group in self._groups for command in group if command.reply is None)
        return [message for command in commands for message in command.messages]

    def begin(self, messages: Sequence[AppendMessage]) -> None:
        """Send a group."""
        group: list[_Command] = []
        self._groups.append(group)
        multi = "MULTIAPPEND" in self.abilities
        commands = [messages] if multi else [[message] for message in messages]
        for some in commands:
            self._append(group, some)
            if not multi and self.most_in_flight == 1:
                self._wait_for(group[-1])
        self._push()

    def _wait_for(self, command: _Command) -> None:
        """Wait for the answer before the next command is sent.

        NOTE: sending ahead would take longer. Nagle's algorithm holds Courier's next line back until we acknowledge
        the previous one.
        """
        self._push()
        while command.reply is None:
            self._receive(go_ahead=False)
        if not is_ok(command.reply):
            # NOTE: Courier hangs up at the tenth refusal in a row. A command that succeeds resets its count.
            self.session.flight(b"NOOP")

    def begin_look(self, uids: Sequence[int]) -> None:
        """Ask for the attributes of messages, behind everything that was begun."""
        group: list[_Command] = []
        self._groups.append(group)
        for chunk in uid_sets(uids):
            self._put(self._tagged(group) + b"UID FETCH %b %b\r\n" % (chunk, ATTRIBUTES))
            group[-1].wanted = frozenset(uids)
        self._push()

    def end_look(self) -> dict[int, Attributes]:
        """Wait for the attributes; empty if the server refuses one of the commands."""
        group = self._end_oldest()
        if not all(each.reply is not None and is_ok(each.reply) for each in group):
            return {}
        return {uid: row for each in group for uid, row in each.rows.items()}

    def _end_oldest(self) -> list[_Command]:
        """Wait for the answers to what was begun first."""
        group = self._groups[0]
        while any(command.reply is None for command in group):
            self._receive(go_ahead=False)
        return self._groups.popleft()

    def end(self) -> list[Appended]:
        """Wait for the answers to the oldest group."""
        group = self._end_oldest()
        return [
            Appended(len(each.messages), self._appenduid(each.reply), each.reply, self._error(each.reply))
            for each in group
            if each.reply is not None
        ]

    def _error(self, reply: bytes) -> BackendError | None:
        if is_ok(reply):
            return None
        return error_of(reply, self.session.where, writing=True)

    def _appenduid(self, reply: bytes) -> tuple[int, tuple[int, ...]] | None:
        """The UIDVALIDITY and the UIDs from APPENDUID. Those of a server that does not offer UIDPLUS are
        ignored."""
        return parse_appenduid(reply) if "UIDPLUS" in self.abilities else None

    def _tagged(self, group: list[_Command], messages: Sequence[AppendMessage] = ()) -> bytes:
        tag = self.session.new_tag()
        group.append(_Command(tag, messages))
        return tag + b" "

    def _append(self, group: list[_Command], messages: Sequence[AppendMessage]) -> None:
        """Send one command. If the server refuses it half-way, the rest is not sent."""
        name = self.session.quoted(self.raw)
        self._put(self._tagged(group, messages) + b"APPEND")
        command = group[-1]
        if name is None:
            raw = self.session.name(self.raw)
            self._put(b" {%d}\r\n" % len(raw))
            if not self._go_ahead(command):
                return
            self._put(raw)
        else:
            self._put(b" " + name)
        for message in messages:
            flags = _text_of(message.flags)
            ahead = self._sends_ahead(message.size)
            mark = b"+" if ahead else b""
            date = message.internaldate.encode("ascii")
            # A literal may not contain NUL, a literal8 may (RFC 3516 section 4.4). Cyrus insists on it.
            kind = b"~" if message.is_binary and "BINARY" in self.abilities else b""
            # Octets beyond ASCII in a header have to be announced once UTF-8 is enabled (RFC 6855 section 4).
            is_utf8 = message.has_8bit_header and self.session.enabled_utf8
            kind = b"UTF8 (~" if is_utf8 else kind
            self._put(b' (%s) "%s" %s{%d%s}\r\n' % (flags, date, kind, message.size, mark))
            if not ahead and not self._go_ahead(command):
                return
            self._put_literal(message)
            self._put(b")" if is_utf8 else b"")
        self._put(b"\r\n")

    def _put_literal(self, message: AppendMessage) -> None:
        """Send a message's octets.

        NOTE: if that fails half-way, the connection is closed, since the server would take whatever is sent next
        for the rest of the message.
        """
        try:
            for piece in message.octets():
                self._put(piece)
        except IntegrityError as error:
            self.session.hang_up()
            lost = f"closed the connection in the middle of a message: {error.message}"
            raise ConnectionLost(lost, where=self.session.where) from error
        except BaseException:
            self.session.hang_up()
            raise

    def _sends_ahead(self, size: int) -> bool:
        if size > LARGE_OCTETS:
            return False
        return "LITERAL+" in self.abilities or ("LITERAL-" in self.abilities and size <= _LITERAL_MINUS)

    def _put(self, octets: bytes) -> None:
        self._buffer.append(octets)
        self._buffered += len(octets)
        if self._buffered >= _BUFFER_OCTETS:
            self._push()

    def _push(self) -> None:
        if not self._buffer:
            return
        octets, self._buffer, self._buffered = b"".join(self._buffer), [], 0
        try:
            self.session.send_octets(octets)
        except ConnectionLost as lost:
            self._raise_reason(lost)

    def _raise_reason(self, lost: ConnectionLost) -> NoReturn:
        """Raise what the server said before it hung up (Gmail gives the reason), else `lost`."""
        try:
            while True:
                self._receive(go_ahead=True)
        except BackendError as said:
            raise (said if said.server_reply else lost) from None

    def _go_ahead(self, command: _Command) -> bool:
        """Wait until the server asks for the literal. False if it answers the command instead."""
        self._push()
        while command.reply is None:
            if self._receive(go_ahead=True):
                return True
        return False

    def _receive(self, *, go_ahead: bool) -> bool:
        """Read one response. True if it is a go-ahead for a literal."""
        response = self.session.read_response()
        tag, text = tagged(response.text)
        for group in self._groups:
            for command in group:
                if command.tag == tag and command.reply is None:
                    command.reply = text
                    self.session.finished()
                    return False
        if tag == b"*":
            self._keep(response)
            return False
        if go_ahead and tag == b"+":
            return True
        raise not_imap(response.text, self.session.where)

    def _keep(self, response: Response) -> None:
        """Keep a row that the first look in flight asked for."""
        look = next((each for group in self._groups for each in group if each.wanted and each.reply is None), None)
        if look is None or not is_fetch(response.text):
            return
        row = parse_fetch(response).attributes
        if row is not None and row.uid in look.wanted:
            known = look.rows.get(row.uid)
            look.rows[row.uid] = row if known is None else known.updated(row)
            if known is None:
                self.session.progressed()
            self._keep_arrived(look)

    def _keep_arrived(self, look: _Command) -> None:
        """Keep rows that have arrived already and are the next to be read, if each of them is news."""
        found, octets = leading_attribute_rows(self.session.line.arrived())
        rows = {row.attributes.uid: row.attributes for row in found}
        if rows and len(rows) == len(found) and rows.keys() <= look.wanted - look.rows.keys():
            self.session.take(octets)
            look.rows |= rows


@lru_cache(maxsize=1024)
def _text_of(flags: Flags) -> bytes:
    return " ".join(sorted(flags)).encode("utf-8", "surrogateescape")
