"""Checks that a luigid answers, before any account waits for it."""

from __future__ import annotations

import json
from urllib.parse import urlsplit, urlunsplit

from archiver.config.secrecy import keep_secret
from archiver.errors import ArchiverError, ConfigError
from archiver.mail.folder_names import printable
from pipelines.graph.apart import luigi

_PATIENCE_SECONDS = 5.0


class SchedulerUnreachable(ArchiverError):
    """The requested luigid does not answer, or something else does."""

    exit_code = 5
    what_next = "start luigid, correct --scheduler-url, or leave it out to run without one"


def require_luigid(url: str) -> None:
    """Check that a luigid answers at this address.

    Raises:
        ConfigError: this is not an address.
        SchedulerUnreachable: no luigid answers there within seconds.
    """
    if urlsplit(url).scheme not in ("http", "https", "http+unix"):
        raise ConfigError(
            "--scheduler-url", [f"{shown(url)} is not the address of a luigid; write http://HOST:8082"]
        )
    if (password := urlsplit(url).password) is not None:
        keep_secret(password)
    scheduler = luigi.rpc.RemoteScheduler(url, connect_timeout=_PATIENCE_SECONDS)
    try:
        answer = scheduler._fetcher.fetch(f"{url.rstrip('/')}/api/resource_list", {"data": "{}"}, _PATIENCE_SECONDS)
        if not isinstance(json.loads(answer), dict):
            raise ValueError
    except ValueError:
        raise SchedulerUnreachable(f"{shown(url)}: answers, but not as luigid does") from None
    except Exception as error:  # Luigi raises what its HTTP client raises
        raise unreachable(url, error) from None
    finally:
        scheduler.close()


def unreachable(url: str, error: BaseException) -> SchedulerUnreachable:
    """The error for a luigid that did not answer."""
    return SchedulerUnreachable(f"{shown(url)}: luigid does not answer ({printable(_why(error))})")


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
