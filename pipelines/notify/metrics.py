"""The textfile for Prometheus's node_exporter.

Several commands may write it, each for some of the accounts: each replaces the numbers of its own accounts and
leaves the others. An account's numbers go when its account file is gone. The reader sees the old file or the new
one, never a part.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from archiver.errors import ArchiverError
from archiver.events import Sent, Slowed, Stored
from archiver.storage.files import open_regular, write_all
from pipelines.events import AnyEvent, Failed, Listener
from pipelines.notify.notice import one_line
from pipelines.notify.outcomes import locked
from pipelines.notify.results import Result
from pipelines.notify.samples import (
    Counts,
    Samples,
    by_account,
    configs_in,
    exposition,
    samples_in,
    samples_of,
    with_ages,
)

_MODE = 0o644  # node_exporter is another user, and nothing in it is secret
_MOST_OCTETS = 1 << 28
_THROTTLED = 75
_THROTTLES = "archiver_throttles_total"


def counting(counts: Counts, listener: Listener) -> Listener:
    """The listener, with what happens counted on the way."""

    def listen(account: str, event: AnyEvent) -> None:
        match event:
            case Stored(messages, octets):
                counts.add(account, "archiver_fetched_messages_total", messages)
                counts.add(account, "archiver_fetched_bytes_total", octets)
            case Sent(messages, octets):
                counts.add(account, "archiver_sent_messages_total", messages)
                counts.add(account, "archiver_sent_bytes_total", octets)
            case Slowed():
                counts.add(account, _THROTTLES, 1)
            case Failed(_, exit_code) if exit_code == _THROTTLED:
                counts.add(account, _THROTTLES, 1)
        listener(account, event)

    return listen


def write_metrics(results: Sequence[Result], counts: Counts, say: Callable[[str], None]) -> None:
    """Write the numbers of these accounts into the files that they name. What cannot be written is one line; never
    raises."""
    files: dict[Path, list[Result]] = {}
    for each in results:
        if each.watched.metrics.textfile is not None:
            files.setdefault(each.watched.metrics.textfile, []).append(each)
    for file, its in files.items():
        try:
            for problem in _write(file, its, counts):
                say(problem)
        except OSError as error:
            say(f"{one_line(str(file))}: the metrics cannot be written: {error.strerror or error}")
        except ArchiverError as error:
            say(f"{one_line(str(error))}; the metrics were not written")


def _write(file: Path, results: Iterable[Result], counts: Counts) -> list[str]:
    problems: list[str] = []
    with locked(os.fspath(file.with_name(f".{file.name}.lock"))):
        read, now = _read(file), float(int(time.time()))
        configs = configs_in(read)
        there = by_account(read)
        for name, path in configs.items():
            if not os.path.lexists(path):
                del there[name]
        for each in results:
            other = configs.get(each.account)
            if other not in (None, str(each.watched.file)) and os.path.lexists(str(other)):
                problems.append(
                    f"{one_line(str(file))}: has the numbers of another account {one_line(each.account)}, that of "
                    f"{one_line(str(other))}; give one of them a textfile of its own"
                )
                continue
            own = there.get(each.account, {})
            if not own and each.exit_code:
                own = _since_before(each)
            there[each.account] = samples_of(each, counts.by_account.get(each.account, {}), own, now)
        samples = dict(chain.from_iterable(its.items() for its in there.values()))
        _replace(file, exposition(with_ages(samples, now)).encode("utf-8", "replace"))
    return problems


def _read(file: Path) -> Samples:
    try:
        with open_regular(file) as opened:
            return samples_in(opened.read(_MOST_OCTETS).decode("utf-8", "replace"))
    except FileNotFoundError:
        return {}


def _since_before(result: Result) -> Samples:
    """The last success of an account that the file does not know yet, from the runs of its archive."""
    if result.watched.settings is None:
        return {}
    from archiver.account.account import Account

    try:
        with Account(result.watched.settings).reading(with_catalog=True) as archive:
            ended = [
                finished for _, _, finished, status, _ in archive.catalog.ledger.runs() if status == "complete"
            ]
    except Exception:  # no archive, or one that cannot be read: the run has said so
        return {}
    if not ended or ended[-1] is None:
        return {}
    moment = datetime.fromisoformat(ended[-1])
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return {("archiver_last_success_timestamp_seconds", (("account", result.account),)): seconds}


def _replace(file: Path, octets: bytes) -> None:
    """Replace the file as a whole, readable by everybody. The lock is held, so nobody else uses the other name,
    which does not end in ".prom"."""
    temporary = os.fspath(file.with_name(f".{file.name}.tmp"))
    try:
        os.unlink(temporary)  # of a command that was killed
    except FileNotFoundError:
        pass
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    try:
        os.fchmod(descriptor, _MODE)
        write_all(descriptor, octets)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, file)


def why_not_writable(file: Path) -> str | None:
    """Why the metrics could not be written there, for `check`; None if they could."""
    try:
        there = os.stat(file.parent)
    except OSError as error:
        return f"{file.parent}: {error.strerror}; make that folder, or name a file in another one"
    if not stat.S_ISDIR(there.st_mode):
        return f"{file.parent}: is not a directory; name a file in a folder"
    if not os.access(file.parent, os.W_OK | os.X_OK):
        return f"{file.parent}: this user cannot write there; change its mode, or name a file in another folder"
    return None
