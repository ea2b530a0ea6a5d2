"""An in-process IMAP server for the replies that no real server can be made to give.

It serves Python values truthfully; a test changes them, gives a message an oddity, or scripts the answer to a
command. A source cannot be changed: SELECT and all commands that write are unknown, unless the server is
`writable`, a destination. Its oddities are in `Appending`.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from tests.servers.certificates import Certificate
from tests.servers.scripted_append import Appended, Appending
from tests.servers.scripted_mail import PLACEHOLDER, ScriptedFolder, ScriptedMessage
from tests.servers.scripted_session import Session
from tests.servers.stream import DROP, STALL, After, End

__all__ = [
    "DESTINATION",
    "DROP",
    "FULL",
    "MINIMAL",
    "PLACEHOLDER",
    "STALL",
    "After",
    "Appended",
    "Appending",
    "End",
    "ScriptedFolder",
    "ScriptedMessage",
    "ScriptedServer",
    "Session",
]

MINIMAL = ("IMAP4rev1",)
FULL = (
    "IMAP4rev1", "LITERAL+", "SASL-IR", "ID", "ENABLE", "NAMESPACE", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE",
    "STATUS=SIZE", "ESEARCH", "CONDSTORE", "QRESYNC", "OBJECTID", "UNSELECT",
)  # fmt: skip
DESTINATION = (*FULL, "UIDPLUS", "MULTIAPPEND", "CREATE-SPECIAL-USE", "QUOTA", "QUOTA=RES-STORAGE")

Handler = Callable[[bytes, bytes, Session], "bytes | After | End | None"]
"""(command line, tag, session) → octets to send instead of any answer, an end, or None for the usual answer.

For APPEND to a writable server the literals are no part of the line: the messages are in `session.appended`. Octets
and an end come instead of storing them; `session.writing.store(session.appended)` stores them all the same.
"""


@dataclass
class _Script:
    command: bytes
    handler: Handler
    left: int | None


@dataclass
class _Injection:
    command: bytes
    lines: bytes
    after: int
    left: int | None


class ScriptedServer:
    """A server with one user, "u1" with the password "pw" unless `users` says otherwise.

    `folders` may be changed while it runs. `greeting` is the whole first line without its end; `login_reply` the
    tagged status of every login; `silent` a port that never says anything. `certificate` is needed for
    STARTTLS (also put it among the capabilities) and for `implicit_tls`. `appending` says how a `writable` server
    takes mail; `appended` is all it took, as it was sent. `go_ahead` is the line that asks a client to go on.
    """

    go_ahead = b"+ go on"

    def __init__(self, folders: Mapping[bytes, ScriptedFolder] | None = None, *,
                 capabilities: Sequence[str] = FULL, delimiter: bytes | None = b"/", prefix: bytes = b"",
                 users: Mapping[str, str] | None = None, greeting: bytes | None = None,
                 login_reply: bytes | None = None, silent: bool = False,
                 certificate: Certificate | None = None, implicit_tls: bool = False, writable: bool = False,
                 appending: Appending | None = None) -> None:  # fmt: skip
        self.folders = dict(folders) if folders is not None else {b"INBOX": ScriptedFolder()}
        self.capabilities = list(capabilities)
        self.delimiter, self.prefix = delimiter, prefix
        self.users = dict(users) if users is not None else {"u1": "pw"}
        self.greeting, self.login_reply, self.silent = greeting, login_reply, silent
        self.certificate, self.implicit_tls = certificate, implicit_tls
        self.writable, self.appending = writable, appending if appending is not None else Appending()
        self.appended: list[Appended] = []
        self.changing = threading.RLock()
        self.sessions: list[Session] = []
        self.flights = 0
        self.host = "127.0.0.1"
        self._uidvalidity = 1000
        self._scripts: list[_Script] = []
        self._injections: list[_Injection] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the port and every connection; may be called twice."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self.drop_all()
        for thread in self._threads:
            thread.join(5)

    def drop_all(self) -> None:
        """Close every connection; new ones are welcome."""
        with self._lock:
            for session in self.sessions:
                session.stream.hang_up()

    # -- scripting -------------------------------------------------------------------------------------------

    def on(self, command: bytes, answer: Handler | bytes | After | End, *, times: int | None = None) -> None:
        """Script the answer to `command` (`b"UID FETCH"`), the next `times` times, or always.

        Octets are the text of the tagged reply, `b"NO [INUSE] later"`; a handler may return anything at all.
        A later script for the same command is asked first.
        """
        handler: Handler
        if isinstance(answer, bytes):
            handler = lambda _, tag, __: tag + b" " + answer + b"\r\n"  # noqa: E731
        elif callable(answer):
            handler = answer
        else:
            handler = lambda _, __, ___: answer  # noqa: E731
        self._scripts.insert(0, _Script(command.upper(), handler, times))

    def play(self, command: bytes, *lines: bytes, times: int | None = None) -> None:
        """Answer `command` with these lines as a server sent them; `A1` at the beginning of one stands for the tag.
        An OK to a login logs in."""

        def answer(_: bytes, tag: bytes, session: Session) -> bytes:
            if any(line[:5].upper() == b"A1 OK" for line in lines) and session.user is None:
                session.user = next(iter(self.users))
            said = [tag + line[2:] if line[:2] == b"A1" else line for line in lines]
            return b"".join(line + b"\r\n" for line in said)

        self.on(command, answer, times=times)

    def forget(self) -> None:
        """From now on the usual answers."""
        self._scripts.clear()

    def inject(self, command: bytes, *lines: bytes, after: int = 1, times: int | None = None) -> None:
        """Say `lines` unasked (`b"* 5 EXPUNGE"`) after so many rows of the answer to `command`, at the latest
        before its tagged reply."""
        octets = b"".join(line + b"\r\n" for line in lines)
        self._injections.append(_Injection(command.upper(), octets, after, times))

    # -- what happened -----------------------------------------------------------------------------------------

    @property
    def commands(self) -> list[bytes]:
        """All commands without their tags, connection after connection."""
        return [command for session in self.sessions for command in session.commands]

    @property
    def connections(self) -> int:
        """How many times a client connected."""
        return len(self.sessions)

    # -- for the sessions --------------------------------------------------------------------------------------

    def greeting_line(self) -> bytes:
        """The first line."""
        return (b"* OK ready" if self.greeting is None else self.greeting) + b"\r\n"

    def capability_line(self, session: Session) -> bytes:
        """The capabilities as this session may see them."""
        hidden = {"STARTTLS"} if session.encrypted else set()
        return " ".join(name for name in self.capabilities if name not in hidden).encode()

    def script_for(self, command: bytes, line: bytes, tag: bytes, session: Session) -> bytes | After | End | None:
        """What the scripts say to this command; each is used up as it speaks."""
        for script in [script for script in self._scripts if script.command == command]:
            with self._lock:
                if script.left == 0:
                    continue
            answer = script.handler(line, tag, session)
            if answer is not None:
                with self._lock:
                    script.left = None if script.left is None else script.left - 1
                return answer
        return None

    def injections_for(self, command: bytes) -> list[tuple[int, bytes]]:
        """The lines to say within the answer, with the number of rows before them."""
        found = []
        with self._lock:
            for injection in self._injections:
                if injection.command == command and injection.left != 0:
                    injection.left = None if injection.left is None else injection.left - 1
                    found.append((injection.after, injection.lines))
        return found

    def new_uidvalidity(self) -> int:
        """One that no folder here has or had."""
        with self.changing:
            taken = [folder.uidvalidity or 0 for folder in self.folders.values()]
            self._uidvalidity = max([self._uidvalidity, *taken]) + 1
            return self._uidvalidity

    def relabel(self, folder: ScriptedFolder, uid: int, labels: frozenset[str]) -> None:
        """Give a message other labels (Gmail's)."""
        folder.relabel(uid, labels)

    def largest_unasked(self) -> float:
        """How large a literal may be that comes without being asked for (RFC 7888)."""
        if "LITERAL+" in self.capabilities:
            return math.inf
        return 4096 if "LITERAL-" in self.capabilities else -1

    def count_flight(self) -> None:
        """A client spoke after it had been answered."""
        with self._lock:
            self.flights += 1

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = Session(self, connection)
            thread = threading.Thread(target=session.run, daemon=True)
            with self._lock:
                self.sessions.append(session)
                self._threads.append(thread)
            thread.start()
