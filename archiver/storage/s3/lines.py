"""The connections of boto3, which can be cut from outside, even while they are being opened. Their answers have a
largest size and a minimum pace.

urllib3 wraps a socket for TLS and drops the original, so a duplicate of it is cut: it is the same connection.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
import types
from collections.abc import Generator
from typing import Any

import botocore.endpoint
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.exceptions import BotoCoreError
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.response import HTTPResponse

from archiver.control.waiting import addresses_of
from archiver.storage import ending

_LARGEST_ANSWER = 16 << 20  # a list of a thousand keys, each at its longest, has a quarter of that


_LATE = 10  # timeouts that an answer may keep us waiting
_STRETCH = 64 << 10  # for each so many octets of it


class _Paced(io.RawIOBase):
    """The reading side of a socket. A timeout covers a single octet, so an endpoint that sends one now and then
    would hold a run for ever: whatever it sends must come at a minimum pace.

    Raises (read):
        TimeoutError: it is too slow, or silent.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._sock = raw, sock
        self._waited, self._octets = 0.0, 0

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        began = time.monotonic()
        count: int | None = self._raw.readinto(buffer)
        self._waited += time.monotonic() - began
        self._octets += count or 0
        limit = self._sock.gettimeout()
        if self._octets >= _STRETCH:
            self._waited, self._octets = 0.0, 0
        elif limit and self._waited > _LATE * limit:
            raise TimeoutError("too slow")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **how: Any) -> None:
        super().__init__(sock, *arguments, **how)
        self.fp = io.BufferedReader(_Paced(self.fp.detach(), sock))


class _Watched:
    """Opens the connection of an `AWSHTTPConnection` itself, to know its socket before it connects."""

    response_class = _PacedResponse
    _handle: socket.socket | None = None

    def _new_conn(self: Any) -> socket.socket:
        try:
            sock: socket.socket = self._dialled()
            return sock
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error

    def _dialled(self: Any) -> socket.socket:
        failure = OSError(f"{self.host} has no address")
        timeout = self.timeout if isinstance(self.timeout, int | float) else None
        for family, kind, protocol, address in addresses_of(self._dns_host, self.port, timeout):
            sock = socket.socket(family, kind, protocol)
            try:
                self._forget()
                self._handle = sock.dup()
                ending.watch(self._handle)
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(timeout)
                sock.connect(address)
                return sock
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
        raise failure

    def close(self: Any) -> None:
        super().close()  # type: ignore[misc]
        self._forget()

    def _forget(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()


class _Connection(_Watched, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _SecureConnection(_Watched, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class AnswerTooLong(BotoCoreError):  # type: ignore[misc]
    """An answer that is no object has more octets than any such answer of S3."""

    fmt = "An answer has more than {most} MB"


class _BoundedResponse(HTTPResponse):
    """An answer that boto3 reads as a whole, before it looks at it: a list or an error."""

    def stream(self, *arguments: Any, **how: Any) -> Generator[bytes]:
        left = _LARGEST_ANSWER
        for piece in super().stream(*arguments, **how):
            left -= len(piece)
            if left < 0:
                self.close()
                raise AnswerTooLong(most=_LARGEST_ANSWER >> 20)
            yield piece


class _Bounded:
    def urlopen(self, *arguments: Any, **how: Any) -> Any:
        response = super().urlopen(*arguments, **how)  # type: ignore[misc]
        # NOTE: boto3 reads an object by `read`, whatever else by `stream`.
        response.__class__ = _BoundedResponse
        return response


class _Pool(_Bounded, AWSHTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _Connection


class _SecurePool(_Bounded, AWSHTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _SecureConnection


def make_cuttable(client: Any) -> None:
    """Let the requests of a client, and its waits between two attempts, end when the process has to end."""
    session = client._endpoint.http_session
    session._pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    session._manager.pool_classes_by_scheme = session._pool_classes_by_scheme
    client.meta.events.register_first("before-send.s3", _check_end)


def _check_end(**_: object) -> None:
    ending.check_end()


# NOTE: boto3 sleeps up to twenty seconds between two attempts, which cannot be configured.
botocore.endpoint.time = types.SimpleNamespace(sleep=ending.wait)
