"""An HTTP proxy before an S3 server that counts requests, and by script answers, resets, stalls and alters them.

It passes the octets on as they come, the Host that was signed too. It speaks http only.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import urlsplit

from tests.servers.http_line import Head, Line
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import Answer, During, Fault, Flip, Place, Request, Reset, Stall, parse, strikes

Which = str | Callable[[Request], bool] | None
"""The requests of a kind ("PutObject"), those a function says yes to, or all."""

_Way = Literal["up", "down"]


class S3Proxy:
    """Speaks for `behind`; give `endpoint` to what is tried. A context manager.

    `latency`: seconds that each round trip takes longer; may be changed at any time. `requests` are in the order
    they came, `octets` counts those of bodies, `faults` what was done to requests.
    """

    def __init__(self, behind: Endpoint, *, latency: float = 0) -> None:
        self.behind, self.latency = behind, latency
        self.requests: list[Request] = []
        self.octets: dict[_Way, int] = {"up": 0, "down": 0}
        self.connections = self.faults = self._number = 0
        self._scripts: list[_Script] = []
        self._lines: set[Line] = set()
        self._lock, self._ended = threading.Lock(), threading.Event()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.endpoint = self.behind.at(f"http://127.0.0.1:{self._listener.getsockname()[1]}")
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(10)
        with self._lock:
            for line in self._lines:
                line.hang_up()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    # -- the script ------------------------------------------------------------------------------------------

    def on(self, which: Which, fault: Fault, *, skip: int = 0, times: int | None = 1) -> None:
        """Do that to `times` requests (None: to all) after the first `skip`; the first script that is due wins.

        Requests by number: `on(None, fault, skip=number - 1)`. Attempts of a client are requests too.
        """
        self._scripts.append(_Script(which, lambda _: fault, skip, times))

    def at_random(self, seed: object, share: float, *faults: Fault, which: Which = None) -> None:
        """Do one of these to that share of the requests; the seed and a request's number decide."""

        def draw(request: Request) -> Fault | None:
            chance = random.Random(f"{seed} {request.number}")
            return chance.choice(faults) if chance.random() < share else None

        self._scripts.append(_Script(which, draw, 0, None))

    def clear(self) -> None:
        """Forget the script, and what was counted; numbers begin at 1 again."""
        with self._lock:
            self._scripts.clear()
            self.requests.clear()
            self.octets = {"up": 0, "down": 0}
            self.connections = self.faults = self._number = 0

    @property
    def counts(self) -> Counter[str]:
        """How many requests of each kind there were."""
        with self._lock:
            return Counter(each.kind for each in self.requests)

    def _note(self, asked: Head) -> tuple[Request, Fault | None]:
        with self._lock:
            self._number += 1
            request = parse(self._number, asked.first, asked.headers)
            self.requests.append(request)
            return request, next((fault for each in self._scripts if (fault := each.fault(request))), None)

    # -- connections -----------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        address = urlsplit(self.behind.url)
        near = Line(client)
        try:
            far = Line(socket.create_connection((str(address.hostname), address.port or 80)))
        except OSError:
            near.close(reset=True)
            return
        with self._lock:
            self.connections += 1
            self._lines |= {near, far}
        broken = True
        try:
            while self._exchange(near, far):
                pass
            broken = False
        except OSError:
            pass  # a fault, or one of them went away: the other is to see the same
        finally:
            with self._lock:
                self._lines -= {near, far}
            near.close(reset=broken)
            far.close(reset=broken)

    def _exchange(self, near: Line, far: Line) -> bool:
        """One request and its answer; True if more may follow on these connections.

        Raises:
            OSError: They have to be reset.
        """
        asked = near.head()
        if asked is None:
            return False
        request, fault = self._note(asked)
        awaits = asked.headers.get("expect", "").lower() == "100-continue"
        time.sleep(self.latency)
        if isinstance(fault, Answer):
            return self._answer(near, request, fault, () if awaits else near.body(asked))
        self._break(fault, "request")
        far.send(asked.octets)
        if awaits:
            early = _answered(far)
            if not early.interim:  # the client keeps its body
                self._give(near, far, early, request, fault)
                return False
            near.send(early.octets)
            time.sleep(self.latency)
        self._carry(near.body(asked), far, "upload", fault)
        while (answer := _answered(far)).interim:
            pass
        self._give(near, far, answer, request, fault)
        return not (asked.closes or answer.closes)

    def _answer(self, near: Line, request: Request, fault: Answer, unread: Iterable[bytes]) -> bool:
        for _ in unread:
            pass
        self._count()
        body = f"<Error><Code>{fault.code}</Code><Message>as the test wants it</Message></Error>".encode()
        fields = ["Content-Type: application/xml", f"Content-Length: {len(body)}", "Connection: close"]
        if fault.retry_after is not None:
            fields.append(f"Retry-After: {fault.retry_after}")
        head = "\r\n".join([f"HTTP/1.1 {fault.status} {fault.code}", *fields, "", ""])
        near.send(head.encode() + (b"" if request.method == "HEAD" else body))
        return False

    def _give(self, near: Line, far: Line, answer: Head, request: Request, fault: Fault | None) -> None:
        body: Iterable[bytes] = far.answer_body(answer, request.method)
        if strikes(fault, "answer"):
            body = list(body)  # with its last octet the server has done it
            self._break(fault, "answer")
        near.send(answer.octets)
        self._carry(body, near, "download", fault)

    def _carry(self, body: Iterable[bytes], sink: Line, place: Place, fault: Fault | None) -> None:
        passed = 0
        for piece in body:
            if isinstance(fault, Reset | Stall | Flip) and fault.at == place:
                here = fault.octets - passed
                if 0 <= here < len(piece):
                    if isinstance(fault, Flip):
                        self._count()
                        piece = piece[:here] + bytes([piece[here] ^ 1]) + piece[here + 1 :]
                    else:
                        sink.send(piece[:here])
                        self._break(fault, place)
            sink.send(piece)
            passed += len(piece)
            with self._lock:
                self.octets["up" if place == "upload" else "down"] += len(piece)

    def _break(self, fault: Fault | None, place: Place) -> None:
        """What is due at that place, if anything.

        Raises:
            ConnectionResetError: Both connections have to be reset.
        """
        if not strikes(fault, place):
            return
        self._count()
        if isinstance(fault, During):
            fault.action()
            return
        if isinstance(fault, Stall):
            self._ended.wait()
        raise ConnectionResetError

    def _count(self) -> None:
        with self._lock:
            self.faults += 1


@dataclass
class _Script:
    which: Which
    draw: Callable[[Request], Fault | None]
    skip: int
    times: int | None

    def fault(self, request: Request) -> Fault | None:
        """What is to become of that request, if it is one of these and its turn has come."""
        asked = request.kind == self.which if isinstance(self.which, str) else not self.which or self.which(request)
        if not asked or self.times == 0 or (fault := self.draw(request)) is None:
            return None
        if self.skip:
            self.skip -= 1
            return None
        if self.times:
            self.times -= 1
        return fault


def _answered(far: Line) -> Head:
    answer = far.head()
    if answer is None:
        raise ConnectionResetError
    return answer
