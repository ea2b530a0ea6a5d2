"""One connection: imapclient's session, with our own code to send commands and read responses.

imapclient and imaplib connect and keep the state. Their handling of responses does not suit an archiver: they copy
every literal into the debug log, wait for each answer before they send the next command, and fail on names like
`br[ack`. So commands are sent here, several in one flight, and responses are read here.
"""

from __future__ import annotations

import imaplib
import re
import ssl
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Protocol

from archiver.errors import BackendError, ConnectionLost, MessageRefused, Where
from archiver.imap.answers import MOST_BELIEVED, Answer, News
from archiver.imap.replies import Reply, error_of, is_of_session, not_imap
from archiver.imap.tokens import (
    BODY_MARK,
    Response,
    literal_size,
    number,
    parse_vanished,
    quote,
    quote_utf8,
    status_of,
    tagged,
)
from archiver.imap.wire.line import Line
from archiver.imap.wire.pace import OCTETS_A_MINUTE, TooSlow
from archiver.mail.folder_names import name_of_utf8, utf8_name
from archiver.mail.model import Body

if "imapclient" not in sys.modules:
    # NOTE: imapclient looks up its own version among all that is installed, and what it imports for that takes as
    # long as all the rest of it. Nobody here asks for the version.
    sys.modules["imapclient.version"] = _no_version = ModuleType("imapclient.version")
    vars(_no_version).update(version="", version_info=())
from imapclient import IMAPClient, SocketTimeout

_LITERAL_LIMIT = 4 << 20  # for the literals of one response that are not messages: names and odd strings
_TEXT_LIMIT = 64 << 10  # for a response without its literals, unless it is a list of numbers
_MOST_MESSAGES = 2**32 - 1  # RFC 3501 section 9, nz-number
_PATIENCE = 10_000
_GOODBYE_SECONDS = 5.0
_MOST_REQUESTS = 10  # to go on, in the answer to one command
_LONGEST = 100  # timeouts that we wait for the end of an answer that is kept whole, whatever it brings
_PIECE = 64 << 10  # octets of a response that count as another one, if they bring nothing

#: A status response ends with text for people. If that ends with "{5}", no literal follows.
_STATUS = re.compile(rb"\A(?:\+|\S+ (?:OK|NO|BAD|BYE|PREAUTH)\b)", re.IGNORECASE)
#: How nearly all responses with a message begin.
_MESSAGE = re.compile(rb"(\* \d{1,10} FETCH \([^{}\r\n]{1,4096}BODY\[\] )\{(\d{1,9})\}\r\n")
_NUMBERS = re.compile(rb"\A\* (?:E?SEARCH|VANISHED)\b", re.IGNORECASE)


class BodyReader(Protocol):
    """Reads a message's literal of `size` octets from the session."""

    def __call__(self, size: int, session: Session) -> Body: ...


class Session(IMAPClient):  # type: ignore[misc]
    """A connection to an IMAP server. Belongs to one thread.

    `exists` follows the number of messages in the open folder (EXISTS, EXPUNGE, VANISHED). `reading` is the text
    before the literal of the message that is being read, or at which the connection broke. `way` is how it was
    logged in, for people; "" if the server did that by itself. `said_of_itself` is its answer to ID, if asked.
    `before_sending` is called once, before a command. `speaks_utf8`: names of folders are in UTF-8 here (RFC 9051);
    they are given and returned in modified UTF-7 all the same. `enabled_utf8`: because that was enabled (RFC 6855).
    """

    way = ""
    said_of_itself = b""
    speaks_utf8 = False
    enabled_utf8 = False

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None, timeout: SocketTimeout, where: Where
    ) -> None:
        self.where = where
        self.exists = 0
        self.reading = b""
        self.before_sending: Callable[[], None] | None = None
        self._next_tag = 0
        self.expect(())
        self._patience = _PATIENCE
        super().__init__(host, port, ssl=tls is not None, ssl_context=tls, timeout=timeout)
        # NOTE: imapclient sets debug to 5, and imaplib then formats every line, passwords and messages included.
        self._imap.debug = 0

    def _create_IMAP4(self) -> Line:  # noqa: N802 (imapclient's name)
        return Line(self.host, self.port, self.ssl_context if self.ssl else None, self._timeout.connect)

    @property
    def line(self) -> Line:
        """The connection below, with imaplib's state (NONAUTH, AUTH) and the capabilities from the greeting."""
        line: Line = self._imap
        return line

    def progressed(self) -> None:
        """The response that was read last brings something that was asked for. Others gain the server no time, and
        only so many may come in a row: a few for each message of the folder, and more."""
        self._imap.progressed()
        self._be_patient()

    def finished(self) -> None:
        """The response that was read last ends a command; the next one has its whole time."""
        self._imap.after_a_command()
        self._be_patient()

    def _be_patient(self) -> None:
        self._patience = _PATIENCE + 4 * min(self.exists, MOST_BELIEVED)

    def _lose_patience(self, octets: int) -> None:
        """Count a response of so many octets; a large one counts as several."""
        self._patience -= 1 + octets // _PIECE
        if self._patience < 0:
            why = "the server's answer does not end: nothing of what it sent lately was asked for"
            raise ConnectionLost(why, where=self.where)

    # Sending

    def new_tag(self) -> bytes:
        """A new tag."""
        self._next_tag += 1
        return b"A%d" % self._next_tag

    def send(self, *commands: bytes) -> list[bytes]:
        """Send commands in one flight without reading; returns their tags."""
        self._settle()
        self.expect(commands)
        tags = [self.new_tag() for _ in commands]
        self.send_octets(b"".join(b"%b %b\r\n" % each for each in zip(tags, commands, strict=True)))
        return tags

    def _settle(self) -> None:
        settle, self.before_sending = self.before_sending, None
        if settle is not None:
            settle()

    def expect(self, commands: Sequence[bytes]) -> None:
        """Begin to count what is kept of the answer to these commands; the open folder may shrink meanwhile."""
        self._answer = Answer(commands, self.exists)

    def send_octets(self, octets: bytes | bytearray) -> None:
        """Send octets as they are."""
        self._be_patient()
        try:
            self._imap.send(octets)
        except TimeoutError as error:
            raise self._silent(error) from error
        except (OSError, imaplib.IMAP4.error) as error:
            raise ConnectionLost(f"connection lost while sending: {error}", where=self.where) from error

    def name(self, raw: bytes) -> bytes:
        """A folder's name as this connection spells it."""
        return utf8_name(raw) if self.speaks_utf8 else raw

    def raw_of(self, name: bytes) -> bytes:
        """The inverse of `name`."""
        return name_of_utf8(name) if self.speaks_utf8 else name

    def quoted(self, raw: bytes) -> bytes | None:
        """A folder's name in quotes, as this connection spells it; None if it needs a literal."""
        return self._quote(self.name(raw))

    def _quote(self, string: bytes) -> bytes | None:
        return quote_utf8(string) if self.speaks_utf8 else quote(string)

    def command_with_name(self, before: bytes, name: bytes, after: bytes = b"") -> Reply:
        """Run `before name after`, with a folder's name quoted, or as a literal if it cannot be quoted."""
        return self.command_with_strings(before, [self.name(name)], after)

    def command_with_strings(self, before: bytes, strings: Sequence[bytes], after: bytes = b"") -> Reply:
        """Run a command with arguments of any octets. Literals wait for the server's go-ahead."""
        self._settle()
        tag = self.new_tag()
        line = tag + b" " + before
        untagged: list[Response] = []
        self.expect([before + after])
        for string in strings:
            quoted = self._quote(string)
            if quoted is not None:
                line += b" " + quoted
                continue
            self.send_octets(line + b" {%d}\r\n" % len(string))
            while not (response := self.read_response()).text.startswith(b"+"):
                if response.text.startswith(tag + b" "):
                    return self._reply(tagged(response.text)[1], untagged)
                self._keep(response, untagged)
            line = string
        self.send_octets(line + after + b"\r\n")
        return self.collect([tag], before + after, untagged)[0]

    # Reading

    def read_line(self) -> bytes:
        """A line including its end."""
        try:
            line: bytes = self._imap.readline()
        except TimeoutError as error:
            raise self._silent(error) from error
        except (OSError, imaplib.IMAP4.error, ValueError) as error:
            raise ConnectionLost(f"connection lost: {error}", where=self.where) from error
        if not line.endswith(b"\n"):
            raise ConnectionLost("the server closed the connection", where=self.where)
        return line

    def read_octets(self, size: int) -> bytes:
        """Exactly `size` octets."""
        try:
            octets: bytes = self._imap.read(size)
        except TimeoutError as error:
            raise self._silent(error) from error
        except (OSError, imaplib.IMAP4.error, ValueError) as error:
            raise ConnectionLost(f"connection lost: {error}", where=self.where) from error
        if len(octets) != size:
            raise ConnectionLost("the connection ended in the middle of a message", where=self.where)
        return octets

    def _silent(self, error: TimeoutError) -> ConnectionLost:
        said = f"the server was silent for {self._timeout.read:g} seconds"
        if isinstance(error, TooSlow):
            said = f"the server sends or accepts fewer than {OCTETS_A_MINUTE} bytes a minute"
            if error.waited:
                said = (
                    f"a command was not finished within {error.waited:.0f} seconds: the server sends fewer than "
                    f"{OCTETS_A_MINUTE} bytes a minute of what was asked for"
                )
        lost = ConnectionLost(said, where=self.where)
        lost.silence = self._timeout.read
        return lost

    def read_response(self, body_reader: BodyReader | None = None) -> Response:
        """The next response, whole. With a `body_reader`, the first literal behind `BODY[...]` goes to it and
        becomes the response's body. If reading fails behind that literal, the body is discarded.

        The caller says by `progressed` whether the response brings something. If too many do not, the next call
        raises ConnectionLost.
        """
        self.reading = b""
        self._lose_patience(self._imap.at_a_response())
        line = self._read_text()
        if body_reader is not None and (usual := _MESSAGE.fullmatch(line)) is not None:
            self.reading = text = usual[1] + BODY_MARK
            return self._rest(text, None, body_reader(int(usual[2]), self), None)
        if line[:3] == b"*  ":
            line = b"* " + line[2:].lstrip(b" ")
        if not line.endswith(b"}\r\n") or _STATUS.match(line):
            if len(line) > _TEXT_LIMIT and not _NUMBERS.match(line):
                raise ConnectionLost(f"an unexpected line of {len(line)} bytes", where=self.where)
            return self._tracked(Response(line.rstrip(b"\r\n")))
        return self._rest(b"", line, None, body_reader)

    def _rest(self, text: bytes, line: bytes | None, body: Body | None, body_reader: BodyReader | None) -> Response:
        """A response of which `text` is read, from its next `line` on. It is None where the `body` of a usual FETCH
        was just read."""
        literals: list[bytes] = []
        left = _LITERAL_LIMIT
        try:
            if line is None:
                line = self._read_text()
                if line == b")\r\n":
                    return Response(text + b")", (), body)
            while True:
                if len(text) + len(line) > _TEXT_LIMIT:
                    raise ConnectionLost("the server's response does not end", where=self.where)
                size = literal_size(line)
                if size is None:
                    return self._tracked(Response(text + line.rstrip(b"\r\n"), tuple(literals), body))
                text += line[: line.rindex(b"{")].removesuffix(b"~")
                if body_reader and body is None and text.rstrip().endswith(b"]"):
                    text += BODY_MARK
                    self.reading = text
                    body = body_reader(size, self)
                elif size > left:
                    raise ConnectionLost(f"an unexpected literal of {size} bytes", where=self.where)
                else:
                    text += b"\0%d\0" % len(literals)
                    literals.append(self.read_octets(size))
                    left -= size
                line = self._read_text()
        except BaseException:
            if body is not None:
                body.discard()
            raise

    def take(self, octets: int) -> None:
        """Count so many octets of those that have `arrived` as read: responses that bring what was asked for."""
        self._lose_patience(self._imap.at_a_response())
        self._imap.skip(octets)
        self.progressed()

    def _read_text(self) -> bytes:
        """A line outside of literals. NUL marks the places of literals, so a NUL from the server, which no RFC
        allows there, becomes 0x80, as Dovecot does it."""
        line = self.read_line()
        return line.replace(b"\0", b"\x80") if b"\0" in line else line

    def _tracked(self, response: Response) -> Response:
        """The response, after `exists` has been updated from it. A BYE is raised as the end of the connection."""
        text = response.text
        if text[:2] != b"* ":
            return response
        words = text[2:40].split(None, 2)
        if len(words) > 1 and words[0].isdigit():
            what = words[1].upper()
            if what == b"EXISTS":
                exists = number(words[0], _MOST_MESSAGES)
                if exists is None:
                    raise not_imap(text, self.where)
                self.exists = exists
            elif what == b"EXPUNGE":
                self.exists = max(0, self.exists - 1)
        elif words and words[0].upper() == b"VANISHED":
            vanished = parse_vanished(response)
            if vanished and not vanished[0]:
                self.exists = max(0, self.exists - len(vanished[1]))
        elif words and words[0].upper() == b"BYE" and self._imap.state != "LOGOUT":
            raise error_of(text[2:], self.where, ConnectionLost)
        return response

    def collect(
        self,
        tags: Sequence[bytes],
        commands: bytes,
        untagged: list[Response] | None = None,
        answer: Callable[[bytes], bytes] | None = None,
        *,
        body_reader: BodyReader | None = None,
        aside: Callable[[Response], bool] = lambda _: False,
    ) -> list[Reply]:
        """Read until all `commands` with these `tags` are finished. Untagged responses go to the first one that is
        finished after them. When the server asks for more, it gets the `answer` to its words. What `aside` takes
        belongs to a command that is waited for elsewhere; `body_reader` reads its messages."""
        news = News(commands)
        requests = 0
        waiting = dict.fromkeys(tags)
        replies: dict[bytes, Reply] = {}
        untagged = [] if untagged is None else untagged
        while waiting:
            try:
                response = self.read_response(body_reader)
            except ConnectionLost as lost:
                # Exchange says why it hangs up in the answer to an earlier command.
                refusals = [self.refusal(each) for each in replies.values()]
                if reason := next((each for each in refusals if is_of_session(each)), None):
                    raise reason from lost
                raise
            if aside(response):
                if news.has(response, self.exists):
                    self.progressed()
                continue
            tag, rest = tagged(response.text)
            if tag in waiting:
                replies[tag] = self._reply(rest, untagged)
                untagged, news = [], News(commands)
                del waiting[tag]
                self.finished()
            elif tag == b"*":
                self._keep(response, untagged)
                if news.has(response, self.exists):
                    self.progressed()
            elif tag != b"+":
                raise not_imap(response.text, self.where)
            elif (requests := requests + 1) > _MOST_REQUESTS:
                raise ConnectionLost("the server asks for more again and again", where=self.where)
            elif answer is not None:
                self.send_octets(answer(rest) + b"\r\n")
        self._answer.let_go()
        return [replies[tag] for tag in tags]

    def _keep(self, response: Response, untagged: list[Response]) -> None:
        """Keep a response until its command is finished, within limits of octets and of time."""
        untagged.append(response)
        if (what := self._answer.too_much(response, self.exists)) is not None:
            raise ConnectionLost(f"the server's answer does not end: {what}", where=self.where)
        if self._imap.waited > _LONGEST * self._timeout.read:
            what = f"it has taken {self._imap.waited:.0f} seconds already"
            hint = "if the server needs so long, raise `read_timeout`, and run again"
            raise ConnectionLost(f"the server's answer does not end: {what}", where=self.where, hint=hint)

    def _reply(self, rest: bytes, untagged: list[Response]) -> Reply:
        return Reply(*status_of(rest), untagged, self._answer.share)

    def flight(self, *commands: bytes) -> list[Reply]:
        """Run commands in one flight, which is one round trip for all of them."""
        return self.collect(self.send(*commands), b" ".join(commands))

    def required(self, reply: Reply, otherwise: type[BackendError] = MessageRefused) -> list[Response]:
        """The untagged responses of a reply that must be OK."""
        if (error := self.refusal(reply, otherwise)) is not None:
            raise error
        return reply.untagged

    def refusal(self, reply: Reply, otherwise: type[BackendError] = MessageRefused) -> BackendError | None:
        """The error that a reply means; None if it is OK."""
        return None if reply.ok else error_of(reply.status + b" " + reply.text, self.where, otherwise)

    def hang_up(self) -> None:
        """Close without LOGOUT: the connection is out of step, or has to end at once. Never raises, may be called
        twice."""
        self._answer.let_go()
        try:
            self.shutdown()
        except (OSError, imaplib.IMAP4.error):
            pass  # already closed

    def log_out(self) -> None:
        """Log out and close; never raises, and takes a few seconds at most."""
        try:
            self._imap.state = "LOGOUT"
            self._imap.sock.settimeout(_GOODBYE_SECONDS)
            self._imap.end_within(_GOODBYE_SECONDS)
            self.flight(b"LOGOUT")
        except (BackendError, OSError):
            pass  # the server closed it first
        self.hang_up()
