"""One request at a time to an endpoint: each ends in an answer, an expected refusal, or one of our errors.

boto3 retries failures that it knows (connections, 5xx, requests to slow down), but not all: an answer that breaks
off after its headers, half an XML document, two writers at the same time. These are retried here.
"""

from __future__ import annotations

import http.client
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import urllib3.exceptions
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from archiver.config.tables.s3 import S3Settings
from archiver.storage import ending
from archiver.storage.s3.clients import make_client
from archiver.storage.s3.failures import ErrorResponse, clock_of, refusal_of, refused, unanswered

Response = Mapping[str, Any]

BROKEN = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
"""How a connection breaks that boto3 does not wrap."""

_COLLISIONS = ("ConditionalRequestConflict", "OperationAborted", "409")  # an answer to HEAD has no words
_LONGEST_WAIT = 20.0


def never(_: ErrorResponse) -> bool:
    """No refusal is expected."""
    return False


class Endpoint:
    """The endpoint of `settings`. Threads may share it. Its client is created at the first request, and again in
    another process: a forked client would share its connections with its parent."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._client: Any = None
        self._process = 0

    def ask(
        self, operation: str, where: str, expected: Callable[[ErrorResponse], bool] = never, **parameters: object
    ) -> Response | ErrorResponse:
        """The answer to a client's method `operation`, or the refusal if it is `expected`.

        Raises:
            ArchiverError: whatever else went wrong, after all attempts; nothing of boto3's own escapes.
        """
        attempt = 0
        while True:
            attempt += 1
            ending.check_end()
            try:
                answer: Response = getattr(self.client(where), operation)(**parameters)
                return answer
            except ClientError as error:
                refusal = refusal_of(error)
                if expected(refusal):
                    return refusal
                if refusal.code not in _COLLISIONS or attempt >= self.settings.attempts:
                    raise refused(refusal, where, self.settings, time.time()) from None
            # NOTE: `from None`, since the texts of these exceptions contain addresses and may contain keys.
            except BotoCoreError as error:
                raise unanswered(error, where, self.settings) from None
            except (ResponseParserError, *BROKEN) as error:
                if attempt >= self.settings.attempts:
                    raise unanswered(error, where, self.settings) from None
            pause(attempt)
            _rewind(parameters.get("Body"))

    def client(self, where: str) -> Any:
        """This process's client."""
        with self._lock:
            if self._client is None or self._process != os.getpid():
                try:
                    self._client = make_client(self.settings)
                except (BotoCoreError, ValueError) as error:
                    raise unanswered(error, where, self.settings) from None
                self._process = os.getpid()
            return self._client

    def close(self) -> None:
        """Close the connections; another request opens new ones."""
        with self._lock:
            if self._client is not None and self._process == os.getpid():
                self._client.close()
            self._client = None


def asked_at(answer: Response) -> float:
    """When the endpoint answered, by its own clock if it sends the time, as RFC 9110 section 6.6.1 requires."""
    told = clock_of(answer["ResponseMetadata"]["HTTPHeaders"])
    return time.time() if told is None else told


def pause(attempt: int) -> None:
    """Wait before another attempt, longer each time and by a random part, so that clients do not return
    together."""
    ending.wait(random.random() * min(2.0 ** (attempt - 1), _LONGEST_WAIT))


def _rewind(body: Any) -> None:
    if hasattr(body, "seek"):
        body.seek(0)
