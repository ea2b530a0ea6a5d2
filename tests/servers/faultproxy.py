"""A TCP proxy that delays, slows, cuts, stalls and corrupts, to stand between a client and a real server.

Delay is a true delay line: octets under way do not wait for one another, so a pipelining client gains here
what it would gain on a long line.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterable
from typing import Literal, Self

Direction = Literal["down", "up"]
_Writers = tuple[asyncio.StreamWriter, asyncio.StreamWriter]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class FaultProxy:
    """Listens on `port` and speaks for `target`. A context manager; the settings may be changed at any time.

    `latency`: seconds each way. `rate`: octets a second each way, 0 is unlimited. `slice`: at most so many
    octets at a time, 0 is unlimited. `refuse`: new connections are reset.
    In `direction` ("down" is from the server), counted from the start of each connection: `reset_after`,
    `close_after` and `stall_after` so many octets, and `corrupt_at` that octet; `once`: only the next time, later
    after each of the octets `then`, once too. `record` is what passed, if `keep`.
    """

    def __init__(self, target: tuple[str, int], *, latency: float = 0, rate: int = 0, slice: int = 0,
                 reset_after: int | None = None, close_after: int | None = None, stall_after: int | None = None,
                 corrupt_at: int | None = None, direction: Direction = "down", once: bool = False,
                 then: Iterable[int] = (), refuse: bool = False, keep: bool = False) -> None:  # fmt: skip
        self.target = target
        self.latency, self.rate, self.slice = latency, rate, slice
        self.reset_after, self.close_after, self.stall_after = reset_after, close_after, stall_after
        self.corrupt_at, self.direction, self.once, self.refuse = corrupt_at, direction, once, refuse
        self.then, self.keep = iter(then), keep
        self.record: dict[Direction, bytearray] = {"down": bytearray(), "up": bytearray()}
        self.host, self.port = "127.0.0.1", 0
        self.connections = 0
        self.octets: dict[Direction, int] = {"down": 0, "up": 0}
        self.faults = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def drop_all(self) -> None:
        """Reset every connection; new ones are served."""
        self._loop.call_soon_threadsafe(self._abort_all)

    def _abort_all(self) -> None:
        for writer in tuple(self._open):
            _reset(writer)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connection, self.host, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._abort_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuse:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            _reset(writer)
            return
        ends = {writer, far_writer}
        self._open |= ends
        for end in ends:
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.gather(
                self._way("up", reader, (far_writer, writer)), self._way("down", far_reader, (writer, far_writer))
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open -= ends
            for end in ends:
                end.close()

    async def _way(self, direction: Direction, reader: asyncio.StreamReader, writers: _Writers) -> None:
        """One direction: read immediately, write when due."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)
        writing = asyncio.create_task(self._write(direction, due, writers))
        try:
            while True:
                octets = await reader.read(self.slice or 65536)
                await due.put((self._loop.time() + self.latency, octets))
                if not octets:
                    break
            await writing
        except OSError:
            writers[0].close()
        finally:
            writing.cancel()

    async def _write(
        self, direction: Direction, due: asyncio.Queue[tuple[float, bytes]], writers: _Writers
    ) -> None:
        writer, other = writers
        passed = 0
        while True:
            when, octets = await due.get()
            await asyncio.sleep(max(0.0, when - self._loop.time()))
            if not octets:
                writer.close()
                return
            if self.rate:
                await asyncio.sleep(len(octets) / self.rate)
            if direction == self.direction:
                octets = self._corrupt(octets, passed)
                if fault := self._fault(passed + len(octets)):
                    kind, limit = fault
                    await self._send(direction, writer, octets[: max(0, limit - passed)])
                    await self._fail(kind, writer, other)
                    return
            passed += len(octets)
            await self._send(direction, writer, octets)

    async def _send(self, direction: Direction, writer: asyncio.StreamWriter, octets: bytes) -> None:
        self.octets[direction] += len(octets)
        if self.keep:
            self.record[direction] += octets
        writer.write(octets)
        await writer.drain()

    def _fault(self, passed: int) -> tuple[str, int] | None:
        """The fault that is due once so many octets have passed, and after which octet."""
        for kind in ("reset", "close", "stall"):
            limit: int | None = getattr(self, f"{kind}_after")
            if limit is not None and passed > limit:
                self.faults += 1
                if self.once:
                    setattr(self, f"{kind}_after", next(self.then, None))
                return kind, limit
        return None

    def _corrupt(self, octets: bytes, passed: int) -> bytes:
        if self.corrupt_at is None or not passed <= self.corrupt_at < passed + len(octets):
            return octets
        place = self.corrupt_at - passed
        self.faults += 1
        if self.once:
            self.corrupt_at = None
        return octets[:place] + bytes([octets[place] ^ 1]) + octets[place + 1 :]

    async def _fail(self, kind: str, writer: asyncio.StreamWriter, other: asyncio.StreamWriter) -> None:
        if kind == "stall":
            await asyncio.Event().wait()
        for end in (writer, other):
            if kind == "reset":
                _reset(end)
            else:
                end.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Abort with RST rather than FIN."""
    end = writer.get_extra_info("socket")
    if end is not None and end.fileno() >= 0:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
