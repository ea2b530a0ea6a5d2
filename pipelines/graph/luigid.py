"""How a luigid is spoken to: one request, which never waits for long."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from archiver.config.secrecy import keep_secret
from archiver.errors import ArchiverError, ConfigError
from archiver.mail.folder_names import printable
from pipelines.graph.apart import luigi

_PATIENCE_SECONDS = 5.0


class SchedulerUnreachable(ArchiverError):
    """The luigid does not answer, or something else does. No work depends on it."""

    exit_code = 5
    what_next = "start luigid, or correct --scheduler-url"


class Luigid:
    """The luigid at this address.

    Raises:
        ConfigError: this is not an address.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https", "http+unix") and bool(parts.netloc)
        except ValueError:
            known = False
        if not known:
            raise ConfigError(
                "--scheduler-url", [f"{printable(url)} is not the address of a luigid; write http://HOST:8082"]
            )
        if parts.password is not None:
            keep_secret(parts.password)
        self._url = url.rstrip("/")
        self.name = shown(url)
        self._remote = luigi.rpc.RemoteScheduler(url, connect_timeout=_PATIENCE_SECONDS)

    def ask(self, method: str, **values: Any) -> Any:
        """What it answers.

        Raises:
            SchedulerUnreachable: no luigid answers there within seconds.
        """
        try:
            answer = self._remote._fetcher.fetch(
                f"{self._url}/api/{method}", {"data": json.dumps(values)}, _PATIENCE_SECONDS
            )
            document = json.loads(answer)
            if not isinstance(document, dict):
                raise ValueError
            return document.get("response")
        except ValueError:
            raise SchedulerUnreachable(f"{self.name}: answers, but not as luigid does") from None
        except Exception as error:  # Luigi raises what its HTTP client raises
            raise SchedulerUnreachable(f"{self.name}: luigid does not answer ({printable(_why(error))})") from None

    def close(self) -> None:
        """Hang up."""
        self._remote.close()


def _why(error: BaseException) -> str:
    """The root cause of an error, whichever HTTP library Luigi uses."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        seen.add(id(one))
        if isinstance(one, TimeoutError) or "timed out" in str(one).lower():
            return "timed out"
        if isinstance(one, OSError) and isinstance(one.strerror, str):
            return one.strerror
        deeper = (*one.args, getattr(one, "reason", None), getattr(one, "sub_exception", None), one.__context__)
        waiting += [each for each in deeper if isinstance(each, BaseException) and id(each) not in seen]
    return str(getattr(error, "reason", None) or type(error).__name__)


def shown(url: str) -> str:
    """The address without a password."""
    parts = urlsplit(url)
    return printable(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
