"""Deliveries in a process of their own. When the time is over, it is killed with all that it has started: a server
that answers an octet now and then, a name that DNS does not find, or a program that hangs keeps nobody waiting."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from archiver.errors import ArchiverError
from archiver.storage.files import write_all
from pipelines.failures import foreseen
from pipelines.notify.channel import Channel, Undelivered
from pipelines.notify.notice import Notice, one_line

SECONDS = 30.0
_SIDE_BY_SIDE = 8
_LOOK_SECONDS = 0.2

Delivery = tuple[Channel, Notice]


def deliver_all(
    deliveries: Sequence[Delivery], *, seconds: float = SECONDS, is_stopped: Callable[[], bool] = lambda: False
) -> list[str | ArchiverError]:
    """Deliver notices, several at a time, within `seconds` in all; for each what the other side answered, or why
    it did not arrive. Ends early if `is_stopped` becomes true. Never raises."""
    late = f"not delivered within {seconds:g} seconds"
    answers: list[str | ArchiverError] = [Undelivered(late) for _ in deliveries]
    if not deliveries:
        return answers
    reading, writing = os.pipe()
    try:
        child = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        return [Undelivered(f"no process for it: {error.strerror}") for _ in deliveries]
    if child == 0:
        try:
            os.close(reading)
            _deliver_here(deliveries, writing)
        finally:
            os._exit(0)
    os.close(writing)
    lines, has_ended = _lines(reading, time.monotonic() + seconds, is_stopped)
    os.close(reading)
    if not has_ended:
        _kill(child)
    os.waitpid(child, 0)
    for line in lines:
        number, is_delivered, text, hint, code = json.loads(line)
        answers[number] = text if is_delivered else _failure(text, hint, code)
    return answers


def _failure(text: str, hint: str | None, code: int) -> ArchiverError:
    error = Undelivered(text, hint=hint)
    error.exit_code = code
    return error


def _kill(child: int) -> None:
    for kill in (os.killpg, os.kill):  # the group may not be there yet
        try:
            kill(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def _lines(reading: int, end: float, is_stopped: Callable[[], bool]) -> tuple[list[bytes], bool]:
    """What the child writes until it ends, or is to be ended; and whether it has ended."""
    octets, has_ended = b"", False
    while (left := end - time.monotonic()) > 0 and not is_stopped():
        if not select.select([reading], [], [], min(left, _LOOK_SECONDS))[0]:
            continue
        piece = os.read(reading, 1 << 16)
        if not piece:
            has_ended = True
            break
        octets += piece
    return octets.split(b"\n")[:-1], has_ended


def _deliver_here(deliveries: Sequence[Delivery], writing: int) -> None:
    """Deliver in this process, which is a new one, and write a line for each answer."""
    os.setpgid(0, 0)  # with what it starts; a Ctrl-C at the terminal is for the parent
    signal.set_wakeup_fd(-1)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    left: SimpleQueue[int] = SimpleQueue()
    writes = threading.Lock()
    for number in range(len(deliveries)):
        left.put(number)

    def work() -> None:
        while True:
            try:
                number = left.get_nowait()
            except Empty:
                return
            line = json.dumps([number, *_answer(*deliveries[number])]).encode() + b"\n"
            with writes:
                write_all(writing, line)

    threads = [threading.Thread(target=work) for _ in range(min(_SIDE_BY_SIDE, len(deliveries)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _answer(channel: Channel, notice: Notice) -> tuple[bool, str, str | None, int]:
    try:
        return True, one_line(channel.deliver(notice)), None, 0
    except Exception as raised:  # whatever it is, the others are delivered
        error = foreseen(raised)
        return False, one_line(error.message), error.hint and one_line(error.hint), error.exit_code
