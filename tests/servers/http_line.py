"""HTTP/1.1 as it is on the wire: heads and bodies with their octets unchanged, for a proxy to pass on."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_PIECE = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


@dataclass(frozen=True)
class Head:
    """The first line of a request or an answer, its headers with their names in lower case, and all as it came."""

    octets: bytes
    first: str
    headers: Mapping[str, str]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first.split(" ", 2)[1])

    @property
    def interim(self) -> bool:
        """An answer before the answer: 100 Continue."""
        return 100 <= self.status < 200

    @property
    def closes(self) -> bool:
        """Nothing follows on this connection."""
        said = self.headers.get("connection", "").lower()
        return said == "close" or ("HTTP/1.0" in self.first and said != "keep-alive")


class Line:
    """One end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._reader = end, end.makefile("rb", buffering=_PIECE)

    def send(self, octets: bytes) -> None:
        """Send all of them."""
        self._socket.sendall(octets)

    def head(self) -> Head | None:
        """The next head; None if the other side hung up instead."""
        lines = []
        while (line := self._reader.readline()) not in (b"\r\n", b""):
            lines.append(line)
        if not lines or not line:
            return None
        fields = (each.decode("latin-1").partition(":") for each in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        return Head(b"".join(lines) + line, lines[0].decode("latin-1").rstrip(), headers)

    def body(self, head: Head) -> Iterator[bytes]:
        """The body after the head of a request, in pieces as it comes, with the framing of its chunks."""
        if head.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        else:
            yield from self._octets(int(head.headers.get("content-length", 0)))

    def answer_body(self, head: Head, method: str) -> Iterator[bytes]:
        """The same after the head of an answer, which may have none, or may end with the connection."""
        if method == "HEAD" or head.status in (204, 304):
            return
        if {"content-length", "transfer-encoding"} & head.headers.keys():
            yield from self.body(head)
        else:
            while piece := self._reader.read1(_PIECE):
                yield piece

    def _octets(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._reader.read1(min(left, _PIECE))
            if not piece:
                raise ConnectionResetError
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := int((line := self._reader.readline()).split(b";")[0] or b"0", 16):
            yield line
            yield from self._octets(size + 2)
        yield line
        while line not in (b"\r\n", b""):  # trailers
            yield (line := self._reader.readline())

    def hang_up(self) -> None:
        """End both directions, even while a thread waits for octets from here; may be called twice."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was over already

    def close(self, *, reset: bool = False) -> None:
        """Let go, by RST rather than FIN if `reset`; may be called twice."""
        if reset and self._socket.fileno() >= 0:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._reader.close()
        self._socket.close()
