"""The append stream: messages as they go onto the wire, as many in one flight as the server takes.

With MULTIAPPEND (RFC 3502) a group is one command, all of it or nothing. Without it a group is many commands, sent
ahead where literals need no go-ahead (LITERAL+, RFC 7888).

imaplib's and imapclient's own `append` rewrite bare CR and LF and wait for every message: neither is used.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from archiver.errors import BackendError, ConnectionLost, IntegrityError
from archiver.facts.replica import Appended, Letter
from archiver.imap.listing import Abilities
from archiver.imap.replies import error_of, not_imap
from archiver.imap.session import Session
from archiver.imap.tokens import quote
from archiver.mail.uidset import parse_uid_ranges

#: A message above this waits for the server's go-ahead, so that one that is refused need not be sent.
LARGE_OCTETS = 4 << 20

_BUFFER_OCTETS = 256 << 10
_LITERAL_MINUS = 4096  # RFC 7888 section 5
_APPENDUID = re.compile(rb"\A\[APPENDUID (\d+) ([\d:,]+)\]", re.IGNORECASE)
_MOST_APPENDED = 10_000


@dataclass(slots=True)
class _Command:
    """A command in flight, with these letters in it."""

    tag: bytes
    letters: Sequence[Letter]
    reply: bytes | None = None


@dataclass(slots=True)
class AppendStream:
    """Appends to one open folder. Belongs to its connection's thread."""

    session: Session
    abilities: Abilities
    raw: bytes
    _groups: deque[list[_Command]] = field(default_factory=deque)
    _beside_the_point: int = 0
    _buffer: bytearray = field(default_factory=bytearray)

    @property
    def most_in_flight(self) -> int:
        """A server that wants to be asked before each literal gets one group at a time."""
        return 2 if "LITERAL+" in self.abilities else 1

    @property
    def unanswered(self) -> list[Letter]:
        """What was sent, at least in part, and not answered yet."""
        commands = (command for group in self._groups for command in group if command.reply is None)
        return [letter for command in commands for letter in command.letters]

    def begin(self, letters: Sequence[Letter]) -> None:
        """Send a group."""
        group: list[_Command] = []
        self._groups.append(group)
        multi = "MULTIAPPEND" in self.abilities
        commands = [letters] if multi else [[letter] for letter in letters]
        for some in commands:
            self._append(group, some)
            if not multi and self.most_in_flight == 1:
                self._finish(group[-1])
        self._push()

    def _finish(self, command: _Command) -> None:
        """Wait for the answer before the next command. NOTE: sent ahead, it would wait longer: Courier's next line
        is held back by Nagle's algorithm until we acknowledge the one before."""
        self._push()
        while command.reply is None:
            self._hear(go_ahead=False)
        if command.reply[:2].upper() != b"OK":
            # NOTE: Courier hangs up at the tenth refusal in a row; this is a command that it likes.
            self.session.flight(b"NOOP")

    def end(self) -> list[Appended]:
        """Wait for the answer to the oldest group."""
        group = self._groups[0]
        while any(command.reply is None for command in group):
            self._hear(go_ahead=False)
        self._groups.popleft()
        return [
            Appended(len(each.letters), self._appenduid(each.reply), each.reply, self._error(each.reply))
            for each in group
            if each.reply is not None
        ]

    def _error(self, reply: bytes) -> BackendError | None:
        if reply[:2].upper() == b"OK":
            return None
        return error_of(reply, self.session.where, writing=True)

    def _appenduid(self, reply: bytes) -> tuple[int, tuple[int, ...]] | None:
        """Nobody vouches for the UIDs of a server that does not offer UIDPLUS."""
        return _appenduid(reply) if "UIDPLUS" in self.abilities else None

    def _tagged(self, group: list[_Command], letters: Sequence[Letter]) -> bytes:
        tag = self.session.new_tag()
        group.append(_Command(tag, letters))
        return tag + b" "

    def _append(self, group: list[_Command], letters: Sequence[Letter]) -> None:
        """One command. A server that refuses it half-way is not sent the rest."""
        name = quote(self.raw)
        self._put(self._tagged(group, letters) + b"APPEND")
        command = group[-1]
        if name is None:
            self._put(b" {%d}\r\n" % len(self.raw))
            if not self._go_ahead(command):
                return
            self._put(self.raw)
        else:
            self._put(b" " + name)
        for letter in letters:
            flags = " ".join(sorted(letter.flags)).encode("utf-8", "surrogateescape")
            ahead = self._sends_ahead(letter.size)
            mark = b"+" if ahead else b""
            date = letter.internaldate.encode("ascii")
            self._put(b' (%s) "%s" {%d%s}\r\n' % (flags, date, letter.size, mark))
            if not ahead and not self._go_ahead(command):
                return
            self._put_literal(letter)
        self._put(b"\r\n")

    def _put_literal(self, letter: Letter) -> None:
        """NOTE: whatever was sent next would be taken for the rest of the message."""
        try:
            for piece in letter.octets():
                self._put(piece)
        except IntegrityError as error:
            self.session.hang_up()
            lost = f"hung up in the middle of a message: {error.message}"
            raise ConnectionLost(lost, where=self.session.where) from error
        except BaseException:
            self.session.hang_up()
            raise

    def _sends_ahead(self, size: int) -> bool:
        if size > LARGE_OCTETS:
            return False
        return "LITERAL+" in self.abilities or ("LITERAL-" in self.abilities and size <= _LITERAL_MINUS)

    def _put(self, octets: bytes) -> None:
        self._buffer += octets
        if len(self._buffer) >= _BUFFER_OCTETS:
            self._push()

    def _push(self) -> None:
        if not self._buffer:
            return
        octets, self._buffer = self._buffer, bytearray()
        try:
            self.session.send_octets(octets)
        except ConnectionLost as lost:
            self._last_words(lost)

    def _last_words(self, lost: ConnectionLost) -> NoReturn:
        """A server that hangs up on a message may have said why (Gmail)."""
        try:
            while True:
                self._hear(go_ahead=True)
        except BackendError as said:
            raise (said if said.server_reply else lost) from None

    def _go_ahead(self, command: _Command) -> bool:
        """Wait until the server asks for the literal; False if it finished the command instead."""
        self._push()
        while command.reply is None:
            if self._hear(go_ahead=True):
                return True
        return False

    def _hear(self, *, go_ahead: bool) -> bool:
        """Take in one response; True for a go-ahead."""
        response = self.session.read_response()
        tag, _, text = response.text.partition(b" ")
        self._beside_the_point = self._beside_the_point + 1 if tag == b"*" else 0
        if self._beside_the_point > self.session.patience:
            raise ConnectionLost("an answer that does not come to an end", where=self.session.where)
        for group in self._groups:
            for command in group:
                if command.tag == tag and command.reply is None:
                    command.reply = text
                    return False
        if tag == b"*":
            return False
        if go_ahead and tag[:1] == b"+":
            return True
        raise not_imap(response.text, self.session.where)


def _appenduid(reply: bytes) -> tuple[int, tuple[int, ...]] | None:
    """What APPENDUID says (RFC 4315 section 3), as far as it can be true."""
    found = _APPENDUID.match(reply.partition(b" ")[2])
    if found is None:
        return None
    try:
        ranges = parse_uid_ranges(found[2])
    except ValueError:
        return None
    if len(found[1]) > 10 or sum(map(len, ranges)) > _MOST_APPENDED:
        return None
    return int(found[1]), tuple(uid for each in ranges for uid in each)
